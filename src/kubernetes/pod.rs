//! A pod's life: its manifest, the task that creates, watches and removes it, and the container that programs run in.

pub(crate) mod agent;
pub(crate) mod backend_parts;
pub(crate) mod claim;
pub(crate) mod container;
pub(crate) mod events;
pub(crate) mod hold;
pub(crate) mod manifest;
pub(crate) mod reaper;
pub(crate) mod state;
pub(crate) mod task;
pub(crate) mod wait;
pub(crate) mod watch;

use super::api::retry::Throttle;
use crate::auth::Identity;
use crate::guest::OutputBudget;
use crate::settings::KubernetesSettings;
use crate::telemetry::ConnectionLog;
use crate::types::ConnectionId;
use manifest::Instance;
use std::net::SocketAddr;
use std::sync::Arc;

/// The request of a connection for a pod, or for one pod per program.
pub(crate) struct PodRequest {
    pub(crate) identity: Identity,
    pub(crate) settings: KubernetesSettings,
    pub(crate) connection: ConnectionId,
    /// The client's address and port.
    pub(crate) remote: SocketAddr,
    pub(crate) log: ConnectionLog,
    /// The budget for what the guest sends and nobody has taken.
    pub(crate) output: OutputBudget,
    /// The id of this gateway's process.
    pub(crate) instance: Instance,
    /// The connection's `qps` and `burst`, shared by its pods.
    pub(crate) throttle: Arc<Throttle>,
}
