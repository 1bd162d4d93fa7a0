//! Messages as ContainerSSH's decoder prints them: keys in its order, bytes in base64, and texts escaped as Go does it, except
//! that what is null where Go's type is a list or bytes is printed as an empty one. Nothing that the user of a recorded
//! connection chose acts on the terminal of the one who reads it.

use super::message::Message;
use super::value::Value;
use data_encoding::BASE64;
use std::fmt::Write;

/// The line of a message, without its end.
pub(super) fn of_message(message: &Message) -> String {
    let (id, name) = message.payload.names();
    let mut line = String::from("{\"connectionId\":");
    put_text(&message.connection, &mut line);
    // Text takes every write.
    let _ = write!(line, ",\"timestamp\":{},\"type\":{}", message.timestamp, message.payload.number());
    let _ = write!(line, ",\"typeId\":\"{id}\",\"typeName\":\"{name}\",\"payload\":");
    put(&message.payload.to_value(), &mut line);
    line.push_str(",\"channelId\":");
    match message.channel {
        Some(channel) => line.push_str(&channel.to_string()),
        None => line.push_str("null"),
    }
    line.push('}');
    line
}

/// The line of a fault, without its end.
pub(super) fn of_error(error: &str) -> String {
    let mut line = String::from("{\"error\":");
    put_text(error, &mut line);
    line.push('}');
    line
}

fn put(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(set) => out.push_str(if *set { "true" } else { "false" }),
        Value::Integer(number) => out.push_str(&number.to_string()),
        Value::Text(text) => put_text(text, out),
        Value::Bytes(bytes) => {
            out.push('"');
            BASE64.encode_append(bytes, out);
            out.push('"');
        }
        Value::List(items) => {
            put_each('[', items, ']', out, put);
        }
        Value::Map(fields) => {
            put_each('{', fields, '}', out, |(key, value), out| {
                put_text(key, out);
                out.push(':');
                put(value, out);
            });
        }
    }
}

fn put_each<T>(open: char, items: &[T], close: char, out: &mut String, put: impl Fn(&T, &mut String)) {
    out.push(open);
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        put(item, out);
    }
    out.push(close);
}

fn put_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => put_character(c, out),
        }
    }
    out.push('"');
}

/// The line of JSON with each character escaped that [`put_text`] escapes. Such a one is nowhere but in texts.
pub fn escaped(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    line.chars().for_each(|c| put_character(c, &mut out));
    out
}

fn put_character(c: char, out: &mut String) {
    if !is_escaped(c) {
        out.push(c);
        return;
    }
    for unit in c.encode_utf16(&mut [0; 2]) {
        // Text takes every write.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// True for what Go escapes, what controls a terminal, and what is invisible: line and paragraph separators, direction marks,
/// and Unicode's `Default_Ignorable_Code_Point`.
fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '<' | '>' | '&' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
