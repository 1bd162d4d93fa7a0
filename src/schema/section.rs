//! The typed reader: a [`Section`] hands out typed values by key and reports every mistake with its path. A section that
//! is dropped reports the keys that nobody asked for, so no key can be known and forgotten, or unknown and passed over.

use super::byte_size;
use super::duration;
use super::errors::ConfigError;
use super::keys::{self, ConfigKey, KeyKind};
use super::report::ConfigReport;
use super::tree::kind;
use crate::types::{Secret, printable, quoted, time_text};
use podgate_webhooks::text::nearest;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

/// A mapping of the configuration with known keys; an absent one is an empty one.
pub(crate) struct Section<'a> {
    path: String,
    values: Option<&'a Map<String, Value>>,
    report: &'a ConfigReport,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The section of a complete document.
    pub(crate) fn root(values: &'a Map<String, Value>, report: &'a ConfigReport) -> Self {
        Self::at(String::new(), Some(values), report)
    }

    fn at(path: String, values: Option<&'a Map<String, Value>>, report: &'a ConfigReport) -> Self {
        Self { path, values, report, asked: RefCell::default() }
    }

    /// The path of a key of this section.
    pub(crate) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// True for a section that is written and not empty.
    pub(crate) fn is_set(&self) -> bool {
        self.values.is_some_and(|values| !values.is_empty())
    }

    /// Reports a mistake of a key.
    pub(crate) fn error(&self, key: &str, text: impl Into<String>) {
        self.report.error(self.path(key), text);
    }

    /// Reports a file that Kubernetes mounts into a pod and that is not on this machine.
    pub(crate) fn mounted_elsewhere(&self, key: &str, text: impl Into<String>) {
        self.report.push(ConfigError { is_mounted_elsewhere: true, ..ConfigError::new(self.path(key), text) });
    }

    /// Reports that a certificate or key was read and cannot be used.
    pub(crate) fn fault(&self, key: &str, text: impl Into<String>) {
        let fault = ConfigError::new(self.path(key), text);
        self.report.faults.borrow_mut().push(fault);
    }

    /// Adds a notice that only `--check-config` shows.
    pub(crate) fn notice(&self, key: &str, text: &str) {
        self.report.notice(self.path(key), text, false);
    }

    /// Adds a warning, which is logged at each start.
    pub(crate) fn warning(&self, key: &str, text: &str) {
        self.report.notice(self.path(key), text, true);
    }

    /// A value of any type: the written one, else the default.
    pub(crate) fn value(&self, key: &'static str) -> Option<&'a Value> {
        self.written(key).or_else(|| self.default(key))
    }

    /// The value that is written, of any type.
    pub(crate) fn written(&self, key: &'static str) -> Option<&'a Value> {
        #[cfg(test)]
        self.report.keys.borrow_mut().insert(self.path(key));
        self.ask(key)
    }

    /// The value that holds where none is written: that of the key that this one follows, else the table's.
    pub(crate) fn default(&self, key: &str) -> Option<&'a Value> {
        let path = self.path(key);
        let followed = keys::follows(&path).and_then(|path| self.values?.get(path.rsplit('.').next()?));
        followed.or_else(|| keys::default(&path))
    }

    fn kind(&self, key: &str) -> Option<KeyKind> {
        keys::find(&self.path(key)).map(|key| key.kind)
    }

    /// All of its values.
    pub(crate) fn all(&self) -> Option<&'a Map<String, Value>> {
        self.values
    }

    fn ask(&self, key: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().push(key);
        self.values?.get(key)
    }

    fn wrong_type(&self, key: &str, expected: &str, found: &Value) {
        let hint = match found {
            Value::Number(_) | Value::Bool(_) if expected == "a string" => "; put it in quotes",
            _ => "",
        };
        self.error(key, format!("must be {expected}, not {}{hint}", kind(found)));
    }

    fn typed<T>(&self, key: &'static str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value(key)?;
        let read = read(value);
        if read.is_none() {
            self.wrong_type(key, expected, value);
        }
        read
    }

    /// A text; an empty one is unset.
    pub(crate) fn text(&self, key: &'static str) -> Option<&'a str> {
        let text = self.typed(key, "a string", Value::as_str)?;
        if text.is_empty() { self.default(key).and_then(Value::as_str) } else { Some(text) }
    }

    /// A text that is not empty. Does not make the key known, and says nothing of a value of another type.
    pub(crate) fn plain_text(&self, key: &str) -> Option<&'a str> {
        self.values.and_then(|values| values.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// True for any written value but an empty text, valid or not. Does not make the key known.
    pub(crate) fn has_text(&self, key: &str) -> bool {
        self.values.and_then(|values| values.get(key)).is_some_and(|value| value.as_str() != Some(""))
    }

    /// A text that is never shown; an empty one is unset.
    pub(crate) fn secret(&self, key: &'static str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    /// True or false, also in the words of YAML 1.1, which ContainerSSH takes where it wants a truth value.
    pub(crate) fn flag(&self, key: &'static str) -> bool {
        self.typed(key, "true or false", truth).unwrap_or(false)
    }

    /// True or false; `None` for a value that is neither, which was reported.
    pub(crate) fn switch(&self, key: &'static str) -> Option<bool> {
        let Some(_) = self.value(key) else { return Some(false) };
        self.typed(key, "true or false", truth)
    }

    /// An integer in the key's range.
    pub(crate) fn integer(&self, key: &'static str) -> Option<i64> {
        let number = self.typed(key, "an integer", Value::as_i64)?;
        let Some(KeyKind::Integer(least, most)) = self.kind(key) else { return Some(number) };
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let text = if most == i64::MAX {
            format!("must be at least {least}, not {number}")
        } else {
            format!("must be {least} to {most}, not {number}")
        };
        self.error(key, text);
        None
    }

    /// A number, whole or not.
    pub(crate) fn float(&self, key: &'static str) -> Option<f64> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A duration, not shorter than the key's shortest.
    pub(crate) fn duration(&self, key: &'static str) -> Option<Duration> {
        let Some(value) = self.written(key) else { return duration::read(self.default(key)?).ok() };
        let least = match self.kind(key) {
            Some(KeyKind::Duration(least)) => Duration::from_millis(least),
            _ => Duration::ZERO,
        };
        match duration::read(value) {
            Ok(duration) if duration >= least => return Some(duration),
            Ok(_) if value.is_number() => {
                self.error(
                    key,
                    format!("must be at least {}; a bare number is nanoseconds, write \"2s\"", time_text(least)),
                );
            }
            Ok(_) => self.error(key, format!("must be at least {}", time_text(least))),
            Err(text) => self.error(key, text),
        }
        None
    }

    /// A size in bytes in the key's range; an empty text is unset.
    pub(crate) fn byte_size(&self, key: &'static str) -> Option<u64> {
        let written = self.written(key).filter(|value| value.as_str() != Some(""));
        let Some(value) = written else { return byte_size::read(self.default(key)?).ok() };
        let (least, most) = match self.kind(key) {
            Some(KeyKind::ByteSize(least, most)) => (least, most),
            _ => (0, u64::MAX),
        };
        match byte_size::read(value) {
            Ok(bytes) if (least..=most).contains(&bytes) => return Some(bytes),
            Ok(_) => self.error(key, format!("must be {} to {}", byte_size::text(least), byte_size::text(most))),
            Err(text) => self.error(key, text),
        }
        None
    }

    /// One of a few words; an empty text is unset.
    pub(crate) fn choice<T: Copy>(&self, key: &'static str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(key)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let allowed: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.error(key, format!("{} is not one of {}", quoted(&printable(text, 64)), allowed.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &'static str) -> Option<Vec<&'a str>> {
        let items = self.typed(key, "a list of strings", Value::as_array)?;
        let texts: Vec<_> = items
            .iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let text = item.as_str();
                if text.is_none() {
                    self.wrong_type(&format!("{key}[{index}]"), "a string", item);
                }
                text
            })
            .collect();
        (texts.len() == items.len()).then_some(texts)
    }

    /// A mapping of free names to texts.
    pub(crate) fn table(&self, key: &'static str) -> Option<BTreeMap<String, String>> {
        let entries = self.typed(key, "a mapping of strings", Value::as_object)?;
        let mut table = BTreeMap::new();
        for (name, value) in entries {
            match value.as_str() {
                Some(text) => drop(table.insert(name.clone(), text.to_owned())),
                None => self.wrong_type(&format!("{key}.{}", printable(name, 64)), "a string", value),
            }
        }
        (table.len() == entries.len()).then_some(table)
    }

    /// A mapping whose keys are not ours.
    pub(crate) fn object(&self, key: &'static str) -> Option<&'a Map<String, Value>> {
        self.typed(key, "a mapping", Value::as_object)
    }

    /// A section of this one.
    pub(crate) fn section(&self, key: &'static str) -> Section<'a> {
        let values = self.ask(key).and_then(|value| {
            let map = value.as_object();
            if map.is_none() {
                self.wrong_type(key, "a mapping", value);
            }
            map
        });
        Self::at(self.path(key), values, self.report)
    }

    /// The sections of a list; an empty list is unset. The key of each is `key[0]`, `key[1]` and so on.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'a>> {
        let items = self.typed(key, "a list of mappings", Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let sections = items.iter().enumerate().map(|(index, item)| {
            let key = format!("{key}[{index}]");
            let values = item.as_object();
            if values.is_none() {
                self.wrong_type(&key, "a mapping", item);
            }
            Self::at(self.path(&key), values, self.report)
        });
        sections.collect()
    }

    /// A section, or the truth value that stood in its place before ContainerSSH 0.5.
    pub(crate) fn section_or_flag(&self, key: &'static str) -> (Section<'a>, Option<bool>) {
        if let Some(flag) = self.values.and_then(|values| values.get(key)).and_then(truth) {
            let _ = self.ask(key);
            return (Self::at(self.path(key), None, self.report), Some(flag));
        }
        (self.section(key), None)
    }

    /// Checks the type of a value that has no effect.
    pub(crate) fn check(&self, key: &'static ConfigKey) {
        let name = key.name();
        match key.kind {
            KeyKind::Words(words) => drop(self.choice(name, &words.iter().map(|word| (*word, ())).collect::<Vec<_>>())),
            KeyKind::Flag => drop(self.flag(name)),
            KeyKind::Integer(..) => drop(self.integer(name)),
            KeyKind::Duration(_) => drop(self.duration(name)),
            KeyKind::ByteSize(..) => drop(self.byte_size(name)),
            KeyKind::Texts => drop(self.texts(name)),
            KeyKind::TextMap => drop(self.table(name)),
            KeyKind::Mapping | KeyKind::SecretMapping => drop(self.object(name)),
            _ => drop(self.text(name)),
        }
    }

    fn unknown(&self, key: &str, value: &Value) {
        if switches_verification_off(key) {
            if truth(value) != Some(false) {
                self.error(key, "certificates are always verified; give the server's CA certificate instead");
            }
            return;
        }
        let shown = printable(key, 64);
        let asked = self.asked.borrow();
        match nearest(key, asked.iter().copied()) {
            Some(near) => self.error(&shown, format!("unknown key; did you mean \"{near}\"?")),
            None => self.error(&shown, "unknown key"),
        }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let Some(values) = self.values else { return };
        for (key, value) in values {
            let known = self.asked.borrow().contains(&key.as_str());
            if !known {
                self.unknown(key, value);
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The words that Go's YAML library takes for a truth value.
pub(crate) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) => match text.as_str() {
            "y" | "Y" | "yes" | "on" => Some(true),
            "n" | "N" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// True for the name of a key that would switch the verification of certificates off.
pub(crate) fn switches_verification_off(key: &str) -> bool {
    let flat: String = key.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
    flat.contains("insecure") || ["skipverify", "skiptlsverify", "tlsskipverify", "noverify"].contains(&flat.as_str())
}
