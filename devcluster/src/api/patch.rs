//! Patches: JSON merge patch (RFC 7386), which also stands in for the strategic form, and JSON patch (RFC 6902) with the
//! operations add, replace, remove and test.

use crate::objects::status::StatusError;
use serde_json::{Value, json};

const ACCEPTED: &str =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// The forms of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchForm {
    Merge,
    Json,
}

impl PatchForm {
    /// By the content type.
    pub(crate) fn of(content_type: &str) -> Result<Self, StatusError> {
        match content_type {
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => Ok(Self::Merge),
            "application/json-patch+json" => Ok(Self::Json),
            other => Err(StatusError::unsupported_media_type(other, ACCEPTED)),
        }
    }
}

/// Returns the object with the patch applied.
pub(crate) fn apply(form: PatchForm, object: &Value, patch: &Value) -> Result<Value, StatusError> {
    let mut patched = object.clone();
    match form {
        PatchForm::Merge if patch.is_object() => merge(&mut patched, patch),
        PatchForm::Merge => return Err(StatusError::bad_request("a merge patch is an object")),
        PatchForm::Json => {
            let operations = patch.as_array().ok_or_else(|| StatusError::bad_request("a JSON patch is a list"))?;
            operations.iter().try_for_each(|operation| operate(&mut patched, operation))?;
        }
    }
    Ok(patched)
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in fields {
        match value {
            Value::Null => drop(target.as_object_mut().map(|object| object.remove(field))),
            value => merge(&mut target[field], value),
        }
    }
}

fn operate(target: &mut Value, operation: &Value) -> Result<(), StatusError> {
    let failed = || StatusError::bad_request(format!("the patch operation cannot be applied: {operation}"));
    let path = operation["path"].as_str().ok_or_else(failed)?;
    let (parent, last) = path.rsplit_once('/').ok_or_else(failed)?;
    let key = last.replace("~1", "/").replace("~0", "~");
    let parent = target.pointer_mut(parent).ok_or_else(failed)?;
    let value = operation["value"].clone();
    match (operation["op"].as_str(), parent) {
        (Some("test"), parent) => {
            let found = match parent {
                Value::Array(list) => key.parse::<usize>().ok().and_then(|index| list.get(index)).cloned(),
                parent => parent.get(&key).cloned(),
            };
            if found == Some(value) { Ok(()) } else { Err(failed()) }
        }
        (Some("add"), Value::Object(object)) => {
            object.insert(key, value);
            Ok(())
        }
        (Some("replace"), Value::Object(object)) if object.contains_key(&key) => {
            object.insert(key, value);
            Ok(())
        }
        (Some("remove"), Value::Object(object)) => object.remove(&key).map(drop).ok_or_else(failed),
        (Some("add"), Value::Array(list)) => {
            let index = if key == "-" { Some(list.len()) } else { key.parse().ok() };
            let index = index.filter(|index| *index <= list.len()).ok_or_else(failed)?;
            list.insert(index, value);
            Ok(())
        }
        (Some(verb @ ("replace" | "remove")), Value::Array(list)) => {
            let index: usize = key.parse().ok().filter(|index| *index < list.len()).ok_or_else(failed)?;
            if verb == "remove" {
                drop(list.remove(index))
            } else {
                list[index] = value
            }
            Ok(())
        }
        _ => Err(failed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_that_does_not_fit_is_refused() {
        let object = json!({"a": {"b": [1]}});
        for patch in [
            json!([{"op": "test", "path": "/a/b/0", "value": 2}]),
            json!([{"op": "remove", "path": "/a/x"}]),
            json!([{"op": "add", "path": "/x/y", "value": 1}]),
            json!([{"op": "replace", "path": "/a/b/1", "value": 1}]),
            json!([{"op": "move", "path": "/a"}]),
            json!({}),
        ] {
            assert_eq!(apply(PatchForm::Json, &object, &patch).unwrap_err().code(), 400, "{patch}");
        }
        assert_eq!(PatchForm::of("application/apply-patch+yaml").unwrap_err().code(), 415);
    }

    #[test]
    fn merging_removes_nulls_and_keeps_the_rest() {
        let object = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        let patched =
            apply(PatchForm::Merge, &object, &json!({"a": {"b": null, "d": {"e": null, "f": 1}}, "l": [3]})).unwrap();
        assert_eq!(patched, json!({"a": {"c": 2, "d": {"f": 1}}, "l": [3]}));
    }

    #[test]
    fn operations_are_done_in_order() {
        let patch = json!([
            {"op": "test", "path": "/a/b", "value": 1},
            {"op": "add", "path": "/a/x~1y", "value": 2},
            {"op": "add", "path": "/l/-", "value": 3},
            {"op": "remove", "path": "/l/0"},
            {"op": "replace", "path": "/a/b", "value": 4},
        ]);
        let patched = apply(PatchForm::Json, &json!({"a": {"b": 1}, "l": [1, 2]}), &patch).unwrap();
        assert_eq!(patched, json!({"a": {"b": 4, "x/y": 2}, "l": [2, 3]}));
    }
}
