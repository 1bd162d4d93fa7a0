//! A log in memory, at level `info`, that is read after every step.

use crate::telemetry::{Level, Log, LogError, LogFormat};
use crate::types::{printable, quoted};
use parking_lot::Mutex;
use serde_json::Value;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// Limit for writing the lines of a step to memory.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// Details of every line of a connection, left out of displayed lines.
const COMMON_DETAILS: [&str; 4] = ["connectionId", "remoteAddr", "username", "authenticatedUsername"];
/// Limit of a displayed value, in characters.
const MAX_VALUE: usize = 2000;

/// Reader of the log's lines.
#[derive(Debug)]
pub(in crate::app) struct StepLog {
    log: Log,
    written: LogBuffer,
}

type LogBuffer = Arc<Mutex<Vec<u8>>>;

/// The log's destination: keeps the lines and reports a failed try at once.
struct StepLogWriter<N> {
    written: LogBuffer,
    on_retry: N,
}

impl<N: Fn(&str)> Write for StepLogWriter<N> {
    /// Expects whole lines, as the log writes them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.lock().extend_from_slice(bytes);
        for line in lines(bytes).iter().filter(|line| is_failed_try(line)) {
            (self.on_retry)(&display_line(line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl StepLog {
    /// Creates a log and its reader. `on_retry` is called for each failed try of a server that is followed by another.
    pub(in crate::app) fn log(on_retry: impl Fn(&str) + Send + 'static) -> Result<(Log, Self), LogError> {
        let written = LogBuffer::default();
        let writer = StepLogWriter { written: Arc::clone(&written), on_retry };
        let log = Log::to_sink(Level::Info, LogFormat::Ljson, writer)?;
        Ok((log.clone(), Self { log, written }))
    }

    /// Removes and returns the lines since the last call.
    pub(in crate::app) async fn take(&self) -> Vec<Value> {
        let log = self.log.clone();
        // After a timeout, only the lines that have reached memory are returned.
        let _ = tokio::task::spawn_blocking(move || log.flush(FLUSH_LIMIT)).await;
        lines(&std::mem::take(&mut *self.written.lock()))
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn is_failed_try(line: &Value) -> bool {
    line.pointer("/details/try").is_some()
}

/// Formats a line for people: level, code, message, and the details that other lines lack.
pub(super) fn display_line(line: &Value) -> String {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let details = line.get("details").and_then(Value::as_object).into_iter().flatten();
    let own = details.filter(|(name, _)| !COMMON_DETAILS.contains(&name.as_str()));
    let own: Vec<String> = own
        .map(|(name, value)| format!("{name}={}", quoted(&printable(value.as_str().unwrap_or_default(), MAX_VALUE))))
        .collect();
    let own = if own.is_empty() { String::new() } else { format!(" ({})", own.join(" ")) };
    format!("{} {} {}{own}", text("level"), text("code"), text("message"))
}

/// True for a line of level `warning` or more severe.
pub(super) fn is_warning(line: &Value) -> bool {
    !matches!(line.get("level").and_then(Value::as_str), Some("info" | "notice" | "debug") | None)
}
