//! What a client sent and a program has not taken yet. An inbox never makes its writer wait: the SSH loop pushes and goes
//! on, and what all inboxes of a connection hold together is counted in a [`Budget`], from which the SSH side decides how
//! much more it asks for.

use crate::guest::PIECE;
use crate::spare::Spare;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// A packet at least this long is one of many, and gets the room of a whole piece.
const LONG: usize = 8 * 1024;
/// So much memory of pieces a connection keeps for the next ones, in bytes: what its inboxes hold together before the
/// client is held up, and what it may still send then. So a program that is slower than its client costs no new pages.
const KEPT: usize = 8 * 1024 * 1024;
/// After so long without a byte, memory that is kept for the next ones is given back.
const QUIET: Duration = Duration::from_secs(1);

/// How many bytes the inboxes of one connection hold together, and news of it getting less.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    drained: Notify,
    spare: Mutex<Memory>,
}

/// Memory of pieces that were taken.
#[derive(Debug, Default)]
struct Memory {
    spare: Spare<PIECE, { KEPT / PIECE }>,
    /// How often it was of use.
    used: usize,
}

impl Budget {
    /// Bytes held now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Waits until somebody has taken something out.
    pub async fn drained(&self) {
        self.0.drained.notified().await;
    }

    /// Room for a whole piece.
    fn room(&self) -> BytesMut {
        let mut memory = self.memory();
        memory.used = memory.used.wrapping_add(1);
        memory.spare.take()
    }

    /// A piece as it is; the memory of one that had the room of a whole is kept for the next.
    fn keep(&self, mut piece: BytesMut) -> BytesMut {
        if piece.capacity() < PIECE {
            return piece;
        }
        let taken = piece.split();
        self.memory().spare.keep(piece);
        taken
    }

    /// How often memory was asked for, where some is kept.
    fn kept(&self) -> Option<usize> {
        let memory = self.memory();
        (!memory.spare.is_empty()).then_some(memory.used)
    }

    /// Gives the memory back that nobody has asked for since [`Budget::kept`] said this.
    fn give_back(&self, used: usize) {
        let mut memory = self.memory();
        if memory.used == used {
            memory.spare.clear();
        }
    }

    /// Nobody takes out of an inbox any more, and may be there to see that all is quiet.
    fn left(&self) {
        if self.held() == 0 {
            self.memory().spare.clear();
        }
    }

    /// Every change of it is one step.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize) {
        if bytes > 0 {
            self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.0.drained.notify_waiters();
        }
    }
}

/// One channel's inbox; clones are the same inbox.
#[derive(Debug, Clone)]
pub struct Inbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
    budget: Budget,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<BytesMut>,
    bytes: usize,
    ended: bool,
    refusing: bool,
    /// Nobody has taken anything yet: the key that interrupts is looked for.
    waited_for: bool,
    key: Option<u8>,
    interrupted: bool,
}

impl State {
    fn new() -> Self {
        Self { waited_for: true, ..Self::default() }
    }

    fn pop(&mut self) -> Option<BytesMut> {
        let piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }
}

/// What was in the inbox.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// The oldest bytes.
    Data(BytesMut),
    /// The client will send nothing more, and everything was taken.
    End,
}

