//! `log`: how much is said, how it looks and where it goes.

use super::reader::Section;
use super::{Level, Log, LogDestination, LogFormat};
use crate::types::printable;
use serde_json::Value;
use std::path::PathBuf;

const FILE: &str = "/var/log/containerssh/containerssh.log";

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
    syslog(&section.section("syslog"));
    let words = [("stdout", Destination::Stdout), ("file", Destination::File), ("syslog", Destination::Syslog)];
    let destination = match section.choice("destination", &words).unwrap_or(Destination::Stdout) {
        Destination::Stdout => LogDestination::Stdout,
        Destination::File => LogDestination::File(PathBuf::from(file.unwrap_or(FILE))),
        Destination::Syslog => {
            section.error("destination", "syslog is not built yet; use stdout (journald takes it) or file");
            LogDestination::Stdout
        }
    };
    if destination == LogDestination::Stdout && file.is_some() {
        section.notice("file", "has no effect without destination: file");
    }
    Log { level, format: format.unwrap_or(LogFormat::Ljson), destination }
}

/// `level` alone: a name, or 0 (emerg) to 7 (debug).
pub(crate) fn level(section: &Section<'_>) -> Level {
    let Some(value) = section.value("level") else { return Level::Notice };
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => {
            section.error("level", "must be a name, or 0 (emerg) to 7 (debug)");
            return Level::Notice;
        }
    };
    let by_number = || text.parse::<usize>().ok().and_then(|number| LEVELS.iter().rev().nth(number));
    match LEVELS.iter().find(|(name, _)| *name == text).or_else(by_number) {
        Some((_, level)) => *level,
        None if text.is_empty() => Level::Notice,
        None => {
            let names: Vec<_> = LEVELS.iter().map(|(name, _)| *name).collect();
            let shown = printable(&text, 64);
            section.error("level", format!("{shown:?} is not one of {}, nor 7 to 0", names.join(", ")));
            Level::Notice
        }
    }
}

fn syslog(section: &Section<'_>) {
    let _ = section.text("destination");
    let _ = section.text("tag");
    let _ = section.flag("pid");
    let _ = section.choice("facility", &FACILITIES.map(|name| (name, ())));
    if section.is_set() {
        section.notice("destination", "syslog is not built yet: these keys have no effect");
    }
}
