//! A log that tests can read.

use super::Log;
use super::{Level, LogFormat};
use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// The written lines of a log; clones share them.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl Write for CapturedLog {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CapturedLog {
    /// Returns the lines written until now, once `log` has written all that are queued.
    pub(crate) fn text(&self, log: &Log) -> String {
        assert!(log.flush(Duration::from_secs(10)), "the log was not written");
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

/// Starts a log of all levels in `format`.
pub(crate) fn log(format: LogFormat) -> (Log, CapturedLog) {
    let captured = CapturedLog::default();
    (Log::to_sink(Level::Debug, format, captured.clone()).unwrap(), captured)
}
