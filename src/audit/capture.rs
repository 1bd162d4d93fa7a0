//! A recorder whose lines a test can read, for modules that know the log only as [`Recorder`].

use super::Recorder;
use crate::config::LogFormat;
use crate::telemetry::Log;
use crate::telemetry::capture::{self, Captured};
use crate::types::ConnectionId;

/// The lines of one recorder.
pub(crate) struct Recorded {
    log: Log,
    captured: Captured,
}

impl Recorded {
    /// Every line so far, in the text format.
    pub(crate) fn text(&self) -> String {
        self.captured.text(&self.log)
    }
}

/// A recorder into memory, and its lines.
pub(crate) fn recorder() -> (Recorder, Recorded) {
    let (log, captured) = capture::log(LogFormat::Text);
    let remote = ([192, 0, 2, 7], 1).into();
    (Recorder::new(log.connection(ConnectionId::random(), remote)), Recorded { log, captured })
}
