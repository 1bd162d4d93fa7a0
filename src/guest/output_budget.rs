//! The budget of the windows that a user's guests are granted for their output, beyond the least window of each stream. All
//! connections of the user share it, and those of all users another one.
//!
//! Invariants: it never waits; whoever lends takes back.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The account of a user. It lives as long as a budget of the user does, so that the user's next guest finds it.
pub(crate) trait UserAccount: Debug + Send + Sync {
    /// The bytes that are lent to the user.
    fn lent(&self) -> &AtomicUsize;
}

impl UserAccount for AtomicUsize {
    fn lent(&self) -> &AtomicUsize {
        self
    }
}

/// The budget of one user's guests. Clones share what is lent.
#[derive(Debug, Clone)]
pub(crate) struct OutputBudget {
    of_user: Arc<dyn UserAccount>,
    in_all: Arc<AtomicUsize>,
    /// Limit of a user's.
    most: usize,
    /// Limit of all users'.
    most_in_all: usize,
}

impl OutputBudget {
    /// A budget of `most` bytes for a user, and of `most_in_all` where `in_all` are.
    pub(crate) fn new(
        (of_user, most): (Arc<dyn UserAccount>, usize),
        (in_all, most_in_all): (Arc<AtomicUsize>, usize),
    ) -> Self {
        Self { of_user, in_all, most, most_in_all }
    }

    /// A budget that lends whatever is asked for.
    pub(crate) fn unlimited() -> Self {
        Self::new((Arc::new(AtomicUsize::new(0)), usize::MAX), (Arc::default(), usize::MAX))
    }

    /// Bytes that can still be lent. No user is lent more than what then remains for all others, so that users who come
    /// later find something, too.
    pub(crate) fn free(&self) -> usize {
        let of_user = self.of_user.lent().load(Ordering::Relaxed);
        let in_all = self.most_in_all.saturating_sub(self.in_all.load(Ordering::Relaxed));
        self.most.saturating_sub(of_user).min(in_all.saturating_sub(of_user) / 2)
    }

    /// Counts bytes as lent.
    pub(crate) fn lend(&self, bytes: usize) {
        self.of_user.lent().fetch_add(bytes, Ordering::Relaxed);
        self.in_all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were lent as returned.
    pub(crate) fn take_back(&self, bytes: usize) {
        self.of_user.lent().fetch_sub(bytes, Ordering::Relaxed);
        self.in_all.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_finds_what_neither_the_user_nor_all_have_been_lent() {
        let all: Arc<AtomicUsize> = Arc::default();
        let of = |most| OutputBudget::new((Arc::new(AtomicUsize::new(0)), most), (all.clone(), 100));
        let (alice, bob) = (of(40), of(80));
        assert_eq!((alice.free(), bob.free()), (40, 50), "as much as then remains for others");
        alice.lend(30);
        assert_eq!((alice.free(), alice.clone().free(), bob.free()), (10, 10, 35));
        bob.lend(90);
        assert_eq!(
            (alice.free(), bob.free()),
            (0, 0),
            "what two lend at once may be too much, and is nothing below zero"
        );
        alice.take_back(30);
        bob.take_back(60);
        assert_eq!((alice.free(), bob.free()), (35, 20));
    }

    #[test]
    fn users_who_take_all_they_are_lent_leave_something_for_the_next_one() {
        const MIB: usize = 1 << 20;
        let all: Arc<AtomicUsize> = Arc::default();
        let mut lent = Vec::new();
        for _ in 0..20 {
            let user = OutputBudget::new((Arc::new(AtomicUsize::new(0)), 8 * MIB), (all.clone(), 128 * MIB));
            while user.free() > 0 {
                lent.push(user.free());
                user.lend(user.free());
            }
        }
        assert!(lent.iter().sum::<usize>() <= 128 * MIB, "{lent:?}");
        assert_eq!(lent.first(), Some(&(8 * MIB)));
        let last = OutputBudget::new((Arc::new(AtomicUsize::new(0)), 8 * MIB), (all.clone(), 128 * MIB));
        assert!(last.free() > 64 * 1024, "{lent:?}, then {}", last.free());
    }
}
