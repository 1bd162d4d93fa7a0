//! The formats of a line. An event is always one line and cannot control a terminal: control and invisible characters are
//! escaped, and a value is cut at [`VALUE_LIMIT`] bytes.

use super::{Code, LogFormat, Syslog, SyslogDestination};
use crate::types::is_hidden;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fmt::Write;
use std::fs;
use std::sync::Arc;

/// Limit of a message or a value, in bytes.
const VALUE_LIMIT: usize = 8 * 1024;
/// Limit of the MSGID, in characters (RFC 5424 section 6).
const MESSAGE_ID: usize = 32;

/// The form of the lines of a destination.
#[derive(Debug, Clone)]
pub(super) enum LineForm {
    /// Lines with date and level.
    Lines(LogFormat),
    /// Lines whose date and level are in syslog's header.
    Syslog(Arc<SyslogHeader>, LogFormat),
}

/// The constant fields of the header that precedes each message. For the local socket it is that of syslog(3) (a BSD date,
/// no host), because journald and rsyslog both show an RFC 5424 header there as part of the message; over UDP it is that
/// of RFC 5424.
#[derive(Debug)]
pub(super) struct SyslogHeader {
    facility: u8,
    tag: String,
    pid: Option<u32>,
    /// The host's name in the form of RFC 5424, `None` in that of syslog(3).
    host: Option<String>,
}

impl SyslogHeader {
    pub(super) fn new(config: &Syslog) -> Self {
        let host = match config.destination {
            SyslogDestination::Socket(_) => None,
            SyslogDestination::Udp(_) => Some(host()),
        };
        Self { facility: config.facility, tag: config.tag.clone(), pid: config.pid.then(std::process::id), host }
    }

    /// Formats the header with the present time and a space at the end.
    pub(super) fn format(&self, code: Code) -> String {
        let priority = u32::from(self.facility) * 8 + code.level() as u32;
        let (now, tag) = (jiff::Zoned::now(), &self.tag);
        let Some(host) = &self.host else {
            let pid = self.pid.map(|pid| format!("[{pid}]")).unwrap_or_default();
            return format!("<{priority}>{} {tag}{pid}: ", now.strftime("%b %e %H:%M:%S"));
        };
        let pid = self.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let id = &code.name()[..code.name().floor_char_boundary(MESSAGE_ID)];
        format!("<{priority}>1 {} {host} {tag} {pid} {id} - ", now.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z"))
    }
}

/// The host's name as RFC 5424 requires it: one printable word of at most 255 characters, or `-`.
fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let word = (1..=255).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    if word { name.to_owned() } else { "-".to_owned() }
}

/// An event to be formatted as a line.
#[derive(Debug)]
pub(super) struct LogLine<'a> {
    pub(super) code: Code,
    pub(super) message: &'a str,
    /// Labels in the order of the line. Of equal names, the first counts.
    pub(super) details: &'a [(&'a str, &'a str)],
}

impl LogLine<'_> {
    /// Formats the line with the present time and a newline.
    pub(super) fn render(&self, form: &LineForm) -> String {
        let mut line = match form {
            LineForm::Lines(LogFormat::Ljson) => self.json(Some(&now())),
            LineForm::Lines(LogFormat::Text) => format!("{}\t{}\t{}", now(), self.code.level().name(), self.text()),
            LineForm::Syslog(header, format) => {
                let body = match format {
                    LogFormat::Ljson => self.json(None),
                    LogFormat::Text => self.text(),
                };
                header.format(self.code) + &body
            }
        };
        line.push('\n');
        line
    }

    fn json(&self, timestamp: Option<&str>) -> String {
        let line = JsonLine {
            timestamp,
            level: timestamp.map(|_| self.code.level().name()),
            code: self.code.name(),
            message: cut(self.message),
            details: JsonDetails(self),
        };
        // A struct of texts always has a JSON form. If it ever had none, the line would be the code alone.
        let text = serde_json::to_string(&line).unwrap_or_else(|_| format!("{{\"code\":\"{}\"}}", self.code));
        escape_in_json(text)
    }

    fn text(&self) -> String {
        let mut line = format!("{} (code={}", plain(cut(self.message)), self.code);
        for (label, value) in self.labels() {
            line.push(' ');
            line.push_str(label);
            line.push('=');
            line.push_str(&quoted(cut(value)));
        }
        line.push(')');
        line
    }

    fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        let first = |at: usize| !self.details[..at].iter().any(|(label, _)| *label == self.details[at].0);
        self.details.iter().enumerate().filter(move |(at, _)| first(*at)).map(|(_, detail)| *detail)
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'a str>,
    code: &'a str,
    message: &'a str,
    details: JsonDetails<'a>,
}

struct JsonDetails<'a>(&'a LogLine<'a>);

impl Serialize for JsonDetails<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (label, value) in self.0.labels() {
            map.serialize_entry(label, cut(value))?;
        }
        map.end()
    }
}

/// The present time in RFC 3339 with milliseconds, in the local zone, `Z` for UTC.
fn now() -> String {
    let now = jiff::Zoned::now();
    let format = if now.offset().is_zero() { "%Y-%m-%dT%H:%M:%S.%3fZ" } else { "%Y-%m-%dT%H:%M:%S.%3f%:z" };
    now.strftime(format).to_string()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(VALUE_LIMIT)]
}

fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut plain, c| {
        if is_hidden(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
        plain
    })
}

/// Puts a value in quotes unless it is one word.
fn quoted(value: &str) -> String {
    let word = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '(' | ')' | '\\');
    if !value.is_empty() && value.chars().all(word) {
        return plain(value);
    }
    format!("\"{}\"", plain(&value.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Escapes DEL, C1 and invisible characters, which serde_json does not; they occur only inside strings.
fn escape_in_json(text: String) -> String {
    if !text.contains(is_hidden) {
        return text;
    }
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        if is_hidden(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        } else {
            escaped.push(c);
        }
        escaped
    })
}
