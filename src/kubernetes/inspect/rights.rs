//! What the gateway may have to ask of the API, and what is lost without it. One table; `deploy/kubernetes.yaml` grants
//! exactly this.

use serde_json::{Value, json};

/// What a right is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// No login can be served without it.
    Serve,
    /// Without it a user's reason is less exact.
    Reasons,
}

/// A verb on a resource, in the namespace of the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) resource: Resource,
    pub(super) need: Need,
}

/// A resource of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) name: &'static str,
    /// Empty for none.
    pub(super) subresource: &'static str,
}

const PODS: Resource = core("pods", "");
const EXEC: Resource = core("pods", "exec");
const EVENTS: Resource = core("events", "");

const NEEDED: &[(Resource, Need, &[&str])] = &[
    (PODS, Need::Serve, &["create", "get", "list", "watch", "delete"]),
    // A WebSocket is opened by a GET; Kubernetes asks for the right to create as well.
    (EXEC, Need::Serve, &["get", "create"]),
    (EVENTS, Need::Reasons, &["list"]),
];

const fn core(name: &'static str, subresource: &'static str) -> Resource {
    Resource { group: "", name, subresource }
}

/// Everything that is needed.
pub(super) fn needed() -> impl Iterator<Item = Right> {
    let each = |&(resource, need, verbs): &(Resource, Need, &'static [&'static str])| {
        verbs.iter().map(move |&verb| Right { verb, resource, need })
    };
    NEEDED.iter().flat_map(each)
}

impl Right {
    /// The question whether one has it (`authorization.k8s.io/v1`).
    pub(super) fn review(&self, namespace: &str) -> Value {
        let Resource { group, name, subresource } = self.resource;
        let asked = json!({
            "namespace": namespace, "verb": self.verb, "group": group, "resource": name, "subresource": subresource,
        });
        json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        })
    }
}

impl std::fmt::Display for Resource {
    /// As Kubernetes writes it: `pods/exec`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)?;
        if self.subresource.is_empty() { Ok(()) } else { write!(f, "/{}", self.subresource) }
    }
}
