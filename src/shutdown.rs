//! The orderly end of the process: the orders to end it, the tokens of its steps, a tracker through which every spawned
//! task is awaited, and the time that each step of the end has.
//!
//! The drain comes first: `shutdown.acceptDelay`, then `shutdown.drainTimeout`. The steps after it fit into each other as a
//! test says, and all together into the grace period of the gateway's pod (`terminationGracePeriodSeconds` of
//! deploy/kubernetes.yaml).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Step 1, the connections: time that sessions have to tell their clients why they end.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);
/// Time that a client gets to show the sessions' last output: OpenSSH's drops what it has not written out when it reads a
/// disconnect. A client without another session leaves by itself before.
pub(crate) const SHOW_TIME: Duration = Duration::from_millis(500);
/// Time in which a client has to take our disconnect, and then again to close after it.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// Step 2, the pods: time from the signal on in which each has to be removed, before it is left to other gateways.
pub(crate) const POD_REMOVAL: Duration = Duration::from_secs(12);
/// Time from the signal on for connections that do not end: then their pods are removed anyway.
pub(crate) const POD_DISMISSAL: Duration = Duration::from_secs(20);
/// Time from the signal on for every connection and every pod.
pub(crate) const ALL_TASKS: Duration = Duration::from_secs(25);
/// Step 3: time to delete the gateway's Lease.
pub(crate) const LEASE_REMOVAL: Duration = Duration::from_secs(3);
/// Step 4: time to write the last lines of the log.
pub(crate) const LOG_CLOSE: Duration = Duration::from_secs(5);

/// The orders to end the process; clones share them. The first begins the drain, the second ends it.
#[derive(Debug, Clone, Default)]
pub struct StopOrders(Arc<watch::Sender<u32>>);

impl StopOrders {
    /// Gives an order.
    pub fn order(&self) {
        self.0.send_modify(|orders| *orders = orders.saturating_add(1));
    }

    /// Gives the first order; false if it was given before.
    pub(crate) fn begin(&self) -> bool {
        self.0.send_if_modified(|orders| {
            let is_first = *orders == 0;
            *orders = (*orders).max(1);
            is_first
        })
    }

    /// Waits until so many orders were given.
    pub(crate) async fn given(&self, count: u32) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|orders| *orders >= count).await;
    }
}

/// The tasks that the shutdown waits for; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    refuse: CancellationToken,
    stop: CancellationToken,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tracker.spawn(task)
    }

    /// The token that is cancelled when no connection is accepted any more.
    pub(crate) fn refusing(&self) -> &CancellationToken {
        &self.refuse
    }

    /// The token that is cancelled when what is left ends.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Cancels the tokens and waits until every task has ended.
    pub(crate) async fn finish(&self) {
        self.refuse.cancel();
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_of_the_process_fits_into_the_grace_period_of_its_pod() {
        let connections = FAREWELL + SHOW_TIME + 2 * LINGER;
        assert!(connections < POD_REMOVAL, "a pod's last attempts begin after the farewells");
        assert!(POD_REMOVAL < POD_DISMISSAL && POD_DISMISSAL < ALL_TASKS);
        let manifest = include_str!("../deploy/kubernetes.yaml");
        let seconds = |key: &str| {
            let value = manifest.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "));
            let number = value.unwrap_or_else(|| panic!("no {key}")).split([' ', 's']).next();
            Duration::from_secs(number.expect("a number").parse().expect("seconds"))
        };
        let grace = seconds("terminationGracePeriodSeconds");
        let drain = seconds("acceptDelay") + seconds("drainTimeout");
        let all = drain + ALL_TASKS + LEASE_REMOVAL + LOG_CLOSE;
        assert!(all + Duration::from_secs(5) <= grace, "{all:?} and the time until the signal is seen");
    }
}
