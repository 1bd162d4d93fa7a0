//! The receive window of one stream: how many bytes the peer may send before the reader has consumed them. A window has a
//! least size, which nothing takes away, and borrows what it has above it from the link's budget.
//!
//! Invariants: a peer's right to send is never taken back; the windows of all streams together are at most the budget above
//! their least sizes; a window that is consumed is granted again, however little is left of the budget.

use super::ProtocolError;
use super::ledger::Ledger;
use std::time::{Duration, Instant};

/// The least window of each stream, in bytes: what a handshake offers.
pub const LEAST_WINDOW: u32 = 16 * 1024;
/// The budget of a link, in bytes: by so much all windows together may be larger than the least.
pub const RECEIVE_BUDGET: u32 = 8 * 1024 * 1024;
/// The window of a stream that has just begun, in bytes, as long as few are open.
const FIRST_WINDOW: u64 = 256 * 1024;
/// The largest window, in bytes.
const MAX_WINDOW: u64 = 4 * 1024 * 1024;
/// The part of the free budget that a stream gets at its beginning: others will come.
const FIRST_SHARE: u64 = 32;
/// A window whose quarter is consumed within this time grows, another one shrinks.
const QUICK: Duration = Duration::from_millis(250);

/// The receive window of one stream.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    least: u64,
    /// The size that the stream's pace deserves.
    size: u64,
    received: u64,
    consumed: u64,
    granted: u64,
    /// Bytes that count against the budget.
    lent: u64,
    last_grant: Option<Instant>,
    /// Set if the reader is gone: what arrives is dropped.
    is_unread: bool,
}

impl ReceiveWindow {
    pub(super) fn new(least: u32) -> Self {
        let least = u64::from(least);
        Self {
            least,
            size: FIRST_WINDOW.max(least),
            received: 0,
            consumed: 0,
            granted: least,
            lent: 0,
            last_grant: None,
            is_unread: false,
        }
    }

    /// Counts bytes that have arrived. Returns whether they are to be kept.
    ///
    /// # Errors
    /// The peer was not granted so many.
    pub(super) fn arrived(&mut self, bytes: usize, ledger: &mut Ledger) -> Result<bool, ProtocolError> {
        self.received += bytes as u64;
        if self.received > self.granted {
            return Err(ProtocolError::WindowExceeded);
        }
        match self.is_unread {
            true => self.consumed = self.received,
            false => ledger.unread += bytes as u64,
        }
        Ok(!self.is_unread)
    }

    /// Counts bytes as consumed.
    pub(super) fn consume(&mut self, bytes: usize, ledger: &mut Ledger) {
        let bytes = (bytes as u64).min(self.received - self.consumed);
        self.consumed += bytes;
        ledger.unread -= bytes;
        self.relend(ledger);
    }

    /// Counts everything as consumed, also what will arrive.
    pub(super) fn discard(&mut self, ledger: &mut Ledger) {
        ledger.unread -= self.received - self.consumed;
        (self.consumed, self.is_unread) = (self.received, true);
        ledger.relend(&mut self.lent, 0);
    }

    /// Learns that the peer sends no more.
    pub(super) fn end(&mut self, ledger: &mut Ledger) {
        self.granted = self.received;
        self.relend(ledger);
    }

    fn relend(&mut self, ledger: &mut Ledger) {
        let lent = if self.is_unread { 0 } else { (self.granted - self.consumed).saturating_sub(self.least) };
        ledger.relend(&mut self.lent, lent);
    }

    /// The window that the stream may have now.
    fn allowed(&self, ledger: &Ledger) -> u64 {
        let share = match self.last_grant {
            None => ledger.free() / FIRST_SHARE,
            // As much as stays for all others: who comes later finds something, too.
            Some(_) => (ledger.free() + self.lent) / 2,
        };
        self.least + (self.size - self.least).min(share)
    }

    /// Tells whether the peer is to be told a new limit: a quarter of the window was consumed since it last was.
    pub(super) fn is_due(&self, ledger: &Ledger) -> bool {
        let allowed = self.allowed(ledger);
        !self.is_unread && self.consumed + allowed >= self.granted + (allowed / 4).max(1)
    }

    /// Grants what is due. Returns the new limit.
    pub(super) fn grant(&mut self, ledger: &mut Ledger, now: Instant) -> Option<u64> {
        if !self.is_due(ledger) {
            return None;
        }
        if let Some(last) = self.last_grant {
            let is_quick = now.saturating_duration_since(last) < QUICK;
            let size = if is_quick { self.size * 2 } else { self.size / 2 };
            self.size = size.clamp(FIRST_WINDOW, MAX_WINDOW).max(self.least);
        }
        let limit = self.consumed + self.allowed(ledger);
        self.last_grant = Some(now);
        if limit <= self.granted {
            return None;
        }
        self.granted = limit;
        self.relend(ledger);
        Some(limit)
    }
}
