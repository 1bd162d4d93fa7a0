//! The budget of the windows that a user's guests are granted for their output, beyond the least window of each stream. All
//! connections of the user share it, and those of all users another one.
//!
//! Invariants: it never waits; whoever lends takes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget of one user's guests. Clones share what is lent.
#[derive(Debug, Clone)]
pub(crate) struct OutputBudget {
    of_user: Arc<AtomicUsize>,
    in_all: Arc<AtomicUsize>,
    /// Limit of a user's.
    most: usize,
    /// Limit of all users'.
    most_in_all: usize,
}

impl OutputBudget {
    /// A budget of `most` bytes where `of_user` are lent already, and of `most_in_all` where `in_all` are.
    pub(crate) fn new(
        (of_user, most): (Arc<AtomicUsize>, usize),
        (in_all, most_in_all): (Arc<AtomicUsize>, usize),
    ) -> Self {
        Self { of_user, in_all, most, most_in_all }
    }

    /// A budget that lends whatever is asked for.
    pub(crate) fn unlimited() -> Self {
        Self::new((Arc::default(), usize::MAX), (Arc::default(), usize::MAX))
    }

    /// Bytes that can still be lent.
    pub(crate) fn free(&self) -> usize {
        let free = |lent: &AtomicUsize, most: usize| most.saturating_sub(lent.load(Ordering::Relaxed));
        free(&self.of_user, self.most).min(free(&self.in_all, self.most_in_all))
    }

    /// Counts bytes as lent.
    pub(crate) fn lend(&self, bytes: usize) {
        self.of_user.fetch_add(bytes, Ordering::Relaxed);
        self.in_all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were lent as returned.
    pub(crate) fn take_back(&self, bytes: usize) {
        self.of_user.fetch_sub(bytes, Ordering::Relaxed);
        self.in_all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_finds_what_neither_the_user_nor_all_have_been_lent() {
        let all: Arc<AtomicUsize> = Arc::default();
        let of = |most| OutputBudget::new((Arc::default(), most), (all.clone(), 100));
        let (alice, bob) = (of(60), of(80));
        alice.lend(50);
        assert_eq!((alice.free(), alice.clone().free(), bob.free()), (10, 10, 50));
        bob.lend(70);
        assert_eq!(
            (alice.free(), bob.free()),
            (0, 0),
            "what two lend at once may be too much, and is nothing below zero"
        );
        alice.take_back(50);
        assert_eq!((alice.free(), bob.free()), (30, 10));
    }
}
