//! For tests: files that exist nowhere, and a configuration that loads, to be changed by the case at hand.

use super::Config;
use crate::schema::{Errors, Files, Format};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Files in memory, by their paths.
#[derive(Default)]
pub(crate) struct MemoryFiles(BTreeMap<PathBuf, String>);

impl MemoryFiles {
    /// A host key, a CA, a client certificate with its key and a token below `/etc/podgate`.
    pub(crate) fn new() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let certificate = pair.cert.pem();
        let host_key = "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n".to_owned();
        Self::default()
            .with("/etc/podgate/hostkey", &host_key)
            .with("/etc/podgate/ca.crt", &certificate)
            .with("/etc/podgate/client.crt", &certificate)
            .with("/etc/podgate/client.key", &pair.signing_key.serialize_pem())
            .with("/etc/podgate/token", "t0ken\n")
    }

    /// Adds a file with a text.
    pub(crate) fn with(mut self, path: &str, text: &str) -> Self {
        self.0.insert(path.into(), text.into());
        self
    }

    /// The text of a file.
    pub(crate) fn text(&self, name: &str) -> String {
        self.0[Path::new(&format!("/etc/podgate/{name}"))].clone()
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The smallest tree that loads.
pub(crate) fn minimal() -> Value {
    json!({
        "ssh": {"hostkeys": ["/etc/podgate/hostkey"]},
        "auth": {"password": {"method": "webhook", "webhook": {"url": "https://auth.example"}}},
        "backend": "kubernetes",
    })
}

/// A tree with the value at a path (`a.b.c`) set, mappings made on the way.
pub(crate) fn set(mut tree: Value, path: &str, value: Value) -> Value {
    let mut at = &mut tree;
    for key in path.split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = at.as_object_mut().expect("a mapping").entry(key).or_insert(Value::Null);
    }
    *at = value;
    tree
}

/// Loads a tree with the usual files.
pub(crate) fn load(tree: &Value) -> Result<Config, Errors> {
    Config::parse(&tree.to_string(), Format::Json, &MemoryFiles::new())
}

/// Loads the smallest tree with one value changed.
pub(crate) fn with(path: &str, value: Value) -> Result<Config, Errors> {
    load(&set(minimal(), path, value))
}

/// True if one of the errors is about the path and its text contains `part`.
pub(crate) fn has(errors: &Errors, path: &str, part: &str) -> bool {
    errors.0.iter().any(|error| error.path == path && error.text.contains(part))
}
