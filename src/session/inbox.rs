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

/// Ctrl-C as a terminal sends it.
const CTRL_C: u8 = 3;
/// A packet at least this long is one of many, and gets the room of a whole piece.
const LONG: usize = PIECE / 8;
/// After so long without a byte, memory that is kept for the next ones is given back.
const QUIET: Duration = Duration::from_secs(1);

/// How many bytes the inboxes of one connection hold together, and news of it getting less.
#[derive(Debug, Clone, Default)]
pub struct Budget(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    bytes: AtomicUsize,
    drained: Notify,
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

#[derive(Debug)]
struct State {
    pieces: VecDeque<BytesMut>,
    spare: Spare<PIECE>,
    bytes: usize,
    ended: bool,
    refusing: bool,
    /// Nobody has taken anything yet: Ctrl-C is looked for.
    waited_for: bool,
    interrupted: bool,
}

impl State {
    fn new() -> Self {
        Self {
            pieces: VecDeque::new(),
            spare: Spare::default(),
            bytes: 0,
            ended: false,
            refusing: false,
            waited_for: true,
            interrupted: false,
        }
    }

    /// The oldest piece. The memory of one that had the room of a whole is kept for the next.
    fn pop(&mut self) -> Option<BytesMut> {
        let mut piece = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        if piece.capacity() < PIECE {
            return Some(piece);
        }
        let taken = piece.split();
        self.spare.keep(piece);
        Some(taken)
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
        state.interrupted |= state.waited_for && data.contains(&CTRL_C);
        match state.pieces.back_mut() {
            Some(last) if last.len() + data.len() <= PIECE => last.extend_from_slice(data),
            _ => {
                let long = data.len() >= LONG;
                let mut piece = if long { state.spare.take() } else { BytesMut::with_capacity(data.len()) };
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
        state.spare.clear();
        let bytes = std::mem::take(&mut state.bytes);
        drop(state);
        self.0.budget.remove(bytes);
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
            if self.state().spare.is_empty() {
                news.await;
            } else if timeout(QUIET, news).await.is_err() {
                self.state().spare.clear();
            }
        }
    }

    /// Waits until Ctrl-C was typed before anything was taken; takes nothing. Cancel-safe.
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
            if !state.ended {
                return None;
            }
            state.spare.clear();
            return Some(Taken::End);
        };
        drop(state);
        self.0.budget.remove(piece.len());
        Some(Taken::Data(piece))
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
        let inbox = Inbox::new(Budget::default());
        inbox.push(&[0; PIECE]);
        drop(inbox.take().await);
        assert!(!inbox.state().spare.is_empty());
        assert!(timeout(QUIET * 2, inbox.take()).await.is_err(), "there is nothing to take");
        assert!(inbox.state().spare.is_empty());
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
    async fn ctrl_c_is_seen_without_being_taken_and_not_looked_for_later() {
        let inbox = Inbox::new(Budget::default());
        inbox.push(b"a\x03");
        inbox.interrupted().await;
        assert_eq!(inbox.take().await, Taken::Data(BytesMut::from("a\x03")));
        let later = Inbox::new(Budget::default());
        later.push(b"a");
        later.take().await;
        later.push(b"\x03");
        assert!(!later.state().interrupted);
    }
}
