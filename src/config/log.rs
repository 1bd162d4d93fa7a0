//! `log`: how much is said, how it looks and where it goes.

use super::address::is_host_port;
use crate::schema::Section;
use crate::settings::log_level;
use crate::telemetry::{LogConfig, LogDestination, LogFormat, Syslog, SyslogDestination};
use std::path::PathBuf;

/// The longest APP-NAME of RFC 5424.
const TAG_LENGTH: usize = 48;

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

/// Reads the section `log`; `None` was reported.
pub(super) fn read(section: &Section<'_>) -> Option<LogConfig> {
    let level = log_level(section);
    let format = section.choice("format", &[("ljson", LogFormat::Ljson), ("text", LogFormat::Text)]);
    let file = section.text("file");
    let block = section.section("syslog");
    let syslog = syslog(&block);
    let words = [("stdout", Destination::Stdout), ("file", Destination::File), ("syslog", Destination::Syslog)];
    let destination = match section.choice("destination", &words)? {
        Destination::Stdout => LogDestination::Stdout,
        Destination::File => LogDestination::File(PathBuf::from(file?)),
        Destination::Syslog => LogDestination::Syslog(syslog?),
    };
    if !matches!(destination, LogDestination::File(_)) && section.has_text("file") {
        section.notice("file", "has no effect without destination: file");
    }
    if !matches!(destination, LogDestination::Syslog(_)) && block.is_set() {
        block.notice("destination", "has no effect without log.destination: syslog");
    }
    Some(LogConfig { level: level?, format: format?, destination })
}

/// Reads `syslog`, whether lines go there or not; `None` was reported.
fn syslog(section: &Section<'_>) -> Option<Syslog> {
    let facilities: Vec<_> = FACILITIES.into_iter().zip(0_u8..).collect();
    let tag = section.text("tag");
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, ':' | '[');
    if tag.is_some_and(|tag| tag.len() > TAG_LENGTH || !tag.chars().all(fits)) {
        section.error("tag", "must be one printable word of at most 48 characters without ':' and '['");
    }
    let destination = section.text("destination");
    if destination.is_some_and(|text| !text.starts_with('/') && !is_host_port(text)) {
        section.error("destination", "must be the path of a socket, or host:port for UDP");
    }
    let (facility, pid) = (section.choice("facility", &facilities), section.flag("pid"));
    let destination = match destination? {
        socket if socket.starts_with('/') => SyslogDestination::Socket(PathBuf::from(socket)),
        address => SyslogDestination::Udp(address.to_owned()),
    };
    Some(Syslog { destination, facility: facility?, tag: tag?.to_owned(), pid })
}
