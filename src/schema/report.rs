//! Mistakes and notices as they are found, which belong to one document.

use super::changes::{KeyChange, at_origin};
use super::errors::{ConfigError, Errors, Notice};
use super::kubernetes::TypedReading;
use std::cell::RefCell;

/// Collects the mistakes and notices about one document.
#[derive(Default)]
pub(crate) struct ConfigReport {
    errors: RefCell<Vec<ConfigError>>,
    pub(super) faults: RefCell<Vec<ConfigError>>,
    notices: RefCell<Vec<Notice>>,
    changes: RefCell<Vec<KeyChange>>,
    #[cfg(test)]
    pub(crate) keys: RefCell<std::collections::BTreeSet<String>>,
}

impl ConfigReport {
    /// Adds a mistake of the value at a path.
    pub(crate) fn error(&self, path: impl Into<String>, text: impl Into<String>) {
        self.push(ConfigError::new(path, text));
    }

    pub(super) fn push(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }

    /// Adds the outcome of a migration; later mistakes are named by the old paths in `changes`.
    pub(super) fn add(&self, errors: &[ConfigError], notices: Vec<Notice>, changes: &[KeyChange]) {
        self.errors.borrow_mut().extend_from_slice(errors);
        self.notices.borrow_mut().extend(notices);
        self.changes.borrow_mut().extend_from_slice(changes);
    }

    /// Adds the outcome of reading the pods' values.
    pub(crate) fn pods(&self, reading: &TypedReading) {
        for note in reading.changes.iter().chain(&reading.doubts) {
            self.notice(note.path.clone(), &note.text, true);
        }
        for note in &reading.mistakes {
            self.notice(note.path.clone(), &format!("{}; the API server decides", note.text), true);
        }
    }

    /// The faults of certificates and keys that were read.
    pub(crate) fn faults(&self) -> Vec<ConfigError> {
        at_origin(&self.changes.borrow(), self.faults.take())
    }

    /// Notes a warning for each start.
    pub(crate) fn warning(&self, path: impl Into<String>, text: &str) {
        self.notice(path.into(), text, true);
    }

    pub(super) fn notice(&self, path: String, text: &str, warn: bool) {
        self.notices.borrow_mut().push(Notice { path, text: text.to_owned(), warn });
    }

    /// The value and the notices, or every mistake.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<Notice>), Errors> {
        let errors = at_origin(&self.changes.into_inner(), self.errors.into_inner());
        match value {
            Some(value) if errors.is_empty() => Ok((value, self.notices.into_inner())),
            _ if errors.is_empty() => Err(Errors::whole("is not complete")),
            _ => Err(Errors(errors)),
        }
    }
}
