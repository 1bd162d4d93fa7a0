//! Recorders for tests: one whose log lines can be read, and one that refuses some events.

use super::{Event, Recorder, Sink, Unrecorded};
use crate::telemetry::capture::{self, CapturedLog};
use crate::telemetry::{Log, LogFormat};
use crate::types::ConnectionId;
use parking_lot::Mutex;
use std::sync::Arc;

/// The lines of one recorder.
pub(crate) struct Recorded {
    log: Log,
    captured: CapturedLog,
}

impl Recorded {
    /// Every line so far, in the text format.
    pub(crate) fn text(&self) -> String {
        self.captured.text(&self.log)
    }
}

/// Makes a recorder into memory, and its lines.
pub(crate) fn recorder() -> (Recorder, Recorded) {
    let (log, captured) = capture::log(LogFormat::Text);
    let remote = ([192, 0, 2, 7], 1).into();
    (Recorder::new(log.connection(ConnectionId::random(), remote)), Recorded { log, captured })
}

/// A sink that refuses some events and remembers the others.
#[derive(Debug)]
pub(crate) struct RefusingSink {
    refuses: fn(&Event<'_>) -> bool,
    taken: Mutex<Vec<String>>,
}

impl RefusingSink {
    /// The events so far, each as its channel and its debug text.
    pub(crate) fn events(&self) -> Vec<String> {
        self.taken.lock().clone()
    }
}

impl Sink for RefusingSink {
    fn record(&self, channel: Option<u32>, event: &Event<'_>) -> Result<(), Unrecorded> {
        if (self.refuses)(event) {
            return Err(Unrecorded);
        }
        self.taken.lock().push(format!("{channel:?} {event:?}"));
        Ok(())
    }
}

/// Makes a recorder that cannot record the events that `refuses` picks.
pub(crate) fn refusing(refuses: fn(&Event<'_>) -> bool) -> (Recorder, Arc<RefusingSink>) {
    let (log, _) = capture::log(LogFormat::Text);
    let log = log.connection(ConnectionId::random(), ([192, 0, 2, 7], 1).into());
    let sink = Arc::new(RefusingSink { refuses, taken: Mutex::default() });
    (Recorder::with_sink(sink.clone(), log), sink)
}
