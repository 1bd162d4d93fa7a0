//! The queue between whoever logs and the writer, bounded in bytes. A line that finds no room is dropped and counted.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many bytes of lines may wait for the writer, beside as many that it has in hand.
pub(super) const CAPACITY: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something for the writer to do.
    work: Condvar,
    /// The writer got further.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    reopen: bool,
    closed: bool,
    ended: bool,
    /// Lines ever queued, and of these ever written.
    queued: u64,
    written: u64,
}

/// What the writer is to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Write these lines; then say that `dropped` more found no room.
    Lines {
        /// The lines, each with its newline.
        lines: VecDeque<String>,
        /// How many were dropped behind them.
        dropped: u64,
    },
    /// Open the destination again.
    Reopen,
    /// Nothing more will come.
    End,
}

/// What the writer is to do after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rested {
    /// Try again.
    Again,
    /// Open the destination again, then try.
    Reopen,
    /// Give up: the log was closed.
    Closed,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Queues a line, or counts it as dropped (false). Never waits for the writer.
    pub(super) fn push(&self, line: String) -> bool {
        let mut state = self.lock();
        if state.closed {
            return true;
        }
        if state.bytes + line.len() > CAPACITY {
            state.dropped += 1;
            return false;
        }
        state.bytes += line.len();
        state.queued += 1;
        state.lines.push_back(line);
        self.work.notify_one();
        true
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.work.notify_one();
    }

    /// Takes no more lines; the writer ends when it has written what is there.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.work.notify_one();
    }

    /// Whether everything queued until now was written within `limit`.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let target = self.lock().queued;
        self.wait(limit, |state| state.written >= target)
    }

    /// Whether the writer ended within `limit`, with everything written.
    pub(super) fn ended(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.ended && state.written == state.queued)
    }

    /// What the writer does next; waits for it.
    pub(super) fn take(&self) -> Work {
        let mut state = self.lock();
        loop {
            if mem::take(&mut state.reopen) {
                return Work::Reopen;
            }
            if !state.lines.is_empty() || state.dropped > 0 {
                state.bytes = 0;
                return Work::Lines { lines: mem::take(&mut state.lines), dropped: mem::take(&mut state.dropped) };
            }
            if state.closed {
                return Work::End;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The writer wrote `lines` more lines.
    pub(super) fn wrote(&self, lines: u64) {
        self.lock().written += lines;
        self.progress.notify_all();
    }

    /// The writer is over.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.progress.notify_all();
    }

    /// Lets the writer rest after a failure, until there is something new to try.
    pub(super) fn rest(&self, pause: Duration) -> Rested {
        let until = Instant::now() + pause;
        let mut state = self.lock();
        loop {
            if state.closed {
                return Rested::Closed;
            }
            if mem::take(&mut state.reopen) {
                return Rested::Reopen;
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return Rested::Again };
            state = self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wait(&self, limit: Duration, done: impl Fn(&State) -> bool) -> bool {
        let state = self.lock();
        let waited = self.progress.wait_timeout_while(state, limit, |state| !done(state) && !state.ended);
        done(&waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
