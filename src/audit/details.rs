//! The parts that the lines of several kinds of events share.

use crate::telemetry::{Code, Level};
use std::borrow::Cow;
use std::time::Duration;

pub(super) type LineDetails<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// Lowers a line to debug where another line has reported the same event.
pub(super) fn unless(logged: bool, code: Code) -> Code {
    if logged { code.at(Level::Debug) } else { code }
}

/// Formats a duration as ContainerSSH's configuration writes one, to the millisecond.
pub(super) fn seconds(duration: Duration) -> Cow<'static, str> {
    format!("{:.3}s", duration.as_secs_f64()).into()
}
