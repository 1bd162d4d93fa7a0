//! What the API server would refuse: fields of a wrong type or unknown (400), and objects that make no sense (422).

mod labels;
pub(crate) mod read;
mod typed;

use crate::objects::kinds::ObjectKind;
use crate::objects::status::{StatusCause, StatusError};
use serde_json::Value;
use std::collections::HashSet;

/// Checks an object that is to be created.
pub(crate) fn new_object(kind: ObjectKind, object: &Value) -> Result<(), StatusError> {
    let mut causes = Vec::new();
    let name = &object["metadata"]["name"];
    match name.as_str().filter(|name| !name.is_empty()) {
        None => causes.push(StatusCause::required("metadata.name", "name or generateName is required")),
        Some(text) => {
            let valid = if kind == ObjectKind::Namespace { labels::is_label(text) } else { labels::is_subdomain(text) };
            if !valid {
                causes.push(StatusCause::invalid("metadata.name", name, labels::SUBDOMAIN));
            }
        }
    }
    labels::check(&object["metadata"], &mut causes);
    if kind == ObjectKind::Pod {
        pod_spec(&object["spec"], &mut causes);
    }
    refuse(kind, object, &causes)
}

/// Checks what a change made of an object.
pub(crate) fn changed_object(kind: ObjectKind, before: &Value, after: &Value) -> Result<(), StatusError> {
    let mut causes = Vec::new();
    labels::check(&after["metadata"], &mut causes);
    if kind == ObjectKind::Pod && fixed_spec(&before["spec"]) != fixed_spec(&after["spec"]) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                      existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                      previously negative)";
        causes.push(StatusCause::forbidden("spec", detail));
    }
    refuse(kind, after, &causes)
}

fn refuse(kind: ObjectKind, object: &Value, causes: &[StatusCause]) -> Result<(), StatusError> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    if causes.is_empty() { Ok(()) } else { Err(StatusError::invalid(kind, name, causes)) }
}

/// The part of a pod's spec that never changes.
fn fixed_spec(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        fields.remove("activeDeadlineSeconds");
        fields.remove("tolerations");
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            drop(container.as_object_mut().map(|fields| fields.remove("image")));
        }
    }
    spec
}

