//! The record of what happens on a connection, as typed events. An effect is recorded before it happens, and does not
//! happen if that fails: [`Recorder::record`] returns a result that its caller must look at.
//!
//! There is one sink, the connection's log, with ContainerSSH's codes and levels where they mean the same. It is best
//! effort: a log whose queue is full drops the line and counts it, and never refuses.

#[cfg(test)]
pub(crate) mod capture;
mod details;
mod event;
mod forward_event;
mod line;
mod traffic;

pub(crate) use event::{Event, PresentedKey, RequestKind};
pub(crate) use forward_event::ForwardEvent;
pub(crate) use line::denied_code;
pub(crate) use traffic::Traffic;

use crate::guest::Refusal;
use crate::telemetry::ConnectionLog;
use crate::telemetry::metrics::{MeasuredStep, StepOutcome, StepTimer};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Limit of a value in a line, in characters.
const LONGEST_VALUE: usize = 4096;

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

/// Cuts a value that a stranger made long: one request shall not fill a disk.
fn cut(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => Cow::Owned(format!("{}…", value.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(value),
    }
}

/// The recorder of a connection's events, or of those of one of its channels; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recorder {
    sink: Arc<dyn Sink>,
    channel: Option<u32>,
    log: ConnectionLog,
    /// The timer from the login to the first program.
    waiting: Arc<Mutex<Option<StepTimer>>>,
    failed: CancellationToken,
}

impl Recorder {
    /// Makes a recorder that writes to the connection's log.
    pub(crate) fn new(log: ConnectionLog) -> Self {
        Self::with_sink(Arc::new(log.clone()), log)
    }

    /// Makes a recorder with another sink; `log` has the metrics.
    fn with_sink(sink: Arc<dyn Sink>, log: ConnectionLog) -> Self {
        Self { sink, channel: None, log, waiting: Arc::default(), failed: CancellationToken::new() }
    }

    /// The recorder for the channel with that number.
    pub(crate) fn channel(&self, number: u32) -> Self {
        Self { channel: Some(number), ..self.clone() }
    }

    /// Records an effect before it happens.
    ///
    /// # Errors
    /// The sink refuses; the effect must not happen, and the connection will be ended ([`Recorder::failed`]).
    pub(crate) fn record(&self, event: Event<'_>) -> Result<(), Unrecorded> {
        self.measure(&event);
        self.sink.record(self.channel, &event).inspect_err(|_| self.failed.cancel())
    }

    /// Records something that has happened already. If the sink refuses, nothing can be held back any more, and the
    /// connection is ended ([`Recorder::failed`]).
    pub(crate) fn note(&self, event: Event<'_>) {
        if self.record(event).is_err() {
            // `record` has cancelled `failed`, on which the supervisor ends the connection.
        }
    }

    /// Waits until an event could not be recorded.
    pub(crate) async fn failed(&self) {
        self.failed.cancelled().await;
    }

    fn measure(&self, event: &Event<'_>) {
        let outcome = match event {
            Event::AuthSucceeded { .. } => {
                *self.waiting.lock() = Some(self.log.metrics().step(MeasuredStep::FirstProgram));
                return;
            }
            Event::ProgramStarted { .. } => StepOutcome::Success,
            Event::ProgramRefused { .. } => StepOutcome::Failed,
            _ => return,
        };
        if let Some(timer) = self.waiting.lock().take() {
            timer.end(outcome);
        }
    }
}

#[cfg(test)]
mod tests;
