//! What Kubernetes' objects are made of, and how values that a person or a webhook wrote are read as their fields'
//! types.
//!
//! The objects themselves stay JSON on their way to the API server: nothing here drops a field. A value is changed only
//! into the one that it means as the type of its field; what has no such meaning stays as it is and is reported.

mod objects;
mod plain;
pub(crate) mod strategic;
mod trace;
mod types;

pub(crate) use objects::{At, EMBEDDED, Note, Reader, Reading, Texts, Writer};
pub(crate) use podgate_webhooks::text::nearest;
pub(crate) use types::{METADATA, POD_SPEC, Type};

use serde_json::Value;

/// A value's kind, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
