//! The line of an event in the file of events: one for each program, forward and operation on a file, when it is over. It is
//! made by a pure function of the event and its [`Origin`], in the form that the operator chose.
//!
//! Invariants: a line is one JSON object; text of a client's or a guest's is a string in it, cut at a limit, and is read back
//! as it came; no line holds data that was typed, shown or carried.

mod native;
mod ocsf;
mod origin;

use super::event::{Event, RequestKind};
use super::forward_event::ForwardEvent;
use crate::telemetry::{EventFormat, EventsConfig};
pub(super) use origin::Origin;

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
            | Event::Denied { request: RequestKind::Program(_) | RequestKind::Dial(_), .. }
            | Event::File(_)
            | Event::FilesNotFollowed { .. }
            | Event::Forward(ForwardEvent::ForwardEnded { .. } | ForwardEvent::DialRefused { .. })
    )
}

#[cfg(test)]
mod tests;
