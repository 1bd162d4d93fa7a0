//! Creating and changing: decode, strict fields, defaults, validation, admission, quota; then the store.

use crate::api::answer::{self, Body};
use crate::api::call::ApiCall;
use crate::api::patch;
use crate::api::pod_security;
use crate::api::validate;
use crate::faults::FaultBoard;
use crate::node;
use crate::node::pods::Kubelet;
use crate::objects::defaults;
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use crate::objects::store::{Store, identity, random_uid};
use crate::objects::time;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;

/// The letters of generated names: no vowels, nothing that looks like another.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Reason in the refusal of a change that means another object of that name.
const OTHER_UID: &str = "Precondition failed: UID in precondition and UID in object meta differ";

/// `POST` to a collection.
pub(super) fn create(
    (store, board, kubelet): (&Store, &FaultBoard, &Arc<Kubelet>),
    kind: ObjectKind,
    call: &ApiCall,
) -> Result<Response<Body>, StatusError> {
    if call.path.name.is_some() || (kind.namespaced() && call.path.namespace.is_none()) {
        return Err(StatusError::method_not_allowed());
    }
    let mut object = decoded(kind, call)?;
    // The status is not the writer's.
    drop(object.as_object_mut().map(|fields| fields.remove("status")));
    place(&mut object, kind, call)?;
    name(&mut object);
    defaults::apply(kind, &mut object);
    validate::new_object(kind, &object)?;
    if kind.namespaced() {
        let namespace = store.get(ObjectKind::Namespace, "", call.namespace());
        let namespace = namespace.ok_or_else(|| StatusError::not_found(ObjectKind::Namespace, call.namespace()))?;
        if kind == ObjectKind::Pod {
            pod_security::admit(&namespace, &object)?;
            admit_pod(store, board, &object)?;
        }
    }
    if call.is_dry_run() {
        let (namespace, name) = identity(&object);
        if store.get(kind, &namespace, &name).is_some() {
            return Err(StatusError::already_exists(kind, &name));
        }
        object["metadata"]["uid"] = json!(random_uid());
        object["metadata"]["creationTimestamp"] = json!(time::now());
        return Ok(answer::json(StatusCode::CREATED, &object));
    }
    let stored = store.create(kind, object)?;
    if kind == ObjectKind::Pod {
        node::adopt(kubelet, Arc::clone(&stored));
    }
    Ok(answer::json(StatusCode::CREATED, &stored))
}

fn admit_pod(store: &Store, board: &FaultBoard, object: &Value) -> Result<(), StatusError> {
    if let Some(reason) = board.denial() {
        return Err(StatusError::denied_by_webhook(&reason));
    }
    let (namespace, name) = identity(object);
    let Some(limit) = board.quota() else { return Ok(()) };
    let finished = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let used = store.list(ObjectKind::Pod, Some(&namespace)).0.iter().filter(|pod| !finished(pod)).count();
    if used < limit {
        return Ok(());
    }
    let why = format!("exceeded quota: devcluster, requested: pods=1, used: pods={used}, limited: pods={limit}");
    Err(StatusError::forbidden("pods", &name, &why))
}

fn decoded(kind: ObjectKind, call: &ApiCall) -> Result<Value, StatusError> {
    let mut object = call.json()?;
    if !object.is_object() {
        return Err(StatusError::bad_request("the object provided is unrecognized: no object was given"));
    }
    for field in ["kind", "apiVersion"] {
        if let Some(given) = object.get(field).filter(|given| !given.is_string() && !given.is_null()) {
            let given = if given.is_number() { "number" } else { "value" };
            return Err(StatusError::bad_request(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {given} into Go struct field \
                 .{field} of type string"
            )));
        }
    }
    if object.get("kind").is_some_and(|given| !given.is_null() && given != kind.name()) {
        let given = &object["kind"];
        return Err(StatusError::bad_request(format!(
            "{} in version \"v1\" cannot be handled as a {given}",
            kind.name()
        )));
    }
    object["kind"] = json!(kind.name());
    object["apiVersion"] = json!(kind.api_version());
    let strict = call.query.all("fieldValidation").any(|level| level == "Strict");
    validate::read::object(kind, &object, strict)
}

