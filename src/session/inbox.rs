//! The data that a client has sent and a program has not taken yet. An inbox never makes its writer wait: the SSH loop
//! pushes and goes on. The memory of all inboxes of a connection is counted in an [`InboxBudget`], by which the SSH side
//! decides how much more it asks for.

use super::queued::{IdentityQueue, QueueUse};
use crate::buffer_pool::BufferPool;
use crate::guest::INPUT_CHUNK;
use bytes::BytesMut;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// The length in bytes from which a packet is taken for one of many, and gets the memory of a whole chunk.
const LONG: usize = 8 * 1024;
/// Limit of the memory that a connection keeps for its next chunks, in bytes: as much as its inboxes hold before the client
/// is held up, and as the client may still send then. So a program that is slower than its client costs no new pages.
const KEPT: usize = 8 * 1024 * 1024;
/// The time without data after which the kept memory is given back.
const QUIET: Duration = Duration::from_secs(1);

/// The count of the memory of all inboxes of one connection, which its identity shares; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct InboxBudget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    bytes: AtomicUsize,
    drained: Notify,
    pool: Mutex<ChunkPool>,
    identity: Arc<IdentityQueue>,
    /// Limit of the memory that the identity's connections keep for their next chunks.
    kept_by_identity: usize,
}

/// The memory of chunks that were taken, for the next ones.
#[derive(Debug, Default)]
struct ChunkPool {
    buffers: BufferPool<INPUT_CHUNK, { KEPT / INPUT_CHUNK }>,
    /// Counts the uses, wrapping.
    used: usize,
}

impl InboxBudget {
    /// No inbox yet. The connections of the identity may keep so many bytes for their next chunks.
    pub(crate) fn of(identity: Arc<IdentityQueue>, kept_by_identity: usize) -> Self {
        let (bytes, drained, pool) = (AtomicUsize::new(0), Notify::new(), Mutex::default());
        Self(Arc::new(BudgetState { bytes, drained, pool, identity, kept_by_identity }))
    }

    /// The memory that the inboxes hold now, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// The memory that the inboxes and those of the whole identity hold now.
    pub(crate) fn in_use(&self) -> QueueUse {
        self.0.identity.seen_by(self.held())
    }

    /// Waits until bytes have been taken out.
    pub(crate) async fn drained(&self) {
        self.0.drained.notified().await;
    }

    /// True while the identity holds so little that chunks may take more memory than their data needs.
    fn has_room(&self) -> bool {
        self.in_use().identity < self.0.kept_by_identity / 2
    }

    /// Takes memory for a whole chunk.
    fn take_memory(&self) -> BytesMut {
        let mut memory = self.0.pool.lock();
        memory.used = memory.used.wrapping_add(1);
        let kept = memory.buffers.len();
        let taken = memory.buffers.take();
        self.0.identity.give_back((kept - memory.buffers.len()) * INPUT_CHUNK);
        taken
    }

    /// Returns the chunk as it is; the rest of a whole chunk's memory is kept for the next.
    fn keep_memory(&self, mut chunk: BytesMut) -> BytesMut {
        if chunk.capacity() < INPUT_CHUNK {
            return chunk;
        }
        let taken = chunk.split();
        let mut memory = self.0.pool.lock();
        if self.0.identity.keep(INPUT_CHUNK, self.0.kept_by_identity) && !memory.buffers.keep(chunk) {
            self.0.identity.give_back(INPUT_CHUNK);
        }
        taken
    }

    /// The count of uses, if any memory is kept.
    fn kept_memory(&self) -> Option<usize> {
        let memory = self.0.pool.lock();
        (!memory.buffers.is_empty()).then_some(memory.used)
    }

    /// Gives the memory back unless it was used after [`InboxBudget::kept_memory`] returned `used`.
    fn give_back(&self, used: usize) {
        let mut memory = self.0.pool.lock();
        if memory.used == used {
            self.clear(&mut memory);
        }
    }

    fn clear(&self, memory: &mut ChunkPool) {
        self.0.identity.give_back(memory.buffers.len() * INPUT_CHUNK);
        memory.buffers.clear();
    }

    /// Gives the memory back when a reader has left, since nobody may be there to notice that all is quiet.
    fn reader_left(&self) {
        if self.held() == 0 {
            self.clear(&mut self.0.pool.lock());
        }
    }

    fn add(&self, bytes: usize) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.0.identity.add(bytes);
    }

    fn remove(&self, bytes: usize) {
        if bytes > 0 {
            self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.0.identity.remove(bytes);
            self.0.drained.notify_waiters();
        }
    }
}

impl Drop for BudgetState {
    fn drop(&mut self) {
        let kept = self.pool.get_mut().buffers.len();
        self.identity.give_back(kept * INPUT_CHUNK);
    }
}

#[cfg(test)]
impl Default for InboxBudget {
    fn default() -> Self {
        Self::of(super::queued::QueuedBytes::new(usize::MAX).of("test"), usize::MAX)
    }
}

/// The inbox of one channel; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Inbox(Arc<InboxShared>);

#[derive(Debug)]
struct InboxShared {
    state: Mutex<InboxState>,
    changed: Notify,
    budget: InboxBudget,
}

