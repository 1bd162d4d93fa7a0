//! The ownership of a persistent pod. Pure: the pod that was found under its name comes in, and the next step goes out.
//!
//! A pod belongs to the identity in its label `podgate/identity`. A pod without that label is claimed by the first user. The
//! patch names the uid and the resourceVersion that were read, so that of two claims at once only one succeeds.

use super::manifest::{IDENTITY, INSTANCE, USERNAME, identity_label};
use crate::guest::Refusal;
use crate::types::{Namespace, PodName, printable};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// A user's request for a persistent pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClaimRequest<'a> {
    /// The user's `authenticatedUsername`.
    pub(crate) identity: &'a str,
    pub(crate) pod: &'a PodName,
    pub(crate) namespace: &'a Namespace,
    /// `shared`: a pod that nobody owns may be used without claiming it.
    pub(crate) shared: bool,
    /// `createMissingPods`: a missing pod is created.
    pub(crate) create_missing: bool,
}

/// The next step towards a persistent pod.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClaimStep {
    /// Use the pod as it is.
    Use,
    /// Claim the pod by this patch, then use it.
    Claim(Value),
    Create,
    /// Wait until the pod is deleted and its name is free.
    WaitForDeletion,
    /// Refuse the login: there is no such pod.
    Missing(Refusal),
    /// Refuse the login: the pod belongs to another identity or connection.
    Taken(Refusal),
}

/// Decides on the next step; `found` is the pod of that name, if there is one.
pub(crate) fn decide(found: Option<&Pod>, request: &ClaimRequest<'_>) -> ClaimStep {
    let ClaimRequest { pod: name, namespace, .. } = request;
    let Some(pod) = found else {
        return match request.create_missing {
            true => ClaimStep::Create,
            false => ClaimStep::Missing(Refusal::new(format!(
                "there is no pod {name} in the namespace {namespace}, and kubernetes.pod.createMissingPods is off"
            ))),
        };
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return match request.create_missing {
            true => ClaimStep::WaitForDeletion,
            false => ClaimStep::Missing(Refusal::new(format!("the pod {name} is being deleted"))),
        };
    }
    let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).filter(|v| !v.is_empty());
    if label(INSTANCE).is_some() {
        // It is removed when its connection ends.
        return ClaimStep::Taken(Refusal::new(format!(
            "the pod {name} belongs to another connection and is not persistent"
        )));
    }
    match label(IDENTITY) {
        Some(owner) if *owner == identity_label(request.identity) => ClaimStep::Use,
        Some(_) => ClaimStep::Taken(owned_by_another(pod, request)),
        None if request.shared => ClaimStep::Use,
        None => ClaimStep::Claim(claim_patch(pod, request.identity)),
    }
}

fn claim_patch(pod: &Pod, identity: &str) -> Value {
    json!({"metadata": {
        "uid": pod.metadata.uid,
        "resourceVersion": pod.metadata.resource_version,
        "labels": {IDENTITY: identity_label(identity)},
        "annotations": {USERNAME: identity},
    }})
}

fn owned_by_another(pod: &Pod, request: &ClaimRequest<'_>) -> Refusal {
    let ClaimRequest { identity, pod: name, namespace, .. } = request;
    let owner = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(USERNAME));
    let owner = owner.map_or_else(|| "an identity without a name".to_owned(), |owner| printable(owner, 200));
    let (whom, label) = match request.shared {
        true => ("everybody".to_owned(), format!("{IDENTITY}-")),
        false => (printable(identity, 200), format!("{IDENTITY}={} --overwrite", identity_label(identity))),
    };
    Refusal::new(format!("the pod {name} belongs to another user; the gateway's log says how to change that")).detail(
        format!("it belongs to {owner}; this gives it to {whom}: kubectl label pod -n {namespace} {name} {label}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(metadata: Value) -> Pod {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn step(found: Option<&Pod>, shared: bool, create_missing: bool) -> ClaimStep {
        let (name, namespace) = (PodName::parse("den").unwrap(), Namespace::parse("lab").unwrap());
        decide(found, &ClaimRequest { identity: "a@x", pod: &name, namespace: &namespace, shared, create_missing })
    }

    fn word(step: &ClaimStep) -> &'static str {
        match step {
            ClaimStep::Use => "use",
            ClaimStep::Claim(_) => "claim",
            ClaimStep::Create => "create",
            ClaimStep::WaitForDeletion => "wait",
            ClaimStep::Missing(_) => "missing",
            ClaimStep::Taken(_) => "taken",
        }
    }

    /// The words for: neither key, `shared`, `createMissingPods`, both.
    fn words(found: Option<Value>) -> [&'static str; 4] {
        let found = found.map(pod);
        [(false, false), (true, false), (false, true), (true, true)]
            .map(|(shared, create)| word(&step(found.as_ref(), shared, create)))
    }

    #[test]
    fn pod_is_its_owners_and_an_unclaimed_one_the_first_comers() {
        let labelled = |label: &str| json!({"labels": {IDENTITY: label}});
        let leaving = |mut pod: Value| {
            pod["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod
        };
        let (ours, others) = (identity_label("a@x"), identity_label("a-x"));
        let connections = json!({"labels": {IDENTITY: ours, INSTANCE: "i"}});
        // ContainerSSH's own persistent pods carry the id of the connection that made them.
        let inherited = json!({"labels": {"containerssh_connection_id": "0", "containerssh_username": "b"}});
        for (what, found, expected) in [
            ("no pod", None, ["missing", "missing", "create", "create"]),
            ("unclaimed", Some(json!({})), ["claim", "use", "claim", "use"]),
            ("an empty label", Some(labelled("")), ["claim", "use", "claim", "use"]),
            ("ContainerSSH's", Some(inherited), ["claim", "use", "claim", "use"]),
            ("ours", Some(labelled(&ours)), ["use"; 4]),
            ("another's with our label text", Some(labelled(&others)), ["taken"; 4]),
            ("a connection's", Some(connections), ["taken"; 4]),
            ("ours, leaving", Some(leaving(labelled(&ours))), ["missing", "missing", "wait", "wait"]),
            ("another's, leaving", Some(leaving(labelled(&others))), ["missing", "missing", "wait", "wait"]),
        ] {
            assert_eq!(words(found), expected, "{what}");
        }
    }

    #[test]
    fn claim_holds_only_for_what_was_seen() {
        let found = pod(json!({"uid": "u", "resourceVersion": "7"}));
        let ClaimStep::Claim(patch) = step(Some(&found), false, false) else { panic!("no claim") };
        let expected = json!({"metadata": {
            "uid": "u", "resourceVersion": "7", "labels": {IDENTITY: identity_label("a@x")},
            "annotations": {USERNAME: "a@x"},
        }});
        assert_eq!(patch, expected);
    }

    #[test]
    fn refusal_tells_the_operator_the_line_and_the_user_no_name() {
        let found = pod(json!({"labels": {IDENTITY: "x"}, "annotations": {USERNAME: "carol\n"}}));
        let ClaimStep::Taken(refusal) = step(Some(&found), false, false) else { panic!("no refusal") };
        let line = format!("kubectl label pod -n lab den podgate/identity={} --overwrite", identity_label("a@x"));
        let detail = refusal.detail.unwrap();
        assert!(detail.ends_with(&line) && detail.starts_with("it belongs to carol; "), "{detail}");
        assert!(!refusal.reason.contains("carol"), "{}", refusal.reason);
    }
}
