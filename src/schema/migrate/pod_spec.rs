//! The pod's specification as ContainerSSH 0.3 and 0.4 wrote it: every name in small letters, the parts of a volume or a
//! probe a level deeper than Kubernetes has them, ports as a structure of Go's. Hand-written files have Kubernetes' own
//! spelling. Both are taken; what comes out is Kubernetes'.

use crate::schema::kubernetes::{EMBEDDED, POD_SPEC};
use crate::schema::tree::Tree;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Every field of a PodSpec and of what it is made of.
static FIELDS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| POD_SPEC.names());

/// Mappings whose keys are the operator's own.
const FREE: [&str; 9] = [
    "nodeSelector",
    "matchLabels",
    "limits",
    "requests",
    "overhead",
    "volumeAttributes",
    "options",
    "labels",
    "annotations",
];

/// Spells every name as Kubernetes does. What was lost when the file was written comes back as path and text.
pub(super) fn spell(spec: &mut Tree) -> Vec<(String, &'static str)> {
    let mut lost = Vec::new();
    tree(spec, "", &mut lost);
    lost
}

fn tree(tree: &mut Tree, at: &str, lost: &mut Vec<(String, &'static str)>) {
    for (key, value) in std::mem::take(tree) {
        match value {
            Value::Object(inner) if EMBEDDED.contains(&key.as_str()) => {
                let mut inner = inner;
                self::tree(&mut inner, at, lost);
                tree.extend(inner);
            }
            value => {
                let key = named(&key).to_owned();
                let path = format!("{at}.{key}");
                if let Some(format) = format_alone(&value) {
                    // An amount that was not set has no format either.
                    if !format.is_empty() {
                        lost.push((path, LOST));
                    }
                } else if !FREE.contains(&key.as_str()) {
                    tree.insert(key, spelled(value, &path, lost));
                } else if value != json!({}) {
                    tree.insert(key, quantities(value, &path, lost));
                }
            }
        }
    }
}

fn spelled(value: Value, at: &str, lost: &mut Vec<(String, &'static str)>) -> Value {
    match value {
        Value::Object(map) if map.contains_key("intval") && map.contains_key("strval") => int_or_text(&map),
        Value::Object(mut map) => {
            tree(&mut map, at, lost);
            Value::Object(map)
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            items.map(|(index, item)| spelled(item, &format!("{at}[{index}]"), lost)).collect()
        }
        value => value,
    }
}

/// Go's structure of a port that is a number (type 0) or a name (type 1).
fn int_or_text(map: &Tree) -> Value {
    let key = if map.get("type") == Some(&json!(1)) { "strval" } else { "intval" };
    map.get(key).cloned().unwrap_or(Value::Null)
}

const LOST: &str = "was lost when ContainerSSH wrote the file; write the quantity again";

/// The format of an amount that was written as its format alone: how much it was is lost.
fn format_alone(value: &Value) -> Option<&str> {
    let map = value.as_object().filter(|map| map.len() == 1)?;
    map.get("format")?.as_str()
}

/// A mapping of free names, which may be to amounts.
fn quantities(value: Value, at: &str, lost: &mut Vec<(String, &'static str)>) -> Value {
    let Value::Object(mut map) = value else { return value };
    map.retain(|key, value| {
        let is_lost = format_alone(value).is_some();
        if is_lost {
            lost.push((format!("{at}.{key}"), LOST));
        }
        !is_lost
    });
    Value::Object(map)
}

/// The name as Kubernetes spells it; what it does not know stays, for the API server to judge.
fn named(key: &str) -> &str {
    match key {
        "deprecatedserviceaccount" => "serviceAccount",
        _ if key.bytes().any(|byte| byte.is_ascii_uppercase()) => key,
        _ => FIELDS.iter().find(|field| field.eq_ignore_ascii_case(key)).map_or(key, |field| field),
    }
}
