//! The sections of the file that a config webhook's answer can change, before they are typed.

use crate::schema::{Tree, get, keys};
use serde_json::Value;
use std::fmt;

/// The sections of which only some keys can differ between connections.
pub(super) const PARTIAL: [&str; 2] = ["log", "audit"];

/// The file's sections that can differ between connections, as JSON, because an answer may complete them.
#[derive(Clone)]
pub struct FileSections {
    /// The file's `backend`, `kubernetes`, `security`, `limits`, `log` (`level` alone) and `audit` (`onFailure` alone), without
    /// nulls.
    pub sections: Tree,
    /// `configserver.exactValues`: every answer is exact.
    pub exact_values: bool,
    /// `configserver.allowConnection`: an answer may change `kubernetes.connection`.
    pub allow_connection: bool,
    /// `kubernetes.pod.shared` of the file: an answer may open a persistent pod for several identities.
    pub allow_shared: bool,
    /// True for a file with `backend: kuberun`; its sections are already translated.
    pub kuberun: bool,
}

/// Requirement on the sections that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completeness {
    /// Everything that a connection needs is present.
    Whole,
    /// Present values are valid; a config webhook's answer supplies the others.
    Part,
}

/// The sections can hold credentials: only their names are shown.
impl fmt::Debug for FileSections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSections")
            .field("sections", &self.sections.keys())
            .field("exact_values", &self.exact_values)
            .field("allow_connection", &self.allow_connection)
            .field("allow_shared", &self.allow_shared)
            .field("kuberun", &self.kuberun)
            .finish()
    }
}

impl FileSections {
    /// Keeps the sections of a file that can differ between connections.
    pub(crate) fn new(mut file: Tree, exact_values: bool, allow_connection: bool, kuberun: bool) -> Self {
        file.retain(|key, _| keys::is_per_connection(key));
        for section in PARTIAL {
            if let Some(Value::Object(part)) = file.get_mut(section) {
                part.retain(|key, _| keys::is_per_connection(&format!("{section}.{key}")));
            }
        }
        let allow_shared = get(&file, "kubernetes.pod.shared") == Some(&Value::Bool(true));
        Self { sections: file, exact_values, allow_connection, allow_shared, kuberun }
    }

    /// True if the file sets the value at this path.
    pub fn says(&self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        let found = rest.iter().try_fold(self.sections.get(*first), |at, key| Some(at?.get(*key)));
        found.flatten().is_some()
    }
}
