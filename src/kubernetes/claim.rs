//! Whose persistent pod is it? Pure: what was found under the name in, what is to be done out.
//!
//! A pod is one identity's by the label `podgate/identity`; one without that label is claimed by whoever comes first. The
//! patch names the uid and the resourceVersion that were seen, so that of two who claim at once only one can.

use super::pod::{IDENTITY, INSTANCE, USERNAME, identity_label};
use crate::guest::Refusal;
use crate::types::{Namespace, PodName, printable};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// Who wants a persistent pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claimant {
    name: String,
    label: String,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// By whom.
    pub(super) claimant: &'a Claimant,
    /// Which pod.
    pub(super) pod: &'a PodName,
    /// Where.
    pub(super) namespace: &'a Namespace,
    /// `shared`: nobody asks whose it is.
    pub(super) shared: bool,
    /// `createMissingPods`
    pub(super) create_missing: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Use it as it is.
    Use,
    /// Claim it by this patch, then use it.
    Claim(Value),
    /// Create it.
    Create,
    /// It is on its way out, and its name is free soon.
    Wait,
    /// Refuse the login: there is no such pod.
    Missing(Refusal),
    /// Refuse the login: the pod belongs to another identity or connection.
    Taken(Refusal),
}

impl Claimant {
    /// The identity of that name.
    pub(super) fn new(authenticated: &str) -> Self {
        Self { name: authenticated.to_owned(), label: identity_label(authenticated) }
    }
}

/// Decides about what was found.
pub(super) fn decide(found: Option<&Pod>, wanted: &Wanted<'_>) -> Step {
    let Wanted { pod: name, namespace, .. } = wanted;
    let Some(pod) = found else {
        return match wanted.create_missing {
            true => Step::Create,
            false => Step::Missing(Refusal::new(format!(
                "there is no pod {name} in the namespace {namespace}, and kubernetes.pod.createMissingPods is off"
            ))),
        };
    };
    if pod.metadata.deletion_timestamp.is_some() {
        return match wanted.create_missing {
            true => Step::Wait,
            false => Step::Missing(Refusal::new(format!("the pod {name} is being deleted"))),
        };
    }
    let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).filter(|v| !v.is_empty());
    if label(INSTANCE).is_some() {
        // It goes when its connection does.
        return Step::Taken(Refusal::new(format!(
            "the pod {name} belongs to another connection and is not persistent"
        )));
    }
    match label(IDENTITY) {
        _ if wanted.shared => Step::Use,
        Some(owner) if *owner == wanted.claimant.label => Step::Use,
        Some(_) => Step::Taken(others(pod, wanted)),
        None => Step::Claim(claim(pod, wanted.claimant)),
    }
}

fn claim(pod: &Pod, claimant: &Claimant) -> Value {
    json!({"metadata": {
        "uid": pod.metadata.uid,
        "resourceVersion": pod.metadata.resource_version,
        "labels": {IDENTITY: claimant.label},
        "annotations": {USERNAME: claimant.name},
    }})
}

fn others(pod: &Pod, wanted: &Wanted<'_>) -> Refusal {
    let Wanted { claimant, pod: name, namespace, .. } = wanted;
    let owner = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(USERNAME));
    let owner = owner.map_or_else(|| "an identity without a name".to_owned(), |owner| printable(owner, 200));
    let change = format!("kubectl label pod -n {namespace} {name} {IDENTITY}={} --overwrite", claimant.label);
    Refusal::new(format!("the pod {name} belongs to another user; the gateway's log says how to change that"))
        .detail(format!("it belongs to {owner}; this gives it to {}: {change}", printable(&claimant.name, 200)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(metadata: Value) -> Pod {
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn step(found: Option<&Pod>, shared: bool, create_missing: bool) -> Step {
        let claimant = Claimant::new("a@x");
        let (name, namespace) = (PodName::parse("den").unwrap(), Namespace::parse("lab").unwrap());
        decide(found, &Wanted { claimant: &claimant, pod: &name, namespace: &namespace, shared, create_missing })
    }

    fn word(step: &Step) -> &'static str {
        match step {
            Step::Use => "use",
            Step::Claim(_) => "claim",
            Step::Create => "create",
            Step::Wait => "wait",
            Step::Missing(_) => "missing",
            Step::Taken(_) => "taken",
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
            ("another's with our label text", Some(labelled(&others)), ["taken", "use", "taken", "use"]),
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
        let Step::Claim(patch) = step(Some(&found), false, false) else { panic!("no claim") };
        let expected = json!({"metadata": {
            "uid": "u", "resourceVersion": "7", "labels": {IDENTITY: identity_label("a@x")},
            "annotations": {USERNAME: "a@x"},
        }});
        assert_eq!(patch, expected);
    }

    #[test]
    fn refusal_tells_the_operator_the_line_and_the_user_no_name() {
        let found = pod(json!({"labels": {IDENTITY: "x"}, "annotations": {USERNAME: "carol\n"}}));
        let Step::Taken(refusal) = step(Some(&found), false, false) else { panic!("no refusal") };
        let line = format!("kubectl label pod -n lab den podgate/identity={} --overwrite", identity_label("a@x"));
        let detail = refusal.detail.unwrap();
        assert!(detail.ends_with(&line) && detail.starts_with("it belongs to carol; "), "{detail}");
        assert!(!refusal.reason.contains("carol"), "{}", refusal.reason);
    }
}
