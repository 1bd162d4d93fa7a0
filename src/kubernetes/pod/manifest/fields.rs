//! Lists in a configured spec, whose shape nobody has checked.

use super::ManifestError;
use serde_json::{Map, Value, json};

/// The entries of a list of the spec, which are all mappings.
pub(super) fn objects<'a>(
    spec: &'a mut Map<String, Value>,
    list: &str,
    path: &str,
) -> Result<impl Iterator<Item = &'a mut Map<String, Value>>, ManifestError> {
    let entries = match spec.get_mut(list) {
        None | Some(Value::Null) => &mut [],
        Some(Value::Array(entries)) => entries.as_mut_slice(),
        Some(_) => return Err(ManifestError::Shape { path: path.to_owned(), expected: "a list" }),
    };
    if let Some(number) = entries.iter().position(|entry| !entry.is_object()) {
        return Err(ManifestError::Shape { path: format!("{path}[{number}]"), expected: "a mapping" });
    }
    Ok(entries.iter_mut().filter_map(Value::as_object_mut))
}

/// A list of an object, created if it is absent.
pub(super) fn list<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
    path: &str,
) -> Result<&'a mut Vec<Value>, ManifestError> {
    let list = object.entry(key).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().ok_or_else(|| ManifestError::Shape { path: path.to_owned(), expected: "a list" })
}
