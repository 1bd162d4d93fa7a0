//! What the gateway may have to ask of the API, and what is lost without it. One place; `deploy/kubernetes.yaml` grants
//! exactly what mode connection needs, and in lines that are commented out what mode session needs beside.

use crate::settings::Mode;
use serde_json::{Value, json};

/// What a right is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// No login can be served without it.
    Serve,
    /// Without it the files that a webhook sends cannot be written.
    Files,
    /// Without it a program that ended at once is not told by its log.
    Log,
    /// Without it a user's reason is less exact.
    Reasons,
    /// Without it nobody sweeps up after a gateway that was killed.
    Sweep,
    /// Without it a gateway that was suspended for long can lose pods when it continues.
    Wake,
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
const ATTACH: Resource = core("pods", "attach");
const LOG: Resource = core("pods", "log");
const EVENTS: Resource = core("events", "");
const LEASES: Resource = Resource { group: "coordination.k8s.io", name: "leases", subresource: "" };

const fn core(name: &'static str, subresource: &'static str) -> Resource {
    Resource { group: "", name, subresource }
}

/// Everything that is needed where programs run in such pods.
pub(super) fn needed(mode: &Mode) -> Vec<Right> {
    // A WebSocket is opened by a GET; Kubernetes asks for the right to create as well.
    const STREAM: &[&str] = &["get", "create"];
    const POD: &[&str] = &["create", "get", "list", "watch", "delete"];
    let (pods, stream) = match mode {
        Mode::Connection => (POD.to_vec(), EXEC),
        Mode::Session => (POD.to_vec(), ATTACH),
        Mode::Persistent { create_missing, shared, .. } => {
            let verbs =
                [("create", *create_missing), ("get", true), ("list", true), ("watch", true), ("patch", !shared)];
            (verbs.into_iter().filter_map(|(verb, needed)| needed.then_some(verb)).collect(), EXEC)
        }
    };
    let each = |verbs: &[&'static str], resource, need| {
        verbs.iter().map(|&verb| Right { verb, resource, need }).collect::<Vec<_>>()
    };
    let session = if matches!(mode, Mode::Session) {
        [each(STREAM, EXEC, Need::Files), each(&["get"], LOG, Need::Log)].concat()
    } else {
        Vec::new()
    };
    // A persistent pod is no gateway's.
    let wake: &[&str] = if matches!(mode, Mode::Persistent { .. }) { &[] } else { &["patch"] };
    [
        each(&pods, PODS, Need::Serve),
        each(STREAM, stream, Need::Serve),
        session,
        each(&["list"], EVENTS, Need::Reasons),
        each(&["get", "list", "create", "update", "delete"], LEASES, Need::Sweep),
        each(wake, PODS, Need::Wake),
    ]
    .concat()
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
