//! The queue between the log's handles and its writer, bounded in bytes. If it is full, a line is dropped and counted.

use super::line::LineForm;
use super::sink::LogSink;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
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
    replacement: Option<Replacement>,
    closed: bool,
    ended: bool,
    /// Lines queued since the start; `written` of them are written.
    queued: u64,
    written: u64,
}

/// The destination and form that take the place of the writer's.
struct Replacement {
    /// Lines in the queue that are for the destination before.
    before: usize,
    /// `None` where the destination stays.
    sink: Option<Box<dyn LogSink>>,
    form: LineForm,
}

impl fmt::Debug for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement").field("before", &self.before).finish_non_exhaustive()
    }
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
    /// Takes another destination, or another form.
    Replace,
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
    /// There is another destination, or another form.
    Replace,
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

    /// Has the writer take another destination, or another form alone, once the lines queued before are written; at once if
    /// they cannot be written.
    pub(super) fn replace(&self, sink: Option<Box<dyn LogSink>>, form: LineForm) {
        let mut state = self.state.lock();
        let (before, earlier) = (state.lines.len(), state.replacement.take());
        let sink = sink.or_else(|| earlier?.sink);
        state.replacement = Some(Replacement { before, sink, form });
        self.work.notify_one();
    }

    /// Takes what [`WriterTask::Replace`] is about.
    pub(super) fn take_replacement(&self) -> Option<(Option<Box<dyn LogSink>>, LineForm)> {
        let Replacement { sink, form, .. } = self.state.lock().replacement.take()?;
        Some((sink, form))
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

    /// The lines that a writer which has not ended has not written. The caller gives them up.
    pub(super) fn given_up(&self) -> u64 {
        let state = self.state.lock();
        if state.ended { 0 } else { state.queued - state.written }
    }

    /// Waits for the writer's next task.
    pub(super) fn take(&self) -> WriterTask {
        let mut state = self.state.lock();
        loop {
            if mem::take(&mut state.reopen) {
                return WriterTask::Reopen;
            }
            let before = match &mut state.replacement {
                Some(Replacement { before: 0, .. }) => return WriterTask::Replace,
                Some(replacement) => mem::take(&mut replacement.before),
                None => state.lines.len(),
            };
            if before > 0 || state.dropped > 0 {
                let before = before.min(state.lines.len());
                let rest = state.lines.split_off(before);
                state.bytes = rest.iter().map(String::len).sum();
                return WriterTask::Lines {
                    lines: mem::replace(&mut state.lines, rest),
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
            // One that takes what waits comes before the end.
            if state.replacement.is_some() {
                return RestEnd::Replace;
            }
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
