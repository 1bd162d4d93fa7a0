//! The receive window of a connection's channels, decided by the bytes that its inboxes hold together. No I/O.
//!
//! russh re-opens a window when data arrives, not when it was consumed, and asks for the size of the *next* re-opening
//! only after it has re-opened one. So a client that keeps to its window may still send [`LATE`] bytes a channel after the
//! mark was crossed. A client that sends more ignores its window.

use crate::guest::INPUT_CHUNK;

/// A channel's receive window.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;
/// Limit of a packet that the gateway announces: eight make one chunk of a program's input. (Clients send 32 KiB at once,
/// whatever the limit.)
pub(super) const PACKET: u32 = INPUT_CHUNK as u32 / 8;
/// The bytes in a connection's inboxes above which the client is brought down to a trickle.
pub(super) const HIGH_MARK: usize = 4 * 1024 * 1024;
/// The receive window that makes a trickle: 2-byte packets that keep the loop alive and re-open the window later.
const TRICKLE: u32 = 2;
/// Limit of the channels whose [`LATE`] bytes a client may have on the way at once. A connection can have more channels, but
/// one that stalls so many at once would hold more of the gateway's memory than it needs.
const LATE_CHANNELS: usize = 64;
/// The bytes that may still arrive on a channel once the mark is crossed: half a window, which the client can send before
/// the re-opening that notices the crossing; the whole window that this re-opening still gives; and two packets, since each
/// of the two checks is made before its packet is counted.
const LATE: usize = WINDOW as usize / 2 + WINDOW as usize + 2 * PACKET as usize;

/// The verdict on a packet that was put into an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketVerdict {
    /// The packet is within the window.
    InTime,
    /// The packet belongs to a trickle, and may wait for the inboxes to drain.
    Trickling,
    /// The client ignores its window.
    Beyond,
}

/// The window of one connection, the same for all of its channels.
#[derive(Debug, Default)]
pub(super) struct ReceiveWindow {
    trickling: bool,
    /// The bytes that came as a trickle since the inboxes were below the mark: at most 200 a second, however long a program
    /// does not read.
    trickled: usize,
}

impl ReceiveWindow {
    /// The size to which windows are re-opened from the next time on.
    pub(super) fn target(&mut self, held: usize) -> u32 {
        self.trickling = held > HIGH_MARK;
        if self.trickling { TRICKLE } else { WINDOW }
    }

    /// Judges a packet of `length` bytes, which the `held` ones include.
    pub(super) fn judge(&mut self, length: usize, held: usize, channels: usize) -> PacketVerdict {
        if held <= HIGH_MARK {
            self.trickled = 0;
            PacketVerdict::InTime
        } else if self.trickling && length <= TRICKLE as usize {
            self.trickled += length;
            PacketVerdict::Trickling
        } else if held > HIGH_MARK + channels.min(LATE_CHANNELS) * LATE + self.trickled {
            PacketVerdict::Beyond
        } else {
            PacketVerdict::InTime
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that always sends all it may, in whole packets, and russh's account of its window.
    struct Eager {
        window: u32,
        target: u32,
    }

    impl Eager {
        fn send(&mut self, budget: &mut ReceiveWindow, held: &mut usize) -> usize {
            let length = self.window.min(PACKET);
            self.window -= length;
            if self.window < self.target / 2 {
                self.window = self.target;
                self.target = budget.target(*held);
            }
            *held += length as usize;
            length as usize
        }
    }

    #[test]
    fn eager_client_that_keeps_to_its_window_is_never_cut_off() {
        for begin in (0..=HIGH_MARK).rev().step_by(1021).take(2500) {
            for used in [0, 1, PACKET / 2, PACKET, WINDOW / 2] {
                let (mut window, mut held) = (ReceiveWindow::default(), begin);
                let mut client = Eager { window: WINDOW - used, target: window.target(held) };
                for _ in 0..1000 {
                    let length = client.send(&mut window, &mut held);
                    assert_ne!(window.judge(length, held, 1), PacketVerdict::Beyond, "from {begin}, {used} used");
                }
            }
        }
    }

    #[test]
    fn client_that_trickled_for_days_is_not_beyond_its_window() {
        let (mut window, mut held) = (ReceiveWindow::default(), HIGH_MARK + LATE);
        assert_eq!(window.target(held), TRICKLE);
        for _ in 0..20_000_000 {
            held += TRICKLE as usize;
            assert_eq!(window.judge(TRICKLE as usize, held, 1), PacketVerdict::Trickling);
        }
        assert_eq!(window.judge(PACKET as usize, held + PACKET as usize, 1), PacketVerdict::Beyond);
    }

    #[test]
    fn client_that_ignores_its_window_is_beyond_it() {
        let (mut window, mut held) = (ReceiveWindow::default(), 0);
        let cut = (0..1000).find(|_| {
            held += PACKET as usize;
            window.judge(PACKET as usize, held, 1) == PacketVerdict::Beyond
        });
        assert!(cut.is_some() && held < 8 * 1024 * 1024);
    }

    #[test]
    fn number_of_channels_does_not_raise_the_limit_for_ever() {
        let (mut window, held) = (ReceiveWindow::default(), HIGH_MARK + LATE_CHANNELS * LATE);
        assert_eq!(window.judge(PACKET as usize, held, 1000), PacketVerdict::InTime);
        assert_eq!(window.judge(PACKET as usize, held + 1, 1000), PacketVerdict::Beyond);
    }

    #[test]
    fn only_a_trickle_packet_waits() {
        let mut window = ReceiveWindow::default();
        assert_eq!(window.target(HIGH_MARK), WINDOW);
        assert_eq!(window.judge(2, HIGH_MARK + 1, 1), PacketVerdict::InTime);
        assert_eq!(window.target(HIGH_MARK + 1), TRICKLE);
        assert_eq!(window.judge(2, HIGH_MARK + 1, 1), PacketVerdict::Trickling);
        assert_eq!(window.judge(3, HIGH_MARK + 1, 1), PacketVerdict::InTime);
        assert_eq!(window.judge(2, HIGH_MARK, 1), PacketVerdict::InTime);
    }
}