#[derive(Debug, Default)]
struct InboxState {
    chunks: VecDeque<BytesMut>,
    /// Memory of the chunks.
    bytes: usize,
    /// Memory of the chunk that was taken last: its reader still has it until it comes back for more.
    in_hand: usize,
    ended: bool,
    refusing: bool,
    /// Set until anything is taken; until then the interrupt key is looked for.
    is_untouched: bool,
    /// Set once data was taken.
    has_taken: bool,
    key: Option<u8>,
    interrupted: bool,
}

impl InboxState {
    fn new() -> Self {
        Self { is_untouched: true, ..Self::default() }
    }

    fn pop(&mut self) -> Option<BytesMut> {
        let chunk = self.chunks.pop_front()?;
        self.bytes -= chunk.capacity();
        self.in_hand = chunk.capacity();
        self.has_taken = true;
        Some(chunk)
    }

    /// Adds data, and returns the memory that this took.
    fn add(&mut self, data: &[u8], budget: &InboxBudget) -> usize {
        let added = match self.chunks.back_mut() {
            // A longer chunk is not made to grow: it would take twice the memory that it needs.
            Some(last) if last.capacity() - last.len() >= data.len() || last.len() + data.len() <= LONG => {
                let before = last.capacity();
                last.extend_from_slice(data);
                last.capacity() - before
            }
            _ => {
                // Where nobody has taken anything yet, a packet may be the last for long.
                let long = (data.len() >= LONG || !self.chunks.is_empty()) && self.has_taken;
                let mut chunk =
                    if long && budget.has_room() { budget.take_memory() } else { BytesMut::with_capacity(data.len()) };
                chunk.extend_from_slice(data);
                let memory = chunk.capacity();
                self.chunks.push_back(chunk);
                memory
            }
        };
        self.bytes += added;
        added
    }
}

/// An item from an inbox.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InboxItem {
    /// The oldest bytes, as one chunk.
    Data(BytesMut),
    /// The end: the client sends nothing more, and everything was taken or refused.
    End,
}

impl Inbox {
    /// Makes an empty inbox, whose bytes count in `budget`.
    pub(crate) fn new(budget: InboxBudget) -> Self {
        Self(Arc::new(InboxShared { state: Mutex::new(InboxState::new()), changed: Notify::new(), budget }))
    }

    /// Adds bytes, or drops them if nobody will take them any more.
    pub(crate) fn push(&self, data: &[u8]) {
        let mut state = self.state();
        if state.refusing || state.ended {
            return;
        }
        state.interrupted |= state.is_untouched && state.key.is_some_and(|key| data.contains(&key));
        let added = state.add(data, &self.0.budget);
        // Before anybody can take it and count it back.
        self.0.budget.add(added);
        drop(state);
        self.0.changed.notify_waiters();
    }

    /// Notes that the client sends nothing more.
    pub(crate) fn end(&self) {
        self.state().ended = true;
        self.0.changed.notify_waiters();
    }

    /// Drops the bytes in the inbox and all that will come: nobody takes them.
    pub(crate) fn refuse(&self) {
        self.state().refusing = true;
        self.discard();
        self.0.changed.notify_waiters();
    }

    /// Drops the bytes in the inbox; those that come later are kept.
    pub(crate) fn discard(&self) {
        let mut state = self.state();
        state.chunks.clear();
        let bytes = std::mem::take(&mut state.bytes) + std::mem::take(&mut state.in_hand);
        drop(state);
        self.0.budget.remove(bytes);
        self.0.budget.reader_left();
    }

    /// Waits for the oldest bytes, or the end. They count until the next call. Cancel-safe.
    pub(crate) async fn take(&self) -> InboxItem {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(taken) = self.try_take() {
                return taken;
            }
            match self.0.budget.kept_memory() {
                None => changed.await,
                Some(used) => {
                    if timeout(QUIET, changed).await.is_err() {
                        self.0.budget.give_back(used);
                    }
                }
            }
        }
    }

    /// Looks for the interrupt key in the data so far and to come, until anything is taken.
    pub(crate) fn interrupt_by(&self, key: u8) {
        let mut state = self.state();
        state.key = Some(key);
        state.interrupted = state.is_untouched && state.chunks.iter().any(|chunk| chunk.contains(&key));
    }

    /// Waits until the interrupt key was typed before anything was taken. Takes nothing. Cancel-safe.
    pub(crate) async fn interrupted(&self) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.state().interrupted {
                return;
            }
            changed.await;
        }
    }

    fn try_take(&self) -> Option<InboxItem> {
        let mut state = self.state();
        state.is_untouched = false;
        let done = std::mem::take(&mut state.in_hand);
        let Some(chunk) = state.pop() else {
            let ended = state.ended || state.refusing;
            drop(state);
            self.0.budget.remove(done);
            if ended {
                self.0.budget.reader_left();
            }
            return ended.then_some(InboxItem::End);
        };
        drop(state);
        self.0.budget.remove(done);
        Some(InboxItem::Data(self.0.budget.keep_memory(chunk)))
    }

    /// Tells whether anybody has taken data.
    pub(crate) fn has_taken(&self) -> bool {
        self.state().has_taken
    }

    fn state(&self) -> MutexGuard<'_, InboxState> {
        self.0.state.lock()
    }
}

impl Drop for InboxShared {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        let bytes = state.bytes + state.in_hand;
        self.budget.remove(bytes);
        self.budget.reader_left();
    }
}

#[cfg(test)]
mod tests;
