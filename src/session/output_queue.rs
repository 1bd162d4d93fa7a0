//! The output of one connection on its way to the client: in the SSH library's queue, and in its buffer for the socket. All of
//! it counts for the identity and in all.
//!
//! Invariants: nothing here waits. The library's queue holds a number of pieces, and its buffer what was in the queue, so the
//! pieces' length bounds both: they are short while the identity has much output waiting, on whichever connection, or the
//! process holds too much. A connection whose client reads goes on meanwhile.

use super::queued::IdentityQueue;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Limit of a piece while little waits, in bytes: clients take packets of any length if they say so. OpenSSH's takes these.
pub(crate) const PIECE: usize = 32 * 1024;
/// The same while much waits.
const SHORT_PIECE: usize = 2 * 1024;

/// The way of a connection's output.
#[derive(Debug)]
pub(crate) struct OutputQueue {
    identity: Arc<IdentityQueue>,
    limit: usize,
}

impl OutputQueue {
    /// The way for a connection of an identity whose connections may hold `limit` bytes.
    pub(crate) fn of(identity: Arc<IdentityQueue>, limit: usize) -> Self {
        Self { identity, limit }
    }

    /// Limit of the next piece, in bytes.
    pub(crate) fn piece_limit(&self) -> usize {
        if self.identity.has_room_for_output(self.limit) { PIECE } else { SHORT_PIECE }
    }

    /// Counts a piece until nobody has it any more.
    pub(crate) fn count(&self, piece: Bytes) -> Bytes {
        self.identity.add_output(piece.len());
        Bytes::from_owner(CountedPiece { piece, identity: self.identity.clone() })
    }

    /// The account of the buffer in which the library has the output for the socket.
    pub(crate) fn socket_buffer(&self) -> SocketBuffer {
        SocketBuffer { identity: self.identity.clone(), bytes: AtomicUsize::new(0) }
    }
}

/// A piece of output that counts.
struct CountedPiece {
    piece: Bytes,
    identity: Arc<IdentityQueue>,
}

impl AsRef<[u8]> for CountedPiece {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for CountedPiece {
    fn drop(&mut self) {
        self.identity.remove_output(self.piece.len());
    }
}

/// The bytes in a connection's buffer that the socket has not taken. Counts until it is dropped. The memory that an
/// empty buffer keeps for later does not count: nothing waits there, and it is bounded by the pieces.
#[derive(Debug)]
pub(crate) struct SocketBuffer {
    identity: Arc<IdentityQueue>,
    bytes: AtomicUsize,
}

impl SocketBuffer {
    /// Notes that the socket has so many bytes still to take.
    pub(crate) fn has(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        match bytes.checked_sub(before) {
            Some(more) => self.identity.add_output(more),
            None => self.identity.remove_output(before - bytes),
        }
    }
}

impl Drop for SocketBuffer {
    fn drop(&mut self) {
        self.identity.remove_output(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::QueuedBytes;

    #[test]
    fn output_of_an_identity_that_has_much_of_it_waiting_goes_on_in_short_pieces() {
        let all = QueuedBytes::new(10_000_000);
        let limit = 8 * 100_000;
        let [stalled, reading] = [0; 2].map(|_| OutputQueue::of(all.of("alice"), limit));
        let other = OutputQueue::of(all.of("bob"), limit);
        let held = stalled.count(Bytes::from(vec![7; 99_999]));
        assert_eq!((held[99_998], reading.piece_limit()), (7, PIECE));
        let part = held.slice(5..6);
        drop(held);
        let more = reading.count(Bytes::from_static(b"x"));
        assert_eq!(
            (stalled.piece_limit(), reading.piece_limit(), other.piece_limit()),
            (SHORT_PIECE, SHORT_PIECE, PIECE)
        );
        drop(part);
        assert_eq!((reading.piece_limit(), all.waiting()), (PIECE, (0, 1)));
        drop(more);
        assert_eq!(all.waiting(), (0, 0));
    }

    #[test]
    fn all_output_goes_on_in_short_pieces_while_the_process_holds_too_much() {
        let all = QueuedBytes::new(1000);
        let [alice, bob] = ["alice", "bob"].map(|name| OutputQueue::of(all.of(name), 1 << 20));
        let held = alice.count(Bytes::from(vec![0; 1000]));
        assert_eq!(bob.piece_limit(), PIECE);
        let more = bob.count(Bytes::from_static(b"x"));
        assert_eq!((alice.piece_limit(), bob.piece_limit()), (SHORT_PIECE, SHORT_PIECE));
        drop((held, more));
        assert_eq!(bob.piece_limit(), PIECE);
    }

    #[test]
    fn socket_buffer_counts_with_what_the_socket_has_not_taken() {
        let all = QueuedBytes::new(1000);
        let queue = OutputQueue::of(all.of("alice"), 800);
        let buffer = queue.socket_buffer();
        for bytes in [5, 90, 3, 0, 100] {
            buffer.has(bytes);
            assert_eq!(all.waiting(), (0, bytes));
        }
        assert_eq!(queue.piece_limit(), SHORT_PIECE);
        buffer.has(0);
        assert_eq!(queue.piece_limit(), PIECE, "an idle connection holds up no other");
        buffer.has(7);
        drop(buffer);
        assert_eq!(all.waiting(), (0, 0));
    }
}
