//! The drain: the time from the order to end the process until what is left ends. Readiness says no from its beginning on;
//! connections are accepted until load balancers have noticed, and open ones may end by themselves.

use crate::config::ShutdownConfig;
use crate::registry::Registry;
use crate::shutdown::{StopOrders, Tasks};
use crate::telemetry::{Log, codes};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub(super) struct Drain<'a> {
    pub(super) times: ShutdownConfig,
    pub(super) orders: &'a StopOrders,
    pub(super) registry: &'a Registry,
    pub(super) tasks: &'a Tasks,
    pub(super) log: &'a Log,
}

/// The cause for which a drain is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DrainEnd {
    Empty,
    TimeOver,
    Hurried,
}

impl Drain<'_> {
    /// Drains until no connection is left, the time is over, or a second order comes. `accepting` is the accept loop.
    pub(super) async fn run(self, accepting: JoinHandle<()>) {
        let ShutdownConfig { accept_delay, drain_timeout } = self.times;
        let total = accept_delay + drain_timeout;
        if !total.is_zero() {
            self.registry.tell_all(&notice(total));
        }
        if !accept_delay.is_zero() {
            tokio::select! {
                () = sleep(accept_delay) => {}
                () = self.orders.hurried() => {}
            }
        }
        self.tasks.refusing().cancel();
        // No connection is registered after the accept loop has ended.
        let _ = accepting.await;
        if total.is_zero() {
            return;
        }
        let end = tokio::select! {
            biased;
            () = self.registry.emptied() => DrainEnd::Empty,
            () = self.orders.hurried() => DrainEnd::Hurried,
            () = sleep(drain_timeout) => DrainEnd::TimeOver,
        };
        let text = match end {
            DrainEnd::Empty => "every connection has ended by itself",
            DrainEnd::TimeOver => "the time for connections to end by themselves is over",
            DrainEnd::Hurried => "the gateway was asked a second time to end",
        };
        self.log.write(codes::SERVICE_DRAINED, text, &[("connections", &self.registry.count().to_string())]);
    }
}

/// The line for a terminal whose connection may go on for so long.
fn notice(left: Duration) -> String {
    let seconds = left.as_millis().div_ceil(1000);
    let left = if seconds < 120 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) };
    format!("the server is shutting down; this connection ends in {left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_reads_a_time_of_whole_seconds_or_minutes() {
        for (milliseconds, time) in
            [(1, "1 s"), (60_000, "60 s"), (119_001, "2 min"), (600_000, "10 min"), (3_600_001, "61 min")]
        {
            let line = notice(Duration::from_millis(milliseconds));
            assert_eq!(line, format!("the server is shutting down; this connection ends in {time}"));
        }
    }
}
