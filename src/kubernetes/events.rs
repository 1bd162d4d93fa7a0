//! What a pod's events say to someone who waits for it. Pure; the newest speaks.

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

/// The events as notes, oldest first.
pub(super) fn notes(mut events: Vec<Event>) -> Vec<Note> {
    let at = |event: &Event| {
        let seen = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        let first = event.event_time.as_ref().map(|time| time.0);
        seen.max(last).max(first)
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

/// What holds a container back that is still being created, one line. What failed about a container itself is left to
/// its status, which says it better and comes at the same time.
pub(super) fn news(notes: &[Note]) -> Option<String> {
    let tells = |note: &Note| match note.reason.as_str() {
        "Pulling" => true,
        "Failed" | "BackOff" => false,
        _ => note.warning,
    };
    let last = notes.iter().rev().find(|note| tells(note))?;
    Some(match last.reason.as_str() {
        "Pulling" => printable(&last.message.replacen("Pulling", "pulling", 1), WHOLE),
        "FailedMount" | "FailedAttachVolume" => printable(&format!("a volume is missing: {}", last.message), WHOLE),
        "FailedScheduling" => printable(&format!("no node takes the pod yet: {}", last.message), WHOLE),
        "FailedCreatePodSandBox" => printable(&format!("the node cannot start it yet: {}", last.message), WHOLE),
        reason => printable(&format!("{reason}: {}", last.message), WHOLE),
    })
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
    fn event_text_loses_its_control_characters() {
        let text = news(&[Note::warning("Strange", "red \x1b[31m\nnext")]).unwrap();
        assert_eq!(text, "Strange: red [31m next");
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
