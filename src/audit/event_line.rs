//! The line of an event in the file of events: one for each program, forward and operation on a file, when it is over. It is
//! made by a pure function of the event and its [`Origin`], in the form that the operator chose.
//!
//! Invariants: a line is one JSON object; text of a client's or a guest's is a string in it, cut at a limit, and is read back
//! as it came; no line holds data that was typed, shown or carried.

mod native;
mod ocsf;

use super::Event;
use super::cut;
use super::forward_event::ForwardEvent;
use crate::policy::ProgramRequest;
use crate::telemetry::{EventFormat, EventsConfig, LogSubject};
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// The facts about an event's connection.
#[derive(Debug, Default)]
pub(super) struct Origin {
    pub(super) subject: LogSubject,
    pub(super) channel: Option<u32>,
    /// As `namespace/name`.
    pub(super) pod: Option<String>,
    pub(super) now: Timestamp,
}

/// The line of an event without its newline; `None` for an event that has none.
pub(super) fn line(event: &Event<'_>, origin: &Origin, config: &EventsConfig) -> Option<String> {
    let value = match config.format {
        EventFormat::Json => native::object(event, origin, config.commands),
        EventFormat::Ocsf => ocsf::object(event, origin, config.commands),
    };
    value.map(|value| value.to_string())
}

/// Tells whether an event has a line.
pub(super) fn has_line(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::ProgramEnded { .. }
            | Event::ProgramLeft { .. }
            | Event::ProgramRefused { .. }
            | Event::Forward(ForwardEvent::ForwardEnded { .. } | ForwardEvent::DialRefused { .. })
    )
}

/// The word of a request and its text: the command, where it may be shown, or the subsystem.
fn words(request: &ProgramRequest, commands: bool) -> (&'static str, Option<Cow<'_, str>>) {
    match request {
        ProgramRequest::Shell => ("shell", None),
        ProgramRequest::Exec(command) => ("exec", commands.then(|| cut(command))),
        ProgramRequest::Subsystem(name) => ("subsystem", Some(cut(name))),
    }
}

/// The moment at which something began that ends now.
fn begun(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_sub(duration).unwrap_or(now)
}

/// Inserts what is known.
fn insert(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let (Value::Object(object), value) = (object, value.into())
        && !value.is_null()
    {
        object.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
