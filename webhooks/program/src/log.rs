//! The log: the gateway's, so that both programs' lines look alike.

use podgate::config::{self, Level, LogDestination, LogFormat};
use podgate::telemetry::{Log, LogError};
use podgate_webhooks::journal::{self, Event, Journal};

/// Opens the log on standard output.
pub(crate) fn open(level: Level, format: LogFormat) -> Result<Log, LogError> {
    Log::open(&config::Log { level, format, destination: LogDestination::Stdout })
}

/// The log as the server knows it.
#[derive(Debug)]
pub(crate) struct Operator(pub(crate) Log);

impl Journal for Operator {
    fn write(&self, event: Event<'_>) {
        let level = match event.level {
            journal::Level::Error => Level::Error,
            journal::Level::Warning => Level::Warning,
            journal::Level::Info => Level::Info,
            journal::Level::Debug => Level::Debug,
        };
        self.0.write(level, event.code, event.message, event.details);
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
