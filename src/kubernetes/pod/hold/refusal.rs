//! The API's answers to a create, in words for the waiting user: one line that can be acted on. Pure.

use crate::guest::{LOG_TEXT_MAX, Refusal};
use crate::kubernetes::api::pods::ApiError;
use crate::types::{Namespace, PodName, printable, time_text};
use std::time::Duration;

const UNTRUSTED: &str = "the Kubernetes API cannot be reached securely";

/// Makes the refusal of a pod that was not created within `podStart`.
pub(crate) fn out_of_time(pod_start: Duration, error: &ApiError) -> Refusal {
    Refusal::new(format!("the pod could not be created within {}: {}", time_text(pod_start), progress(error)))
        .detail(error.to_string())
}

/// Makes the refusal of a pod whose configured name another pod has.
pub(crate) fn name_taken(name: &PodName) -> Refusal {
    Refusal::new(format!("a pod named {name} exists already (kubernetes.pod.metadata.name gives every pod one name)"))
}

/// Describes a failure that may heal to a waiting user.
pub(crate) fn progress(error: &ApiError) -> String {
    match error {
        ApiError::Refused { code: 429, .. } => "Kubernetes is busy".to_owned(),
        ApiError::Refused { code: 409, reason, .. } if reason == "AlreadyExists" => {
            "the previous pod with this name is still being deleted".to_owned()
        }
        ApiError::Refused { code, .. } => format!("Kubernetes answers with an error ({code})"),
        ApiError::Untrusted(_) => UNTRUSTED.to_owned(),
        ApiError::Unreachable(_) | ApiError::Unsendable(_) => "Kubernetes cannot be reached".to_owned(),
    }
}

/// Fields of a container that clusters' rules apply to.
const RESTRICTED_FIELDS: [&str; 2] = ["securityContext", "resources"];

/// Makes the refusal of a final answer. The details of missing rights and credentials of the gateway are for the log
/// alone. So are the fields that the pod lacks because an answer replaced the file's containers (`lost`).
pub(crate) fn refused(error: &ApiError, namespace: &Namespace, lost: &[String]) -> Refusal {
    let (code, message) = match error {
        ApiError::Refused { code, message, .. } => (code, message),
        ApiError::Untrusted(_) => return Refusal::new(UNTRUSTED).detail(error.to_string()),
        ApiError::Unreachable(_) | ApiError::Unsendable(_) => {
            return Refusal::new("the pod's specification cannot be sent").detail(error.to_string());
        }
    };
    let lower = message.to_lowercase();
    let mut is_rule = false;
    let mut rule = |reason: String| {
        is_rule = true;
        reason
    };
    let reason = if lower.contains("failed quota") && lower.contains("must specify") {
        let (quota, wants) = after(message, "quota: ").split_once(": must specify ").unwrap_or((message, ""));
        rule(format!("the quota {quota} of the namespace {namespace} takes only pods that specify {wants}"))
    } else if lower.contains("exceeded quota") || lower.contains("failed quota") {
        format!("the quota of the namespace {namespace} has no room for the pod: {}", after(message, "quota:"))
    } else if lower.contains("denied the request") || lower.contains("denied request") {
        // Webhooks and policies choose the code.
        rule(format!("the cluster's rules do not admit the pod: {message}"))
    } else if *code == 401 {
        "the gateway's credentials for Kubernetes are not accepted".to_owned()
    } else if let Some(verb) = missing_right(*code, &lower) {
        format!("the gateway may not {verb} pods in the namespace {namespace}")
    } else if *code == 403 && lower.contains("being terminated") {
        format!("the namespace {namespace} is being deleted")
    } else if *code == 403 {
        rule(format!("the cluster's rules do not admit the pod: {message}"))
    } else if *code == 404 {
        format!("the namespace {namespace} does not exist")
    } else if *code == 400 || *code == 422 {
        format!("the pod's specification is not valid: {message}")
    } else {
        format!("Kubernetes refuses the pod ({code}): {message}")
    };
    let hint = if is_rule { hint(lost) } else { None };
    Refusal::new(printable(&reason, LOG_TEXT_MAX)).detail(format!("{error}{}", hint.unwrap_or_default()))
}

/// Advice for a container of an answer that lacks the file's restrictions, which is then the likely cause.
fn hint(lost: &[String]) -> Option<String> {
    let restricted: Vec<&str> =
        lost.iter().map(String::as_str).filter(|field| RESTRICTED_FIELDS.contains(field)).collect();
    (!restricted.is_empty()).then(|| {
        format!(
            "; the config webhook's answer replaced spec.containers, and its container has no {} as the file's has: to \
             change the image alone, answer kubernetes.pod.image; to change more, answer kubernetes.pod.merge: strategic",
            restricted.join(" and no ")
        )
    })
}

