//! Messages as ContainerSSH's decoder prints them: bytes in base64.

use super::message::Message;
use super::value::Value;
use data_encoding::BASE64;
use serde_json::{Value as Json, json};

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
