//! The results in `tests/data/strategic-merge.json`, which the gateway's strategic merge is held to, are `kubectl patch`'s.

use crate::support::{available, leash};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

const CASES: &str = include_str!("../data/strategic-merge.json");

/// The pod in a file after `kubectl patch`, which asks no cluster; `None` where it refuses the patch.
async fn patched(file: &Path, patch: &Value) -> Option<Value> {
    let mut kubectl = leash::program("kubectl");
    kubectl.args(["patch", "--local", "--type=strategic", "-o", "json", "-p", &patch.to_string(), "-f"]).arg(file);
    let done = kubectl.output().await.expect("kubectl");
    done.status.success().then(|| serde_json::from_slice(&done.stdout).expect("a pod"))
}

/// The fields in which an object differs from another, null for those that it lacks.
fn changed(before: &Value, after: &Value) -> Map<String, Value> {
    let (before, after) = (before.as_object().expect("a mapping"), after.as_object().expect("a mapping"));
    let keys = before.keys().chain(after.keys()).filter(|key| before.get(*key) != after.get(*key));
    keys.map(|key| (key.clone(), after.get(key).cloned().unwrap_or(Value::Null))).collect()
}

#[tokio::test]
async fn results_of_the_strategic_merge_are_those_of_kubectl() {
    if !available("kubectl", "kubectl") {
        return;
    }
    let cases: Value = serde_json::from_str(CASES).expect("JSON");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pod.json");
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
    for part in ["metadata", "spec"] {
        pod[part] = cases["object"][part].clone();
    }
    fs::write(&file, pod.to_string()).expect("a file");
    for case in cases["refused"].as_array().expect("patches") {
        assert_eq!(patched(&file, &case["patch"]).await, None, "{}", case["name"]);
    }
    for case in cases["cases"].as_array().expect("patches") {
        let after = patched(&file, &case["patch"]).await.unwrap_or_else(|| panic!("{} is refused", case["name"]));
        for part in ["metadata", "spec"] {
            let expected = case["changed"][part].as_object().cloned().unwrap_or_default();
            assert_eq!(changed(&pod[part], &after[part]), expected, "{}", case["name"]);
        }
    }
}
