//! `log`: how much is said, how it looks and where it goes.

use super::reader::Section;
use super::ssh::is_host_port;
use super::{Level, Log, LogDestination, LogFormat, Syslog, SyslogDestination};
use crate::types::{printable, quoted};
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;

const FILE: &str = "/var/log/containerssh/containerssh.log";
const SOCKET: &str = "/dev/log";
/// An operator's filters know the lines by it, so it is ContainerSSH's.
const TAG: &str = "ContainerSSH";
/// The longest APP-NAME of RFC 5424.
const TAG_LENGTH: usize = 48;

/// The level where none is set. ContainerSSH's is `notice`, which says nothing of a login; a file that states it keeps it.
const DEFAULT: Level = Level::Info;

const LEVELS: [(&str, Level); 8] = [
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("notice", Level::Notice),
    ("warning", Level::Warning),
    ("error", Level::Error),
    ("crit", Level::Critical),
    ("alert", Level::Alert),
    ("emerg", Level::Emergency),
];

/// By their numbers (RFC 5424 section 6.2.1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "logaudit", "logalert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

#[derive(Clone, Copy, PartialEq)]
enum Destination {
    Stdout,
    File,
    Syslog,
}

/// Reads the section.
pub(super) fn read(section: &Section<'_>) -> Log {
    let level = level(section);
    let format = section.choice("format", &[("ljson", LogFormat::Ljson), ("text", LogFormat::Text)]);
    let file = section.text("file");
    let block = section.section("syslog");
    let syslog = syslog(&block);
    let words = [("stdout", Destination::Stdout), ("file", Destination::File), ("syslog", Destination::Syslog)];
    let destination = match section.choice("destination", &words).unwrap_or(Destination::Stdout) {
        Destination::Stdout => LogDestination::Stdout,
        Destination::File => LogDestination::File(PathBuf::from(file.unwrap_or(FILE))),
        Destination::Syslog => LogDestination::Syslog(syslog),
    };
    if !matches!(destination, LogDestination::File(_)) && file.is_some() {
        section.notice("file", "has no effect without destination: file");
    }
    if !matches!(destination, LogDestination::Syslog(_)) && block.is_set() {
        block.notice("destination", "has no effect without log.destination: syslog");
    }
    Log { level, format: format.unwrap_or(LogFormat::Ljson), destination }
}

/// `level` alone: a name, or 0 (emerg) to 7 (debug).
pub(crate) fn level(section: &Section<'_>) -> Level {
    let Some(value) = section.value("level") else { return DEFAULT };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => {
            section.error("level", "must be a name, or 0 (emerg) to 7 (debug)");
            return DEFAULT;
        }
    };
    let by_number = || text.parse::<usize>().ok().and_then(|number| LEVELS.iter().rev().nth(number));
    match LEVELS.iter().find(|(name, _)| *name == text).or_else(by_number) {
        Some((_, level)) => *level,
        None if text.is_empty() => DEFAULT,
        None => {
            let names: Vec<_> = LEVELS.iter().map(|(name, _)| *name).collect();
            let shown = printable(&text, 64);
            section.error("level", format!("{} is not one of {}, nor 7 to 0", quoted(&shown), names.join(", ")));
            DEFAULT
        }
    }
}

/// `syslog`, whether lines go there or not.
fn syslog(section: &Section<'_>) -> Syslog {
    let facilities: Vec<_> = FACILITIES.into_iter().zip(0_u8..).collect();
    let tag = section.text("tag").unwrap_or(TAG);
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | '[');
    if tag.len() > TAG_LENGTH || !tag.chars().all(fits) {
        section.error("tag", "must be one printable word of at most 48 characters without ':' and '['");
    }
    let destination = section.text("destination").unwrap_or(SOCKET);
    let destination = if destination.starts_with('/') {
        SyslogDestination::Socket(PathBuf::from(destination))
    } else {
        if !is_host_port(destination) {
            section.error("destination", "must be the path of a socket, or host:port for UDP");
        }
        SyslogDestination::Udp(destination.to_owned())
    };
    Syslog {
        destination,
        facility: section.choice("facility", &facilities).unwrap_or(4),
        tag: tag.to_owned(),
        pid: section.flag("pid").unwrap_or(false),
    }
}

impl fmt::Display for SyslogDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Udp(address) => write!(f, "{address} (UDP)"),
        }
    }
}
