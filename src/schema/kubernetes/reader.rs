//! Values read as their fields' types, in place: scalars become what they mean as the type that Kubernetes wants, field
//! names get Kubernetes' letters. What was understood is told, and so is what a strict API server would refuse.
//!
//! No message here holds a value: a variable's may be a secret.

use super::field_type::Type;
use super::pod_fields::KUBERNETES;
use super::yaml11::{PlainScalar, whole};
use crate::schema::tree::kind;
use crate::types::printable;
use podgate_webhooks::text::nearest;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Structures that Go embeds, and that ContainerSSH before 0.5 wrote as a level of their own.
pub(crate) const EMBEDDED: [&str; 5] =
    ["volumesource", "handler", "probehandler", "localobjectreference", "ephemeralcontainercommon"];

/// Scalars and keys of a YAML file that stand there without quotes, by the place where they stand.
#[derive(Debug, Default)]
pub(crate) struct UnquotedTexts {
    scalars: BTreeMap<String, String>,
    keys: BTreeSet<String>,
}

impl UnquotedTexts {
    /// Notes a scalar's text.
    pub(crate) fn scalar(&mut self, at: &ValuePath, text: &str) {
        self.scalars.insert(at.pointer.clone(), text.to_owned());
    }

    /// Notes a key without quotes.
    pub(crate) fn key(&mut self, at: &ValuePath) {
        self.keys.insert(at.pointer.clone());
    }
}

/// Place of a value.
#[derive(Debug, Clone, Default)]
pub(crate) struct ValuePath {
    shown: String,
    /// A JSON pointer, which is never the same for two places.
    pointer: String,
}

impl ValuePath {
    /// Path of a key below this one.
    pub(crate) fn key(&self, key: &str) -> Self {
        let (gap, shown) = (if self.shown.is_empty() { "" } else { "." }, printable(key, 64));
        Self {
            shown: format!("{}{gap}{shown}", self.shown),
            pointer: format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1")),
        }
    }

    /// The path as it is shown.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Something about the value here.
    pub(crate) fn note(&self, text: String) -> ValueNote {
        ValueNote { path: self.shown.clone(), text }
    }

    /// Path of an element of the list at this path.
    pub(crate) fn index(&self, index: usize) -> Self {
        Self { shown: format!("{}[{index}]", self.shown), pointer: format!("{}/{index}", self.pointer) }
    }
}

/// Author of the values.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ValueAuthor<'t> {
    /// A person, in a file: what stands in quotes is a text.
    File(&'t UnquotedTexts),
    /// A webhook, in JSON. Its quotes tell nothing: what it read itself may have had none.
    Server,
}

/// Something about a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueNote {
    /// The value's path, `a.b[0].c`.
    pub(crate) path: String,
    /// One clause about it.
    pub(crate) text: String,
}

/// Result of reading the values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TypedReading {
    /// Values that were understood otherwise than they are written.
    pub(crate) changes: Vec<ValueNote>,
    /// Values that Kubernetes' YAML reader understands otherwise.
    pub(crate) doubts: Vec<ValueNote>,
    /// Values that a strict API server refuses; left as they are.
    pub(crate) mistakes: Vec<ValueNote>,
}

/// Reads values by their types.
pub(crate) struct TypedReader<'t> {
    writer: ValueAuthor<'t>,
    /// Set for a file of ContainerSSH before 0.5, whose YAML reader took texts as they stand there.
    is_old: bool,
    /// Set for a strategic merge patch, in which null removes what is there.
    is_patch: bool,
    reading: TypedReading,
}

impl<'t> TypedReader<'t> {
    /// A reader of what `writer` wrote.
    pub(crate) fn new(writer: ValueAuthor<'t>) -> Self {
        Self { writer, is_old: false, is_patch: false, reading: TypedReading::default() }
    }

