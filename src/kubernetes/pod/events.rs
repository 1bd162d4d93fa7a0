//! Reads a pod's events for the user who waits for it: the newest event about the pod's start is shown. Pure.

use crate::guest::LOG_TEXT_MAX;
use crate::types::printable;
use k8s_openapi::api::core::v1::Event;

/// The part of a Kubernetes event that is read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodEvent {
    reason: String,
    message: String,
    warning: bool,
}

impl PodEvent {
    #[cfg(test)]
    pub(crate) fn normal(reason: &str, message: &str) -> Self {
        Self { reason: reason.into(), message: message.into(), warning: false }
    }

    #[cfg(test)]
    pub(crate) fn warning(reason: &str, message: &str) -> Self {
        Self { reason: reason.into(), message: message.into(), warning: true }
    }
}

/// Sorts the events of an API list, oldest first.
pub(crate) fn pod_events(mut events: Vec<Event>) -> Vec<PodEvent> {
    // Some events have times in whole seconds; within one second the list's order is kept, which is that of creation.
    let at = |event: &Event| {
        let seen = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        let first = event.event_time.as_ref().map(|time| time.0);
        seen.max(last).max(first).map(|time| time.as_second())
    };
    events.sort_by_key(at);
    let event = |event: Event| PodEvent {
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        warning: event.type_.as_deref() == Some("Warning"),
    };
    events.into_iter().map(event).collect()
}

/// Returns the reason of the last failed pull, which the kubelet's back-off message does not contain.
pub(crate) fn pull_failure(pod_events: &[PodEvent]) -> Option<&str> {
    pod_events
        .iter()
        .rev()
        .find(|event| event.reason == "Failed" && event.message.contains("pull image"))
        .map(|n| &*n.message)
}

/// Returns the reason of the pod's eviction. If the pod then ended with success, the kubelet reports it only here.
pub(crate) fn eviction(pod_events: &[PodEvent]) -> Option<&str> {
    pod_events.iter().rev().find(|event| event.reason == "Evicted").map(|event| &*event.message)
}

/// True if the newest event is the assignment to a node.
pub(crate) fn only_scheduled(pod_events: &[PodEvent]) -> bool {
    pod_events.last().is_some_and(|event| event.reason == "Scheduled")
}

/// Reasons of warnings that delay a pod's start, each with the words before its message (of Kubernetes 1.36's kubelet,
/// scheduler and controllers). Other warnings delay nothing: ignored settings (`MissingClusterDNS`, `DNSConfigForming`),
/// opinions of the cluster's tools, a pull secret that may not be needed. Failures of a container itself (`Failed`,
/// `BackOff`, `InspectFailed`) are left to its status, which is more precise and comes at the same time.
const REASONS: [(&[&str], &str); 9] = [
    (&["FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedBinding"], "a volume is missing"),
    (&["VolumePermissionChangeInProgress"], "a volume is being prepared"),
    (&["FailedScheduling"], "no node takes the pod yet"),
    (
        &[
            "FailedCreatePodSandBox",
            "FailedPodSandBoxStatus",
            "FailedCreatePodContainer",
            "NetworkNotReady",
            "FailedSync",
        ],
        "the node cannot start it yet",
    ),
    (&["FailedPrepareDynamicResources", "FailedResourceClaimCreation"], "a resource that it claims is missing"),
    (&["FailedValidation"], "the node does not accept the pod"),
    (&["NodeNotReady"], "the node of the pod does not answer"),
    (&["FailedPostStartHook"], "the postStart hook of a container failed"),
    (&["Unhealthy"], "the pod is not ready yet"),
];

/// Returns the reason why a pod has not started yet, one line, from the newest event about its start.
pub(crate) fn progress(pod_events: &[PodEvent]) -> Option<String> {
    pod_events.iter().rev().find_map(PodEvent::start_progress).flatten()
}

