//! The log: the gateway's, so that both programs' lines look alike.

use podgate::{Code, Level, Log, LogConfig, LogDestination, LogError, LogFormat};
use podgate_webhooks::journal::{self, Journal, JournalEvent};

/// Opens the log on standard output.
pub(crate) fn open(level: Level, format: LogFormat) -> Result<Log, LogError> {
    Log::open(&LogConfig { level, format, destination: LogDestination::Stdout })
}

/// The log as the server knows it.
#[derive(Debug)]
pub(crate) struct Operator(pub(crate) Log);

impl Journal for Operator {
    fn write(&self, event: JournalEvent<'_>) {
        let level = match event.level {
            journal::JournalLevel::Error => Level::Error,
            journal::JournalLevel::Warning => Level::Warning,
            journal::JournalLevel::Info => Level::Info,
            journal::JournalLevel::Debug => Level::Debug,
        };
        self.0.write(Code::external(event.code, level), event.message, event.details);
    }
}

/// Reads `--log-level`.
pub(crate) fn level(text: &str) -> Result<Level, &'static str> {
    match text {
        "error" => Ok(Level::Error),
        "warning" => Ok(Level::Warning),
        "info" => Ok(Level::Info),
        "debug" => Ok(Level::Debug),
        _ => Err("it is error, warning, info or debug"),
    }
}

/// Reads `--log-format`.
pub(crate) fn format(text: &str) -> Result<LogFormat, &'static str> {
    match text {
        "ljson" => Ok(LogFormat::Ljson),
        "text" => Ok(LogFormat::Text),
        _ => Err("it is ljson or text"),
    }
}
