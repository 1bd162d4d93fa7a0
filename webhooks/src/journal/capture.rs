//! A journal that keeps its events, for tests.

use super::{Journal, JournalEvent, JournalLevel};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An event that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) level: JournalLevel,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) details: BTreeMap<String, String>,
}

/// The events written so far.
#[derive(Debug, Default)]
pub(crate) struct Capture(Mutex<Vec<Written>>);

impl Capture {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes what was written until now.
    pub(crate) fn take(&self) -> Vec<Written> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Journal for Capture {
    fn write(&self, JournalEvent { level, code, message, details }: JournalEvent<'_>) {
        let details = details.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        self.0.lock().push(Written { level, code, message: message.to_owned(), details });
    }
}
