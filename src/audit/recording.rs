//! The recording of a connection: the second sink of its events, and that of its data.
//!
//! Invariants: a message is queued before its effect, and under `required` an effect waits until the kernel has it; data
//! and requests wait for room in the queue, so memory is bounded; a secret of the client's is in no message unless the
//! operator asked for it. The file of a connection is begun with the first attempt to log in, and that of a program with the
//! start of it: whoever only opens connections makes none.

mod payload;
mod requests;
mod track;
mod tracks;

use super::wire_message::{DataStream, WireMessage};
use super::{Event, Unrecorded};
use crate::policy::ProgramRequest;
use crate::telemetry::{ConnectionLog, Log, codes};
use crate::types::{ConnectionId, Intercept, OnFailure, RecordingFormat, RecordingPlan, Secret};
use bytes::Bytes;
use parking_lot::Mutex;
use payload::Facts;
use podgate_recording::file::{Directory, DirectoryError};
use podgate_recording::writer::Unwritten;
use podgate_recording::{KeyError, Message, Payload, SealKey};
use requests::{Presented, Requests};
use std::fmt::{self, Debug, Formatter};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use track::{Report, Track};
use tracks::Tracks;

/// The time for which a connection waits for a disk that takes nothing, if it must be recorded.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where the connection goes on without a recording.
const LITTLE_PATIENCE: Duration = Duration::from_secs(5);
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
    format: RecordingFormat,
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
        Ok(Self { format: plan.format, directory, intercept: plan.intercept, on_failure: plan.on_failure })
    }

    /// Tells in the gateway's log that connections are recorded.
    pub(crate) fn tell(&self, log: &Log) {
        let directory = self.directory.path_of("").display().to_string();
        let format = match self.format {
            RecordingFormat::Binary => "binary",
            RecordingFormat::Asciicast => "asciinema",
        };
        let signed = if self.directory.is_signing() { "true" } else { "false" };
        let details = [("directory", &*directory), ("format", format), ("signed", signed)];
        log.write(codes::AUDIT_ENABLED, "connections are recorded", &details);
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
    is_required: Arc<AtomicBool>,
    tracks: Tracks,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requests: Requests,
    presented: Presented,
}

