//! Reading: one object, or the selected ones of a kind, in pages where a limit is given.

use crate::api::answer::{self, Body};
use crate::api::call::ApiCall;
use crate::api::selector::Selector;
use crate::api::table;
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use crate::objects::store::{Store, identity};
use data_encoding::BASE64URL_NOPAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// `GET` of one object.
pub(super) fn get(store: &Store, kind: ObjectKind, call: &ApiCall) -> Result<Response<Body>, StatusError> {
    let object = store.get(kind, call.namespace(), call.name());
    let object = object.ok_or_else(|| StatusError::not_found(kind, call.name()))?;
    if call.wants_table() {
        let version = &object["metadata"]["resourceVersion"];
        let table = table::table(kind, std::slice::from_ref(&object), &json!({"resourceVersion": version}), true);
        return Ok(answer::json(StatusCode::OK, &table));
    }
    Ok(answer::json(StatusCode::OK, &object))
}

/// `GET` of a collection.
pub(super) fn list(store: &Store, kind: ObjectKind, call: &ApiCall) -> Result<Response<Body>, StatusError> {
    let selector = Selector::parse(kind, &call.query)?;
    let (mut objects, version) = store.list(kind, call.path.namespace.as_deref());
    objects.retain(|object| selector.matches(object));
    if let Some(token) = call.query.get("continue") {
        let after = page_start(token)?;
        objects.retain(|object| identity(object) > after);
    }
    let mut metadata = json!({"resourceVersion": version.to_string()});
    let limit = call.query.number("limit").filter(|limit| *limit > 0).and_then(|limit| usize::try_from(limit).ok());
    if let Some(limit) = limit.filter(|limit| *limit < objects.len()) {
        metadata["remainingItemCount"] = json!(objects.len() - limit);
        objects.truncate(limit);
        let last = objects.last().map(|object| identity(object)).unwrap_or_default();
        metadata["continue"] = json!(BASE64URL_NOPAD.encode(format!("{}/{}", last.0, last.1).as_bytes()));
    }
    let answer = if call.wants_table() {
        table::table(kind, &objects, &metadata, true)
    } else if call.wants_metadata() {
        metadata_list(&objects, &metadata)
    } else {
        let items: Vec<&Value> = objects.iter().map(Arc::as_ref).collect();
        json!({
            "kind": format!("{}List", kind.name()), "apiVersion": kind.api_version(), "metadata": metadata, "items": items,
        })
    };
    Ok(answer::json(StatusCode::OK, &answer))
}

/// Metadata alone. As the API server does, an empty list has no items instead of an empty list of them.
fn metadata_list(objects: &[Arc<Value>], metadata: &Value) -> Value {
    let (kind, version) = ("PartialObjectMetadata", "meta.k8s.io/v1");
    let item = |object: &Arc<Value>| json!({"kind": kind, "apiVersion": version, "metadata": object["metadata"]});
    let items: Option<Vec<_>> = (!objects.is_empty()).then(|| objects.iter().map(item).collect());
    json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": metadata, "items": items})
}

fn page_start(token: &str) -> Result<(String, String), StatusError> {
    let decoded = BASE64URL_NOPAD.decode(token.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once('/'));
    let (namespace, name) = pair.ok_or_else(|| StatusError::bad_request("continue key is not valid"))?;
    Ok((namespace.to_owned(), name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_metadata_has_nothing_else_and_no_items_where_it_is_empty() {
        let pod = Arc::new(json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}));
        let list = metadata_list(&[pod], &json!({}));
        let item = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "p"}});
        assert_eq!(list["items"], json!([item]));
        assert_eq!(metadata_list(&[], &json!({}))["items"], Value::Null);
    }
}
