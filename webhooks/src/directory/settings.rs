//! A part of the gateway's configuration: the sections that a config webhook has a say in. What is inside them is the
//! gateway's to judge.

use serde_json::{Map, Value as Json};
use std::fmt;

/// The sections that have an effect for one connection.
pub(super) const SECTIONS: [&str; 8] =
    ["audit", "backend", "docker", "kubernetes", "limits", "log", "security", "sshproxy"];

/// Settings of a user as parsed sections.
#[derive(Clone, Default, PartialEq)]
pub(super) struct UserSettings(Map<String, Json>);

/// Settings can hold a cluster's credentials: only the sections' names are shown.
impl fmt::Debug for UserSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Error of parsing settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The settings are not an object.
    #[error("settings are not an object")]
    NotAnObject,
    /// A section that does not exist, or that a config webhook has no say in.
    #[error("{key}: is not a section that can be set for a connection ({known})", known = SECTIONS.join(", "))]
    Section {
        /// Name of the section.
        key: String,
    },
}

impl UserSettings {
    /// Takes an object of sections.
    pub(super) fn new(settings: Json) -> Result<Self, SettingsError> {
        let Json::Object(sections) = settings else { return Err(SettingsError::NotAnObject) };
        match sections.keys().find(|key| !SECTIONS.contains(&key.as_str())) {
            Some(key) => Err(SettingsError::Section { key: key.clone() }),
            None => Ok(Self(sections)),
        }
    }

    /// These sections, whose names have been looked at.
    pub(super) fn of(sections: Map<String, Json>) -> Self {
        Self(sections)
    }

    pub(super) fn sections(&self) -> &Map<String, Json> {
        &self.0
    }

    /// These with `later` on top: objects are merged key by key, everything else (lists too) is replaced.
    pub(super) fn overlaid(&self, later: &Self) -> Map<String, Json> {
        let mut merged = self.0.clone();
        overlay(&mut merged, &later.0);
        merged
    }
}

fn overlay(below: &mut Map<String, Json>, above: &Map<String, Json>) {
    for (key, value) in above {
        match (below.get_mut(key), value) {
            (Some(Json::Object(below)), Json::Object(above)) => overlay(below, above),
            _ => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unknown_sections_are_refused() {
        assert_eq!(UserSettings::new(json!([])), Err(SettingsError::NotAnObject));
        for key in ["ssh", "auth", "kubernets", "Kubernetes"] {
            assert_eq!(UserSettings::new(json!({ key: {} })), Err(SettingsError::Section { key: key.into() }));
        }
    }

    #[test]
    fn objects_merge_and_lists_are_replaced() {
        let settings = |json| UserSettings::new(json).expect("settings");
        let below = settings(json!({"backend": "kubernetes", "kubernetes": {"pod": {"a": [1, 2], "b": 1}}}));
        let above = settings(json!({"kubernetes": {"pod": {"a": [3], "c": null}}, "security": {"maxSessions": 0}}));
        let expected = json!({
            "backend": "kubernetes",
            "kubernetes": {"pod": {"a": [3], "b": 1, "c": null}},
            "security": {"maxSessions": 0},
        });
        assert_eq!(Json::Object(below.overlaid(&above)), expected);
    }
}
