//! The sums over all streams of a link, kept up to date with each change, so that no bound costs a walk over the streams.
//!
//! Invariants: [`Ledger::lent`] is the sum of what the windows of all streams are above their least size, and never above the
//! budget; every sum counts exactly what the streams hold.

use super::ProtocolError;

/// Bytes that a frame or message counts beside its payload: about what it costs to keep it.
pub(super) const OVERHEAD: u64 = 64;
/// Limit of what a peer's requests, replies, messages and reasons may hold in sum until they are taken, in bytes.
pub(super) const MAX_UNREAD_CONTROL: u64 = 2 * 1024 * 1024;

/// The cost of keeping a payload.
pub(super) fn cost(length: usize) -> u64 {
    length as u64 + OVERHEAD
}

/// The sums of one link.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Bytes that may be lent.
    budget: u64,
    /// Bytes by which windows are larger than their least size.
    lent: u64,
    /// Data bytes that have arrived and were not consumed.
    pub(super) unread: u64,
    /// The cost of requests, replies, messages and reasons that have arrived and were not taken.
    control: u64,
    /// The cost of frames that wait in streams for their turn.
    pub(super) queued: u64,
}

impl Ledger {
    pub(super) fn new(budget: u32) -> Self {
        Self { budget: u64::from(budget), lent: 0, unread: 0, control: 0, queued: 0 }
    }

    /// Bytes that can still be lent.
    pub(super) fn free(&self) -> u64 {
        self.budget.saturating_sub(self.lent)
    }

    /// Replaces what a window has been lent.
    pub(super) fn relend(&mut self, lent: &mut u64, now: u64) {
        self.lent = self.lent - *lent + now;
        *lent = now;
    }

    /// Counts a request, reply, message or reason.
    ///
    /// # Errors
    /// They are too many or too long in sum.
    pub(super) fn keep_control(&mut self, length: usize) -> Result<(), ProtocolError> {
        self.control += cost(length);
        if self.control > MAX_UNREAD_CONTROL { Err(ProtocolError::ControlExceeded) } else { Ok(()) }
    }

    /// Counts what [`Ledger::keep_control`] counted as taken.
    pub(super) fn drop_control(&mut self, length: usize) {
        self.control -= cost(length);
    }

    /// Bytes that have arrived and were not taken, of all kinds.
    pub(super) fn arrived(&self) -> u64 {
        self.unread + self.control
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        (self.lent, self.unread, self.control, self.queued) == (0, 0, 0, 0)
    }
}