/// Returns the verb of a missing right.
fn missing_right(code: u16, message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("cannot ").filter(|_| code == 403)?;
    rest.split_once(" resource").map(|(verb, _)| verb).filter(|verb| !verb.contains(' '))
}

fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.split_once(mark).map_or(text, |(_, rest)| rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_reason(code: u16, message: &str, expected: &str) {
        let namespace = Namespace::parse("lab").unwrap();
        let error = ApiError::Refused { code, reason: String::new(), message: message.into(), retry_after: None };
        assert_eq!(refused(&error, &namespace, &["securityContext".into()]).reason, expected);
    }

    #[test]
    fn bare_container_of_an_answer_is_named_in_the_log_where_the_clusters_rules_refuse_the_pod() {
        let namespace = Namespace::parse("lab").unwrap();
        let security = "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged";
        let quota = "pods \"x\" is forbidden: failed quota: q: must specify limits.cpu for: shell";
        for (code, message, lost, expected) in [
            (403, security, &["volumeMounts"][..], None),
            (403, security, &[], None),
            (404, "namespaces \"lab\" not found", &["securityContext"], None),
            (403, "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1", &["resources"], None),
            (422, "Pod \"x\" is invalid: spec.containers[0].image: Required value", &["resources"], None),
            (403, security, &["securityContext", "volumeMounts"], Some("has no securityContext as the file's has")),
            (403, quota, &["resources", "securityContext"], Some("has no resources and no securityContext as")),
        ] {
            let error = ApiError::Refused { code, reason: String::new(), message: message.into(), retry_after: None };
            let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
            let refusal = refused(&error, &namespace, &lost);
            assert!(!refusal.reason.contains("kubernetes.pod"), "{}", refusal.reason);
            let detail = refusal.detail.unwrap();
            assert!(detail.starts_with(&error.to_string()), "{detail}");
            match expected {
                Some(part) => assert!(detail.contains(part) && detail.contains("kubernetes.pod.image"), "{detail}"),
                None => assert_eq!(detail, error.to_string()),
            }
        }
    }

    #[test]
    fn quota_without_room_and_quota_that_wants_limits_are_told_apart() {
        for (code, message, expected) in [
            (
                403,
                "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1",
                "the quota of the namespace lab has no room for the pod: q, requested: pods=1, used: pods=1, limited: pods=1",
            ),
            (
                403,
                "pods \"x\" is forbidden: failed quota: compute: must specify limits.cpu for: shell; limits.memory for: shell",
                "the quota compute of the namespace lab takes only pods that specify limits.cpu for: shell; limits.memory for: shell",
            ),
        ] {
            assert_reason(code, message, expected);
        }
    }

    #[test]
    fn every_final_answer_has_a_reason_to_act_on() {
        for (code, message, expected) in [
            (
                403,
                "pods is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"pods\"",
                "the gateway may not create pods in the namespace lab",
            ),
            (
                403,
                "pods \"x\" is forbidden: User \"u\" cannot patch resource \"pods\" in API group \"\"",
                "the gateway may not patch pods in the namespace lab",
            ),
            (
                403,
                "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
                "the cluster's rules do not admit the pod: pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": privileged",
            ),
            (
                403,
                "unable to create new content in namespace lab because it is being terminated",
                "the namespace lab is being deleted",
            ),
            (
                400,
                "admission webhook \"gate\" denied the request: no \x1b[31mroot",
                "the cluster's rules do not admit the pod: admission webhook \"gate\" denied the request: no [31mroot",
            ),
            (
                422,
                "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not today",
                "the cluster's rules do not admit the pod: pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not today",
            ),
            (
                401,
                "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: who?",
                "the cluster's rules do not admit the pod: pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: who?",
            ),
            (
                400,
                "strict decoding error: unknown field \"spec.foo\"",
                "the pod's specification is not valid: strict decoding error: unknown field \"spec.foo\"",
            ),
            (401, "Unauthorized", "the gateway's credentials for Kubernetes are not accepted"),
            (404, "namespaces \"lab\" not found", "the namespace lab does not exist"),
            (
                422,
                "Pod \"x\" is invalid: spec.containers[0].image: Required value",
                "the pod's specification is not valid: Pod \"x\" is invalid: spec.containers[0].image: Required value",
            ),
        ] {
            assert_reason(code, message, expected);
        }
    }
}
