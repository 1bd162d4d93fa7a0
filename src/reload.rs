//! The orders to read the configuration again, and what became of each.
//!
//! Invariants: an order is answered by a reading that began after it; orders that wait together have one reading; there are
//! never more of them than the queue holds.

use tokio::sync::{mpsc, oneshot};

/// Orders that wait at once; each is an operator's or a signal.
const WAITING: usize = 64;

/// The result of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReloadOutcome {
    /// The new configuration is in force.
    Applied {
        /// The keys and files that differ from those in force before.
        changed: Vec<String>,
        /// The findings of the checks that do not prevent a start.
        warnings: Vec<String>,
        /// The keys that are changed and take effect at the next start only.
        next_start: Vec<String>,
    },
    /// Nothing has changed.
    Refused {
        /// Every mistake, one line each.
        mistakes: Vec<String>,
    },
}

/// The handle to order a reload; clones share it.
#[derive(Debug, Clone)]
pub struct ReloadOrders(mpsc::Sender<Order>);

/// The one who awaits the result of a reload; nobody for a signal.
type Order = Option<oneshot::Sender<ReloadOutcome>>;

/// The orders that have come.
#[derive(Debug)]
pub(crate) struct ReloadQueue(mpsc::Receiver<Order>);

impl ReloadOrders {
    /// Makes the handle, and the queue of what it orders.
    pub(crate) fn new() -> (Self, ReloadQueue) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self(sender), ReloadQueue(receiver))
    }

    /// Orders a reload and awaits nothing.
    pub fn signal(&self) {
        // A full queue holds orders whose reading has not begun; without a queue, the gateway ends.
        let _ = self.0.try_send(None);
    }

    /// Orders a reload and awaits its result; `None` if the gateway ends.
    pub(crate) async fn order(&self) -> Option<ReloadOutcome> {
        let (sender, outcome) = oneshot::channel();
        self.0.send(Some(sender)).await.ok()?;
        outcome.await.ok()
    }
}

impl ReloadQueue {
    /// Waits for an order, and takes all that have come. Waits for ever after the last handle is dropped.
    pub(crate) async fn next(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.0.recv_many(&mut orders, WAITING).await == 0 {
            std::future::pending::<()>().await;
        }
        orders
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn orders_that_wait_together_have_one_result_and_later_ones_another() {
        let (orders, mut queue) = ReloadOrders::new();
        let (mut first, mut second) = (Box::pin(orders.order()), Box::pin(orders.order()));
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        orders.signal();
        let taken = queue.next().await;
        assert_eq!(taken.len(), 3);
        let mut late = Box::pin(orders.order());
        assert!((&mut late).now_or_never().is_none());
        let refused = ReloadOutcome::Refused { mistakes: Vec::new() };
        taken.into_iter().flatten().for_each(|order| order.send(refused.clone()).unwrap());
        assert_eq!((first.await, second.await), (Some(refused.clone()), Some(refused)));
        assert!((&mut late).now_or_never().is_none(), "its reading has not begun");
        drop(queue);
        assert_eq!(late.await, None, "the gateway ends");
        assert_eq!(orders.order().await, None);
    }

    #[tokio::test]
    async fn flood_of_signals_is_bounded() {
        let (orders, mut queue) = ReloadOrders::new();
        (0..10_000).for_each(|_| orders.signal());
        assert_eq!(queue.next().await.len(), WAITING);
        assert!(queue.next().now_or_never().is_none());
    }
}
