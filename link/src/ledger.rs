//! The sums over all streams of a link, kept up to date with each change, so that no bound costs a walk over the streams.
//!
//! Invariants: [`Ledger::lent`] is the sum of what the windows of all streams are above their least size, and never above the
//! budget; every sum counts exactly what the streams hold; a [`Lender`] gets back what it lent, at the latest when the ledger
//! goes.

use super::ProtocolError;
use std::fmt::Debug;

/// Bytes that a frame or message counts beside its payload: about what it costs to keep it.
pub(super) const OVERHEAD: u64 = 64;
/// Limit of what a peer's requests, replies, messages and reasons may hold in sum until they are taken, in bytes.
pub(super) const MAX_UNREAD_CONTROL: u64 = 2 * 1024 * 1024;

/// The cost of keeping a payload.
pub(super) fn cost(length: usize) -> u64 {
    length as u64 + OVERHEAD
}

/// A budget of windows that several links share. Each has its own beside it.
pub trait Lender: Debug + Send + Sync {
    /// Bytes that it can still lend.
    fn free(&self) -> u64;

    /// Counts bytes as lent.
    fn lend(&self, bytes: u64);

    /// Counts bytes that were lent as returned.
    fn take_back(&self, bytes: u64);
}

/// The sums of one link.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Bytes that may be lent.
    budget: u64,
    /// The budget that it shares with other links.
    lender: Option<Box<dyn Lender>>,
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
        Self { budget: u64::from(budget), lender: None, lent: 0, unread: 0, control: 0, queued: 0 }
    }

    /// Bytes that can still be lent.
    pub(super) fn free(&self) -> u64 {
        let own = self.budget.saturating_sub(self.lent);
        self.lender.as_ref().map_or(own, |lender| own.min(lender.free()))
    }

    /// Lends no more than `lender` can from now on.
    pub(super) fn share(&mut self, lender: Box<dyn Lender>) {
        lender.lend(self.lent);
        if let Some(before) = self.lender.replace(lender) {
            before.take_back(self.lent);
        }
    }

    /// Replaces what a window has been lent.
    pub(super) fn relend(&mut self, lent: &mut u64, now: u64) {
        if let Some(lender) = &self.lender {
            if now > *lent {
                lender.lend(now - *lent);
            } else {
                lender.take_back(*lent - now);
            }
        }
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

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(lender) = &self.lender {
            lender.take_back(self.lent);
        }
    }
}
