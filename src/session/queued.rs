//! The memory that waits for programs, counted by identity and in all: what inboxes hold, what is kept for their next
//! chunks, and what clients may still send by the windows that they were given. Beside it, the memory that waits for
//! clients: what the SSH library holds of the output, and the windows that guests were given for more of it.
//!
//! Invariants: whoever adds takes away again, at the latest when dropped; an identity is counted as long as a connection of
//! it lives. Nothing here decides: [`QueueUse`] is what the SSH side decides by.

use crate::guest::{OutputBudget, UserAccount};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// The count of the whole process; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct QueuedBytes(Arc<AllQueued>);

#[derive(Debug)]
struct AllQueued {
    /// In inboxes and by the SSH library.
    held: AtomicUsize,
    /// By the SSH library.
    output: AtomicUsize,
    granted: AtomicUsize,
    /// To guests, for output.
    lent: Arc<AtomicUsize>,
    mark: AtomicUsize,
    /// The number of `identities`.
    live: AtomicUsize,
    identities: Mutex<HashMap<String, Weak<IdentityQueue>>>,
}

/// The count of all connections of one identity.
#[derive(Debug)]
pub(crate) struct IdentityQueue {
    name: String,
    held: AtomicUsize,
    kept: AtomicUsize,
    granted: AtomicUsize,
    output: AtomicUsize,
    /// To its guests, for output.
    lent: AtomicUsize,
    all: QueuedBytes,
}

/// The memory in use at one moment, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QueueUse {
    /// In the connection's inboxes.
    pub connection: usize,
    /// In the inboxes of all connections of its identity.
    pub identity: usize,
    /// The bytes that the clients of the identity may still send.
    pub granted: usize,
    /// The state of all connections of the process.
    pub crowd: Crowd,
    /// The part of the mark for one identity, if each has the same.
    pub share: usize,
    /// The bytes that all clients may still be granted; `None` where nobody counts.
    pub free_in_all: Option<usize>,
    /// True while the client has sent more than its bandwidth.
    pub is_over_rate: bool,
}

/// The memory that all connections of the process hold together, compared with the mark.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Crowd {
    /// No more than the mark.
    #[default]
    None,
    /// More than the mark.
    Many,
    /// More than the mark and a quarter of it.
    TooMany,
}

impl QueuedBytes {
    /// Nothing yet. Above `mark` bytes in all, identities that hold much are held up.
    pub(crate) fn new(mark: usize) -> Self {
        let [held, output, granted, live] = [const { AtomicUsize::new(0) }; 4];
        let (lent, identities, mark) = (Arc::default(), Mutex::default(), AtomicUsize::new(mark));
        Self(Arc::new(AllQueued { held, output, granted, lent, mark, live, identities }))
    }

    /// Sets another mark, for all that wait and will.
    pub(crate) fn set_mark(&self, mark: usize) {
        self.0.mark.store(mark, Ordering::Relaxed);
    }

    fn mark(&self) -> usize {
        self.0.mark.load(Ordering::Relaxed)
    }

    /// The bytes that wait for programs and for clients.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let (held, output) = (self.0.held.load(Ordering::Relaxed), self.0.output.load(Ordering::Relaxed));
        (held.saturating_sub(output), output)
    }

    fn crowd(&self) -> Crowd {
        let mark = self.mark();
        match self.0.held.load(Ordering::Relaxed) {
            held if held <= mark => Crowd::None,
            held if held - mark <= mark / 4 => Crowd::Many,
            _ => Crowd::TooMany,
        }
    }

    fn share(&self) -> usize {
        self.mark() / self.0.live.load(Ordering::Relaxed).max(1)
    }

    /// The count of an identity, which its connections share.
    pub(crate) fn of(&self, identity: &str) -> Arc<IdentityQueue> {
        let mut identities = self.0.identities.lock();
        if let Some(counted) = identities.get(identity).and_then(Weak::upgrade) {
            return counted;
        }
        let counted = Arc::new(IdentityQueue {
            name: identity.to_owned(),
            held: AtomicUsize::new(0),
            kept: AtomicUsize::new(0),
            granted: AtomicUsize::new(0),
            output: AtomicUsize::new(0),
            lent: AtomicUsize::new(0),
            all: self.clone(),
        });
        identities.insert(identity.to_owned(), Arc::downgrade(&counted));
        self.0.live.store(identities.len(), Ordering::Relaxed);
        counted
    }
}

impl IdentityQueue {
    /// The use that a connection of the identity sees, whose own inboxes hold `connection` bytes.
    pub(super) fn seen_by(&self, connection: usize) -> QueueUse {
        QueueUse {
            connection,
            identity: self.held.load(Ordering::Relaxed),
            granted: self.granted.load(Ordering::Relaxed),
            crowd: self.all.crowd(),
            share: self.all.share(),
            free_in_all: Some(self.free_in_all()),
            is_over_rate: false,
        }
    }

    /// The bytes up to the mark that are neither held nor granted.
    fn free_in_all(&self) -> usize {
        let all = &self.all.0;
        let used = all.held.load(Ordering::Relaxed).saturating_add(all.granted.load(Ordering::Relaxed));
        self.all.mark().saturating_sub(used)
    }

