//! Descriptions of a login test's results, one line each, and the masked pod. None shows a value that may be a secret.

use crate::auth::Identity;
use crate::config::masked_spec;
use crate::kubernetes::PodPlan;
use crate::settings::PodMode;
use crate::types::PodName;
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::Value;

/// Describes the mode, which selects the pod of a program.
pub(super) fn pod_mode(mode: &PodMode) -> String {
    match mode {
        PodMode::Connection => "connection: a pod for each connection".to_owned(),
        PodMode::Session => "session: a pod for each program".to_owned(),
        PodMode::Persistent { name, shared: false, .. } => format!("persistent: the user's pod {name}"),
        PodMode::Persistent { name, shared: true, .. } => format!("persistent: the shared pod {name}"),
    }
}

/// Lists the sections of an answer by name only: their values may be secrets.
pub(super) fn sections(answer: &ConfigAnswer) -> String {
    let sections: Vec<&str> = answer.config.keys().map(String::as_str).collect();
    if sections.is_empty() { "nothing beside the file".to_owned() } else { sections.join(", ") }
}

/// Names the pod that is ready to be sent, with the number of files for it.
pub(super) fn prepared_pod(name: &PodName, identity: &Identity) -> String {
    match identity.known().files.len() {
        0 => name.to_string(),
        files => format!("{name}, into which {files} files would be written once it runs"),
    }
}

/// Describes the action that a login would take on its pod.
pub(super) fn pod_plan(plan: PodPlan, mode: &PodMode, namespace: &str) -> String {
    match plan {
        PodPlan::Create if *mode == PodMode::Session => {
            format!("the API takes the pod: one would be created in {namespace} for each program")
        }
        PodPlan::Create => format!("the API takes the pod: it would be created in {namespace}"),
        PodPlan::CreateMissing => format!("the user's pod is not there: it would be created in {namespace}"),
        PodPlan::Claim => format!("the pod is there in {namespace} and nobody's: it would be claimed for this user"),
        PodPlan::WaitForDeletion => {
            format!(
                "the previous pod with this name is still being deleted in {namespace}: it would be created after that"
            )
        }
        PodPlan::Use => format!("the pod is there in {namespace} and would be used"),
    }
}

/// Masks every value in a pod that may be a secret.
pub(super) fn masked_pod(mut pod: Value) -> Value {
    if let Some(spec) = pod.get_mut("spec") {
        *spec = masked_spec(spec.take());
    }
    pod
}
