//! `--dump-config`: what holds, key by key, whether the file says it or not. Secrets are masked; what comes out is a file
//! that loads, and means the same but for them.

use super::algorithms;
use crate::schema::keys::{self, ConfigKey, Effect, KeyKind};
use crate::schema::{Errors, Format, Tree, document, get, migrate, pem, put, yaml};
use serde_json::{Value, json};
use std::path::Path;

/// Replacement of a secret. A token of it can be sent nowhere, and a key of it signs nothing.
const MASKED: &str = "masked";
/// Path of the object of Kubernetes that has values of variables.
const POD_SPEC: &str = "kubernetes.pod.spec";
/// Path of the key that a kubeconfig brings, and that is not printed beside one.
const OF_KUBECONFIG: &str = "kubernetes.connection.host";

/// The effective values of a file as YAML.
///
/// # Errors
/// A file that can't be read, is no configuration at all, or has old keys without a meaning today.
pub fn dump_file(path: &Path) -> Result<String, Errors> {
    dump(&document::text_of(path)?, Format::of(path))
}

/// The effective values of a file's text as YAML.
///
/// # Errors
/// A text that is no configuration at all, and old keys that have no meaning today.
pub(crate) fn dump(text: &str, format: Format) -> Result<String, Errors> {
    let (tree, _) = document::read(text, format)?;
    let migration = migrate::migrate(tree);
    if !migration.refusals.is_empty() {
        return Err(Errors(migration.refusals));
    }
    Ok(yaml::write(&effective(&migration.document)))
}

fn effective(document: &Tree) -> Tree {
    let mut tree = Tree::new();
    for key in keys::all() {
        let written = get(document, &key.path).filter(|value| **value != Value::String(String::new()));
        let held = written.and_then(|value| algorithms::effective(&key.path, value));
        let written = held.as_ref().or(written).or_else(|| get(document, keys::follows(&key.path)?));
        let default = key.default.as_ref().filter(|_| holds(document, key));
        match (written, default) {
            // What the operator's mapping leaves out has its default beside it.
            (Some(Value::Object(written)), Some(Value::Object(default))) if key.path == "kubernetes.pod.metadata" => {
                let mut whole = default.clone();
                whole.extend(written.clone());
                put(&mut tree, &key.path, Value::Object(whole));
            }
            (Some(value), _) if key.path == POD_SPEC => put(&mut tree, &key.path, masked_spec(value.clone())),
            (Some(value), _) => put(&mut tree, &key.path, masked(value, key.kind)),
            (None, Some(default)) => put(&mut tree, &key.path, default.clone()),
            (None, None) => {}
        }
    }
    tree
}

/// True if a default holds: that of a client with a URL, that of a server that is enabled.
fn holds(document: &Tree, key: &ConfigKey) -> bool {
    if key.effect == Effect::Ignored {
        return false;
    }
    let says = |path: &str| {
        get(document, path).is_some_and(|value| !value.is_null() && *value != Value::String(String::new()))
    };
    let is = |path: &str, value: Value| get(document, path) == Some(&value);
    let (block, _) = key.path.rsplit_once('.').unwrap_or_default();
    match key.path.split('.').next() {
        _ if block.ends_with("webhook") || block == "configserver" => says(&format!("{block}.url")),
        // One of the two.
        _ if key.path == "ssh.listen" => {
            get(document, "ssh.listeners").and_then(Value::as_array).is_none_or(Vec::is_empty)
        }
        _ if key.path == "log.file" => is("log.destination", "file".into()),
        _ if block == "log.syslog" => is("log.destination", "syslog".into()),
        Some(section @ ("health" | "metrics")) => is(&format!("{section}.enable"), true.into()),
        _ => key.path != OF_KUBECONFIG || !says("kubernetes.connection.kubeconfig"),
    }
}

fn masked(value: &Value, kind: KeyKind) -> Value {
    match (value, kind) {
        (Value::Object(_), KeyKind::Secret | KeyKind::SecretMapping) => json!({MASKED: MASKED}),
        (_, KeyKind::Secret | KeyKind::SecretMapping) => MASKED.into(),
        (Value::String(text), KeyKind::PrivateKey | KeyKind::PrivateKeys) if pem::is_inline(text) => {
            mask_key(text).into()
        }
        (Value::Array(items), KeyKind::PrivateKeys) => items.iter().map(|item| masked(item, kind)).collect(),
        (Value::Array(variables), KeyKind::Variables) => {
            let mut variables = variables.clone();
            mask_values(&mut variables);
            variables.into()
        }
        (Value::String(text), KeyKind::Url) => mask_url(text).into(),
        (Value::String(text), KeyKind::Host) => mask_host(text).into(),
        (value, _) => value.clone(),
    }
}

/// A pod's specification without the values of variables and of HTTP headers, which can be secrets: wherever it has a list of
/// names with values, their names are left.
pub(crate) fn masked_spec(mut value: Value) -> Value {
    match &mut value {
        // Two fields that differ in their letters' case alone stay as they are written.
        Value::Object(map) => {
            map.iter_mut().for_each(|(key, value)| match (key.to_ascii_lowercase().as_str(), &mut *value) {
                ("env" | "httpheaders", Value::Array(entries)) => mask_values(entries),
                _ => *value = masked_spec(value.take()),
            })
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = masked_spec(item.take())),
        _ => {}
    }
    value
}

/// A list of names with values without the latter.
fn mask_values(entries: &mut [Value]) {
    let fields = entries.iter_mut().filter_map(Value::as_object_mut).flatten();
    let texts = fields.filter(|(key, text)| key.eq_ignore_ascii_case("value") && text.as_str() != Some(""));
    texts.for_each(|(_, text)| *text = MASKED.into());
}

/// A key without what makes it one, in the frame that it had.
fn mask_key(text: &str) -> String {
    let label = text.split("-----BEGIN ").nth(1).and_then(|rest| rest.split_once("-----")).map(|(label, _)| label);
    let label = label.filter(|label| label.ends_with("PRIVATE KEY")).unwrap_or("PRIVATE KEY");
    // "masked" in base64.
    format!("-----BEGIN {label}-----\nbWFza2Vk\n-----END {label}-----\n")
}

/// A URL without what can be a secret: user name, password, query, fragment. What is no URL can hide anything.
fn mask_url(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("unix:") {
        // The request's path begins behind the socket, and only there is a query one.
        let Some((socket, path)) = rest.split_once(":/") else { return text.to_owned() };
        let end = path.find(['?', '#']).map_or(path.len(), |at| at + 1);
        let masked = if end < path.len() { MASKED } else { "" };
        return format!("unix:{socket}:/{}{masked}", path.get(..end).unwrap_or_default());
    }
    let Ok(mut url) = url::Url::parse(text) else { return MASKED.to_owned() };
    let has_user = !url.username().is_empty() || url.password().is_some();
    if !has_user && url.query().is_none() && url.fragment().is_none() {
        return text.to_owned();
    }
    // An error is a URL that can't have them.
    let _ = has_user.then(|| url.set_username(MASKED));
    let _ = url.password().is_some().then(|| url.set_password(Some(MASKED)));
    if url.query().is_some() {
        url.set_query(Some(MASKED));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some(MASKED));
    }
    url.into()
}

/// The same for a host, with a port or without, or a URL.
fn mask_host(text: &str) -> String {
    if text.contains("://") {
        return mask_url(text);
    }
    // What is masked anywhere but in front of a host is no host and port.
    let masked = mask_url(&format!("https://{text}"));
    masked.strip_prefix("https://").unwrap_or(MASKED).to_owned()
}
