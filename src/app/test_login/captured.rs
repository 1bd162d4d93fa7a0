//! A log that is kept in memory, taken step by step. Its lines are those that an operator reads at level `info`.

use crate::config::{Level, LogFormat};
use crate::telemetry::{Log, LogError};
use crate::types::{printable, quoted};
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Limit for writing the lines of a step.
const WRITTEN: Duration = Duration::from_secs(5);
/// Details that are the same in every line of a connection.
const COMMON: [&str; 4] = ["connectionId", "remoteAddr", "username", "authenticatedUsername"];
/// The longest value that is shown, in characters.
const VALUE: usize = 2000;

/// Takes the lines that were written since the last time.
#[derive(Debug)]
pub(super) struct Captured {
    log: Log,
    written: Written,
}

type Written = Arc<Mutex<Vec<u8>>>;

/// The log's end: keeps the lines, and tells at once of a try that failed.
struct Sink<N> {
    written: Written,
    news: N,
}

impl<N: Fn(&str)> Write for Sink<N> {
    /// The log writes whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        for line in lines(bytes).iter().filter(|line| is_failed_try(line)) {
            (self.news)(&shown(line));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    /// A log and what is written to it; `news` hears of each try of a server that failed and is followed by another.
    pub(super) fn log(news: impl Fn(&str) + Send + 'static) -> Result<(Log, Self), LogError> {
        let written = Written::default();
        let sink = Sink { written: Arc::clone(&written), news };
        let log = Log::to_sink(Level::Info, LogFormat::Ljson, sink)?;
        Ok((log.clone(), Self { log, written }))
    }

    /// The lines since the last time, as JSON.
    pub(super) async fn take(&self) -> Vec<Value> {
        let log = self.log.clone();
        // A writer that cannot write into memory in time has told nothing; what it has told is taken.
        let _ = tokio::task::spawn_blocking(move || log.flush(WRITTEN)).await;
        lines(&std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

fn is_failed_try(line: &Value) -> bool {
    line.pointer("/details/try").is_some()
}

/// A line for a person: level, code, message, and the details that are its own.
pub(super) fn shown(line: &Value) -> String {
    let text = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or_default();
    let details = line.get("details").and_then(Value::as_object).into_iter().flatten();
    let own = details.filter(|(name, _)| !COMMON.contains(&name.as_str()));
    let own: Vec<String> = own
        .map(|(name, value)| format!("{name}={}", quoted(&printable(value.as_str().unwrap_or_default(), VALUE))))
        .collect();
    let own = if own.is_empty() { String::new() } else { format!(" ({})", own.join(" ")) };
    format!("{} {} {}{own}", text("level"), text("code"), text("message"))
}

/// True for a line that tells the operator of something that is not as it should be.
pub(super) fn is_warning(line: &Value) -> bool {
    !matches!(line.get("level").and_then(Value::as_str), Some("info" | "notice" | "debug") | None)
}
