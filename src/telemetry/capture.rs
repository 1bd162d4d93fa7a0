//! A log that tests can read.

use super::Log;
use crate::config::{Level, LogFormat};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a captured log wrote.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// Everything that `log` was given until now.
    pub(crate) fn text(&self, log: &Log) -> String {
        assert!(log.flush(Duration::from_secs(10)), "the log was not written");
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// A log in `format` that keeps every level.
pub(crate) fn log(format: LogFormat) -> (Log, Captured) {
    let captured = Captured::default();
    (Log::to_sink(Level::Debug, format, captured.clone()).unwrap(), captured)
}