impl PodEvent {
    /// Returns what the event says about the pod's start: a reason to wait, or `Some(None)` if a step has succeeded, so that
    /// older reasons no longer hold. `None` for an event about anything else.
    fn start_progress(&self) -> Option<Option<String>> {
        match self.reason.as_str() {
            "Pulling" => return Some(Some(printable(&self.message.replacen("Pulling", "pulling", 1), LOG_TEXT_MAX))),
            "Pulled" | "Created" | "Started" | "SuccessfulAttachVolume" => return Some(None),
            _ => {}
        }
        let (_, words) = REASONS.iter().find(|(reasons, _)| self.warning && reasons.contains(&self.reason.as_str()))?;
        Some(Some(printable(&format!("{words}: {}", self.message), LOG_TEXT_MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(reason: &str, message: &str, kind: &str, at: &str) -> Event {
        serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "reason": reason, "message": message, "type": kind,
            "lastTimestamp": at
        }))
        .unwrap()
    }

    #[test]
    fn newest_event_speaks_whatever_the_order_they_came_in() {
        let pod_events = pod_events(vec![
            event("Pulling", "Pulling image \"b\"", "Normal", "2026-01-01T00:00:09Z"),
            event("FailedMount", "secret \"s\" not found", "Warning", "2026-01-01T00:00:05Z"),
        ]);
        assert_eq!(progress(&pod_events).as_deref(), Some("pulling image \"b\""));
        assert_eq!(progress(&pod_events[..1]).as_deref(), Some("a volume is missing: secret \"s\" not found"));
        assert_eq!(progress(&[]), None);
    }

    #[test]
    fn failure_of_a_container_is_left_to_its_status() {
        let pod_events = [
            PodEvent::warning("FailedMount", "secret \"s\" not found"),
            PodEvent::warning("Failed", "Error: secret \"keys\" not found"),
            PodEvent::warning("BackOff", "Back-off pulling image \"x\""),
        ];
        assert_eq!(progress(&pod_events).as_deref(), Some("a volume is missing: secret \"s\" not found"));
        assert_eq!(progress(&pod_events[1..]), None);
    }

    #[test]
    fn warning_that_holds_no_pod_up_is_no_reason() {
        for (reason, message) in [
            ("MissingClusterDNS", "pod: \"p\". kubelet does not have ClusterDNS IP configured"),
            ("DNSConfigForming", "Nameserver limits were exceeded"),
            ("FailedToRetrieveImagePullSecret", "Unable to retrieve some image pull secrets (s)"),
            ("AlreadyMountedVolume", "The requested fsGroup is 1"),
            ("PolicyViolation", "policy x/y fail"),
            ("VolumeConditionAbnormal", "Volume v: degraded"),
        ] {
            let warning = PodEvent::warning(reason, message);
            assert_eq!(progress(std::slice::from_ref(&warning)), None, "{reason}");
            let pod_events = [PodEvent::warning("FailedMount", "secret \"s\" not found"), warning];
            assert_eq!(
                progress(&pod_events).as_deref(),
                Some("a volume is missing: secret \"s\" not found"),
                "{reason}"
            );
        }
        assert_eq!(progress(&[PodEvent::normal("FailedMount", "not a warning")]), None);
    }

    #[test]
    fn every_warning_about_the_start_is_told_in_plain_words() {
        for (reason, expected) in [
            ("FailedMount", "a volume is missing: it"),
            ("FailedBinding", "a volume is missing: it"),
            ("VolumePermissionChangeInProgress", "a volume is being prepared: it"),
            ("FailedScheduling", "no node takes the pod yet: it"),
            ("NetworkNotReady", "the node cannot start it yet: it"),
            ("FailedCreatePodSandBox", "the node cannot start it yet: it"),
            ("FailedPrepareDynamicResources", "a resource that it claims is missing: it"),
            ("NodeNotReady", "the node of the pod does not answer: it"),
            ("Unhealthy", "the pod is not ready yet: it"),
        ] {
            assert_eq!(progress(&[PodEvent::warning(reason, "it")]).as_deref(), Some(expected));
        }
    }

    #[test]
    fn reason_does_not_outlive_the_step_that_it_held_up() {
        let pulling = PodEvent::normal("Pulling", "Pulling image \"x\"");
        let pulled = PodEvent::normal("Pulled", "Successfully pulled image \"x\" in 4s");
        assert_eq!(progress(&[pulling.clone(), pulled.clone()]), None);
        assert_eq!(progress(&[pulled, pulling]).as_deref(), Some("pulling image \"x\""));
        let attached = PodEvent::normal("SuccessfulAttachVolume", "AttachVolume.Attach succeeded");
        assert_eq!(progress(&[PodEvent::warning("FailedAttachVolume", "Multi-Attach error"), attached]), None);
    }

    #[test]
    fn event_of_the_same_second_stays_behind_the_one_that_was_made_first() {
        let scheduled: Event = serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "reason": "Scheduled", "type": "Normal",
            "eventTime": "2026-01-01T00:00:05.700000Z"
        }))
        .unwrap();
        let pulling = event("Pulling", "Pulling image \"b\"", "Normal", "2026-01-01T00:00:05Z");
        assert!(!only_scheduled(&pod_events(vec![scheduled, pulling])));
    }

    #[test]
    fn event_text_loses_its_control_characters() {
        let text = progress(&[PodEvent::warning("FailedMount", "red \x1b[31m\nnext")]).unwrap();
        assert_eq!(text, "a volume is missing: red [31m next");
    }

    #[test]
    fn pull_failure_is_found_among_other_failures() {
        let pod_events = [
            PodEvent::warning("Failed", "Failed to pull image \"x\": not found"),
            PodEvent::warning("Failed", "Error: ImagePullBackOff"),
        ];
        assert_eq!(pull_failure(&pod_events), Some("Failed to pull image \"x\": not found"));
    }
}
