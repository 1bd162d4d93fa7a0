//! The tree of values that a document is, and its values by their paths (`a.b.c`).

use serde_json::{Map, Value};

/// A mapping of a document.
pub(crate) type Tree = Map<String, Value>;

/// The value at a path, if everything on the way is a mapping.
pub(crate) fn get<'t>(tree: &'t Tree, path: &str) -> Option<&'t Value> {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for key in parents.split('.').filter(|key| !key.is_empty()) {
        at = at.get(key)?.as_object()?;
    }
    at.get(last)
}

/// Takes the value at a path out.
pub(super) fn take_out(tree: &mut Tree, path: &str) {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for key in parents.split('.').filter(|key| !key.is_empty()) {
        let Some(Value::Object(inner)) = at.get_mut(key) else { return };
        at = inner;
    }
    at.remove(last);
}

/// Puts a value at a path, mappings made on the way; whatever else stood there gives way.
pub(crate) fn put(tree: &mut Tree, path: &str, value: Value) {
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = tree;
    for key in parents.split('.').filter(|key| !key.is_empty()) {
        let next = at.entry(key).or_insert_with(|| Value::Object(Tree::new()));
        if !next.is_object() {
            *next = Value::Object(Tree::new());
        }
        let Value::Object(inner) = next else { return };
        at = inner;
    }
    at.insert(last.to_owned(), value);
}

/// The mapping at a path, created if it is absent; `None` for another value.
pub(crate) fn mapping_at<'t>(tree: &'t mut Tree, path: &[&str]) -> Option<&'t mut Tree> {
    path.iter()
        .try_fold(tree, |tree, key| tree.entry(*key).or_insert_with(|| Value::Object(Tree::new())).as_object_mut())
}

/// Merges mappings key by key; replaces everything else.
pub(crate) fn merge(base: &mut Tree, over: Tree) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// True for a value that switches nothing on and names nothing, like an unset field in a file that ContainerSSH wrote.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty() || text == "0s",
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

/// A value's kind, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
