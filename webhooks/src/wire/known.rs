//! Facts about a connection's user beside the name: metadata, environment, files.

use data_encoding::BASE64;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Facts about a connection's user beside the name; merged key by key, the later answer wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Known {
    /// Strings that are passed on to later webhooks, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(default))]
    pub metadata: BTreeMap<String, Value>,
    /// Environment variables for the guest, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(default))]
    pub environment: BTreeMap<String, Value>,
    /// Files for the guest, by path.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(default))]
    pub files: BTreeMap<String, File>,
}

/// A string, which can be a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Value {
    /// Text of the value.
    pub value: String,
    /// True: the value is not sent to other webhooks, except to the config server if
    /// `configserver.transmitSensitiveMetadata` is true. Absent means false.
    #[cfg_attr(test, schemars(default))]
    pub sensitive: bool,
}

/// The content of a file, which can be a secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct File {
    /// The bytes, in standard base64 with padding.
    #[serde(serialize_with = "base64")]
    #[cfg_attr(test, schemars(with = "String", extend("contentEncoding" = "base64")))]
    pub value: Vec<u8>,
    /// True: the value is not sent to other webhooks, except to the config server if
    /// `configserver.transmitSensitiveMetadata` is true. Absent means false.
    #[cfg_attr(test, schemars(default))]
    pub sensitive: bool,
}

impl Known {
    /// Takes in what a later answer said, key by key; its entries win.
    pub fn merge(&mut self, later: Self) {
        self.metadata.extend(later.metadata);
        self.environment.extend(later.environment);
        self.files.extend(later.files);
    }

    /// The same without everything that is marked sensitive.
    #[must_use]
    pub fn without_sensitive(&self) -> Self {
        fn kept<T: Clone>(map: &BTreeMap<String, T>, secret: impl Fn(&T) -> bool) -> BTreeMap<String, T> {
            map.iter().filter(|(_, entry)| !secret(entry)).map(|(key, entry)| (key.clone(), entry.clone())).collect()
        }
        Self {
            metadata: kept(&self.metadata, |entry| entry.sensitive),
            environment: kept(&self.environment, |entry| entry.sensitive),
            files: kept(&self.files, |entry| entry.sensitive),
        }
    }

    /// True where no fact is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metadata.is_empty() && self.environment.is_empty() && self.files.is_empty()
    }
}

impl Value {
    /// A text that anyone may see.
    #[must_use]
    pub fn plain(text: impl Into<String>) -> Self {
        Self { value: text.into(), sensitive: false }
    }

    /// A text for the guest alone.
    #[must_use]
    pub fn secret(text: impl Into<String>) -> Self {
        Self { value: text.into(), sensitive: true }
    }
}

impl File {
    /// A file that anyone may see.
    #[must_use]
    pub fn plain(content: impl Into<Vec<u8>>) -> Self {
        Self { value: content.into(), sensitive: false }
    }

    /// A file for the guest alone.
    #[must_use]
    pub fn secret(content: impl Into<Vec<u8>>) -> Self {
        Self { value: content.into(), sensitive: true }
    }
}

/// A sensitive text is masked.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive { f.write_str("<secret>") } else { fmt::Debug::fmt(&self.value, f) }
    }
}

/// Only the length is shown.
impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.value.len())
    }
}

/// Writes bytes as standard base64 with padding.
pub(super) fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64.encode(bytes))
}

/// Reads standard base64 with padding at its end alone. Line ends in it are passed over, as Go's decoder does.
pub(super) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    // The decoder would also take several encodings, one behind another.
    BASE64.decode(&text).ok().filter(|bytes| BASE64.encode(bytes).as_bytes() == text)
}
