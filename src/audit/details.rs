//! The parts that the lines of several kinds of events share, in the log and in the file of events.

use crate::telemetry::{Code, Level};
use std::borrow::Cow;
use std::time::Duration;

/// Limit of a value in a line, in characters.
const LONGEST_VALUE: usize = 4096;

pub(super) type LineDetails<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Lowers a line to debug where another line has reported the same event.
pub(super) fn unless(logged: bool, code: Code) -> Code {
    if logged { code.at(Level::Debug) } else { code }
}

/// Formats a duration as ContainerSSH's configuration writes one, to the millisecond.
pub(super) fn seconds(duration: Duration) -> Cow<'static, str> {
    format!("{:.3}s", duration.as_secs_f64()).into()
}

/// Cuts a value that a stranger made long: one request shall not fill a disk.
pub(super) fn cut(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => Cow::Owned(format!("{}…", value.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(value),
    }
}
