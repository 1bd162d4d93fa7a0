//! The receive windows of a connection's channels, decided by the memory that waits for programs. No I/O.
//!
//! russh re-opens a window when data arrives, not when it was consumed; it asks for the size of the *next* re-opening, one
//! for all channels of the connection, only after it has re-opened one. So each channel's window is followed here as russh
//! counts it, and what the clients were given counts before it is sent: a client that keeps to its windows stays within the
//! limits whatever it does, and one that does not is found out at once.

use crate::guest::INPUT_CHUNK;
use crate::session::{Crowd, QueueUse};

/// A channel's window once its program has taken data.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;
/// A channel's window until then, and the least one of a channel that is not held up.
pub(super) const FIRST_WINDOW: u32 = 64 * 1024;
/// Limit of a packet that the gateway announces: eight make one chunk of a program's input. (Clients send 32 KiB at once,
/// whatever the limit.)
pub(super) const PACKET: u32 = INPUT_CHUNK as u32 / 8;
/// The bytes in a connection's inboxes above which its client is brought down to a trickle.
const HIGH_MARK: usize = 4 * 1024 * 1024;
/// Limit of the bytes in a connection's inboxes together with what its client may still send by windows above the first.
const CONNECTION_MAX: usize = 16 * 1024 * 1024;
/// The bytes that a connection may hold although its identity holds too many, or all identities together: the stall of
/// others is not its own.
const SPARED: usize = 256 * 1024;
/// The bytes that an identity may hold although the process holds many.
const CROWDED: usize = 4 * 1024 * 1024;
/// The bytes that a connection may hold whatever its identity holds: keystrokes.
const TYPED: usize = 4 * 1024;
/// The receive window that makes a trickle: 2-byte packets that keep the loop alive and re-open the window later.
const TRICKLE: u32 = 2;
/// The bytes beyond its windows that a client may send in its life: sshd gives the same grace (channels.c).
const GRACE: usize = WINDOW as usize / 10;

/// The verdict on a packet that was put into an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketVerdict {
    /// The packet is within the window.
    InTime,
    /// The packet belongs to a trickle, and may wait for the inboxes to drain.
    Trickling,
    /// The client ignores its window.
    Beyond,
    /// The identity's programs leave more untaken than it may hold. Its clients were at a trickle before: only very many
    /// channels come here.
    Full,
}

/// The window of one channel, as russh counts it.
#[derive(Debug)]
pub(super) struct ChannelWindow {
    left: u32,
    /// The size to which russh has re-opened it on behalf of the packet that comes next.
    reopened: Option<u32>,
}

impl ChannelWindow {
    /// The window of a channel that opens.
    pub(super) fn new() -> Self {
        Self { left: FIRST_WINDOW, reopened: None }
    }

    /// The bytes that the client may still send.
    pub(super) fn left(&self) -> usize {
        self.reopened.unwrap_or(self.left) as usize
    }

    /// Notes that russh has re-opened it to `size`. The packet for which it did so comes next.
    pub(super) fn reopen(&mut self, size: u32) {
        self.reopened = Some(size);
    }

    /// Counts a packet, and returns the bytes of it that were beyond the window.
    fn take(&mut self, length: usize) -> usize {
        let beyond = length.saturating_sub(self.left as usize);
        // What does not fit is not counted by russh.
        let rest =
            if beyond == 0 { self.left.saturating_sub(u32::try_from(length).unwrap_or(u32::MAX)) } else { self.left };
        self.left = self.reopened.take().unwrap_or(rest);
        beyond
    }
}

/// The windows of one connection.
#[derive(Debug)]
pub(super) struct ReceiveWindows {
    /// Limit of the bytes of the identity, `limits.maxQueued`.
    limit: usize,
    /// Limit of the windows, that a client with a limit of bandwidth does not send for minutes ahead.
    most: u32,
    /// The size to which windows are re-opened next.
    target: u32,
    /// The bytes beyond windows so far.
    beyond: usize,
}

impl ReceiveWindows {
    /// The windows of a connection whose identity may hold `limit` bytes, and whose client sends up to `burst` at once.
    pub(super) fn new(limit: usize, burst: Option<usize>) -> Self {
        let most = burst.map_or(WINDOW, |burst| u32::try_from(burst).unwrap_or(WINDOW).clamp(FIRST_WINDOW, WINDOW));
        Self { limit, most, target: FIRST_WINDOW, beyond: 0 }
    }

    /// The bytes that the client may send with what its channels' windows have `left`: a re-opening is decided already.
    pub(super) fn promised(&self, left: usize) -> usize {
        left + self.target as usize
    }

    /// Decides on the size to which windows are re-opened from the next time on. `left` is what the client may still send,
    /// `granted` what of the identity's grants is the connection's, and `has_taken` tells whether the program of the channel
    /// that was re-opened has taken data.
    pub(super) fn next(&mut self, queued: QueueUse, (left, granted): (usize, usize), has_taken: bool) -> u32 {
        self.target = if self.is_pressed(queued) {
            TRICKLE
        } else if has_taken {
            let of_others = queued.granted.saturating_sub(granted);
            let connection = CONNECTION_MAX.saturating_sub(left + queued.connection) / 4;
            // The more is granted, the less is granted next: there is always something left for another connection.
            let identity = (self.limit / 2).saturating_sub(of_others + left + queued.identity) / 8;
            // So is it with all of them.
            let in_all = queued.free_in_all.map_or(usize::MAX, |free| free / 16);
            u32::try_from(connection.min(identity).min(in_all)).unwrap_or(WINDOW).clamp(FIRST_WINDOW, self.most)
        } else {
            FIRST_WINDOW
        };
        self.target
    }

    /// Tells whether the client is held up.
    pub(super) fn is_pressed(&self, queued: QueueUse) -> bool {
        let (mark, part) = (self.limit / 4, self.limit / 16);
        let may_come = queued.identity.saturating_add(queued.granted);
        let is_over = queued.identity > mark + part || (queued.identity > part && may_come > 11 * part);
        let is_hog = queued.crowd == Crowd::TooMany && queued.identity > queued.share.max(SPARED);
        let spared = if is_over || is_hog {
            TYPED
        } else if queued.identity > mark
            || queued.crowd == Crowd::TooMany
            || (queued.crowd == Crowd::Many && queued.identity > CROWDED.min(mark))
        {
            SPARED
        } else {
            HIGH_MARK
        };
        queued.is_over_rate || queued.connection > spared
    }

    /// Counts a packet of `length` bytes on a channel, whose data nobody holds.
    pub(super) fn skip(&mut self, window: &mut ChannelWindow, length: usize) -> PacketVerdict {
        self.beyond = self.beyond.saturating_add(window.take(length));
        if self.beyond > GRACE { PacketVerdict::Beyond } else { PacketVerdict::InTime }
    }

    /// Counts and judges a packet of `length` bytes on a channel, which `queued` includes.
    pub(super) fn judge(&mut self, window: &mut ChannelWindow, length: usize, queued: QueueUse) -> PacketVerdict {
        match self.skip(window, length) {
            PacketVerdict::InTime => {}
            beyond => return beyond,
        }
        // A quarter is left for memory that is kept for later.
        if queued.identity > self.limit - self.limit / 4 && queued.connection > TYPED {
            PacketVerdict::Full
        } else if self.target == TRICKLE && length <= TRICKLE as usize && self.is_pressed(queued) {
            PacketVerdict::Trickling
        } else {
            PacketVerdict::InTime
        }
    }
}

#[cfg(test)]
mod tests;
