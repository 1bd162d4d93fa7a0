//! What a test of a login found, in words: one line each, no value that can be a secret.

use crate::auth::Identity;
use crate::config::masked_spec;
use crate::kubernetes::Plan;
use crate::settings::Mode;
use crate::types::PodName;
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::Value;

/// Names the pod in which a program runs.
pub(super) fn mode(mode: &Mode) -> String {
    match mode {
        Mode::Connection => "connection: a pod for each connection".to_owned(),
        Mode::Session => "session: a pod for each program".to_owned(),
        Mode::Persistent { name, shared: false, .. } => format!("persistent: the user's pod {name}"),
        Mode::Persistent { name, shared: true, .. } => format!("persistent: the shared pod {name}"),
    }
}

/// The sections of an answer, by name alone: their values can be secrets.
pub(super) fn said(answer: &ConfigAnswer) -> String {
    let sections: Vec<&str> = answer.config.keys().map(String::as_str).collect();
    if sections.is_empty() { "nothing beside the file".to_owned() } else { sections.join(", ") }
}

/// The pod that was made ready to be sent.
pub(super) fn made(name: &PodName, identity: &Identity) -> String {
    match identity.known().files.len() {
        0 => name.to_string(),
        files => format!("{name}, into which {files} files would be written once it runs"),
    }
}

/// Says what a login would do about its pod.
pub(super) fn planned(plan: Plan, mode: &Mode, namespace: &str) -> String {
    match plan {
        Plan::Create if *mode == Mode::Session => {
            format!("the API takes the pod: one would be created in {namespace} for each program")
        }
        Plan::Create => format!("the API takes the pod: it would be created in {namespace}"),
        Plan::CreateMissing => format!("the user's pod is not there: it would be created in {namespace}"),
        Plan::Claim => format!("the pod is there in {namespace} and nobody's: it would be claimed for this user"),
        Plan::Wait => {
            format!(
                "the previous pod with this name is still being deleted in {namespace}: it would be created after that"
            )
        }
        Plan::Use => format!("the pod is there in {namespace} and would be used"),
    }
}

/// The pod without what can be a secret.
pub(super) fn masked(mut pod: Value) -> Value {
    if let Some(spec) = pod.get_mut("spec") {
        *spec = masked_spec(spec.take());
    }
    pod
}
