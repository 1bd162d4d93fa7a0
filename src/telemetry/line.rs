//! How a line looks. Whatever a value holds, an event is one line, and nothing in it reaches a terminal as a command:
//! control characters are escaped, and a value is cut at [`VALUE_LIMIT`] bytes.

use super::syslog::Envelope;
use crate::config::{Level, LogFormat};
use crate::types::is_hidden;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fmt::Write;
use std::sync::Arc;

/// Where a message or a value is cut, in bytes.
const VALUE_LIMIT: usize = 8 * 1024;

/// What the destination takes.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// Lines with date and level.
    Lines(LogFormat),
    /// Lines whose date and level are in syslog's header.
    Syslog(Arc<Envelope>, LogFormat),
}

/// One event on its way to a line.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) level: Level,
    pub(super) code: &'static str,
    pub(super) message: &'a str,
    /// Labels in the order of the line. Where a name comes twice, the first stands.
    pub(super) details: &'a [(&'a str, &'a str)],
}

impl Line<'_> {
    /// The line with its newline, stamped with the present time.
    pub(super) fn render(&self, shape: &Shape) -> String {
        let mut line = match shape {
            Shape::Lines(LogFormat::Ljson) => self.json(Some(&now())),
            Shape::Lines(LogFormat::Text) => format!("{}\t{}\t{}", now(), name(self.level), self.text()),
            Shape::Syslog(envelope, format) => {
                let body = match format {
                    LogFormat::Ljson => self.json(None),
                    LogFormat::Text => self.text(),
                };
                envelope.head(self.level, self.code) + &body
            }
        };
        line.push('\n');
        line
    }

    fn json(&self, timestamp: Option<&str>) -> String {
        let line = Json {
            timestamp,
            level: timestamp.map(|_| name(self.level)),
            code: self.code,
            message: cut(self.message),
            details: Details(self),
        };
        // A struct of texts always has a JSON form; an empty line would say nothing, so the code stands in for it.
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
struct Json<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'a str>,
    code: &'a str,
    message: &'a str,
    details: Details<'a>,
}

struct Details<'a>(&'a Line<'a>);

impl Serialize for Details<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (label, value) in self.0.labels() {
            map.serialize_entry(label, cut(value))?;
        }
        map.end()
    }
}

/// RFC 3339 in milliseconds and the local zone, `Z` for UTC.
fn now() -> String {
    let now = jiff::Zoned::now();
    let format = if now.offset().is_zero() { "%Y-%m-%dT%H:%M:%S.%3fZ" } else { "%Y-%m-%dT%H:%M:%S.%3f%:z" };
    now.strftime(format).to_string()
}

/// The level's name, as ContainerSSH writes it.
pub(super) fn name(level: Level) -> &'static str {
    match level {
        Level::Emergency => "emerg",
        Level::Alert => "alert",
        Level::Critical => "crit",
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Notice => "notice",
        Level::Info => "info",
        Level::Debug => "debug",
    }
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

/// A value as it is where it is one word, else in quotes.
fn quoted(value: &str) -> String {
    let word = |c: char| !c.is_whitespace() && !matches!(c, '"' | '=' | '(' | ')' | '\\');
    if !value.is_empty() && value.chars().all(word) {
        return plain(value);
    }
    format!("\"{}\"", plain(&value.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// serde_json leaves DEL, C1 and what nobody sees as they are. They can only stand inside strings.
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
