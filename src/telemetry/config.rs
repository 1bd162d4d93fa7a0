//! The log's settings: level, format and destination; and those of the file of events.

use std::fmt;
use std::path::PathBuf;

/// The `log` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    pub level: Level,
    pub format: LogFormat,
    /// `destination`, with the keys that belong to its kind.
    pub destination: LogDestination,
}

/// A log level, most important first; the values are the severities of RFC 5424.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

impl Level {
    /// Returns the name that ContainerSSH writes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Emergency => "emerg",
            Self::Alert => "alert",
            Self::Critical => "crit",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The value of `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object on each line.
    Ljson,
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDestination {
    Stdout,
    /// Appends to a file, which is opened again at SIGHUP.
    File(PathBuf),
    Syslog(Syslog),
}

/// The section `events`, switched on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventsConfig {
    /// Appends to this file, which is opened again at SIGHUP.
    pub file: PathBuf,
    pub format: EventFormat,
    /// Has events show the commands of `exec` requests.
    pub commands: bool,
    /// Has events show the SHA-256 of what was written to a file.
    pub sftp_hash: bool,
}

/// The value of `events.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventFormat {
    /// The gateway's own objects, described in docs/events.md.
    Json,
    /// The classes of the Open Cybersecurity Schema Framework.
    Ocsf,
}

/// The `log.syslog` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    pub destination: SyslogDestination,
    /// The facility's number (RFC 5424 section 6.2.1).
    pub facility: u8,
    /// One printable word of 1 to 48 characters without `:` and `[`.
    pub tag: String,
    /// Adds the process's id to each line.
    pub pid: bool,
}

/// The socket or address of the syslog daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogDestination {
    /// A Unix socket, datagram or stream.
    Socket(PathBuf),
    /// An address as `host:port`.
    Udp(String),
}

impl fmt::Display for SyslogDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Udp(address) => write!(f, "{address} (UDP)"),
        }
    }
}
