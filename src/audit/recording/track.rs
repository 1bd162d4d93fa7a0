//! One file of a recording on its way: the writer, its task, and what is told of it.
//!
//! Invariants: the file is made when the track is begun, by its task; a failure is told once.

use crate::telemetry::{ConnectionLog, codes};
use parking_lot::Mutex;
use podgate_recording::Message;
use podgate_recording::writer::{Failure, Unwritten, Watcher, Writer, WriterTask, Written};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The time at the connection's end for the rest of the recording. It is within the time of a shutdown.
const END: Duration = Duration::from_secs(5);

/// A file that is written.
pub(super) struct Track {
    writer: Writer,
    task: Mutex<Task>,
    report: Report,
}

enum Task {
    /// The file is not begun.
    Waiting(WriterTask),
    Running(JoinHandle<()>),
    /// Taken by whoever waits for its end.
    Taken,
}

/// The part that tells how a file goes.
#[derive(Clone)]
pub(super) struct Report {
    path: String,
    is_required: Arc<AtomicBool>,
    /// Cancelled when the connection has to end.
    failed: CancellationToken,
    /// Set once a failure was told.
    is_told: Arc<AtomicBool>,
    log: ConnectionLog,
}

impl Track {
    pub(super) fn new((writer, task): (Writer, WriterTask), report: Report) -> Self {
        Self { writer, task: Mutex::new(Task::Waiting(task)), report }
    }

    /// Has the file be made, if it is not.
    pub(super) fn begin(&self) {
        let mut task = self.task.lock();
        *task = match std::mem::replace(&mut *task, Task::Taken) {
            Task::Waiting(waiting) => {
                Task::Running(tokio::spawn(write(waiting, self.writer.watcher(), self.report.clone())))
            }
            begun => begun,
        };
    }

    /// True once nothing is left to wait for.
    pub(super) fn is_over(&self) -> bool {
        match &*self.task.lock() {
            Task::Waiting(_) | Task::Taken => true,
            Task::Running(running) => running.is_finished(),
        }
    }

    pub(super) fn push(&self, message: &Message) -> Result<(), Unwritten> {
        self.writer.push(message)
    }

    pub(super) fn push_if_room(&self, message: &Message) -> Result<(), Unwritten> {
        self.writer.push_if_room(message)
    }

    pub(super) async fn push_when_room(&self, message: &Message) -> Result<(), Unwritten> {
        self.writer.push_when_room(message).await
    }

    /// Waits until the kernel has every message so far.
    pub(super) async fn written(&self) -> Result<(), Unwritten> {
        self.begin();
        self.writer.written().await
    }

    pub(super) fn give_up(&self, reason: &str) -> Result<(), Unwritten> {
        self.writer.give_up(reason);
        Err(Unwritten::Failed)
    }

    pub(super) fn standing(&self) -> Result<(), Unwritten> {
        if self.writer.watcher().failure().is_some() { Err(Unwritten::Failed) } else { Ok(()) }
    }

    /// Queues the end behind the last message.
    pub(super) fn seal(&self, time: i64) {
        self.writer.seal(time);
    }

    /// Waits for the end, which was queued.
    pub(super) async fn finish(&self, stuck: &str) {
        let task = std::mem::replace(&mut *self.task.lock(), Task::Taken);
        if let Task::Running(running) = task
            && timeout(END, running).await.is_err()
        {
            self.report.failure(&Failure(format!("{stuck}, and the end is not written yet")));
        }
    }
}

/// Runs the task, and tells of a failure when it happens.
async fn write(task: WriterTask, watcher: Watcher, report: Report) {
    let mut running = Box::pin(task.run());
    let written = tokio::select! {
        biased;
        failure = watcher.failed() => {
            report.failure(&failure);
            running.await
        }
        written = &mut running => {
            if let Some(failure) = watcher.failure() {
                report.failure(&failure);
            }
            written
        }
    };
    report.end(written);
}

impl Report {
    pub(super) fn new(is_required: Arc<AtomicBool>, failed: CancellationToken, log: ConnectionLog) -> Self {
        Self { path: String::new(), is_required, failed, is_told: Arc::default(), log }
    }

    /// The report of the file at a path.
    pub(super) fn of(&self, path: String) -> Self {
        Self { path, is_told: Arc::default(), ..self.clone() }
    }

    /// Tells of the first failure.
    fn failure(&self, Failure(reason): &Failure) {
        if self.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let is_required = self.is_required.load(Ordering::Relaxed);
        let (word, text) = match is_required {
            true => ("required", "the connection ends, because its recording cannot be written"),
            false => ("bestEffort", "the connection goes on without its recording, which cannot be written"),
        };
        self.log.metrics().count_failed_recording(word);
        let details = [("reason", &**reason), ("path", &self.path), ("onFailure", word)];
        self.log.write(codes::AUDIT_RECORDING_FAILED, text, &details);
        if is_required {
            self.failed.cancel();
        }
    }

    fn end(&self, written: Option<Written>) {
        let Some(Written { parts, last_hash, sealed }) = written else { return };
        let parts = parts.to_string();
        let sealed = if sealed { "true" } else { "false" };
        let details = [("path", &*self.path), ("parts", &parts), ("lastHash", &last_hash), ("sealed", sealed)];
        self.log.write(codes::AUDIT_RECORDED, "the recording of the connection is over", &details);
    }
}
