//! The unread data of one lane, in memory of its own: a slice of a carrier's buffer would keep the whole buffer.
//!
//! Invariant: what is held is at most twice what is queued, and a piece is copied at most once.

use super::frame::MAX_DATA;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;

/// A piece of so many bytes is kept as it is: it is at least half of the largest buffer that a carrier reads into.
const KEPT_FROM: usize = super::CARRIER_BUFFER / 2;
/// The least memory for pieces that are copied together, in bytes.
const SMALLEST: usize = 256;

/// Data in the order of its arrival.
#[derive(Debug, Default)]
pub(super) struct LaneBuffer {
    pieces: VecDeque<Bytes>,
    /// The last bytes, copied together from small pieces.
    tail: Vec<u8>,
    length: usize,
    pub(super) finished: bool,
}

impl LaneBuffer {
    /// Adds a piece.
    pub(super) fn push(&mut self, mut piece: Bytes) {
        self.length += piece.len();
        if piece.len() >= KEPT_FROM {
            self.seal();
            self.pieces.push_back(piece);
            return;
        }
        while !piece.is_empty() {
            if self.tail.len() == self.tail.capacity() {
                self.seal();
                let queued = self.length.clamp(SMALLEST, MAX_DATA);
                self.tail = Vec::with_capacity(piece.len().max(queued / 2));
            }
            let taken = piece.len().min(self.tail.capacity() - self.tail.len());
            self.tail.extend_from_slice(&piece[..taken]);
            piece.advance(taken);
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(std::mem::take(&mut self.tail).into());
        }
    }

    /// Takes the oldest bytes.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.seal();
        }
        let piece = self.pieces.pop_front()?;
        self.length -= piece.len();
        Some(piece)
    }

    /// Drops what is there.
    pub(super) fn clear(&mut self) {
        (self.pieces, self.tail, self.length) = (VecDeque::new(), Vec::new(), 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes of memory that the data keeps.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum::<usize>() + self.tail.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::super::CARRIER_BUFFER;
    use super::*;

    #[test]
    fn piece_of_a_large_buffer_does_not_keep_the_buffer() {
        let buffer = Bytes::from(vec![b'x'; CARRIER_BUFFER]);
        let mut lane = LaneBuffer::default();
        for length in [1, 100, 8 * 1024, KEPT_FROM - 1] {
            lane.push(buffer.slice(..length));
            assert!(buffer.is_unique(), "{length}");
        }
    }

    #[test]
    fn memory_is_at_most_twice_the_data_and_the_bytes_stay_in_order() {
        for length in [1, 7, 300, 5000, 30_000, 40_000] {
            let (mut lane, mut expected) = (LaneBuffer::default(), Vec::new());
            for round in 0..20 {
                let piece = vec![round; length];
                expected.extend_from_slice(&piece);
                lane.push(piece.into());
                assert!(lane.held() <= 2 * expected.len() + SMALLEST, "{} for {}", lane.held(), expected.len());
            }
            let mut read = Vec::new();
            while let Some(piece) = lane.pop() {
                read.extend_from_slice(&piece);
            }
            assert_eq!(read, expected);
            assert!(lane.is_empty() && lane.held() == 0);
        }
    }

    #[test]
    fn small_pieces_are_read_together() {
        let mut lane = LaneBuffer::default();
        for _ in 0..100 {
            lane.push(Bytes::from_static(b"x"));
        }
        assert_eq!(lane.pop().map(|piece| piece.len()), Some(100));
    }
}
