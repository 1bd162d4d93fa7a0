//! The events that the scheduler and the kubelet write about a pod: real objects, repeated ones counted, bounded in number.

use crate::node::report::NODE;
use crate::objects::kinds::ObjectKind;
use crate::objects::store::{Store, identity};
use crate::objects::time;
use serde_json::{Value, json};
use std::sync::Arc;

/// Events kept; the oldest go first.
const KEPT: usize = 1000;

/// The component that writes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventSource {
    Scheduler,
    Kubelet,
}

/// Writes events into the store.
#[derive(Debug, Clone)]
pub(crate) struct EventRecorder {
    store: Arc<Store>,
}

/// An event to write: kind, reason, text, and the container it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewEvent<'a> {
    pub(crate) warning: bool,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) container: Option<&'a str>,
}

impl EventRecorder {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Records what happened to a pod.
    pub(crate) fn record(&self, pod: &Value, source: EventSource, what: NewEvent<'_>) {
        let (namespace, name) = identity(pod);
        let (events, _) = self.store.list(ObjectKind::Event, Some(&namespace));
        let same = events.iter().find(|event| {
            event["involvedObject"]["uid"] == pod["metadata"]["uid"]
                && event["reason"] == what.reason
                && event["message"] == what.message
        });
        if let Some(same) = same {
            let (_, event) = identity(same);
            // An event that was deleted meanwhile need not be counted.
            let _deleted = self.store.update((ObjectKind::Event, &namespace, &event), |old| Ok(counted(old)));
            return;
        }
        if let (true, Some(oldest)) = (events.len() >= KEPT, events.iter().min_by_key(|event| version(event))) {
            let (_, event) = identity(oldest);
            let _deleted = self.store.remove((ObjectKind::Event, &namespace, &event), |_| Ok(()));
        }
        let event = event(pod, (&namespace, &name), source, what);
        // The name is random: it is not taken.
        let _taken = self.store.create(ObjectKind::Event, event);
    }
}

fn version(event: &Value) -> u64 {
    event["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn counted(old: &Value) -> Value {
    let mut event = old.clone();
    if old["eventTime"].is_null() {
        event["count"] = json!(old["count"].as_u64().unwrap_or(1) + 1);
        event["lastTimestamp"] = json!(time::now());
    } else {
        let before = old["series"]["count"].as_u64().unwrap_or(1);
        event["series"] = json!({"count": before + 1, "lastObservedTime": time::now_precisely()});
    }
    event
}

fn event(pod: &Value, (namespace, name): (&str, &str), source: EventSource, what: NewEvent<'_>) -> Value {
    let now = time::now();
    let mut involved = json!({
        "kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name,
        "uid": pod["metadata"]["uid"], "resourceVersion": pod["metadata"]["resourceVersion"],
    });
    if let Some(container) = what.container {
        involved["fieldPath"] = json!(format!("spec.containers{{{container}}}"));
    }
    let mut event = json!({
        "metadata": {"name": format!("{name}.{:016x}", rand::random::<u64>()), "namespace": namespace},
        "involvedObject": involved, "reason": what.reason, "message": what.message,
        "type": if what.warning { "Warning" } else { "Normal" },
    });
    let by = match source {
        // The scheduler writes the newer kind of event, which has neither count nor first and last time.
        EventSource::Scheduler => json!({
            "eventTime": time::now_precisely(), "firstTimestamp": null, "lastTimestamp": null, "source": {},
            "action": if what.warning { "Scheduling" } else { "Binding" },
            "reportingComponent": "default-scheduler", "reportingInstance": format!("default-scheduler-{NODE}"),
        }),
        EventSource::Kubelet => json!({
            "eventTime": null, "firstTimestamp": now, "lastTimestamp": now, "count": 1,
            "source": {"component": "kubelet", "host": NODE},
            "reportingComponent": "kubelet", "reportingInstance": NODE,
        }),
    };
    if let (Some(event), Value::Object(by)) = (event.as_object_mut(), by) {
        event.extend(by);
    }
    event
}
