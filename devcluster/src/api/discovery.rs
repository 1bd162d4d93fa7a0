//! What a client asks before it asks for anything: the groups, their resources and verbs, the version, health.

use crate::api::answer::{self, Body};
use crate::objects::status::StatusError;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// The version we behave like.
const VERSION: &str = "v1.36.2";

const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// True for a path that is answered without a token.
pub(crate) fn is_public(path: &str) -> bool {
    matches!(path, "/version" | "/healthz" | "/livez" | "/readyz")
}

/// Answers a path outside the resources.
pub(crate) fn path(path: &str) -> Result<Response<Body>, StatusError> {
    let answer = match path {
        "/healthz" | "/livez" | "/readyz" => return Ok(answer::text("ok")),
        "/version" => json!({
            "major": "1", "minor": "36", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "",
            "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
        }),
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
        "/apis" => {
            let groups =
                ["coordination.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "events.k8s.io"].map(group);
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        "/apis/coordination.k8s.io" => named_group("coordination.k8s.io"),
        "/apis/authentication.k8s.io" => named_group("authentication.k8s.io"),
        "/apis/authorization.k8s.io" => named_group("authorization.k8s.io"),
        "/apis/events.k8s.io" => named_group("events.k8s.io"),
        "/api/v1" => resources("v1", &core()),
        "/apis/coordination.k8s.io/v1" => {
            resources("coordination.k8s.io/v1", &[resource("leases", "Lease", true, ALL, &[])])
        }
        "/apis/events.k8s.io/v1" => resources("events.k8s.io/v1", &[resource("events", "Event", true, ALL, &["ev"])]),
        "/apis/authentication.k8s.io/v1" => {
            let review = resource("selfsubjectreviews", "SelfSubjectReview", false, &["create"], &[]);
            resources("authentication.k8s.io/v1", &[review])
        }
        "/apis/authorization.k8s.io/v1" => {
            let review = resource("selfsubjectaccessreviews", "SelfSubjectAccessReview", false, &["create"], &[]);
            resources("authorization.k8s.io/v1", &[review])
        }
        _ => return Err(StatusError::no_such_path()),
    };
    Ok(answer::json(StatusCode::OK, &answer))
}

fn core() -> Vec<Value> {
    vec![
        resource("events", "Event", true, ALL, &["ev"]),
        resource(
            "namespaces",
            "Namespace",
            false,
            &["create", "delete", "get", "list", "patch", "update", "watch"],
            &["ns"],
        ),
        resource("pods", "Pod", true, ALL, &["po"]),
        resource("pods/attach", "PodAttachOptions", true, &["create", "get"], &[]),
        resource("pods/exec", "PodExecOptions", true, &["create", "get"], &[]),
        resource("pods/log", "Pod", true, &["get"], &[]),
        resource("pods/status", "Pod", true, &["get"], &[]),
    ]
}

fn resource(name: &str, kind: &str, namespaced: bool, verbs: &[&str], short: &[&str]) -> Value {
    let singular = if name.contains('/') { String::new() } else { kind.to_lowercase() };
    let mut resource =
        json!({"name": name, "singularName": singular, "namespaced": namespaced, "kind": kind, "verbs": verbs});
    if !short.is_empty() {
        resource["shortNames"] = json!(short);
    }
    resource
}

fn resources(group_version: &str, resources: &[Value]) -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn group(name: &str) -> Value {
    let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

fn named_group(name: &str) -> Value {
    let mut group = group(name);
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}
