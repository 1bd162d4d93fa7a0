//! The wire types: what Podgate asks and what it understands, field by field ContainerSSH's.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known about a connection's user beside the name; merged key by key, the later answer wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Carried between systems.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    /// Environment variables for the guest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, Value>,
    /// Files for the guest, by path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, File>,
}

/// A text, perhaps a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The text.
    #[serde(default)]
    pub value: String,
    /// Not to be sent to further webhooks.
    #[serde(default)]
    pub sensitive: bool,
}

/// A file's content, perhaps a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The bytes; base64 on the wire.
    #[serde(default)]
    pub value: String,
    /// Not to be sent to further webhooks.
    #[serde(default)]
    pub sensitive: bool,
}