fn pod_spec(spec: &Value, causes: &mut Vec<StatusCause>) {
    let mut names = HashSet::new();
    for list in ["containers", "initContainers"] {
        let containers = spec[list].as_array().map(Vec::as_slice).unwrap_or_default();
        if list == "containers" && containers.is_empty() {
            causes.push(StatusCause::required("spec.containers", ""));
        }
        for (index, container) in containers.iter().enumerate() {
            let path = format!("spec.{list}[{index}]");
            one_container(container, &path, causes);
            restart_policy(container, list == "initContainers", &path, causes);
            let name = &container["name"];
            if name.as_str().is_some_and(|name| !name.is_empty()) && !names.insert(name.to_string()) {
                causes.push(StatusCause::duplicate(format!("{path}.name"), name));
            }
        }
    }
    let policy = &spec["restartPolicy"];
    if !matches!(policy.as_str(), Some("Always" | "OnFailure" | "Never")) {
        causes.push(StatusCause::unsupported("spec.restartPolicy", policy, &["Always", "Never", "OnFailure"]));
    }
    let deadline = &spec["activeDeadlineSeconds"];
    if !deadline.is_null() && deadline.as_u64().is_none_or(|seconds| seconds == 0) {
        causes.push(StatusCause::invalid(
            "spec.activeDeadlineSeconds",
            deadline,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
}

/// Only an init container has one of its own, which makes it a sidecar.
fn restart_policy(container: &Value, init: bool, path: &str, causes: &mut Vec<StatusCause>) {
    let policy = &container["restartPolicy"];
    let field = format!("{path}.restartPolicy");
    if policy.is_null() {
    } else if !init {
        causes.push(StatusCause::forbidden(field, "may not be set for non-init containers"));
    } else if policy != "Always" {
        causes.push(StatusCause::unsupported(field, policy, &["Always"]));
    }
}

fn one_container(container: &Value, path: &str, causes: &mut Vec<StatusCause>) {
    match container["name"].as_str().filter(|name| !name.is_empty()) {
        None => causes.push(StatusCause::required(format!("{path}.name"), "")),
        Some(name) if !labels::is_label(name) => {
            causes.push(StatusCause::invalid(format!("{path}.name"), &container["name"], labels::LABEL));
        }
        Some(_) => {}
    }
    if container["image"].as_str().is_none_or(str::is_empty) {
        causes.push(StatusCause::required(format!("{path}.image"), ""));
    }
    let policy = &container["imagePullPolicy"];
    if !matches!(policy.as_str(), Some("Always" | "IfNotPresent" | "Never")) {
        let supported = ["Always", "IfNotPresent", "Never"];
        causes.push(StatusCause::unsupported(format!("{path}.imagePullPolicy"), policy, &supported));
    }
    for (index, entry) in container["env"].as_array().into_iter().flatten().enumerate() {
        let name = entry["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.push(StatusCause::required(format!("{path}.env[{index}].name"), ""));
        } else if name.contains('=') || !name.chars().all(|c| (' '..='~').contains(&c)) {
            let detail =
                "a valid environment variable name must consist only of printable ASCII characters other than '='";
            causes.push(StatusCause::invalid(format!("{path}.env[{index}].name"), &entry["name"], detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(spec: &Value, metadata: &Value) -> String {
        let mut pod = json!({"metadata": metadata, "spec": spec});
        crate::objects::defaults::apply(ObjectKind::Pod, &mut pod);
        let error = new_object(ObjectKind::Pod, &pod).unwrap_err();
        assert_eq!(error.code(), 422);
        error.message().to_owned()
    }

    #[test]
    fn senseless_pods_are_named_with_their_field() {
        let container = json!({"name": "c", "image": "i"});
        let named = json!({"name": "p"});
        let table = [
            (json!({}), &named, "spec.containers: Required value"),
            (json!({"containers": [{"name": "c"}]}), &named, "spec.containers[0].image: Required value"),
            (json!({"containers": [{"image": "i"}]}), &named, "spec.containers[0].name: Required value"),
            (json!({"containers": [container, container]}), &named, "spec.containers[1].name: Duplicate value: \"c\""),
            (
                json!({"containers": [container], "restartPolicy": "no"}),
                &named,
                "spec.restartPolicy: Unsupported value",
            ),
            (
                json!({"containers": [{"name": "c", "image": "i", "restartPolicy": "Always"}]}),
                &named,
                "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers",
            ),
            (
                json!({"containers": [container], "initContainers": [{"name": "i", "image": "i", "restartPolicy": "Never"}]}),
                &named,
                "spec.initContainers[0].restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            ),
            (
                json!({"containers": [container]}),
                &json!({}),
                "metadata.name: Required value: name or generateName is required",
            ),
            (json!({"containers": [container]}), &json!({"name": "P"}), "metadata.name: Invalid value: \"P\""),
            (
                json!({"containers": [container]}),
                &json!({"name": "p", "labels": {"a": "x y"}}),
                "metadata.labels: Invalid value: \"x y\"",
            ),
        ];
        for (spec, metadata, expected) in table {
            let message = refused(&spec, metadata);
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_pods_command_cannot_be_changed_but_its_labels_can() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut changed = pod.clone();
        changed["metadata"]["labels"] = json!({"a": "b"});
        changed["spec"]["containers"][0]["image"] = json!("j");
        assert_eq!(changed_object(ObjectKind::Pod, &pod, &changed), Ok(()));
        changed["spec"]["containers"][0]["command"] = json!(["x"]);
        assert_eq!(changed_object(ObjectKind::Pod, &pod, &changed).unwrap_err().code(), 422);
    }
}
