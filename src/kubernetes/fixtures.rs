//! Values that the tests of this backend start from.

use super::api::retry::Throttle;
use super::pod::PodRequest;
use super::pod::manifest::Instance;
use crate::auth::Identity;
use crate::guest::OutputBudget;
use crate::settings::KubernetesSettings;
pub(super) use crate::settings::fixture::{kubernetes as settings, object};
use crate::telemetry::LogFormat;
use crate::telemetry::capture;
use crate::types::{ConnectionId, Username};
use podgate_webhooks::wire;
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) fn identity(authenticated: &str) -> Identity {
    identity_with(authenticated, wire::Known::default())
}

pub(super) fn identity_with(authenticated: &str, known: wire::Known) -> Identity {
    Identity::for_test(Username::parse("login").unwrap(), authenticated, known)
}

pub(super) fn request(settings: KubernetesSettings, identity: Identity, remote: SocketAddr) -> PodRequest {
    let connection = ConnectionId::random();
    let (log, _) = capture::log(LogFormat::Ljson);
    PodRequest {
        identity,
        settings,
        connection,
        remote,
        log: log.connection(connection, remote),
        output: OutputBudget::unlimited(),
        instance: Instance::random(),
        throttle: Arc::new(Throttle::new(0, 10)),
    }
}
