//! The record of what happens on a connection, as typed events. An effect is recorded before it happens, and does not
//! happen if that fails: [`Recorder::record`] returns a result that its caller must look at.
//!
//! Beside it, the events of what was done come into the file of events, as best effort, too.
//!
//! One sink is the connection's log, with ContainerSSH's codes and levels where they mean the same. It is best
//! effort: a log whose queue is full drops the line and counts it, and never refuses. The other, where it is switched on, is
//! the connection's recording, which may refuse.

#[cfg(test)]
pub(crate) mod capture;
mod details;
mod event;
mod event_line;
mod forward_event;
mod line;
mod recording;
mod sftp_trail;
mod traffic;
mod wire_message;

pub(crate) use event::{Event, PresentedKey, ProgramRun, RequestKind};
pub(crate) use forward_event::ForwardEvent;
pub(crate) use line::denied_code;
pub(crate) use recording::{Recordings, RecordingsError};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use sftp_trail::fuzz as fuzz_sftp_trail;
pub(crate) use traffic::Traffic;
pub(crate) use wire_message::{DataStream, WireMessage, WireSize};

use crate::guest::{Guest, Refusal};
use crate::telemetry::metrics::{MeasuredStep, StepOutcome};
use crate::telemetry::{ConnectionLog, EventFile, StepTimer, TracedEnd};
use crate::types::{ConnectionId, OnFailure, Secret};
use bytes::Bytes;
use details::cut;
use event_line::Origin;
use jiff::Timestamp;
use parking_lot::Mutex;
use recording::Recording;
use sftp_trail::{Sender, SftpTrail};
use std::borrow::Cow;
use std::fmt::{self, Debug, Formatter};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};
use tokio_util::sync::CancellationToken;

/// A destination of events.
pub(crate) trait Sink: Debug + Send + Sync {
    /// Takes an event, of the connection or of the channel with that number, or refuses it.
    fn record(&self, channel: Option<u32>, event: &Event<'_>) -> Result<(), Unrecorded>;
}

/// The error of an event that could not be recorded. Its text may be shown to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the gateway cannot record what happens here, and so does not let it happen")]
pub(crate) struct Unrecorded;

impl From<Unrecorded> for Refusal {
    fn from(error: Unrecorded) -> Self {
        Self::new(error.to_string())
    }
}

/// Writes the event's line. The number of a channel is not part of it.
impl Sink for ConnectionLog {
    fn record(&self, _channel: Option<u32>, event: &Event<'_>) -> Result<(), Unrecorded> {
        let (code, message) = event.head();
        let details = event.details();
        let shown: Vec<(&str, Cow<'_, str>)> = details.iter().map(|(label, value)| (*label, cut(value))).collect();
        let details: Vec<(&str, &str)> = shown.iter().map(|(label, value)| (*label, value.as_ref())).collect();
        self.write(code, message, &details);
        Ok(())
    }
}

/// The recorder of a connection's events, or of those of one of its channels; cheap to clone.
#[derive(Clone)]
pub(crate) struct Recorder {
    sink: Arc<dyn Sink>,
    channel: Option<u32>,
    log: ConnectionLog,
    /// The timer from the login to the first program.
    waiting: Arc<Mutex<Option<StepTimer>>>,
    failed: CancellationToken,
    recording: Option<Arc<Recording>>,
    /// The guest, once there is one.
    guest: Arc<OnceLock<Weak<dyn Guest>>>,
    /// The operations of the channel's SFTP session, where they are followed.
    files: Option<Arc<Mutex<SftpTrail>>>,
}

impl Debug for Recorder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Makes a recorder that writes to the connection's log.
    pub(crate) fn new(log: ConnectionLog) -> Self {
        Self::with_sink(Arc::new(log.clone()), log)
    }

    /// Makes a recorder with another sink; `log` has the metrics.
    fn with_sink(sink: Arc<dyn Sink>, log: ConnectionLog) -> Self {
        Self {
            sink,
            channel: None,
            log,
            waiting: Arc::default(),
            failed: CancellationToken::new(),
            recording: None,
            guest: Arc::default(),
            files: None,
        }
    }

    /// The recorder for the channel with that number.
    pub(crate) fn channel(&self, number: u32) -> Self {
        Self { channel: Some(number), ..self.clone() }
    }

    /// The same recorder for a channel's SFTP session, whose data it follows where events are on.
    pub(crate) fn following_sftp(&self) -> Self {
        let trail = |file: Arc<EventFile>| Arc::new(Mutex::new(SftpTrail::new(file.config().sftp_hash)));
        Self { files: self.log.events().map(trail), ..self.clone() }
    }

    /// Ends what follows the channel's SFTP session.
    pub(crate) fn end_sftp(&self) {
        let left = self.files.as_ref().map(|files| files.lock().end());
        left.iter().flatten().for_each(|operation| self.note(Event::File(operation)));
    }

    /// Follows data of the channel's SFTP session.
    fn follow(&self, stream: DataStream, data: &[u8]) {
        let Some(files) = &self.files else { return };
        let sender = match stream {
            DataStream::Stdin => Sender::Client,
            DataStream::Stdout => Sender::Guest,
            DataStream::Stderr | DataStream::ForwardIn | DataStream::ForwardOut => return,
        };
        let (over, lost) = files.lock().follow(sender, data);
        over.iter().for_each(|operation| self.note(Event::File(operation)));
        if let Some(reason) = lost {
            self.note(Event::FilesNotFollowed { reason });
        }
    }

    /// The same recorder with a recording of the connection.
    pub(crate) fn with_recording(self, recordings: &Recordings, connection: (ConnectionId, IpAddr)) -> Self {
        let recording = Recording::new(recordings, connection, &self.log, &self.failed);
        Self { recording: Some(Arc::new(recording)), ..self }
    }

