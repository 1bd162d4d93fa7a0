//! The outcome of a migration, which its steps fill.

use crate::schema::changes::{KeyChange, KeyOutcome};
use crate::schema::errors::{ConfigError, Notice};
use crate::schema::report::ConfigReport;
use crate::schema::yaml;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Origin of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DocumentSource {
    /// The configuration file of a gateway.
    File,
    /// A config webhook's answer, its zeros dropped.
    Answer(FileBackend),
}

/// Backend of the file that an answer is laid over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileBackend {
    /// Nobody's: it says nothing of Kubernetes.
    Nothing,
    /// kuberun's: the block means something without a `backend`, and what it never said stands in the file.
    Kuberun,
    /// A backend other than kuberun.
    Other,
}

/// Something that only a person can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationDecision {
    /// The key that it is about, in today's words.
    pub path: String,
    /// The question, and what the answer depends on.
    pub text: String,
}

impl fmt::Display for MigrationDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.text)
    }
}

/// A document in today's words.
#[derive(Debug, Clone, Default)]
pub struct Migration {
    /// The new document. It means what the old one meant only where there are no refusals.
    pub document: Map<String, Value>,
    /// Keys that moved or are left out.
    pub changes: Vec<KeyChange>,
    /// Values of pods that are written as the type that Kubernetes wants; filled for a file that is rewritten.
    pub readings: Vec<KeyChange>,
    /// Questions that only a person can decide.
    pub decisions: Vec<MigrationDecision>,
    /// Values that cannot be expressed today, each with what to do instead.
    pub refusals: Vec<ConfigError>,
}

impl Migration {
    /// The new document, as a file.
    pub fn to_yaml(&self) -> String {
        yaml::write(&self.document)
    }

    /// Reports the refusals and notices, and names later mistakes by their old paths.
    pub(crate) fn report_to(&self, report: &ConfigReport) {
        report.add(&self.refusals, self.notices(), &self.changes);
    }

    /// One warning for each old block, and for what had no effect already a word that it has none.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        let gone = self.changes.iter().filter_map(|change| match &change.became {
            KeyOutcome::Gone(why) if !change.path.contains('.') => {
                Some(Notice { path: change.path.clone(), text: why.clone(), warn: false })
            }
            _ => None,
        });
        let warnings = self.old_blocks().into_iter().map(|(block, changes)| {
            let text = format!("deprecated keys: {changes}; `podgate migrate FILE` rewrites the file");
            Notice { path: block.to_owned(), text, warn: true }
        });
        gone.chain(warnings).collect()
    }

    /// Each old block that says something, with each of its keys and what became of it.
    pub(crate) fn old_blocks(&self) -> BTreeMap<&str, String> {
        let mut blocks: BTreeMap<&str, String> = BTreeMap::new();
        for change in &self.changes {
            let block = match change.path.split('.').next().unwrap_or_default() {
                "backend" => "kuberun",
                block => block,
            };
            if block == change.path && matches!(change.became, KeyOutcome::Gone(_)) {
                continue;
            }
            let text = blocks.entry(block).or_default();
            let gap = if text.is_empty() { "" } else { "; " };
            text.push_str(&format!("{gap}{change}"));
        }
        blocks
    }

    /// True for a document whose guests are kuberun's.
    pub(crate) fn is_kuberun(&self) -> bool {
        self.changes.iter().any(|change| change.path == "backend" || change.path.starts_with("kuberun."))
    }

    /// True for a document that switched commands off by the old key.
    pub(crate) fn disables_commands(&self) -> bool {
        self.changes.iter().any(|change| change.path.eq_ignore_ascii_case("kuberun.pod.disableCommand"))
    }

    pub(super) fn moved(&mut self, path: impl Into<String>, to: &[&str]) {
        let to = to.iter().map(|path| (*path).to_owned()).collect();
        self.changes.push(KeyChange { path: path.into(), became: KeyOutcome::Moved(to) });
    }

    pub(super) fn says(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.changes.push(KeyChange { path: path.into(), became: KeyOutcome::Says(text.into()) });
    }

    pub(super) fn gone(&mut self, path: impl Into<String>, why: impl Into<String>) {
        self.changes.push(KeyChange { path: path.into(), became: KeyOutcome::Gone(why.into()) });
    }

    pub(super) fn decide(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.decisions.push(MigrationDecision { path: path.into(), text: text.into() });
    }

    pub(super) fn refuse(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.refusals.push(ConfigError::new(path, text));
    }

    /// The text at the root's key; an empty one is unset.
    pub(super) fn root_text(&self, key: &str) -> Option<&str> {
        self.document.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }
}
