//! The typed reader: a [`Section`] hands out typed values by key and reports every mistake with its path. A section that
//! is dropped reports the keys that nobody asked for, so no key can be known and forgotten, or unknown and passed over.

use super::Notice;
use super::duration;
use super::errors::{ConfigError, Errors};
use super::migrate::{self, Change, Migration};
pub(crate) use crate::schema::nearest;
use crate::schema::{Reading, kind};
use crate::types::{Secret, printable, quoted, time_text};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Report {
    errors: RefCell<Vec<ConfigError>>,
    faults: RefCell<Vec<ConfigError>>,
    notices: RefCell<Vec<Notice>>,
    changes: RefCell<Vec<Change>>,
    #[cfg(test)]
    pub(crate) keys: RefCell<std::collections::BTreeSet<String>>,
}

impl Report {
    /// Notes a mistake.
    pub(crate) fn error(&self, path: impl Into<String>, text: impl Into<String>) {
        self.errors.borrow_mut().push(ConfigError { path: path.into(), text: text.into() });
    }

    /// Takes over what became of an old document.
    pub(crate) fn old(&self, migration: &Migration) {
        self.errors.borrow_mut().extend_from_slice(&migration.refusals);
        self.notices.borrow_mut().extend(migration.notices());
        self.changes.borrow_mut().extend_from_slice(&migration.changes);
    }

    /// Takes over what became of the pods' values.
    pub(crate) fn pods(&self, reading: &Reading) {
        for note in reading.changes.iter().chain(&reading.doubts) {
            self.notice(note.path.clone(), &note.text, true);
        }
        for note in &reading.mistakes {
            self.notice(note.path.clone(), &format!("{}; the API server decides", note.text), true);
        }
    }

    /// The faults of certificates and keys that were read.
    pub(crate) fn faults(&self) -> Vec<ConfigError> {
        migrate::at_origin(&self.changes.borrow(), self.faults.take())
    }

    /// Notes a warning for each start.
    pub(crate) fn warning(&self, path: impl Into<String>, text: &str) {
        self.notice(path.into(), text, true);
    }

    fn notice(&self, path: String, text: &str, warn: bool) {
        self.notices.borrow_mut().push(Notice { path, text: text.to_owned(), warn });
    }

    /// The value and the notices, or every mistake.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Notice>), Errors> {
        let errors = migrate::at_origin(&self.changes.into_inner(), self.errors.into_inner());
        match value {
            Some(value) if errors.is_empty() => Ok((value, self.notices.into_inner())),
            _ if errors.is_empty() => Err(Errors::whole("is not complete")),
            _ => Err(Errors(errors)),
        }
    }
}

/// A mapping of the configuration with known keys; an absent one is an empty one.
pub(crate) struct Section<'a> {
    path: String,
    values: Option<&'a Map<String, Value>>,
    report: &'a Report,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The whole tree.
    pub(crate) fn root(values: &'a Map<String, Value>, report: &'a Report) -> Self {
        Self::at(String::new(), Some(values), report)
    }

    fn at(path: String, values: Option<&'a Map<String, Value>>, report: &'a Report) -> Self {
        Self { path, values, report, asked: RefCell::default() }
    }

    /// The path of a key of this section.
    pub(crate) fn path(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Whether it is there and holds anything.
    pub(crate) fn is_set(&self) -> bool {
        self.values.is_some_and(|values| !values.is_empty())
    }

    /// Notes a mistake of a key.
    pub(crate) fn error(&self, key: &str, text: impl Into<String>) {
        self.report.error(self.path(key), text);
    }

    /// Notes that a certificate or key was read and cannot be used.
    pub(crate) fn fault(&self, key: &str, text: impl Into<String>) {
        let fault = ConfigError { path: self.path(key), text: text.into() };
        self.report.faults.borrow_mut().push(fault);
    }

    /// Notes what `--check-config` shows.
    pub(crate) fn notice(&self, key: &str, text: &str) {
        self.report.notice(self.path(key), text, false);
    }

    /// Notes a warning for each start.
    pub(crate) fn warning(&self, key: &str, text: &str) {
        self.report.notice(self.path(key), text, true);
    }

    /// A value of any type.
    pub(crate) fn value(&self, key: &'static str) -> Option<&'a Value> {
        #[cfg(test)]
        self.report.keys.borrow_mut().insert(self.path(key));
        self.ask(key)
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
        self.typed(key, "a string", Value::as_str).filter(|text| !text.is_empty())
    }

    /// A text that is not empty. Does not make the key known, and says nothing of a value of another type.
    pub(crate) fn plain_text(&self, key: &str) -> Option<&'a str> {
        self.values.and_then(|values| values.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Whether anything but an empty text stands there, right or wrong. Does not make the key known.
    pub(crate) fn has_text(&self, key: &str) -> bool {
        self.values.and_then(|values| values.get(key)).is_some_and(|value| value.as_str() != Some(""))
    }

    /// A text that is never shown; an empty one is unset.
    pub(crate) fn secret(&self, key: &'static str) -> Option<Secret> {
        self.text(key).map(Secret::new)
    }

    /// True or false, also in the words of YAML 1.1, which ContainerSSH takes where it wants a truth value.
    pub(crate) fn flag(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", truth)
    }

    /// A switch of a feature that is not built: true is a mistake.
    pub(crate) fn off(&self, key: &'static str, why: &str) {
        if self.flag(key) == Some(true) {
            self.error(key, why);
        }
    }

    /// An integer in a range.
    pub(crate) fn integer(&self, key: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let number = self.typed(key, "an integer", Value::as_i64)?;
        if range.contains(&number) {
            return Some(number);
        }
        let text = if *range.end() == i64::MAX {
            format!("must be at least {}, not {number}", range.start())
        } else {
            format!("must be {} to {}, not {number}", range.start(), range.end())
        };
        self.error(key, text);
        None
    }

    /// A number.
    pub(crate) fn float(&self, key: &'static str) -> Option<f64> {
        self.typed(key, "a number", Value::as_f64)
    }

    /// A duration of at least `least`.
    pub(crate) fn duration(&self, key: &'static str, least: Duration) -> Option<Duration> {
        let value = self.value(key)?;
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

    /// A section, or the truth value that stood in its place before ContainerSSH 0.5.
    pub(crate) fn section_or_flag(&self, key: &'static str) -> (Section<'a>, Option<bool>) {
        if let Some(flag) = self.values.and_then(|values| values.get(key)).and_then(truth) {
            let _ = self.ask(key);
            return (Self::at(self.path(key), None, self.report), Some(flag));
        }
        (self.section(key), None)
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
pub(super) fn truth(value: &Value) -> Option<bool> {
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

/// Whether a key asks for certificates that nobody verifies.
pub(super) fn switches_verification_off(key: &str) -> bool {
    let flat: String = key.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_ascii_lowercase();
    flat.contains("insecure") || ["skipverify", "skiptlsverify", "tlsskipverify", "noverify"].contains(&flat.as_str())
}