    /// Records something before it happens. What acts beyond this process is for [`Recorder::record_effect`].
    ///
    /// # Errors
    /// A sink refuses; the effect must not happen, and the connection will be ended ([`Recorder::failed`]).
    pub(crate) fn record(&self, event: Event<'_>) -> Result<(), Unrecorded> {
        self.record_in_recording(&event)?;
        self.record_in_sink(&event)
    }

    /// Records an effect before it happens, and waits until the recording has it. Only then the log has it.
    ///
    /// # Errors
    /// As [`Recorder::record`].
    pub(crate) async fn record_effect(&self, event: Event<'_>) -> Result<(), Unrecorded> {
        self.record_in_recording(&event)?;
        if let Some(recording) = &self.recording {
            self.or_failed(recording.written(self.channel).await)?;
        }
        self.record_in_sink(&event)
    }

    /// Records something that has happened already. If a sink refuses, nothing can be held back any more, and the
    /// connection is ended ([`Recorder::failed`]).
    pub(crate) fn note(&self, event: Event<'_>) {
        if self.record_in_recording(&event).and(self.record_in_sink(&event)).is_err() {
            // `failed` is cancelled, on which the supervisor ends the connection.
        }
    }

    fn record_in_sink(&self, event: &Event<'_>) -> Result<(), Unrecorded> {
        self.measure(event);
        self.trace(event);
        self.write_event(event);
        self.or_failed(self.sink.record(self.channel, event))
    }

    /// Adds what is over to the connection's trace.
    fn trace(&self, event: &Event<'_>) {
        match event {
            Event::ProgramEnded { exit, run } => self.log.trace_program(|| run.traced(TracedEnd::from(*exit))),
            Event::ProgramLeft { run } => self.log.trace_program(|| run.traced(TracedEnd::Left)),
            Event::Disconnected { reason, .. } => self.log.end_trace(*reason),
            _ => {}
        }
    }

    /// Writes what is over into the file of events.
    fn write_event(&self, event: &Event<'_>) {
        if !event_line::has_line(event) {
            return;
        }
        let Some(file) = self.log.events() else { return };
        let (subject, channel, now) = (self.log.subject(), self.channel, Timestamp::now());
        let pod = self.guest.get().and_then(Weak::upgrade).and_then(|guest| guest.pod());
        if let Some(line) = event_line::line(event, &Origin { subject, channel, pod, now }, file.config()) {
            file.write(line);
        }
    }

    fn record_in_recording(&self, event: &Event<'_>) -> Result<(), Unrecorded> {
        match &self.recording {
            Some(recording) => self.or_failed(recording.event(self.channel, event)),
            None => Ok(()),
        }
    }

    fn or_failed(&self, recorded: Result<(), Unrecorded>) -> Result<(), Unrecorded> {
        recorded.inspect_err(|_| self.failed.cancel())
    }

    /// Records a wire message, for which there is no event, before its effect.
    ///
    /// # Errors
    /// As [`Recorder::record`].
    pub(crate) async fn wire(&self, message: WireMessage<'_>) -> Result<(), Unrecorded> {
        match &self.recording {
            Some(recording) => self.or_failed(recording.wire(self.channel, &message).await),
            None => Ok(()),
        }
    }

    /// Records a wire message that has no effect any more.
    pub(crate) fn note_wire(&self, message: WireMessage<'_>) {
        if let Some(recording) = &self.recording {
            // As for `note`.
            let _ = self.or_failed(recording.wire_now(self.channel, &message));
        }
    }

    /// Records data before it goes on, and waits for room in the queue.
    ///
    /// # Errors
    /// As [`Recorder::record`].
    pub(crate) async fn data(&self, stream: DataStream, data: &[u8]) -> Result<(), Unrecorded> {
        self.follow(stream, data);
        match &self.recording {
            Some(recording) if recording.takes(stream) => {
                let data = Bytes::copy_from_slice(data);
                self.or_failed(recording.data(self.channel, stream, data).await)
            }
            _ => Ok(()),
        }
    }

    /// Takes the credential of the present attempt to log in, which the recording's messages name.
    pub(crate) fn present(&self, username: &str, key: Option<&str>, password: Option<&Secret>) {
        if let Some(recording) = &self.recording {
            recording.present(username, key, password);
        }
    }

    /// Takes the connection's guest, whose pod events name. The first one counts.
    pub(crate) fn set_guest(&self, guest: Weak<dyn Guest>) {
        let _ = self.guest.set(guest);
    }

    /// Takes the connection's own consequence of a recording that fails, instead of the file's.
    pub(crate) fn set_on_failure(&self, on_failure: OnFailure) {
        if let Some(recording) = &self.recording {
            recording.set_on_failure(on_failure);
        }
    }

    /// Ends the recording behind the connection's last event, and waits for its files.
    pub(crate) async fn finish(&self) {
        if let Some(recording) = &self.recording {
            recording.finish().await;
        }
    }

    /// Waits until an event could not be recorded.
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    fn measure(&self, event: &Event<'_>) {
        let outcome = match event {
            Event::AuthSucceeded { .. } => {
                *self.waiting.lock() = Some(self.log.step(MeasuredStep::FirstProgram));
                return;
            }
            Event::ProgramStarted { .. } => StepOutcome::Success,
            Event::ProgramRefused { .. } => StepOutcome::Failed,
            Event::Disconnected { .. } => StepOutcome::Abandoned,
            _ => return,
        };
        if let Some(timer) = self.waiting.lock().take() {
            timer.end(outcome);
        }
    }
}

#[cfg(test)]
mod tests;
