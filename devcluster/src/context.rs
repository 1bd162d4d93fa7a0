//! What every request can reach: the parts of one cluster, made once at its start.

use crate::access::Tokens;
use crate::faults::Board;
use crate::journal::Journal;
use crate::kubelet::Kubelet;
use crate::pulse::Pulse;
use crate::store::Store;
use crate::streams::Streams;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The parts of a cluster.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) store: Arc<Store>,
    pub(crate) kubelet: Arc<Kubelet>,
    pub(crate) tokens: Tokens,
    pub(crate) board: Arc<Board>,
    pub(crate) streams: Streams,
    pub(crate) journal: Journal,
    pub(crate) pulse: Pulse,
    /// The last thing that open watches were told together.
    pub(crate) watches: watch::Sender<WatchOrder>,
    pub(crate) api: ApiSwitch,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

/// What all open watches are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchOrder {
    GoOn,
    Expire,
    Cut,
}

/// Whether the API server is to be reachable, and whether it is.
#[derive(Debug)]
pub(crate) struct ApiSwitch {
    pub(crate) wanted: watch::Sender<bool>,
    pub(crate) serving: watch::Sender<bool>,
    stopping: CancellationToken,
}

impl ApiSwitch {
    pub(crate) fn new(stopping: CancellationToken) -> Self {
        Self { wanted: watch::Sender::new(true), serving: watch::Sender::new(false), stopping }
    }

    /// Switches, and waits until it is so, or the cluster has stopped and it never will.
    pub(crate) async fn set(&self, up: bool) {
        let mut serving = self.serving.subscribe();
        self.wanted.send_replace(up);
        tokio::select! {
            () = self.stopping.cancelled() => {}
            // The sender is ours, so this cannot fail.
            _switched = serving.wait_for(|serving| *serving == up) => {}
        }
    }
}
