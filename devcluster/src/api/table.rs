//! The tables that `kubectl get` prints.

use crate::objects::kinds::ObjectKind;
use crate::objects::time;
use serde_json::{Value, json};
use std::sync::Arc;

/// A column: name, and whether only `-o wide` shows it.
type Column = (&'static str, bool);

const NAMESPACE: &[Column] = &[("Name", false), ("Status", false), ("Age", false)];
const LEASE: &[Column] = &[("Name", false), ("Holder", false), ("Age", false)];
const EVENT: &[Column] =
    &[("Last Seen", false), ("Type", false), ("Reason", false), ("Object", false), ("Message", false)];
const POD: &[Column] = &[
    ("Name", false),
    ("Ready", false),
    ("Status", false),
    ("Restarts", false),
    ("Age", false),
    ("IP", true),
    ("Node", true),
];

/// A `meta.k8s.io/v1` table of objects of one kind.
pub(crate) fn table(kind: ObjectKind, objects: &[Arc<Value>], metadata: &Value, with_columns: bool) -> Value {
    let columns = match kind {
        ObjectKind::Namespace => NAMESPACE,
        ObjectKind::Lease => LEASE,
        ObjectKind::Event => EVENT,
        ObjectKind::Pod => POD,
    };
    let definitions: Vec<Value> = columns
        .iter()
        .filter(|_| with_columns)
        .map(|(name, wide)| {
            let format = if *name == "Name" { "name" } else { "" };
            json!({"name": name, "type": "string", "format": format, "description": "", "priority": i32::from(*wide)})
        })
        .collect();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let partial = json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
            });
            json!({"cells": cells(kind, object), "object": partial})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
}

fn cells(kind: ObjectKind, object: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&object["metadata"]["name"]);
    let age = time::age(object["metadata"]["creationTimestamp"].as_str());
    match kind {
        ObjectKind::Namespace => vec![name, text(&object["status"]["phase"]), age],
        ObjectKind::Lease => vec![name, text(&object["spec"]["holderIdentity"]), age],
        ObjectKind::Event => {
            let about = &object["involvedObject"];
            let about = format!("{}/{}", text(&about["kind"]).to_lowercase(), text(&about["name"]));
            let seen = time::age(object["lastTimestamp"].as_str());
            vec![seen, text(&object["type"]), text(&object["reason"]), about, text(&object["message"])]
        }
        ObjectKind::Pod => {
            let statuses = || object["status"]["containerStatuses"].as_array().into_iter().flatten();
            let ready = statuses().filter(|status| status["ready"] == true).count();
            let all = object["spec"]["containers"].as_array().map_or(0, Vec::len);
            let restarts: u64 = statuses().filter_map(|status| status["restartCount"].as_u64()).sum();
            let or_none = |value: &Value| value.as_str().unwrap_or("<none>").to_owned();
            let place = [or_none(&object["status"]["podIP"]), or_none(&object["spec"]["nodeName"])];
            let shown = [name, format!("{ready}/{all}"), pod_status(object), restarts.to_string(), age];
            [shown.as_slice(), &place].concat()
        }
    }
}

/// The one word that stands for a pod's state.
fn pod_status(pod: &Value) -> String {
    let status = &pod["status"];
    let mut word = status["reason"].as_str().or_else(|| status["phase"].as_str()).unwrap_or("Unknown").to_owned();
    let init = status["initContainerStatuses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let unfinished = init.iter().position(|status| status["state"]["terminated"]["exitCode"] != 0);
    if let Some((index, first)) = unfinished.and_then(|index| Some((index, init.get(index)?))) {
        word = match state_word(first) {
            Some(reason) if reason != "PodInitializing" => format!("Init:{reason}"),
            _ => format!("Init:{index}/{}", init.len()),
        };
    } else {
        let statuses = status["containerStatuses"].as_array().into_iter().flatten();
        word = statuses.rev().filter_map(state_word).next_back().unwrap_or(word);
    }
    if status["reason"] == "Evicted" {
        word = "Evicted".to_owned();
    }
    if pod["metadata"]["deletionTimestamp"].is_string() { "Terminating".to_owned() } else { word }
}

fn state_word(status: &Value) -> Option<String> {
    let state = &status["state"];
    let reason = state["waiting"]["reason"].as_str().or_else(|| state["terminated"]["reason"].as_str());
    reason.filter(|reason| !reason.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_word_is_what_kubectl_users_know() {
        let of = |status: Value| pod_status(&json!({"metadata": {}, "status": status}));
        let waiting = |reason: &str| json!([{"state": {"waiting": {"reason": reason}}}]);
        assert_eq!(of(json!({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]})), "Running");
        assert_eq!(
            of(json!({"phase": "Pending", "containerStatuses": waiting("ImagePullBackOff")})),
            "ImagePullBackOff"
        );
        assert_eq!(of(json!({"phase": "Pending", "initContainerStatuses": waiting("PodInitializing")})), "Init:0/1");
        assert_eq!(of(json!({"phase": "Failed", "reason": "Evicted"})), "Evicted");
        let gone = json!({"metadata": {"deletionTimestamp": "x"}, "status": {"phase": "Running"}});
        assert_eq!(pod_status(&gone), "Terminating");
    }
}
