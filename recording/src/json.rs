//! Messages as ContainerSSH's decoder prints them: bytes in base64. Nothing that the user of a recorded connection chose acts on
//! the terminal of the one who reads it.

use super::message::Message;
use super::value::Value;
use data_encoding::BASE64;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// The JSON of a message.
pub(super) fn of_message(message: &Message) -> Json {
    let (id, name) = message.payload.names();
    json!({
        "connectionId": message.connection,
        "timestamp": message.timestamp,
        "type": message.payload.number(),
        "typeId": id,
        "typeName": name,
        "payload": of_value(message.payload.to_value()),
        "channelId": message.channel,
    })
}

/// The text of a value, in which what a terminal acts on, or hides, is escaped. JSON itself escapes only what is below a space.
pub(super) fn text(json: &Json) -> String {
    let mut escaped = String::new();
    for c in json.to_string().chars() {
        match c {
            // Control characters, and those that change the direction of text (UAX 9) or have no width. They are in strings alone.
            '\u{7f}'..='\u{9f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                // Text takes every write.
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn of_value(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(set) => set.into(),
        Value::Integer(number) => i64::try_from(number).map_or_else(|_| json!(u64::try_from(number).ok()), Json::from),
        Value::Text(text) => text.into(),
        Value::Bytes(bytes) => BASE64.encode(&bytes).into(),
        Value::List(items) => items.into_iter().map(of_value).collect(),
        Value::Map(fields) => fields.into_iter().map(|(key, value)| (key, of_value(value))).collect(),
    }
}
