//! Memory of pieces that are on their way, kept for the next ones: a busy stream takes no new pages for each of its pieces.
//!
//! What always holds: at most `KEPT` buffers of `SIZE` bytes are kept, and none is given out while a piece still lies in
//! it.

use bytes::BytesMut;
use std::collections::VecDeque;

/// Buffers of `SIZE` bytes.
#[derive(Debug, Default)]
pub(crate) struct Spare<const SIZE: usize, const KEPT: usize>(VecDeque<BytesMut>);

impl<const SIZE: usize, const KEPT: usize> Spare<SIZE, KEPT> {
    /// An empty buffer: the one kept last whose pieces are gone (the processor's caches know it), else a new one.
    pub(crate) fn take(&mut self) -> BytesMut {
        let free = self.0.iter_mut().rposition(|kept| kept.try_reclaim(SIZE));
        free.and_then(|at| self.0.remove(at)).unwrap_or_else(|| BytesMut::with_capacity(SIZE))
    }

    /// Keeps what is left of a buffer that was taken here and whose pieces were given away.
    pub(crate) fn keep(&mut self, mut left: BytesMut) {
        left.clear();
        if self.0.len() < KEPT {
            self.0.push_back(left);
        }
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the memory back.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given_away(spare: &mut Spare<64, 2>, text: &str) -> BytesMut {
        let mut buffer = spare.take();
        buffer.extend_from_slice(text.as_bytes());
        let piece = buffer.split();
        spare.keep(buffer);
        piece
    }

    #[test]
    fn buffer_with_a_piece_in_it_is_not_given_out() {
        let mut spare = Spare::default();
        let first = given_away(&mut spare, "first");
        let second = given_away(&mut spare, "second");
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        assert_ne!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn memory_of_a_piece_that_is_gone_is_given_out_again() {
        let mut spare = Spare::default();
        let first = given_away(&mut spare, "first");
        let memory = first.as_ptr();
        drop(first);
        assert_eq!(given_away(&mut spare, "again").as_ptr(), memory);
    }

    #[test]
    fn no_more_than_said_are_kept() {
        let mut spare = Spare::<64, 2>::default();
        let pieces = [spare.take(), spare.take(), spare.take()];
        for piece in pieces {
            spare.keep(piece);
        }
        assert_eq!(spare.0.len(), 2);
        spare.clear();
        assert!(spare.is_empty());
    }
}
