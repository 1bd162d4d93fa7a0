//! What a pod's events say to someone who waits for it. Pure; the newest that is about the pod's start is shown.

use crate::guest::WHOLE;
use crate::types::printable;
use k8s_openapi::api::core::v1::Event;

/// The part of an event that matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    reason: String,
    message: String,
    warning: bool,
}

impl Note {
    #[cfg(test)]
    pub(super) fn normal(reason: &str, message: &str) -> Self {
        Self { reason: reason.into(), message: message.into(), warning: false }
    }

    #[cfg(test)]
    pub(super) fn warning(reason: &str, message: &str) -> Self {
        Self { reason: reason.into(), message: message.into(), warning: true }
    }
}

/// The events, in the order of a list of the API, as notes, oldest first.
pub(super) fn notes(mut events: Vec<Event>) -> Vec<Note> {
    // Some have the time in whole seconds; within one the order of the list holds, which is that of their creation.
    let at = |event: &Event| {
        let seen = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        let first = event.event_time.as_ref().map(|time| time.0);
        seen.max(last).max(first).map(|time| time.as_second())
    };
    events.sort_by_key(at);
    let note = |event: Event| Note {
        reason: event.reason.unwrap_or_default(),
        message: event.message.unwrap_or_default(),
        warning: event.type_.as_deref() == Some("Warning"),
    };
    events.into_iter().map(note).collect()
}

/// Why the last pull of an image failed: the kubelet's back-off message alone does not say.
pub(super) fn pull_failure(notes: &[Note]) -> Option<&str> {
    notes.iter().rev().find(|note| note.reason == "Failed" && note.message.contains("pull image")).map(|n| &*n.message)
}

/// Why the pod was evicted, where it was. A kubelet whose pod then ended well by itself tells it here alone.
pub(super) fn eviction(notes: &[Note]) -> Option<&str> {
    notes.iter().rev().find(|note| note.reason == "Evicted").map(|note| &*note.message)
}

/// Whether the newest that is known of the pod is that a node is to have it.
pub(super) fn only_scheduled(notes: &[Note]) -> bool {
    notes.last().is_some_and(|note| note.reason == "Scheduled")
}

/// Kinds of warnings that say why a pod does not start, each with the words before its message (the kubelet's, the
/// scheduler's and the controllers' of Kubernetes 1.36). Every other warning is about something that holds nothing up:
/// settings that are ignored (`MissingClusterDNS`, `DNSConfigForming`), what a tool of the cluster thinks of the pod, a
/// pull secret that may not be needed. What failed about a container itself (`Failed`, `BackOff`, `InspectFailed`) is left
/// to its status, which says it better and comes at the same time.
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

/// The reason why a node has not started a pod yet, one line: that of the newest event about the start.
pub(super) fn news(notes: &[Note]) -> Option<String> {
    notes.iter().rev().find_map(Note::step).flatten()
}

impl Note {
    /// The event's news about the start of the pod: a reason to wait, or (`Some(None)`) that a step has succeeded, so
    /// that an older reason holds no more. `None` for an event about anything else.
    fn step(&self) -> Option<Option<String>> {
        match self.reason.as_str() {
            "Pulling" => return Some(Some(printable(&self.message.replacen("Pulling", "pulling", 1), WHOLE))),
            "Pulled" | "Created" | "Started" | "SuccessfulAttachVolume" => return Some(None),
            _ => {}
        }
        let (_, words) = REASONS.iter().find(|(reasons, _)| self.warning && reasons.contains(&self.reason.as_str()))?;
        Some(Some(printable(&format!("{words}: {}", self.message), WHOLE)))
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
        let notes = notes(vec![
            event("Pulling", "Pulling image \"b\"", "Normal", "2026-01-01T00:00:09Z"),
            event("FailedMount", "secret \"s\" not found", "Warning", "2026-01-01T00:00:05Z"),
        ]);
        assert_eq!(news(&notes).as_deref(), Some("pulling image \"b\""));
        assert_eq!(news(&notes[..1]).as_deref(), Some("a volume is missing: secret \"s\" not found"));
        assert_eq!(news(&[]), None);
    }

    #[test]
    fn failure_of_a_container_is_left_to_its_status() {
        let notes = [
            Note::warning("FailedMount", "secret \"s\" not found"),
            Note::warning("Failed", "Error: secret \"keys\" not found"),
            Note::warning("BackOff", "Back-off pulling image \"x\""),
        ];
        assert_eq!(news(&notes).as_deref(), Some("a volume is missing: secret \"s\" not found"));
        assert_eq!(news(&notes[1..]), None);
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
            let warning = Note::warning(reason, message);
            assert_eq!(news(std::slice::from_ref(&warning)), None, "{reason}");
            let notes = [Note::warning("FailedMount", "secret \"s\" not found"), warning];
            assert_eq!(news(&notes).as_deref(), Some("a volume is missing: secret \"s\" not found"), "{reason}");
        }
        assert_eq!(news(&[Note::normal("FailedMount", "not a warning")]), None);
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
            assert_eq!(news(&[Note::warning(reason, "it")]).as_deref(), Some(expected));
        }
    }

    #[test]
    fn reason_does_not_outlive_the_step_that_it_held_up() {
        let pulling = Note::normal("Pulling", "Pulling image \"x\"");
        let pulled = Note::normal("Pulled", "Successfully pulled image \"x\" in 4s");
        assert_eq!(news(&[pulling.clone(), pulled.clone()]), None);
        assert_eq!(news(&[pulled, pulling]).as_deref(), Some("pulling image \"x\""));
        let attached = Note::normal("SuccessfulAttachVolume", "AttachVolume.Attach succeeded");
        assert_eq!(news(&[Note::warning("FailedAttachVolume", "Multi-Attach error"), attached]), None);
    }

    #[test]
    fn event_of_the_same_second_stays_behind_the_one_that_was_made_first() {
        let scheduled: Event = serde_json::from_value(json!({
            "metadata": {}, "involvedObject": {}, "reason": "Scheduled", "type": "Normal",
            "eventTime": "2026-01-01T00:00:05.700000Z"
        }))
        .unwrap();
        let pulling = event("Pulling", "Pulling image \"b\"", "Normal", "2026-01-01T00:00:05Z");
        assert!(!only_scheduled(&notes(vec![scheduled, pulling])));
    }

    #[test]
    fn event_text_loses_its_control_characters() {
        let text = news(&[Note::warning("FailedMount", "red \x1b[31m\nnext")]).unwrap();
        assert_eq!(text, "a volume is missing: red [31m next");
    }

    #[test]
    fn pull_failure_is_found_among_other_failures() {
        let notes = [
            Note::warning("Failed", "Failed to pull image \"x\": not found"),
            Note::warning("Failed", "Error: ImagePullBackOff"),
        ];
        assert_eq!(pull_failure(&notes), Some("Failed to pull image \"x\": not found"));
    }
}