/// The namespace of the URL is the object's; one that says otherwise is refused.
fn place(object: &mut Value, kind: ObjectKind, call: &ApiCall) -> Result<(), StatusError> {
    let metadata = &mut object["metadata"];
    if !kind.namespaced() {
        return Ok(());
    }
    match metadata["namespace"].as_str().filter(|given| !given.is_empty()) {
        Some(given) if given != call.namespace() => Err(StatusError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
        _ => {
            metadata["namespace"] = json!(call.namespace());
            Ok(())
        }
    }
}

fn name(object: &mut Value) {
    let metadata = &mut object["metadata"];
    let prefix = metadata["generateName"].as_str().unwrap_or_default().to_owned();
    if !prefix.is_empty() && metadata["name"].as_str().unwrap_or_default().is_empty() {
        let letter = || char::from(LETTERS[rand::random_range(0..LETTERS.len())]);
        let room: String = prefix.chars().take(58).collect();
        metadata["name"] = json!(room + &(0..5).map(|_| letter()).collect::<String>());
    }
}

/// `PUT` of one object.
pub(super) fn replace(store: &Store, kind: ObjectKind, call: &ApiCall) -> Result<Response<Body>, StatusError> {
    let mut object = decoded(kind, call)?;
    place(&mut object, kind, call)?;
    if identity(&object).1 != call.name() {
        return Err(StatusError::bad_request("the name of the object does not match the name on the URL"));
    }
    if kind == ObjectKind::Lease && store.get(kind, call.namespace(), call.name()).is_none() {
        return replace_nothing(store, kind, object);
    }
    if kind == ObjectKind::Lease && object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        let detail = "must be specified for an update";
        let cause = crate::objects::status::StatusCause::invalid("metadata.resourceVersion", &json!(0), detail);
        return Err(StatusError::invalid(kind, call.name(), &[cause]));
    }
    change(store, kind, call, |_| Ok(object))
}

/// An update of a Lease that is not there makes it, whatever version it names; only one that names an object is refused.
fn replace_nothing(store: &Store, kind: ObjectKind, mut object: Value) -> Result<Response<Body>, StatusError> {
    let name = identity(&object).1;
    if object["metadata"]["uid"].as_str().is_some_and(|uid| !uid.is_empty()) {
        return Err(StatusError::conflict(kind, &name, OTHER_UID));
    }
    defaults::apply(kind, &mut object);
    validate::new_object(kind, &object)?;
    let stored = store.create(kind, object)?;
    Ok(answer::json(StatusCode::CREATED, &stored))
}

/// `PATCH` of one object.
pub(super) fn patch(store: &Store, kind: ObjectKind, call: &ApiCall) -> Result<Response<Body>, StatusError> {
    let content = call.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let content = content.split(';').next().unwrap_or_default().trim();
    let form = patch::PatchForm::of(content)?;
    let document: Value = serde_json::from_slice(&call.body)
        .map_err(|error| StatusError::bad_request(format!("error decoding patch: {error}")))?;
    let strict = call.query.all("fieldValidation").any(|level| level == "Strict");
    change(store, kind, call, |current| {
        let changed = patch::apply(form, current, &document)?;
        let mut changed = validate::read::patched(kind, &changed, strict)?;
        // A patch that names no version holds for any.
        if document["metadata"]["resourceVersion"].is_null() {
            changed["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
        }
        Ok(changed)
    })
}

fn change(
    store: &Store,
    kind: ObjectKind,
    call: &ApiCall,
    change: impl FnOnce(&Value) -> Result<Value, StatusError>,
) -> Result<Response<Body>, StatusError> {
    let name = call.name();
    let changed = |current: &Value| {
        let mut object = change(current)?;
        let same = |field: &str| {
            let given = object["metadata"][field].as_str().unwrap_or_default();
            given.is_empty() || current["metadata"][field] == given
        };
        if !same("resourceVersion") {
            return Err(StatusError::stale(kind, name));
        }
        if !same("uid") {
            return Err(StatusError::conflict(kind, name, OTHER_UID));
        }
        // Status, and the state of a deletion, are not the writer's.
        for (parent, field) in
            [("", "status"), ("metadata", "deletionTimestamp"), ("metadata", "deletionGracePeriodSeconds")]
        {
            let (from, to) =
                if parent.is_empty() { (current, &mut object) } else { (&current[parent], &mut object[parent]) };
            match from.get(field) {
                Some(value) => to[field] = value.clone(),
                None => drop(to.as_object_mut().map(|map| map.remove(field))),
            }
        }
        defaults::apply(kind, &mut object);
        validate::changed_object(kind, current, &object)?;
        Ok(object)
    };
    if call.is_dry_run() {
        let current = store.get(kind, call.namespace(), name).ok_or_else(|| StatusError::not_found(kind, name))?;
        return Ok(answer::json(StatusCode::OK, &changed(&current)?));
    }
    let stored = store.update((kind, call.namespace(), name), changed)?;
    Ok(answer::json(StatusCode::OK, &stored))
}
