//! A pool of buffers, so that a busy stream does not take new pages for each of its pieces.
//!
//! The pool keeps at most `KEPT` buffers of `SIZE` bytes, and gives none out while a piece of it is still in use.

use bytes::BytesMut;
use std::collections::VecDeque;

/// Up to `KEPT` buffers of `SIZE` bytes each, the last one kept at the end.
#[derive(Debug, Default)]
pub(crate) struct BufferPool<const SIZE: usize, const KEPT: usize>(VecDeque<BytesMut>);

impl<const SIZE: usize, const KEPT: usize> BufferPool<SIZE, KEPT> {
    /// Returns an empty buffer: the last one kept whose pieces are gone (it is likely in the processor's caches), or a new one.
    pub(crate) fn take(&mut self) -> BytesMut {
        let free = self.0.iter_mut().rposition(|kept| kept.try_reclaim(SIZE));
        free.and_then(|at| self.0.remove(at)).unwrap_or_else(|| BytesMut::with_capacity(SIZE))
    }

    /// Keeps the rest of a buffer from [`BufferPool::take`] after pieces were split off; false if there is no room for it.
    pub(crate) fn keep(&mut self, mut left: BytesMut) -> bool {
        left.clear();
        let has_room = self.0.len() < KEPT;
        if has_room {
            self.0.push_back(left);
        }
        has_room
    }

    /// The number of buffers that are kept.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Frees the buffers.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take_piece(pool: &mut BufferPool<64, 2>, text: &str) -> BytesMut {
        let mut buffer = pool.take();
        buffer.extend_from_slice(text.as_bytes());
        let piece = buffer.split();
        pool.keep(buffer);
        piece
    }

    #[test]
    fn buffer_with_a_piece_in_it_is_not_given_out() {
        let mut pool = BufferPool::default();
        let first = take_piece(&mut pool, "first");
        let second = take_piece(&mut pool, "second");
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        assert_ne!(first.as_ptr(), second.as_ptr());
    }

    #[test]
    fn memory_of_a_piece_that_is_gone_is_given_out_again() {
        let mut pool = BufferPool::default();
        let first = take_piece(&mut pool, "first");
        let memory = first.as_ptr();
        drop(first);
        assert_eq!(take_piece(&mut pool, "again").as_ptr(), memory);
    }

    #[test]
    fn buffers_beyond_the_limit_are_not_kept() {
        let mut pool = BufferPool::<64, 2>::default();
        let pieces = [pool.take(), pool.take(), pool.take()];
        for piece in pieces {
            pool.keep(piece);
        }
        assert_eq!(pool.0.len(), 2);
        pool.clear();
        assert!(pool.is_empty());
    }
}