impl Debug for Recording {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("id", &self.id).finish_non_exhaustive()
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
        let Recordings { format, directory, intercept, on_failure } = recordings;
        let id = id.to_string();
        let is_required = Arc::new(AtomicBool::new(*on_failure == OnFailure::Required));
        let report = Report::new(is_required.clone(), failed.clone(), log.clone());
        let tracks = Tracks::new(*format, directory.clone(), id.clone(), report);
        Self { id, remote, intercept: *intercept, is_required, tracks, state: Mutex::default() }
    }

    /// Takes the connection's own consequence of a failure.
    pub(super) fn set_on_failure(&self, on_failure: OnFailure) {
        self.is_required.store(on_failure == OnFailure::Required, Ordering::Relaxed);
    }

    /// Takes the credential of an attempt to log in.
    pub(super) fn present(&self, username: &str, key: Option<&str>, password: Option<&Secret>) {
        let password = password.filter(|_| self.intercept.passwords).cloned();
        let (username, key) = (username.to_owned(), key.unwrap_or_default().to_owned());
        self.state.lock().presented = Presented { username, key, password };
    }

    /// Queues the message of an event at once.
    pub(super) fn event(&self, channel: Option<u32>, event: &Event<'_>) -> Result<(), Unrecorded> {
        if let Event::Disconnected { reason: Some(reason), .. } = event {
            self.push(channel, Payload::ConnectionEnded { reason: (*reason).to_owned() })?;
        }
        let payload = {
            let State { presented, requests } = &mut *self.state.lock();
            let (remote, intercept) = (self.remote, self.intercept);
            payload::of_event(event, &mut Facts { remote, channel, presented, requests, intercept })
        };
        match event {
            Event::TerminalOpened { .. } | Event::EnvSet { .. } => self.tracks.accept(channel),
            Event::ProgramStarting { request, .. } => return self.begin_program(channel, request),
            _ => {}
        }
        let recorded = match payload {
            Some(payload) => self.push(channel, payload),
            None => self.judge(self.tracks.standing(channel)),
        };
        if payload::refuses_program(event) {
            self.tracks.refuse_program(channel);
        }
        recorded
    }

    fn begin_program(&self, channel: Option<u32>, request: &ProgramRequest) -> Result<(), Unrecorded> {
        let number = self.state.lock().requests.program(channel);
        let message = self.message(channel, payload::of_program(request, number));
        self.judge(self.tracks.begin_program(channel, &message))
    }

    /// Queues a wire message once there is room.
    pub(super) async fn wire(&self, channel: Option<u32>, message: &WireMessage<'_>) -> Result<(), Unrecorded> {
        let payload = self.payload_of_wire(channel, message);
        self.push_when_room(channel, payload).await
    }

    /// Queues a wire message that nothing waits for.
    pub(super) fn wire_now(&self, channel: Option<u32>, message: &WireMessage<'_>) -> Result<(), Unrecorded> {
        let payload = self.payload_of_wire(channel, message);
        self.push(channel, payload)
    }

    fn payload_of_wire(&self, channel: Option<u32>, message: &WireMessage<'_>) -> Payload {
        let State { presented, requests } = &mut *self.state.lock();
        let (remote, intercept) = (self.remote, self.intercept);
        payload::of_wire(message, &mut Facts { remote, channel, presented, requests, intercept })
    }

    /// Tells whether the data of a stream is recorded.
    pub(super) fn takes(&self, stream: DataStream) -> bool {
        match stream {
            DataStream::Stdin => self.intercept.stdin,
            DataStream::Stdout => self.intercept.stdout,
            DataStream::Stderr => self.intercept.stderr,
            // Such a channel has no asciicast.
            DataStream::ForwardIn | DataStream::ForwardOut => {
                self.intercept.forwarding && self.tracks.takes_forwarding()
            }
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
        self.push_when_room(channel, Payload::Io { stream, data }).await?;
        if is_input { self.written(channel).await } else { Ok(()) }
    }

    /// Waits until the kernel has every message so far that is in the channel's file, where that is required.
    pub(super) async fn written(&self, channel: Option<u32>) -> Result<(), Unrecorded> {
        if !self.is_required() {
            return Ok(());
        }
        let Some(track) = self.tracks.of(channel) else { return Ok(()) };
        let written = match timeout(PATIENCE, track.written()).await {
            Ok(written) => written,
            Err(_elapsed) => track.give_up(STUCK),
        };
        self.judge(written)
    }

    /// Ends the recording and waits for its files.
    pub(super) async fn finish(&self) {
        self.tracks.finish(now(), STUCK).await;
    }

    fn push(&self, channel: Option<u32>, payload: Payload) -> Result<(), Unrecorded> {
        let message = self.message(channel, payload);
        self.judge(self.tracks.push(channel, &message, Track::push))
    }

    async fn push_when_room(&self, channel: Option<u32>, payload: Payload) -> Result<(), Unrecorded> {
        let message = self.message(channel, payload);
        let pushed = match self.tracks.push(channel, &message, Track::push_if_room) {
            Err(Unwritten::Full) => self.push_late(channel, &message).await,
            pushed => pushed,
        };
        self.judge(pushed)
    }

    async fn push_late(&self, channel: Option<u32>, message: &Message) -> Result<(), Unwritten> {
        let Some(track) = self.tracks.of(channel) else { return Ok(()) };
        let patience = if self.is_required() { PATIENCE } else { LITTLE_PATIENCE };
        match timeout(patience, track.push_when_room(message)).await {
            Ok(pushed) => pushed,
            Err(_elapsed) => track.give_up(STUCK),
        }
    }

    fn judge(&self, queued: Result<(), Unwritten>) -> Result<(), Unrecorded> {
        match queued {
            Err(_) if self.is_required() => Err(Unrecorded),
            // The report of the failure is the task's.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn is_required(&self) -> bool {
        self.is_required.load(Ordering::Relaxed)
    }

    fn message(&self, channel: Option<u32>, payload: Payload) -> Message {
        Message { connection: self.id.clone(), timestamp: now(), channel: channel.map(u64::from), payload }
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
