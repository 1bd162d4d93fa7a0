//! The decision when a connection ends because of `limits`: pure but for the wait around it.
//!
//! Invariants: the limit that is reached first decides; each end that comes near is announced once, and anew when it was put
//! off meanwhile.

use super::connection_use::ConnectionUse;
use crate::settings::ConnectionLimits;
use std::time::Duration;
use tokio::time::timeout;

/// A limit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeLimit {
    Idle,
    Unused,
    Duration,
}

impl TimeLimit {
    /// The limit in an operator's words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Idle => "limits.idleTimeout",
            Self::Unused => "limits.unusedConnectionTimeout",
            Self::Duration => "limits.maxDuration",
        }
    }

    /// The reason for the client.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Idle => "this connection was idle for too long",
            Self::Unused => "this connection had no open session for too long",
            Self::Duration => "this connection has reached its longest duration",
        }
    }

    /// The warning before the end.
    fn warning(self, left: Duration) -> String {
        // A part of a second is of no use to a reader.
        let left = left.as_millis().div_ceil(1000);
        match self {
            Self::Idle => format!("this connection is idle and ends in {left} s"),
            Self::Unused | Self::Duration => format!("this connection ends in {left} s"),
        }
    }
}

/// The end that comes next: its cause and its time since the accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct NextEnd {
    limit: TimeLimit,
    at: Duration,
}

/// The use of a connection at one moment, in times since the accept.
#[derive(Debug, Clone, Copy)]
struct Usage {
    now: Duration,
    login: Duration,
    last_traffic: Duration,
    unused_since: Option<Duration>,
}

/// The step that follows from limits and use.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Nothing can end the connection as it is used now.
    Wait,
    /// Look again after this time.
    Sleep(Duration),
    Warn(NextEnd),
    End(TimeLimit),
}

/// Decides on the next step. `warned` is the end that was announced last.
fn step(limits: &ConnectionLimits, usage: Usage, warned: Option<NextEnd>) -> Step {
    let from = |limit, since: Duration, time: Option<Duration>| time.map(|time| NextEnd { limit, at: since + time });
    let unused_since = usage.unused_since.map(|since| since.max(usage.login));
    let ends = [
        from(TimeLimit::Duration, usage.login, limits.duration),
        from(TimeLimit::Idle, usage.last_traffic.max(usage.login), limits.idle),
        unused_since.and_then(|since| from(TimeLimit::Unused, since, limits.unused)),
    ];
    let Some(next) = ends.into_iter().flatten().min_by_key(|end| end.at) else { return Step::Wait };
    if usage.now >= next.at {
        return Step::End(next.limit);
    }
    let warning = next.at.saturating_sub(limits.warning).max(usage.login);
    match warned == Some(next) || limits.warning.is_zero() {
        true => Step::Sleep(next.at - usage.now),
        false if usage.now >= warning => Step::Warn(next),
        false => Step::Sleep(warning - usage.now),
    }
}

