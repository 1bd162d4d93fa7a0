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

/// The orders to end the process; clones share them. The first signal or an operator's request begins the drain, and only
/// the second signal ends it: who asks for a drain, and then stops the service, does not mean to hurry.
#[derive(Debug, Clone, Default)]
pub struct StopOrders(Arc<watch::Sender<Orders>>);

#[derive(Debug, Clone, Copy, Default)]
struct Orders {
    is_draining: bool,
    signals: u32,
}

impl StopOrders {
    /// Counts a signal.
    pub fn signal(&self) {
        self.0.send_modify(|orders| *orders = Orders { is_draining: true, signals: orders.signals.saturating_add(1) });
    }

    /// Begins the drain; false if it has begun before.
    pub(crate) fn drain(&self) -> bool {
        self.0.send_if_modified(|orders| !std::mem::replace(&mut orders.is_draining, true))
    }

    /// True once the drain is to begin.
    pub(crate) fn is_draining(&self) -> bool {
        self.0.borrow().is_draining
    }

    /// Waits until the drain is to begin.
    pub(crate) async fn draining(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(|orders| orders.is_draining).await;
    }

    /// Waits until the drain is to be over.
    pub(crate) async fn hurried(&self) {
        let _ = self.0.subscribe().wait_for(|orders| orders.signals > 1).await;
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
    use futures_util::FutureExt;

    #[test]
    fn first_signal_after_an_operator_s_drain_does_not_hurry_it() {
        let orders = StopOrders::default();
        let state = || (orders.draining().now_or_never().is_some(), orders.hurried().now_or_never().is_some());
        assert_eq!(state(), (false, false));
        assert!(orders.drain() && !orders.drain());
        assert_eq!(state(), (true, false));
        orders.signal();
        assert_eq!(state(), (true, false));
        orders.signal();
        assert_eq!(state(), (true, true));
        let orders = StopOrders::default();
        orders.signal();
        assert!(!orders.drain(), "the signal has begun it");
    }

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