impl Inbox {
    /// An empty inbox that counts in `budget`.
    #[must_use]
    pub fn new(budget: Budget) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State::new()), news: Notify::new(), budget }))
    }

    /// Puts bytes in. They are dropped when nobody will take them any more.
    pub fn push(&self, data: &[u8]) {
        let mut state = self.state();
        if state.refusing || state.ended {
            return;
        }
        state.interrupted |= state.waited_for && state.key.is_some_and(|key| data.contains(&key));
        match state.pieces.back_mut() {
            Some(last) if last.len() + data.len() <= PIECE => last.extend_from_slice(data),
            _ => {
                let long = data.len() >= LONG;
                let mut piece = if long { self.0.budget.room() } else { BytesMut::with_capacity(data.len()) };
                piece.extend_from_slice(data);
                state.pieces.push_back(piece);
            }
        }
        state.bytes += data.len();
        drop(state);
        self.0.budget.add(data.len());
        self.0.news.notify_waiters();
    }

    /// The client will send nothing more.
    pub fn end(&self) {
        self.state().ended = true;
        self.0.news.notify_waiters();
    }

    /// Nobody takes anything any more: what is in it and what comes is dropped.
    pub fn refuse(&self) {
        let mut state = self.state();
        state.refusing = true;
        state.pieces.clear();
        let bytes = std::mem::take(&mut state.bytes);
        drop(state);
        self.0.budget.remove(bytes);
        self.0.budget.left();
    }

    /// Waits for the oldest bytes, or the end. Cancel-safe.
    pub async fn take(&self) -> Taken {
        loop {
            let news = self.0.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if let Some(taken) = self.try_take() {
                return taken;
            }
            match self.0.budget.kept() {
                None => news.await,
                Some(used) => {
                    if timeout(QUIET, news).await.is_err() {
                        self.0.budget.give_back(used);
                    }
                }
            }
        }
    }

    /// Looks for the key that interrupts, in what is there and in what comes, until something is taken.
    pub fn interrupt_by(&self, key: u8) {
        let mut state = self.state();
        state.key = Some(key);
        state.interrupted = state.waited_for && state.pieces.iter().any(|piece| piece.contains(&key));
    }

    /// Waits until that key was typed before anything was taken; takes nothing. Cancel-safe.
    pub async fn interrupted(&self) {
        loop {
            let news = self.0.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if self.state().interrupted {
                return;
            }
            news.await;
        }
    }

    fn try_take(&self) -> Option<Taken> {
        let mut state = self.state();
        state.waited_for = false;
        let Some(piece) = state.pop() else {
            let ended = state.ended;
            drop(state);
            if ended {
                self.0.budget.left();
            }
            return ended.then_some(Taken::End);
        };
        drop(state);
        self.0.budget.remove(piece.len());
        Some(Taken::Data(self.0.budget.keep(piece)))
    }

    /// The state stays whole whatever panicked beside it: every change above is one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let bytes = self.state.get_mut().unwrap_or_else(PoisonError::into_inner).bytes;
        self.budget.remove(bytes);
        self.budget.left();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_takes_is_not_held() {
        let budget = Budget::default();
        let inbox = Inbox::new(budget.clone());
        inbox.push(b"abc");
        assert_eq!(budget.held(), 3);
        inbox.refuse();
        inbox.push(b"def");
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn dropped_inbox_gives_its_bytes_back() {
        let budget = Budget::default();
        let inbox = Inbox::new(budget.clone());
        inbox.push(b"abc");
        drop(inbox);
        assert_eq!(budget.held(), 0);
    }

    #[tokio::test]
    async fn small_packets_are_gathered_and_the_end_comes_last() {
        let inbox = Inbox::new(Budget::default());
        inbox.push(b"ab");
        inbox.push(b"cd");
        inbox.push(&[0; PIECE]);
        inbox.end();
        assert_eq!(inbox.take().await, Taken::Data(BytesMut::from("abcd")));
        assert_eq!(inbox.take().await, Taken::Data(BytesMut::zeroed(PIECE)));
        assert_eq!(inbox.take().await, Taken::End);
        assert_eq!(inbox.take().await, Taken::End);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_of_what_was_taken_is_given_back_when_nothing_comes() {
        let budget = Budget::default();
        let inbox = Inbox::new(budget.clone());
        inbox.push(&[0; PIECE]);
        drop(inbox.take().await);
        assert_eq!(budget.kept(), Some(1));
        assert!(timeout(QUIET * 2, inbox.take()).await.is_err(), "there is nothing to take");
        assert_eq!(budget.kept(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_that_another_inbox_uses_is_not_given_back() {
        let budget = Budget::default();
        let (quiet, busy) = (Inbox::new(budget.clone()), Inbox::new(budget.clone()));
        let mut memory = None;
        for _ in 0..5 {
            busy.push(&[0; PIECE]);
            let Taken::Data(piece) = busy.take().await else { panic!("there is a piece") };
            assert_eq!(*memory.get_or_insert(piece.as_ptr()), piece.as_ptr());
            assert!(timeout(QUIET * 2 / 3, quiet.take()).await.is_err(), "there is nothing to take");
        }
    }

    #[tokio::test]
    async fn memory_is_given_back_when_nobody_takes_any_more() {
        let ends: [fn(Inbox) -> Option<Inbox>; 3] = [
            |inbox| {
                inbox.end();
                assert_eq!(inbox.try_take(), Some(Taken::End));
                Some(inbox)
            },
            |inbox| {
                inbox.refuse();
                Some(inbox)
            },
            |_dropped| None,
        ];
        for end in ends {
            let budget = Budget::default();
            let inbox = Inbox::new(budget.clone());
            inbox.push(&[0; PIECE]);
            drop(inbox.take().await);
            let _inbox = end(inbox);
            assert_eq!(budget.kept(), None);
        }
    }

    #[tokio::test]
    async fn packets_of_a_backlog_share_the_memory_of_whole_pieces() {
        let inbox = Inbox::new(Budget::default());
        for byte in 0..5 {
            inbox.push(&[byte; PIECE / 2]);
        }
        let mut taken = Vec::new();
        while let Some(Taken::Data(piece)) = inbox.try_take() {
            taken.push((piece.len(), piece.first().copied(), piece.last().copied()));
        }
        let expected = [(PIECE, Some(0), Some(1)), (PIECE, Some(2), Some(3)), (PIECE / 2, Some(4), Some(4))];
        assert_eq!(taken, expected);
    }

    #[tokio::test]
    async fn waiting_taker_gets_what_is_pushed_later() {
        let inbox = Inbox::new(Budget::default());
        let (taken, ()) = tokio::join!(inbox.take(), async { inbox.push(b"x") });
        assert_eq!(taken, Taken::Data(BytesMut::from("x")));
    }

    #[tokio::test]
    async fn key_that_interrupts_is_seen_without_being_taken_and_not_looked_for_later() {
        let inbox = Inbox::new(Budget::default());
        inbox.push(b"a\x03");
        assert!(!inbox.state().interrupted, "nobody said that it interrupts");
        inbox.interrupt_by(4);
        assert!(!inbox.state().interrupted);
        inbox.interrupt_by(3);
        inbox.interrupted().await;
        assert_eq!(inbox.take().await, Taken::Data(BytesMut::from("a\x03")));
        let typed = Inbox::new(Budget::default());
        typed.interrupt_by(24);
        typed.push(b"\x03");
        assert!(!typed.state().interrupted);
        typed.push(b"\x18");
        typed.interrupted().await;
        let later = Inbox::new(Budget::default());
        later.interrupt_by(3);
        later.push(b"a");
        later.take().await;
        later.push(b"\x03");
        assert!(!later.state().interrupted);
    }
}