/// Waits until a limit ends the connection, and hands each warning to `warn`.
pub(super) async fn reached(limits: ConnectionLimits, used: &ConnectionUse, warn: impl Fn(String)) -> TimeLimit {
    let (login, mut warned) = (used.now(), None);
    loop {
        let usage = Usage {
            now: used.now(),
            login,
            last_traffic: used.last_traffic(limits.idle_traffic),
            unused_since: used.unused_since(),
        };
        match step(&limits, usage, warned) {
            Step::End(limit) => return limit,
            Step::Warn(next) => {
                warn(next.limit.warning(next.at.saturating_sub(usage.now)));
                warned = Some(next);
            }
            // A channel that closes brings its own end nearer; everything else puts ends off.
            Step::Wait => used.became_unused().await,
            Step::Sleep(time) => {
                let _elapsed = timeout(time, used.became_unused()).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::IdleTraffic;
    use tokio::time::sleep;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn limits(idle: u64, unused: u64, duration: u64, warning: u64) -> ConnectionLimits {
        let limit = |time| (time > 0).then_some(s(time));
        ConnectionLimits {
            max_connections: None,
            idle: limit(idle),
            idle_traffic: IdleTraffic::Any,
            unused: limit(unused),
            duration: limit(duration),
            warning: s(warning),
            ..ConnectionLimits::default()
        }
    }

    #[test]
    fn limit_that_is_reached_first_decides_and_warns_before() {
        use TimeLimit::{Duration, Idle, Unused};
        let end = |limit, at| NextEnd { limit, at: s(at) };
        let used = |now, last_traffic, unused_since: Option<u64>| Usage {
            now: s(now),
            login: s(2),
            last_traffic: s(last_traffic),
            unused_since: unused_since.map(s),
        };
        for (limits, usage, warned, expected) in [
            (limits(0, 0, 0, 10), used(1000, 0, Some(0)), None, Step::Wait),
            (limits(0, 30, 0, 10), used(1000, 0, None), None, Step::Wait),
            // The login is the beginning of all: nothing before it counts.
            (limits(60, 0, 0, 10), used(2, 0, None), None, Step::Sleep(s(50))),
            (limits(0, 60, 0, 10), used(2, 0, Some(0)), None, Step::Sleep(s(50))),
            (limits(0, 0, 60, 10), used(2, 0, None), None, Step::Sleep(s(50))),
            // Traffic puts the idle end off, and not the others.
            (limits(60, 0, 0, 10), used(100, 99, None), None, Step::Sleep(s(49))),
            (limits(60, 0, 60, 10), used(61, 61, None), Some(end(Duration, 62)), Step::Sleep(s(1))),
            (limits(60, 0, 60, 10), used(62, 61, None), Some(end(Duration, 62)), Step::End(Duration)),
            (limits(60, 0, 0, 10), used(150, 100, None), None, Step::Warn(end(Idle, 160))),
            (limits(60, 0, 0, 10), used(150, 100, None), Some(end(Idle, 160)), Step::Sleep(s(10))),
            (limits(60, 0, 0, 10), used(215, 160, None), Some(end(Idle, 160)), Step::Warn(end(Idle, 220))),
            (limits(60, 0, 0, 10), used(160, 100, None), Some(end(Idle, 160)), Step::End(Idle)),
            (limits(60, 30, 0, 10), used(130, 100, Some(100)), None, Step::End(Unused)),
            // A warning that is longer than its limit is given at once; none is given where none is wished.
            (limits(5, 0, 0, 10), used(2, 2, None), None, Step::Warn(end(Idle, 7))),
            (limits(60, 0, 0, 0), used(100, 99, None), None, Step::Sleep(s(59))),
        ] {
            assert_eq!(step(&limits, usage, warned), expected, "{limits:?} {usage:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn close_of_the_last_channel_starts_the_time_of_an_unused_connection() {
        let used = ConnectionUse::new();
        let channel = used.open_channel();
        let warnings = parking_lot::Mutex::new(Vec::new());
        let ended = async {
            let limit = reached(limits(0, 60, 0, 10), &used, |text| warnings.lock().push(text)).await;
            (limit, used.now())
        };
        let closing = async {
            sleep(s(500)).await;
            drop(channel);
        };
        let ((limit, at), ()) = tokio::join!(ended, closing);
        assert_eq!((limit, at.as_secs()), (TimeLimit::Unused, 560));
        assert_eq!(*warnings.lock(), ["this connection ends in 10 s"]);
    }

    #[tokio::test(start_paused = true)]
    async fn traffic_of_the_counted_side_puts_the_end_off() {
        for (counted, end) in [(IdleTraffic::Any, 100), (IdleTraffic::Client, 80)] {
            let used = ConnectionUse::new();
            let limits = ConnectionLimits { idle_traffic: counted, ..limits(60, 0, 0, 10) };
            let ended = async {
                let limit = reached(limits, &used, |_| {}).await;
                (limit, used.now().as_secs())
            };
            let traffic = async {
                sleep(s(20)).await;
                used.client_sent();
                sleep(s(20)).await;
                used.guest_sent();
            };
            assert_eq!(tokio::join!(ended, traffic).0, (TimeLimit::Idle, end), "{counted:?}");
        }
    }
}
