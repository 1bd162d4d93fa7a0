//! The rights that the gateway needs at the API, and the purpose of each. `deploy/kubernetes.yaml` grants exactly those of
//! mode connection, and in commented lines the other ones of mode session.

use crate::settings::PodMode;
use serde_json::{Value, json};

/// The purpose of a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RightPurpose {
    /// No login can be served without it.
    Serve,
    /// Without it the files that a webhook sends cannot be written.
    Files,
    /// Without it the output of a program that ends at once can be lost.
    Log,
    /// Without it a user's reason is less exact.
    Reasons,
    /// Without it nobody removes the pods of a gateway that was killed.
    Sweep,
    /// Without it a gateway that was suspended for long can lose pods when it continues.
    Wake,
}

/// A verb on a resource, in the namespace of the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccessRight {
    pub(super) verb: &'static str,
    pub(super) resource: ApiResource,
    pub(super) need: RightPurpose,
}

/// A resource of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ApiResource {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    /// Empty if there is no subresource.
    pub(super) subresource: &'static str,
}

const PODS: ApiResource = core("pods", "");
const EXEC: ApiResource = core("pods", "exec");
const ATTACH: ApiResource = core("pods", "attach");
const LOG: ApiResource = core("pods", "log");
const EVENTS: ApiResource = core("events", "");
const LEASES: ApiResource = ApiResource { group: "coordination.k8s.io", name: "leases", subresource: "" };

const fn core(name: &'static str, subresource: &'static str) -> ApiResource {
    ApiResource { group: "", name, subresource }
}

/// Returns the rights that a mode needs.
pub(super) fn needed(mode: &PodMode) -> Vec<AccessRight> {
    // A WebSocket is opened by a GET; Kubernetes asks for the right to create as well.
    const STREAM: &[&str] = &["get", "create"];
    const POD: &[&str] = &["create", "get", "list", "watch", "delete"];
    let (pods, stream) = match mode {
        PodMode::Connection => (POD.to_vec(), EXEC),
        PodMode::Session => (POD.to_vec(), ATTACH),
        PodMode::Persistent { create_missing, shared, .. } => {
            let verbs =
                [("create", *create_missing), ("get", true), ("list", true), ("watch", true), ("patch", !shared)];
            (verbs.into_iter().filter_map(|(verb, needed)| needed.then_some(verb)).collect(), EXEC)
        }
    };
    let each = |verbs: &[&'static str], resource, need| {
        verbs.iter().map(|&verb| AccessRight { verb, resource, need }).collect::<Vec<_>>()
    };
    let session = if matches!(mode, PodMode::Session) {
        [each(STREAM, EXEC, RightPurpose::Files), each(&["get"], LOG, RightPurpose::Log)].concat()
    } else {
        Vec::new()
    };
    // A persistent pod belongs to no gateway.
    let wake: &[&str] = if matches!(mode, PodMode::Persistent { .. }) { &[] } else { &["patch"] };
    [
        each(&pods, PODS, RightPurpose::Serve),
        each(STREAM, stream, RightPurpose::Serve),
        session,
        each(&["list"], EVENTS, RightPurpose::Reasons),
        each(&["get", "list", "create", "update", "delete"], LEASES, RightPurpose::Sweep),
        each(wake, PODS, RightPurpose::Wake),
    ]
    .concat()
}

impl AccessRight {
    /// Makes the request that asks for this right (`authorization.k8s.io/v1`).
    pub(super) fn review(&self, namespace: &str) -> Value {
        let ApiResource { group, name, subresource } = self.resource;
        let attributes = json!({
            "namespace": namespace, "verb": self.verb, "group": group, "resource": name, "subresource": subresource,
        });
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        })
    }
}

impl std::fmt::Display for ApiResource {
    /// Writes the resource as Kubernetes does: `pods/exec`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if self.subresource.is_empty() { Ok(()) } else { write!(f, "/{}", self.subresource) }
    }
}
