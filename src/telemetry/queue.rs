//! The queue between the log's handles and its writer, bounded in bytes. If it is full, a line is dropped and counted.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

/// Limit of the queued lines, in bytes. The writer may hold as many again.
pub(super) const CAPACITY: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    /// Wakes the writer for a new task.
    work: Condvar,
    /// Wakes [`Queue::wait`] when lines are written or the writer has ended.
    progress: Condvar,
}

#[derive(Debug, Default)]
struct QueueState {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: u64,
    reopen: bool,
    closed: bool,
    ended: bool,
    /// Lines queued since the start; `written` of them are written.
    queued: u64,
    written: u64,
}

/// A task for the writer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WriterTask {
    /// Writes lines, then reports the number of those dropped behind them.
    Lines {
        /// Each with its newline.
        lines: VecDeque<String>,
        dropped: u64,
    },
    /// Opens the destination again.
    Reopen,
    /// Ends the writer: the log is closed and the queue empty.
    End,
}

/// The event that ends the writer's rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RestEnd {
    /// The pause is over.
    Again,
    /// The destination is to be opened again.
    Reopen,
    /// The log was closed, so the writer gives up.
    Closed,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Queues a line, or counts it as dropped and returns false. Never waits for the writer.
    pub(super) fn push(&self, line: String) -> bool {
        let mut state = self.state.lock();
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
        self.state.lock().reopen = true;
        self.work.notify_one();
    }

    /// Accepts no more lines; the writer ends after those already queued.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.work.notify_one();
    }

    /// Waits at most `limit` for the lines queued until now, and returns true if they are written.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let target = self.state.lock().queued;
        self.wait(limit, |state| state.written >= target)
    }

    /// Waits at most `limit` for the writer's end, and returns true if it has ended with all lines written.
    pub(super) fn ended(&self, limit: Duration) -> bool {
        self.wait(limit, |state| state.ended && state.written == state.queued)
    }

    /// Waits for the writer's next task.
    pub(super) fn take(&self) -> WriterTask {
        let mut state = self.state.lock();
        loop {
            if mem::take(&mut state.reopen) {
                return WriterTask::Reopen;
            }
            if !state.lines.is_empty() || state.dropped > 0 {
                state.bytes = 0;
                return WriterTask::Lines {
                    lines: mem::take(&mut state.lines),
                    dropped: mem::take(&mut state.dropped),
                };
            }
            if state.closed {
                return WriterTask::End;
            }
            self.work.wait(&mut state);
        }
    }

    /// Records that the writer has written this number of lines.
    pub(super) fn wrote(&self, lines: u64) {
        self.state.lock().written += lines;
        self.progress.notify_all();
    }

    /// Records that the writer has ended.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.progress.notify_all();
    }

    /// Waits after a failure of the destination, at most for `pause`.
    pub(super) fn rest(&self, pause: Duration) -> RestEnd {
        let until = Instant::now() + pause;
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return RestEnd::Closed;
            }
            if mem::take(&mut state.reopen) {
                return RestEnd::Reopen;
            }
            if self.work.wait_until(&mut state, until).timed_out() {
                return RestEnd::Again;
            }
        }
    }

    fn wait(&self, limit: Duration, done: impl Fn(&QueueState) -> bool) -> bool {
        let mut state = self.state.lock();
        self.progress.wait_while_for(&mut state, |state| !done(state) && !state.ended, limit);
        done(&state)
    }
}
