//! The counts of a connection's channels that its callbacks and its tasks share, and their limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Limit of the channels that the gateway closes in a connection's life. russh keeps about 3.5 kB of each until the connection
/// ends, and nothing of one that the client closes first.
const CLOSED_MAX: usize = 10_000;
/// Limit of the forwarded connections that are open at once, those included that the client or the guest has not answered.
const FORWARDS_MAX: usize = 256;
/// Limit of the session channels that are open at once, whatever the rules say: each may hold a window's worth of data that
/// its program has not taken.
const SESSIONS_MAX: usize = 64;

/// The counts of one connection.
#[derive(Debug, Default)]
pub(super) struct ChannelCount {
    closed: AtomicUsize,
    forwards: Arc<AtomicUsize>,
    is_limit_noted: AtomicBool,
}

/// A limit that a connection has reached. Its text may be shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitReached {
    #[error("this connection has had too many channels; connect again")]
    Channels,
    #[error("too many sessions are open on this connection")]
    Sessions,
    #[error("too many connections are forwarded on this connection")]
    Forwards,
}

impl LimitReached {
    /// The limit in an operator's words.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Channels => "channels of a connection",
            Self::Sessions => "open channels of a connection",
            Self::Forwards => "forwarded connections of a connection",
        }
    }
}

/// Counts its forward as over when dropped.
#[derive(Debug)]
pub(super) struct OpenForward(Arc<AtomicUsize>);

impl ChannelCount {
    /// Counts a channel that the gateway closes.
    pub(super) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells whether another session may open beside the `open` ones.
    pub(super) fn check_session(&self, open: usize) -> Result<(), LimitReached> {
        self.check_closed()?;
        if open < SESSIONS_MAX { Ok(()) } else { Err(LimitReached::Sessions) }
    }

    /// Counts a forward as open until the guard is dropped.
    pub(super) fn open_forward(&self) -> Result<OpenForward, LimitReached> {
        self.check_closed()?;
        let before = self.forwards.fetch_add(1, Ordering::Relaxed);
        let guard = OpenForward(self.forwards.clone());
        if before < FORWARDS_MAX { Ok(guard) } else { Err(LimitReached::Forwards) }
    }

    /// Tells once whether the guest's connections have reached a limit: programs there may go on trying for days.
    pub(super) fn is_first_limit(&self) -> bool {
        !self.is_limit_noted.swap(true, Ordering::Relaxed)
    }

    fn check_closed(&self) -> Result<(), LimitReached> {
        if self.closed.load(Ordering::Relaxed) < CLOSED_MAX { Ok(()) } else { Err(LimitReached::Channels) }
    }
}

impl Drop for OpenForward {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_the_gateway_closed_count_for_the_connection_s_life() {
        let count = ChannelCount::default();
        for _ in 0..CLOSED_MAX {
            assert!(count.check_session(0).is_ok() && count.open_forward().is_ok());
            count.close();
        }
        assert_eq!(count.check_session(0), Err(LimitReached::Channels));
        assert_eq!(count.open_forward().err(), Some(LimitReached::Channels));
    }

    #[test]
    fn forward_that_is_over_makes_room_for_another() {
        let count = ChannelCount::default();
        let mut open: Vec<_> = (0..FORWARDS_MAX).map(|_| count.open_forward().unwrap()).collect();
        for _ in 0..3 {
            assert_eq!(count.open_forward().err(), Some(LimitReached::Forwards));
        }
        assert!(count.check_session(SESSIONS_MAX - 1).is_ok(), "forwards are no sessions");
        open.pop();
        assert!(count.open_forward().is_ok());
    }

    #[test]
    fn sessions_have_a_limit_of_their_own() {
        assert_eq!(ChannelCount::default().check_session(SESSIONS_MAX), Err(LimitReached::Sessions));
    }
}
