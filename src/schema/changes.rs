//! The changes of a document's old keys, by which a mistake of the new document is named by its old path.

use super::errors::ConfigError;
use std::fmt;

/// Replacement of an old key, or the reason why it is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOutcome {
    /// Its value stands at other paths now.
    Moved(Vec<String>),
    /// Other keys with values of their own say it now.
    Says(String),
    /// It is left out, and why.
    Gone(String),
    /// Its value is written as it was read.
    Read(String),
}

/// One key that is written otherwise today.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// Path in the old document.
    pub path: String,
    /// Its replacement, or the reason why there is none.
    pub became: KeyOutcome,
}

impl fmt::Display for KeyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.became {
            KeyOutcome::Moved(paths) => write!(f, "{} is now {}", self.path, paths.join(", ")),
            KeyOutcome::Says(text) => write!(f, "{} is now {text}", self.path),
            KeyOutcome::Gone(why) => write!(f, "{} is left out: {why}", self.path),
            KeyOutcome::Read(text) => write!(f, "{} {text}", self.path),
        }
    }
}

/// Mistakes of a new document, named by the paths of the old one.
pub(crate) fn at_origin(changes: &[KeyChange], errors: Vec<ConfigError>) -> Vec<ConfigError> {
    let mut named: Vec<ConfigError> = Vec::new();
    for error in errors {
        let error = ConfigError { path: origin(changes, error.path), ..error };
        // One old key can have become several.
        if !named.contains(&error) {
            named.push(error);
        }
    }
    named
}

fn origin(changes: &[KeyChange], path: String) -> String {
    let moved = changes.iter().filter_map(|change| match &change.became {
        KeyOutcome::Moved(paths) => Some(paths.iter().map(move |new| (change, new))),
        _ => None,
    });
    let nearest = moved
        .flatten()
        .filter_map(|(change, new)| Some((change, below(&path, new)?)))
        .min_by_key(|(_, rest)| rest.len());
    nearest.map_or_else(|| path.clone(), |(change, rest)| format!("{}{rest}", change.path))
}

/// The rest of a path that is below another: empty, `.b.c` or `[0].b`.
fn below<'p>(path: &'p str, root: &str) -> Option<&'p str> {
    path.strip_prefix(root).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
