//! The values that the API server fills in where an object is silent.

use crate::objects::kinds::ObjectKind;
use serde_json::{Value, json};

/// Fills in an object's defaults.
pub(crate) fn apply(kind: ObjectKind, object: &mut Value) {
    match kind {
        ObjectKind::Pod => pod(object),
        ObjectKind::Namespace => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        ObjectKind::Event | ObjectKind::Lease => {}
    }
}

fn pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("securityContext", json!({})),
        ("enableServiceLinks", json!(true)),
        ("serviceAccountName", json!("default")),
    ] {
        default(spec, field, value);
    }
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container.is_object() {
                fill_container(container);
            }
        }
    }
    if pod["status"].is_null() {
        pod["status"] = json!({"phase": "Pending", "qosClass": quality(&pod["spec"])});
    }
}

fn fill_container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
    let policy = if latest { "Always" } else { "IfNotPresent" };
    default(container, "imagePullPolicy", json!(policy));
    default(container, "terminationMessagePath", json!("/dev/termination-log"));
    default(container, "terminationMessagePolicy", json!("File"));
    default(container, "resources", json!({}));
}

fn default(object: &mut Value, field: &str, value: Value) {
    let empty = match object.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if empty {
        object[field] = value;
    }
}

fn quality(spec: &Value) -> &'static str {
    let containers = || spec["containers"].as_array().into_iter().flatten();
    let set =
        |container: &Value, what: &str| container["resources"][what].as_object().is_some_and(|map| !map.is_empty());
    let whole = |container: &Value| {
        let limits = &container["resources"]["limits"];
        let equal = !set(container, "requests") || container["resources"]["requests"] == *limits;
        limits["cpu"].is_string() && limits["memory"].is_string() && equal
    };
    if containers().all(whole) {
        "Guaranteed"
    } else if containers().any(|container| set(container, "requests") || set(container, "limits")) {
        "Burstable"
    } else {
        "BestEffort"
    }
}
