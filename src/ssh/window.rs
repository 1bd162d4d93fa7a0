//! How much a client may send, decided by what the inboxes of its connection hold together. No I/O.
//!
//! russh re-opens a window when data arrives, not when it was consumed, and asks for the size of the *next* re-opening
//! only after it has re-opened one. So a client that keeps to its window may still send a good deal after the mark was
//! crossed; what is more than that is a client that does not.

use crate::guest::PIECE;

/// A channel's receive window.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;
/// The largest packet that we ask for: eight make a whole piece of a program's input. (What clients send at once is
/// 32 KiB, whatever they may.)
pub(super) const PACKET: u32 = PIECE as u32 / 8;
/// Inboxes of a connection that hold more than this together bring the client down to a trickle.
pub(super) const HIGH_MARK: usize = 4 * 1024 * 1024;
/// The receive window that makes a trickle: 2-byte packets that keep the loop alive and re-open the window later.
const TRICKLE: u32 = 2;
/// What may still come on a channel once the mark is crossed: the half of a window that it can send before its next
/// re-opening, where alone the crossing is seen, the window that this re-opening still gives, and the two packets that
/// each of the two looks was taken before.
const LATE: usize = WINDOW as usize / 2 + WINDOW as usize + 2 * PACKET as usize;

/// What is to be done about a packet that was put into an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    /// Nothing.
    InTime,
    /// It belongs to a trickle: waiting for the inboxes to drain costs nobody anything.
    Trickling,
    /// The client does not keep to its window.
    Beyond,
}

/// One connection's window.
#[derive(Debug, Default)]
pub(super) struct Window {
    trickling: bool,
    /// What came as a trickle since the inboxes were below the mark: 200 bytes a second at most, however long a program
    /// does not read.
    trickled: usize,
}

impl Window {
    /// To what size windows are re-opened from the next time on.
    pub(super) fn target(&mut self, held: usize) -> u32 {
        self.trickling = held > HIGH_MARK;
        if self.trickling { TRICKLE } else { WINDOW }
    }

    /// Judges a packet of `length` bytes that is among the `held` ones.
    pub(super) fn arrived(&mut self, length: usize, held: usize, channels: usize) -> Arrived {
        if held <= HIGH_MARK {
            self.trickled = 0;
            Arrived::InTime
        } else if self.trickling && length <= TRICKLE as usize {
            self.trickled += length;
            Arrived::Trickling
        } else if held > HIGH_MARK + channels * LATE + self.trickled {
            Arrived::Beyond
        } else {
            Arrived::InTime
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
        fn send(&mut self, budget: &mut Window, held: &mut usize) -> usize {
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
                let (mut window, mut held) = (Window::default(), begin);
                let mut client = Eager { window: WINDOW - used, target: window.target(held) };
                for _ in 0..1000 {
                    let length = client.send(&mut window, &mut held);
                    assert_ne!(window.arrived(length, held, 1), Arrived::Beyond, "from {begin}, {used} used");
                }
            }
        }
    }

    #[test]
    fn client_that_trickled_for_days_is_not_beyond_its_window() {
        let (mut window, mut held) = (Window::default(), HIGH_MARK + LATE);
        assert_eq!(window.target(held), TRICKLE);
        for _ in 0..20_000_000 {
            held += TRICKLE as usize;
            assert_eq!(window.arrived(TRICKLE as usize, held, 1), Arrived::Trickling);
        }
        assert_eq!(window.arrived(PACKET as usize, held + PACKET as usize, 1), Arrived::Beyond);
    }

    #[test]
    fn client_that_ignores_its_window_is_beyond_it() {
        let (mut window, mut held) = (Window::default(), 0);
        let cut = (0..1000).find(|_| {
            held += PACKET as usize;
            window.arrived(PACKET as usize, held, 1) == Arrived::Beyond
        });
        assert!(cut.is_some() && held < 8 * 1024 * 1024);
    }

    #[test]
    fn only_a_trickle_packet_waits() {
        let mut window = Window::default();
        assert_eq!(window.target(HIGH_MARK), WINDOW);
        assert_eq!(window.arrived(2, HIGH_MARK + 1, 1), Arrived::InTime);
        assert_eq!(window.target(HIGH_MARK + 1), TRICKLE);
        assert_eq!(window.arrived(2, HIGH_MARK + 1, 1), Arrived::Trickling);
        assert_eq!(window.arrived(3, HIGH_MARK + 1, 1), Arrived::InTime);
        assert_eq!(window.arrived(2, HIGH_MARK, 1), Arrived::InTime);
    }
}
