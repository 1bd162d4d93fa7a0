//! The recording of a connection: the second sink of its events, and that of its data.
//!
//! Invariants: a message is queued before its effect, and under `required` an effect waits until the kernel has it; data
//! and requests wait for room in the queue, so memory is bounded; a secret of the client's is in no message unless the
//! operator asked for it. The files are begun with the first attempt to log in: whoever only opens connections makes none.

mod payload;
mod requests;

use super::wire_message::{DataStream, WireMessage};
use super::{Event, Unrecorded};
use crate::telemetry::{ConnectionLog, codes};
use crate::types::{ConnectionId, Intercept, OnFailure, RecordingPlan, Secret};
use bytes::Bytes;
use parking_lot::Mutex;
use payload::Facts;
use podgate_recording::file::{Directory, DirectoryError};
use podgate_recording::writer::{Failure, Unwritten, Watcher, Writer, WriterTask, Written, writer};
use podgate_recording::{KeyError, Message, Payload, SealKey};
use requests::{Presented, Requests};
use std::fmt::{self, Debug, Formatter};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The time for which a connection waits for a disk that takes nothing, if it must be recorded.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where the connection goes on without a recording.
const LITTLE_PATIENCE: Duration = Duration::from_secs(5);
/// The time at the connection's end for the rest of the recording. It is within the time of a shutdown.
const END: Duration = Duration::from_secs(5);

const STUCK: &str = "the disk takes nothing";

/// The error of a configuration that nothing can be recorded by.
#[derive(Debug, thiserror::Error)]
pub enum RecordingsError {
    #[error("audit.sealKey: {0}")]
    Key(#[from] KeyError),
    #[error("audit.file.directory: {0}")]
    Directory(#[from] DirectoryError),
}

/// The place of all recordings, and what they have.
#[derive(Debug)]
pub(crate) struct Recordings {
    directory: Directory,
    intercept: Intercept,
    on_failure: OnFailure,
}

impl Recordings {
    /// Opens the directory, which must take files.
    ///
    /// # Errors
    /// The directory takes none, or the key is none.
    pub(crate) fn open(plan: &RecordingPlan) -> Result<Self, RecordingsError> {
        let key = plan.key.as_ref().map(seal_key).transpose()?;
        let directory = Directory::open(plan.directory.clone(), key.map(Arc::new))?;
        Ok(Self { directory, intercept: plan.intercept, on_failure: plan.on_failure })
    }

    /// The fault of the key, which is known without a look at the disk.
    pub(crate) fn fault(plan: &RecordingPlan) -> Option<RecordingsError> {
        Some(seal_key(plan.key.as_ref()?).err()?.into())
    }
}

fn seal_key(pem: &Secret) -> Result<SealKey, KeyError> {
    SealKey::parse(pem.expose())
}

/// The recording of one connection.
pub(crate) struct Recording {
    id: String,
    remote: IpAddr,
    intercept: Intercept,
    writer: Writer,
    state: Mutex<State>,
    report: Report,
}

#[derive(Default)]
struct State {
    /// The task, until the files are begun.
    task: Option<WriterTask>,
    running: Option<JoinHandle<()>>,
    requests: Requests,
    presented: Presented,
}

/// The part that tells how the recording goes.
#[derive(Clone)]
struct Report {
    path: String,
    is_required: Arc<AtomicBool>,
    /// Cancelled when the connection has to end.
    failed: CancellationToken,
    /// Set once a failure was told.
    is_told: Arc<AtomicBool>,
    log: ConnectionLog,
}

impl Debug for Recording {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("path", &self.report.path).finish_non_exhaustive()
    }
}

impl Recording {
    /// Makes the recording of a connection, whose end `failed` asks for.
    pub(super) fn new(
        recordings: &Recordings,
        (id, remote): (ConnectionId, IpAddr),
        log: &ConnectionLog,
        failed: &CancellationToken,
    ) -> Self {
        let Recordings { directory, intercept, on_failure } = recordings;
        let id = id.to_string();
        let (begun, name) = (directory.clone(), id.clone());
        let (writer, task) = writer(move || begun.begin(&name));
        let report = Report {
            path: directory.path_of(&id).display().to_string(),
            is_required: Arc::new(AtomicBool::new(*on_failure == OnFailure::Required)),
            failed: failed.clone(),
            is_told: Arc::default(),
            log: log.clone(),
        };
        let state = Mutex::new(State { task: Some(task), ..State::default() });
        Self { id, remote, intercept: *intercept, writer, state, report }
    }

    /// Takes the connection's own consequence of a failure.
    pub(super) fn set_on_failure(&self, on_failure: OnFailure) {
        self.report.is_required.store(on_failure == OnFailure::Required, Ordering::Relaxed);
    }

    /// Takes the credential of an attempt to log in.
    pub(super) fn present(&self, username: &str, key: Option<&str>, password: Option<&Secret>) {
        let password = password.filter(|_| self.intercept.passwords).cloned();
        let (username, key) = (username.to_owned(), key.unwrap_or_default().to_owned());
        self.state.lock().presented = Presented { username, key, password };
    }

