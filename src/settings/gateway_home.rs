//! The cluster and namespace with the Leases by which gateways watch each other: always the file's own.

use super::cluster::{self, Cluster};
use super::file_sections::FileSections;
use super::pod;
use super::timeouts;
use crate::schema::{ConfigReport, Section};
use crate::types::Namespace;
use std::sync::Arc;
use std::time::Duration;

/// Location and duration of this gateway's Lease.
#[derive(Debug, Clone)]
pub(crate) struct GatewayHome {
    pub cluster: Arc<Cluster>,
    /// `pod.metadata.namespace`: the namespace of the Leases.
    pub namespace: Namespace,
    /// `timeouts.http`: one REST call.
    pub http: Duration,
    /// `leaseDuration`: a gateway that is silent for longer is dead.
    pub lease: Duration,
}

impl GatewayHome {
    /// The file's; `None` if the file leaves the cluster to the config webhook.
    pub(crate) fn of(base: &FileSections) -> Option<Self> {
        let report = ConfigReport::default();
        let root = Section::root(&base.sections, &report);
        let section = root.section("kubernetes");
        if base.allow_connection && section.value("connection").is_none() {
            return None;
        }
        Some(Self {
            cluster: Arc::new(cluster::read(&section.section("connection"))?),
            namespace: pod::namespace(&section.section("pod"))?,
            http: timeouts::read(&section.section("timeouts")).http,
            lease: lease_duration(&section),
        })
    }
}

/// Reads `leaseDuration`; Kubernetes counts it in whole seconds.
pub(super) fn lease_duration(section: &Section<'_>) -> Duration {
    section.duration("leaseDuration").unwrap_or_default()
}
