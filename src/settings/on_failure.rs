//! `audit.onFailure`, which can differ between connections.

use crate::schema::Section;
use crate::types::OnFailure;

/// Reads the key; `None` was reported.
pub(crate) fn on_failure(section: &Section<'_>) -> Option<OnFailure> {
    section.choice("onFailure", &[("required", OnFailure::Required), ("bestEffort", OnFailure::BestEffort)])
}
