//! The parts of the backend that guests and pods' tasks share. Each is one for the whole process.

use super::agent::file::AgentFiles;
use super::container::Images;
use super::manifest::Instance;
use super::watch::{WatchScope, Watches};
use crate::kubernetes::api::client::{Clients, ClusterClient};
use crate::settings::GatewayHome;
use crate::shutdown::Tasks;
use crate::types::Namespace;
use futures_util::future::BoxFuture;
use std::sync::OnceLock;

/// The place of this gateway among those that watch each other.
pub(crate) trait GatewayMembership: Send + Sync {
    /// Waits until the others know of pods in the namespace of `scope`, whose watch the caller holds open, and returns the
    /// values of a pod's labels: the namespace of the gateway's Lease, and the term. `None` if no other gateway will remove
    /// the pods of this one.
    fn ensure_listed<'a>(&'a self, scope: &'a WatchScope) -> BoxFuture<'a, Option<(&'a Namespace, u32)>>;

    /// Reaches the others as another configuration says from now on. False if they are at another place, where only the next
    /// start joins them.
    fn renew(&self, home: &GatewayHome, client: &ClusterClient) -> bool;

    /// Leaves the others, after the end of all pods' tasks.
    fn leave(&self) -> BoxFuture<'_, ()>;
}

pub(crate) struct BackendParts {
    pub(crate) tasks: Tasks,
    pub(crate) clients: Clients,
    pub(crate) instance: Instance,
    pub(crate) watches: Watches,
    pub(crate) images: Images,
    pub(crate) agent_files: AgentFiles,
    /// Set once the gateway has joined the others.
    pub(crate) membership: OnceLock<Box<dyn GatewayMembership>>,
}

impl BackendParts {
    pub(crate) fn new(tasks: Tasks, clients: Clients, instance: Instance, watches: Watches) -> Self {
        let (images, agent_files, membership) = (Images::default(), AgentFiles::default(), OnceLock::new());
        Self { tasks, clients, instance, watches, images, agent_files, membership }
    }
}
