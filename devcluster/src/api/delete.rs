//! Deleting: preconditions first. A running pod is only marked, and its worker removes it; without grace it goes at once.

use crate::answer::{self, Body};
use crate::api::Call;
use crate::context::Context;
use crate::kinds::Kind;
use crate::kubelet::Order;
use crate::selector::Selector;
use crate::status::{self, ApiError};
use crate::store::identity;
use crate::time;
use crate::validate;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// `DeleteOptions`, from the body and the query.
struct Options {
    grace: Option<u64>,
    uid: Option<String>,
    version: Option<String>,
    dry_run: bool,
}

impl Options {
    fn of(call: &Call) -> Result<Self, ApiError> {
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

    fn check(&self, kind: Kind, object: &Value) -> Result<(), ApiError> {
        let (_, name) = identity(object);
        for (what, label, wanted) in [("uid", "UID", &self.uid), ("resourceVersion", "ResourceVersion", &self.version)]
        {
            let found = object["metadata"][what].as_str().unwrap_or_default();
            if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
                let why =
                    format!("Precondition failed: {label} in precondition: {wanted}, {label} in object meta: {found}");
                return Err(ApiError::conflict(kind, &name, &why));
            }
        }
        Ok(())
    }
}

/// `DELETE` of one object.
pub(super) fn delete(context: &Arc<Context>, kind: Kind, call: &Call) -> Result<Response<Body>, ApiError> {
    let options = Options::of(call)?;
    let answer = delete_one(context, (kind, call.namespace(), call.name()), &options)?;
    Ok(answer::json(StatusCode::OK, &answer))
}

/// `DELETE` of a collection, or of what a selector takes from it.
pub(super) fn delete_collection(context: &Arc<Context>, kind: Kind, call: &Call) -> Result<Response<Body>, ApiError> {
    if !kind.namespaced() || call.path.namespace.is_none() {
        return Err(ApiError::method_not_allowed());
    }
    let selector = Selector::parse(kind, &call.query)?;
    let options = Options::of(call)?;
    let (objects, version) = context.store.list(kind, call.path.namespace.as_deref());
    let selected: Vec<Arc<Value>> = objects.into_iter().filter(|object| selector.matches(object)).collect();
    for object in &selected {
        let (namespace, name) = identity(object);
        match delete_one(context, (kind, &namespace, &name), &options) {
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
    context: &Arc<Context>,
    (kind, namespace, name): (Kind, &str, &str),
    options: &Options,
) -> Result<Value, ApiError> {
    if options.dry_run {
        let object = context.store.get(kind, namespace, name).ok_or_else(|| ApiError::not_found(kind, name))?;
        options.check(kind, &object)?;
        return Ok(Value::clone(&object));
    }
    match kind {
        Kind::Pod => delete_pod(context, (namespace, name), options.grace, |pod| options.check(kind, pod))
            .map(|pod| Value::clone(&pod)),
        Kind::Namespace => delete_namespace(context, name, options),
        Kind::Event | Kind::Lease => {
            let removed = context.store.remove((kind, namespace, name), |object| options.check(kind, object))?;
            Ok(status::success(kind, name, &removed["metadata"]["uid"]))
        }
    }
}

/// What is in a namespace goes with it, its pods without grace.
fn delete_namespace(context: &Arc<Context>, name: &str, options: &Options) -> Result<Value, ApiError> {
    if name == "default" || name == "kube-system" {
        return Err(ApiError::forbidden("namespaces", name, "this namespace may not be deleted"));
    }
    let removed = context.store.remove((Kind::Namespace, "", name), |object| options.check(Kind::Namespace, object))?;
    for kind in [Kind::Pod, Kind::Lease, Kind::Event] {
        for object in context.store.list(kind, Some(name)).0 {
            let (_, object) = identity(&object);
            // Somebody else may have been quicker.
            let _gone = match kind {
                Kind::Pod => delete_pod(context, (name, &object), Some(0), |_| Ok(())),
                _ => context.store.remove((kind, name, &object), |_| Ok(())),
            };
        }
    }
    Ok(Value::clone(&removed))
}

/// Deletes a pod as the API server does; the answer is the pod as it then is.
pub(crate) fn delete_pod(
    context: &Arc<Context>,
    (namespace, name): (&str, &str),
    grace: Option<u64>,
    check: impl Fn(&Value) -> Result<(), ApiError>,
) -> Result<Arc<Value>, ApiError> {
    let key = (Kind::Pod, namespace, name);
    let current = context.store.get(Kind::Pod, namespace, name).ok_or_else(|| ApiError::not_found(Kind::Pod, name))?;
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
        if pod["metadata"]["uid"] == uid { Ok(()) } else { Err(ApiError::not_found(Kind::Pod, name)) }
    };
    let answer = if grace == 0 {
        context.store.remove(key, checked)?
    } else {
        context.store.update(key, |pod| {
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
        context.kubelet.order(uid.as_str().unwrap_or_default(), Order::Stop(Duration::from_secs(grace)));
    }
    Ok(answer)
}
