//! The facts about an event's connection, and the parts that both forms of events share.

use crate::audit::details::cut;
use crate::policy::ProgramRequest;
use crate::telemetry::LogSubject;
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::time::Duration;

/// The facts about an event's connection.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(crate) subject: LogSubject,
    pub(crate) channel: Option<u32>,
    /// As `namespace/name`.
    pub(crate) pod: Option<String>,
    pub(crate) now: Timestamp,
}

/// The word of a request and its text: the command, where it may be shown, or the subsystem.
pub(super) fn words(request: &ProgramRequest, commands: bool) -> (&'static str, Option<Cow<'_, str>>) {
    match request {
        ProgramRequest::Shell => ("shell", None),
        ProgramRequest::Exec(command) => ("exec", commands.then(|| cut(command))),
        ProgramRequest::ExecBytes(bytes) => ("exec", commands.then(|| cut(&bytes.to_string()).into_owned().into())),
        ProgramRequest::Subsystem(name) => ("subsystem", Some(cut(name))),
    }
}

/// The moment at which something began that ends now.
pub(super) fn begun(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_sub(duration).unwrap_or(now)
}

/// Inserts what is known.
pub(super) fn insert(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let (Value::Object(object), value) = (object, value.into())
        && !value.is_null()
    {
        object.insert(key.to_owned(), value);
    }
}
