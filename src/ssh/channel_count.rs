//! The counts of a connection's channels that its callbacks and its tasks share, and their limits.

use crate::settings::CountLimits;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The counts of one connection.
#[derive(Debug, Default)]
pub(super) struct ChannelCount {
    limits: CountLimits,
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
            Self::Channels => "limits.maxChannels",
            Self::Sessions => "limits.maxSessions",
            Self::Forwards => "limits.maxForwards",
        }
    }
}

/// Counts its forward as over when dropped.
#[derive(Debug)]
pub(super) struct OpenForward(Arc<AtomicUsize>);

impl ChannelCount {
    /// No channel yet.
    pub(super) fn new(limits: CountLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Counts a channel that the gateway closes.
    pub(super) fn close(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells whether another session may open beside the `open` ones.
    pub(super) fn check_session(&self, open: usize) -> Result<(), LimitReached> {
        self.check_closed()?;
        if open < self.limits.sessions { Ok(()) } else { Err(LimitReached::Sessions) }
    }

    /// Counts a forward as open until the guard is dropped.
    pub(super) fn open_forward(&self) -> Result<OpenForward, LimitReached> {
        self.check_closed()?;
        let before = self.forwards.fetch_add(1, Ordering::Relaxed);
        let guard = OpenForward(self.forwards.clone());
        if before < self.limits.forwards { Ok(guard) } else { Err(LimitReached::Forwards) }
    }

    /// Tells once whether the guest's connections have reached a limit: programs there may go on trying for days.
    pub(super) fn is_first_limit(&self) -> bool {
        !self.is_limit_noted.swap(true, Ordering::Relaxed)
    }

    fn check_closed(&self) -> Result<(), LimitReached> {
        if self.closed.load(Ordering::Relaxed) < self.limits.channels { Ok(()) } else { Err(LimitReached::Channels) }
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

    const LIMITS: CountLimits = CountLimits { sessions: 3, forwards: 4, listeners: 1, channels: 5 };

    #[test]
    fn channels_that_the_gateway_closed_count_for_the_connection_s_life() {
        let count = ChannelCount::new(LIMITS);
        for _ in 0..LIMITS.channels {
            assert!(count.check_session(0).is_ok() && count.open_forward().is_ok());
            count.close();
        }
        assert_eq!(count.check_session(0), Err(LimitReached::Channels));
        assert_eq!(count.open_forward().err(), Some(LimitReached::Channels));
    }

    #[test]
    fn forward_that_is_over_makes_room_for_another() {
        let count = ChannelCount::new(LIMITS);
        let mut open: Vec<_> = (0..LIMITS.forwards).map(|_| count.open_forward().unwrap()).collect();
        for _ in 0..3 {
            assert_eq!(count.open_forward().err(), Some(LimitReached::Forwards));
        }
        assert!(count.check_session(LIMITS.sessions - 1).is_ok(), "forwards are no sessions");
        open.pop();
        assert!(count.open_forward().is_ok());
    }

    #[test]
    fn sessions_have_a_limit_of_their_own() {
        let count = ChannelCount::new(LIMITS);
        assert_eq!(count.check_session(LIMITS.sessions), Err(LimitReached::Sessions));
        assert!(count.check_session(LIMITS.sessions - 1).is_ok());
    }
}