    /// The budget of the windows of the identity's guests: an eighth of its `limit`, and half of the mark for all.
    /// The identity is counted as long as the budget lives.
    pub(crate) fn output_budget(self: &Arc<Self>, limit: usize) -> OutputBudget {
        OutputBudget::new((self.clone(), limit / 8), (self.all.0.lent.clone(), self.all.mark() / 2))
    }

    /// Tells whether so little output of the identity waits, of its `limit`, that more may be handed over in large pieces.
    pub(super) fn has_room_for_output(&self, limit: usize) -> bool {
        self.output.load(Ordering::Relaxed) < limit / 8 && self.all.crowd() == Crowd::None
    }

    pub(super) fn add_output(&self, bytes: usize) {
        self.output.fetch_add(bytes, Ordering::Relaxed);
        self.all.0.output.fetch_add(bytes, Ordering::Relaxed);
        self.all.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_output(&self, bytes: usize) {
        self.output.fetch_sub(bytes, Ordering::Relaxed);
        // In this order: what is held is never less than the output in it.
        self.all.0.output.fetch_sub(bytes, Ordering::Relaxed);
        self.all.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        self.all.0.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.all.0.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts memory that is kept for later. False, and nothing is counted, if it would be more than `most`.
    pub(super) fn keep(&self, bytes: usize, most: usize) -> bool {
        let before = self.kept.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before.saturating_add(bytes) <= most;
        if !has_room {
            self.give_back(bytes);
        }
        has_room
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl UserAccount for IdentityQueue {
    fn lent(&self) -> &AtomicUsize {
        &self.lent
    }
}

impl Drop for IdentityQueue {
    fn drop(&mut self) {
        let mut identities = self.all.0.identities.lock();
        // Another connection may have begun a new count meanwhile.
        if identities.get(&self.name).is_some_and(|counted| counted.strong_count() == 0) {
            identities.remove(&self.name);
        }
        self.all.0.live.store(identities.len(), Ordering::Relaxed);
        if identities.is_empty() {
            identities.shrink_to_fit();
        }
    }
}

/// The bytes that the client of one connection may still send. Counts until it is dropped.
#[derive(Debug)]
pub(crate) struct GrantedBytes {
    identity: Arc<IdentityQueue>,
    bytes: usize,
}

impl GrantedBytes {
    /// Nothing yet.
    pub(crate) fn of(identity: Arc<IdentityQueue>) -> Self {
        Self { identity, bytes: 0 }
    }

    /// The bytes that are counted.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts so many bytes from now on.
    pub(crate) fn set(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        for granted in [&self.identity.granted, &self.identity.all.0.granted] {
            granted.fetch_add(bytes, Ordering::Relaxed);
            granted.fetch_sub(before, Ordering::Relaxed);
        }
    }
}

impl Drop for GrantedBytes {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_one_identity_share_a_count_that_goes_with_the_last() {
        let all = QueuedBytes::new(100);
        let (one, two, other) = (all.of("alice"), all.of("alice"), all.of("bob"));
        one.add(60);
        two.add(30);
        other.add(10);
        let mut granted = GrantedBytes::of(two.clone());
        granted.set(7);
        granted.set(5);
        let seen = QueueUse { connection: 1, identity: 90, granted: 5, share: 50, ..QueueUse::default() };
        let seen = QueueUse { free_in_all: Some(0), ..seen };
        assert_eq!((one.seen_by(1), two.seen_by(1)), (seen, seen), "the mark itself is no crowd");
        other.add(1);
        assert_eq!([one.seen_by(0).crowd, other.seen_by(0).crowd], [Crowd::Many; 2]);
        other.add(24);
        assert_eq!(one.seen_by(0).crowd, Crowd::Many);
        other.add_output(1);
        assert_eq!((other.seen_by(0).crowd, all.waiting()), (Crowd::TooMany, (125, 1)));
        other.remove_output(1);
        other.remove(24);
        other.remove(11);
        one.remove(60);
        two.remove(30);
        drop(granted);
        let empty = QueueUse { free_in_all: Some(100), ..QueueUse::default() };
        assert_eq!(two.seen_by(0), QueueUse { share: 50, ..empty });
        drop((one, two));
        assert!(!all.0.identities.lock().contains_key("alice"));
        assert_eq!(other.seen_by(3), QueueUse { connection: 3, share: 100, ..empty }, "all for the only one");
    }

    #[test]
    fn budgets_of_one_identity_share_what_is_lent_though_nothing_else_of_it_lives() {
        let all = QueuedBytes::new(1000);
        let [first, second] = [0; 2].map(|_| all.of("alice").output_budget(800));
        first.lend(90);
        assert_eq!((second.free(), all.of("bob").output_budget(800).free()), (10, 100));
        second.take_back(90);
        drop((first, second));
        assert!(all.0.identities.lock().is_empty());
    }

    #[test]
    fn memory_beyond_what_an_identity_may_keep_is_not_kept() {
        let all = QueuedBytes::new(0);
        let (one, two) = (all.of("alice"), all.of("alice"));
        assert!(one.keep(6, 10) && !two.keep(5, 10) && two.keep(4, 10));
        one.give_back(6);
        assert!(two.keep(6, 10));
    }
}
