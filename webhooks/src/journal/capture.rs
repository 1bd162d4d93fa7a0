//! A journal that keeps its events, for tests.

use super::{Event, Journal, Level};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// An event that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) level: Level,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) details: BTreeMap<String, String>,
}

/// The written events.
#[derive(Debug, Default)]
pub(crate) struct Capture(Mutex<Vec<Written>>);

impl Capture {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Takes what was written until now.
    pub(crate) fn take(&self) -> Vec<Written> {
        std::mem::take(&mut *self.0.lock().expect("no panic before"))
    }
}

impl Journal for Capture {
    fn write(&self, Event { level, code, message, details }: Event<'_>) {
        let details = details.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        self.0.lock().expect("no panic before").push(Written { level, code, message: message.to_owned(), details });
    }
}