    /// Queues the message of an event at once.
    pub(super) fn event(&self, channel: Option<u32>, event: &Event<'_>) -> Result<(), Unrecorded> {
        let payload = {
            let State { presented, requests, .. } = &mut *self.state.lock();
            let (remote, intercept) = (self.remote, self.intercept);
            payload::of_event(event, &mut Facts { remote, channel, presented, requests, intercept })
        };
        let Some(payload) = payload else { return self.judge(self.standing()) };
        let begins =
            !matches!(payload, Payload::Connect { .. } | Payload::Disconnect {} | Payload::HandshakeFailed { .. });
        let pushed = self.writer.push(&self.message(channel, payload));
        if begins {
            self.begin();
        }
        self.judge(pushed)
    }

    /// Queues a wire message once there is room.
    pub(super) async fn wire(&self, channel: Option<u32>, message: &WireMessage<'_>) -> Result<(), Unrecorded> {
        let payload = self.payload_of_wire(channel, message);
        self.push_when_room(&self.message(channel, payload)).await
    }

    /// Queues a wire message that nothing waits for.
    pub(super) fn wire_now(&self, channel: Option<u32>, message: &WireMessage<'_>) -> Result<(), Unrecorded> {
        let payload = self.payload_of_wire(channel, message);
        self.judge(self.writer.push(&self.message(channel, payload)))
    }

    fn payload_of_wire(&self, channel: Option<u32>, message: &WireMessage<'_>) -> Payload {
        let State { presented, requests, .. } = &mut *self.state.lock();
        let (remote, intercept) = (self.remote, self.intercept);
        payload::of_wire(message, &mut Facts { remote, channel, presented, requests, intercept })
    }

    /// Tells whether the data of a stream is recorded.
    pub(super) fn takes(&self, stream: DataStream) -> bool {
        match stream {
            DataStream::Stdin => self.intercept.stdin,
            DataStream::Stdout => self.intercept.stdout,
            DataStream::Stderr => self.intercept.stderr,
            DataStream::ForwardIn | DataStream::ForwardOut => self.intercept.forwarding,
        }
    }

    /// Queues data once there is room. Input, by which a client acts, waits until the kernel has it where that is required: a
    /// client that fills the disk could else act once more without a trace.
    pub(super) async fn data(&self, channel: Option<u32>, stream: DataStream, data: Bytes) -> Result<(), Unrecorded> {
        let is_input = matches!(stream, DataStream::Stdin | DataStream::ForwardIn);
        let stream = match stream {
            DataStream::Stdin | DataStream::ForwardIn => 0,
            DataStream::Stdout | DataStream::ForwardOut => 1,
            DataStream::Stderr => 2,
        };
        self.push_when_room(&self.message(channel, Payload::Io { stream, data })).await?;
        if is_input { self.written().await } else { Ok(()) }
    }

    /// Waits until the kernel has every message so far, where that is required.
    pub(super) async fn written(&self) -> Result<(), Unrecorded> {
        if !self.is_required() {
            return Ok(());
        }
        self.begin();
        let written = match timeout(PATIENCE, self.writer.written()).await {
            Ok(written) => written,
            Err(_elapsed) => self.give_up(),
        };
        self.judge(written)
    }

    /// Ends the recording and waits for its files.
    pub(super) async fn finish(&self) {
        self.writer.seal(now());
        let running = self.state.lock().running.take();
        if let Some(running) = running
            && timeout(END, running).await.is_err()
        {
            let failure = Failure(format!("{STUCK}, and the end is not written yet"));
            self.report.failure(&failure);
        }
    }

    async fn push_when_room(&self, message: &Message) -> Result<(), Unrecorded> {
        let pushed = match self.writer.push_if_room(message) {
            Err(Unwritten::Full) => {
                let patience = if self.is_required() { PATIENCE } else { LITTLE_PATIENCE };
                match timeout(patience, self.writer.push_when_room(message)).await {
                    Ok(pushed) => pushed,
                    Err(_elapsed) => self.give_up(),
                }
            }
            pushed => pushed,
        };
        self.judge(pushed)
    }

    fn give_up(&self) -> Result<(), Unwritten> {
        self.writer.give_up(STUCK);
        Err(Unwritten::Failed)
    }

    fn standing(&self) -> Result<(), Unwritten> {
        if self.writer.watcher().failure().is_some() { Err(Unwritten::Failed) } else { Ok(()) }
    }

    fn judge(&self, queued: Result<(), Unwritten>) -> Result<(), Unrecorded> {
        match queued {
            Err(_) if self.is_required() => Err(Unrecorded),
            // The report of the failure is the task's.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn is_required(&self) -> bool {
        self.report.is_required.load(Ordering::Relaxed)
    }

    fn message(&self, channel: Option<u32>, payload: Payload) -> Message {
        Message { connection: self.id.clone(), timestamp: now(), channel: channel.map(u64::from), payload }
    }

    fn begin(&self) {
        let mut state = self.state.lock();
        let Some(task) = state.task.take() else { return };
        state.running = Some(tokio::spawn(write(task, self.writer.watcher(), self.report.clone())));
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

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