    /// A reader of a block of ContainerSSH before 0.5: structures that Go embeds are a level of their own, and field
    /// names are not worth a word, as they are all spelled otherwise.
    pub(crate) fn old(writer: ValueAuthor<'t>) -> Self {
        Self { is_old: true, ..Self::new(writer) }
    }

    /// A reader of a strategic merge patch.
    pub(crate) fn patch(writer: ValueAuthor<'t>) -> Self {
        Self { is_patch: true, ..Self::new(writer) }
    }

    /// Returns the notes about all values that were read.
    pub(crate) fn finish(self) -> TypedReading {
        self.reading
    }

    /// True where a scalar without quotes stands.
    pub(crate) fn has_text(&self, at: &ValuePath) -> bool {
        self.plain(at).is_some()
    }

    /// Reads a value as a type.
    pub(crate) fn read(&mut self, value: &mut Value, wanted: &Type, at: &ValuePath) {
        match (wanted, value) {
            (Type::Any, _) => {}
            (Type::Object(fields), Value::Object(map)) => self.object(map, fields, at),
            (Type::List(inner), Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.read_filled(item, inner, &at.index(index));
                }
            }
            (Type::Map(inner), Value::Object(map)) => {
                for (key, value) in map.iter_mut() {
                    let at = at.key(key);
                    self.free_key(key, &at);
                    if !(self.is_patch && value.is_null()) {
                        self.read_filled(value, inner, &at);
                    }
                }
            }
            (_, Value::Null) => {}
            (Type::Text, value) => self.text(value, at),
            (Type::Flag, value) => self.flag(value, at),
            (Type::Integer32, value) => self.integer(value, i32::MIN.into(), i32::MAX.into(), at),
            (Type::Integer64, value) => self.integer(value, i64::MIN.into(), i64::MAX.into(), at),
            (Type::IntegerOrText, value) => self.integer_or_text(value, at),
            (Type::Quantity, value) => self.quantity(value, at),
            (Type::Time, value) => self.time(value, at),
            (Type::Object(_), value) => self.wrong("a mapping", value, at),
            (Type::List(_), value) => self.wrong("a list", value, at),
            (Type::Map(_), value) => self.wrong("a mapping", value, at),
        }
    }

    /// Gives the fields of an object their own letters, where no two of them are meant.
    pub(crate) fn spell<'n>(
        &mut self,
        map: &mut Map<String, Value>,
        fields: impl Iterator<Item = &'n str> + Clone,
        at: &ValuePath,
    ) -> Vec<(String, &'n str)> {
        let mut spelled: Vec<(String, &str)> = Vec::new();
        let keys: Vec<String> = map.keys().cloned().collect();
        for key in keys.iter().filter(|key| fields.clone().all(|field| field != key.as_str())) {
            let Some(field) = fields.clone().find(|field| field.eq_ignore_ascii_case(key)) else { continue };
            if map.contains_key(field) {
                let text =
                    format!("differs from {field} only in upper and lower case, and both are set; keep one of them");
                self.mistake(text, &at.key(key));
            } else if let Some(value) = map.remove(key) {
                map.insert(field.to_owned(), value);
                spelled.push((key.clone(), field));
            }
        }
        if !self.is_old {
            for (key, field) in &spelled {
                self.change(format!("is read as {field}"), &at.key(key));
            }
        }
        spelled
    }

    fn object(&mut self, map: &mut Map<String, Value>, fields: &[(&'static str, Type)], at: &ValuePath) {
        let spelled = self.spell(map, fields.iter().map(|(field, _)| *field), at);
        for (key, value) in map.iter_mut() {
            let written = spelled.iter().find(|(_, field)| field == key).map_or(key, |(written, _)| written);
            let at = at.key(written);
            match (fields.iter().find(|(field, _)| field == key), value) {
                (Some((_, wanted)), value) => self.read(value, wanted, &at),
                (None, Value::Object(inner)) if self.is_old && EMBEDDED.contains(&key.as_str()) => {
                    self.object(inner, fields, &at);
                }
                (None, _) if self.is_old && key == "deprecatedserviceaccount" => {}
                // A directive, which the merge judges.
                (None, _) if self.is_patch && key.starts_with('$') => {}
                // Said already: the field is there twice.
                (None, _) if fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(key)) => {}
                (None, _) => {
                    let hint = nearest(key, fields.iter().map(|(field, _)| *field));
                    let hint = hint.map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default();
                    self.mistake(format!("is unknown to Kubernetes (up to {KUBERNETES}){hint}"), &at);
                }
            }
        }
    }

    /// A list's or a mapping's element, where nothing is an empty text.
    fn read_filled(&mut self, value: &mut Value, wanted: &Type, at: &ValuePath) {
        if *wanted == Type::Text && value.is_null() {
            *value = Value::String(String::new());
            return self.change("is read as an empty string".to_owned(), at);
        }
        self.read(value, wanted, at);
    }

    /// A key that is no field's: what stands there is its text.
    fn free_key(&mut self, key: &str, at: &ValuePath) {
        if let ValueAuthor::File(texts) = self.writer
            && texts.keys.contains(&at.pointer)
            && PlainScalar::read(key).text(key) != key
        {
            self.doubt("has a name that", at);
        }
    }

    fn text(&mut self, value: &mut Value, at: &ValuePath) {
        let plain = self.plain(at);
        let text = match &*value {
            Value::String(text) if plain == Some(text) => text.clone(),
            Value::String(_) => return,
            Value::Bool(_) | Value::Number(_) => plain.cloned().unwrap_or_else(|| value.to_string()),
            _ => return self.wrong("a string", value, at),
        };
        let is_same = PlainScalar::read(&text).text(&text) == text;
        let is_change = !value.is_string();
        *value = Value::String(text);
        if !is_same && !self.is_old {
            self.doubt("", at);
        } else if is_change {
            self.change("is read as if it were in quotes".to_owned(), at);
        }
    }

    fn flag(&mut self, value: &mut Value, at: &ValuePath) {
        let meant = match &*value {
            Value::Bool(_) => return,
            Value::String(text) if self.may_be_plain(text, at) => PlainScalar::read(text),
            _ => PlainScalar::Text,
        };
        match meant {
            PlainScalar::Flag(flag) => {
                *value = flag.into();
                self.change(format!("is read as {flag}"), at);
            }
            _ => self.wrong("true or false", value, at),
        }
    }

    fn integer(&mut self, value: &mut Value, least: i128, most: i128, at: &ValuePath) {
        let Some(number) = self.whole(value, at) else { return self.wrong("an integer", value, at) };
        if !(least..=most).contains(&number) {
            return self.mistake(format!("must be {least} to {most}"), at);
        }
        self.set_whole(value, number, at);
    }

    fn integer_or_text(&mut self, value: &mut Value, at: &ValuePath) {
        // Go's structure of a port, which is undone where old blocks are translated.
        let is_structure = self.is_old && value.is_object();
        let is_text =
            value.as_str().is_some_and(|text| !matches!(self.writer, ValueAuthor::File(_)) || !self.is_plain(text, at));
        if is_structure || is_text {
            return;
        }
        match self.whole(value, at) {
            Some(number) if i32::try_from(number).is_ok() => self.set_whole(value, number, at),
            None if value.is_string() => {}
            _ => self.wrong("an integer or a string", value, at),
        }
    }

    /// A number is an amount for Kubernetes too.
    fn quantity(&mut self, value: &mut Value, at: &ValuePath) {
        let Value::String(text) = &*value else {
            // An amount of which a file that was written back has the format alone.
            let is_format = self.is_old && value.is_object();
            if !value.is_number() && !is_format {
                self.wrong("an amount", value, at);
            }
            return;
        };
        if is_quantity(text.trim()) {
            return;
        }
        match PlainScalar::read(text).whole().filter(|_| self.may_be_plain(text, at)) {
            Some(number) => self.set_whole(value, number, at),
            None => self.mistake("is not a quantity such as 500m, 2 or 1Gi".to_owned(), at),
        }
    }

    fn time(&mut self, value: &Value, at: &ValuePath) {
        if !value.as_str().is_some_and(is_time) {
            self.mistake("is not a time such as 2030-01-31T12:00:00Z".to_owned(), at);
        }
    }

    /// The whole number that a value means.
    fn whole(&self, value: &Value, at: &ValuePath) -> Option<i128> {
        match value {
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Some(number.into()),
                (None, Some(number)) => Some(number.into()),
                _ => number.as_f64().and_then(whole),
            },
            Value::String(text) if self.may_be_plain(text, at) => PlainScalar::read(text).whole(),
            _ => None,
        }
    }

    fn set_whole(&mut self, value: &mut Value, number: i128, at: &ValuePath) {
        let number = match (i64::try_from(number), u64::try_from(number)) {
            (Ok(number), _) => Value::from(number),
            (_, Ok(number)) => Value::from(number),
            _ => return,
        };
        if *value != number {
            self.change(format!("is read as the integer {number}"), at);
            *value = number;
        }
    }

    /// The text of a scalar without quotes.
    fn plain(&self, at: &ValuePath) -> Option<&'t String> {
        match self.writer {
            ValueAuthor::File(texts) => texts.scalars.get(&at.pointer),
            ValueAuthor::Server => None,
        }
    }

    fn is_plain(&self, text: &str, at: &ValuePath) -> bool {
        self.plain(at).is_some_and(|plain| plain == text)
    }

    fn may_be_plain(&self, text: &str, at: &ValuePath) -> bool {
        matches!(self.writer, ValueAuthor::Server) || self.is_plain(text, at)
    }

    fn change(&mut self, text: String, at: &ValuePath) {
        self.reading.changes.push(ValueNote { path: at.shown.clone(), text });
    }

    /// `what` is it that is in doubt: nothing where it is the value.
    fn doubt(&mut self, what: &str, at: &ValuePath) {
        let text = "is read as if it were in quotes; without quotes it is another string to Kubernetes' YAML reader and \
                    ContainerSSH 0.6 (`1.0` is `1`, `yes` is `true`, `010` is `8`): put it in quotes";
        let text = if what.is_empty() { text.to_owned() } else { format!("{what} {text}") };
        self.reading.doubts.push(ValueNote { path: at.shown.clone(), text });
    }

    fn mistake(&mut self, text: String, at: &ValuePath) {
        self.reading.mistakes.push(ValueNote { path: at.shown.clone(), text });
    }

    fn wrong(&mut self, expected: &str, found: &Value, at: &ValuePath) {
        self.mistake(format!("must be {expected}, not {}", kind(found)), at);
    }
}

/// True for a text that Kubernetes reads as a time: RFC 3339 with capital letters, as Go has it. `jiff` takes more (ISO 8601).
fn is_time(text: &str) -> bool {
    let is_shape = |text: &str, shape: &str| {
        text.len() == shape.len()
            && text
                .bytes()
                .zip(shape.bytes())
                .all(|(byte, like)| if like == b'0' { byte.is_ascii_digit() } else { byte == like })
    };
    let Some((seconds, rest)) = text.split_at_checked(19) else { return false };
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    is_shape(seconds, "0000-00-00T00:00:00")
        && !seconds.ends_with("60")
        && ["Z", "+00:00", "-00:00"].iter().any(|shape| is_shape(zone, shape))
        && text.parse::<jiff::Timestamp>().is_ok()
}

/// True for a text that Kubernetes reads as an amount: a decimal number with a suffix or an exponent.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 16] = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
    let exponent = suffix.strip_prefix(['e', 'E']).map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
    let is_exponent =
        exponent.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    is_number && (SUFFIXES.contains(&suffix) || is_exponent)
}

#[cfg(test)]
mod tests;
