//! Deleting: preconditions first. A running pod is only marked, and its worker removes it; without grace it goes at once.

use crate::api::answer::{self, Body};
use crate::api::call::ApiCall;
use crate::api::selector::Selector;
use crate::api::validate;
use crate::node::pods::{Kubelet, PodOrder};
use crate::objects::kinds::ObjectKind;
use crate::objects::status::{self, StatusError};
use crate::objects::store::{Store, identity};
use crate::objects::time;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `DeleteOptions` of Kubernetes, from the body and the query.
struct DeleteOptions {
    grace: Option<u64>,
    uid: Option<String>,
    version: Option<String>,
    dry_run: bool,
}

impl DeleteOptions {
    fn of(call: &ApiCall) -> Result<Self, StatusError> {
        let body = validate::read::delete_options(&call.json()?)?;
        let text = |field: &str| body["preconditions"][field].as_str().map(str::to_owned);
        // A negative grace means the shortest one.
        let grace = body["gracePeriodSeconds"].as_i64().map(|seconds| u64::try_from(seconds).unwrap_or(1));
        let listed = body["dryRun"].as_array().is_some_and(|list| list.iter().any(|value| value == "All"));
        Ok(Self {
            grace: grace.or_else(|| call.query.number("gracePeriodSeconds")),
            uid: text("uid"),
            version: text("resourceVersion"),
            dry_run: listed || call.is_dry_run(),
        })
    }

    fn check(&self, kind: ObjectKind, object: &Value) -> Result<(), StatusError> {
        let (_, name) = identity(object);
        for (what, label, wanted) in [("uid", "UID", &self.uid), ("resourceVersion", "ResourceVersion", &self.version)]
        {
            let found = object["metadata"][what].as_str().unwrap_or_default();
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why =
                    format!("Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {found}");
                return Err(StatusError::conflict(kind, &name, &why));
            }
        }
        Ok(())
    }
}

/// `DELETE` of one object.
pub(super) fn delete(
    cluster: (&Store, &Kubelet),
    kind: ObjectKind,
    call: &ApiCall,
) -> Result<Response<Body>, StatusError> {
    let options = DeleteOptions::of(call)?;
    let answer = delete_one(cluster, (kind, call.namespace(), call.name()), &options)?;
    Ok(answer::json(StatusCode::OK, &answer))
}

/// `DELETE` of a collection, or of what a selector takes from it.
pub(super) fn delete_collection(
    cluster: (&Store, &Kubelet),
    kind: ObjectKind,
    call: &ApiCall,
) -> Result<Response<Body>, StatusError> {
    if !kind.namespaced() || call.path.namespace.is_none() {
        return Err(StatusError::method_not_allowed());
    }
    let selector = Selector::parse(kind, &call.query)?;
    let options = DeleteOptions::of(call)?;
    let (objects, version) = cluster.0.list(kind, call.path.namespace.as_deref());
    let selected: Vec<Arc<Value>> = objects.into_iter().filter(|object| selector.matches(object)).collect();
    for object in &selected {
        let (namespace, name) = identity(object);
        match delete_one(cluster, (kind, &namespace, &name), &options) {
            Err(error) if error.code() != 404 => return Err(error),
            _ => {}
        }
    }
    let items: Vec<&Value> = selected.iter().map(Arc::as_ref).collect();
    let list = json!({
        "kind": format!("{}List", kind.name()), "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": version.to_string()}, "items": items,
    });
    Ok(answer::json(StatusCode::OK, &list))
}

fn delete_one(
    cluster: (&Store, &Kubelet),
    (kind, namespace, name): (ObjectKind, &str, &str),
    options: &DeleteOptions,
) -> Result<Value, StatusError> {
    if options.dry_run {
        let object = cluster.0.get(kind, namespace, name).ok_or_else(|| StatusError::not_found(kind, name))?;
        options.check(kind, &object)?;
        return Ok(Value::clone(&object));
    }
    match kind {
        ObjectKind::Pod => delete_pod(cluster, (namespace, name), options.grace, |pod| options.check(kind, pod))
            .map(|pod| Value::clone(&pod)),
        ObjectKind::Namespace => delete_namespace(cluster, name, options),
        ObjectKind::Event | ObjectKind::Lease => {
            let removed = cluster.0.remove((kind, namespace, name), |object| options.check(kind, object))?;
            Ok(status::success(kind, name, &removed["metadata"]["uid"]))
        }
    }
}

/// Deletes a namespace with the objects in it; its pods get no grace.
fn delete_namespace(
    (store, kubelet): (&Store, &Kubelet),
    name: &str,
    options: &DeleteOptions,
) -> Result<Value, StatusError> {
    if name == "default" || name == "kube-system" {
        return Err(StatusError::forbidden("namespaces", name, "this namespace may not be deleted"));
    }
    let removed =
        store.remove((ObjectKind::Namespace, "", name), |object| options.check(ObjectKind::Namespace, object))?;
    for kind in [ObjectKind::Pod, ObjectKind::Lease, ObjectKind::Event] {
        for object in store.list(kind, Some(name)).0 {
            let (_, object) = identity(&object);
            // Somebody else may have been quicker.
            let _gone = match kind {
                ObjectKind::Pod => delete_pod((store, kubelet), (name, &object), Some(0), |_| Ok(())),
                _ => store.remove((kind, name, &object), |_| Ok(())),
            };
        }
    }
    Ok(Value::clone(&removed))
}

/// Deletes a pod as the API server does; the answer is the pod as it then is.
pub(crate) fn delete_pod(
    (store, kubelet): (&Store, &Kubelet),
    (namespace, name): (&str, &str),
    grace: Option<u64>,
    check: impl Fn(&Value) -> Result<(), StatusError>,
) -> Result<Arc<Value>, StatusError> {
    let key = (ObjectKind::Pod, namespace, name);
    let current =
        store.get(ObjectKind::Pod, namespace, name).ok_or_else(|| StatusError::not_found(ObjectKind::Pod, name))?;
    let uid = current["metadata"]["uid"].clone();
    let spec_grace = current["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap_or(30);
    let mut grace = grace.unwrap_or(spec_grace);
    // What does not run, or runs nowhere, has nothing to end.
    if current["spec"]["nodeName"].is_null()
        || matches!(current["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
    {
        grace = 0;
    }
    let before = current["metadata"]["deletionGracePeriodSeconds"].as_u64();
    let checked = |pod: &Value| {
        check(pod)?;
        if pod["metadata"]["uid"] == uid { Ok(()) } else { Err(StatusError::not_found(ObjectKind::Pod, name)) }
    };
    let answer = if grace == 0 {
        store.remove(key, checked)?
    } else {
        store.update(key, |pod| {
            checked(pod)?;
            let mut pod = pod.clone();
            // A second deletion can only shorten the grace.
            if before.is_none_or(|before| grace < before) {
                pod["metadata"]["deletionTimestamp"] = json!(time::after(Duration::from_secs(grace)));
                pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            }
            Ok(pod)
        })?
    };
    if before.is_none_or(|before| grace < before) {
        kubelet.order(uid.as_str().unwrap_or_default(), PodOrder::Stop(Duration::from_secs(grace)));
    }
    Ok(answer)
}
