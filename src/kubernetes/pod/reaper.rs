//! The reaper removes pods that this process created and whose connections have not been open for a while, if a hold failed
//! to. It decides by the watch and a monotonic clock. Every delete carries uid and resourceVersion, so that a pod that has
//! changed meanwhile is judged again.

use super::manifest::CONNECTION;
use crate::kubernetes::api::pods::ApiError;
use crate::telemetry::{Level, Log, codes};
use crate::types::{ConnectionId, causes};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Tells whether a connection is open.
pub(crate) type ConnectionCheck = Arc<dyn Fn(ConnectionId) -> bool + Send + Sync>;

/// Time after which a pod without an open connection is removed.
const ORPHANED: Duration = Duration::from_secs(30);

/// Limit of one delete.
const DELETE_TIMEOUT: Duration = Duration::from_secs(15);

/// The orphaned pods of one watch.
pub(crate) struct Reaper {
    is_open: ConnectionCheck,
    orphans: HashMap<String, Instant>,
    sweeping: Arc<()>,
}

impl Reaper {
    pub(crate) fn new(is_open: ConnectionCheck) -> Self {
        Self { is_open, orphans: HashMap::new(), sweeping: Arc::new(()) }
    }

    /// Returns the pods to remove now; none while an earlier removal is in progress.
    pub(crate) fn due<'a>(&mut self, pods: impl Iterator<Item = &'a Arc<Pod>>, now: Instant) -> Vec<Arc<Pod>> {
        let mut orphans = HashMap::new();
        let mut due = Vec::new();
        for pod in pods.filter(|pod| self.is_orphan(pod)) {
            let Some(uid) = pod.metadata.uid.clone() else { continue };
            let since = self.orphans.get(&uid).copied().unwrap_or(now);
            if now.duration_since(since) >= ORPHANED {
                due.push(Arc::clone(pod));
            }
            orphans.insert(uid, since);
        }
        self.orphans = orphans;
        if Arc::strong_count(&self.sweeping) > 1 { Vec::new() } else { due }
    }

    /// Marks a removal as in progress until the mark is dropped.
    pub(crate) fn begin(&self) -> Arc<()> {
        Arc::clone(&self.sweeping)
    }

    fn is_orphan(&self, pod: &Pod) -> bool {
        let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get(CONNECTION));
        let connection = label.and_then(|text| ConnectionId::parse(text));
        pod.metadata.deletion_timestamp.is_none() && connection.is_some_and(|connection| !(self.is_open)(connection))
    }
}

/// Removes pods one after the other.
pub(crate) async fn remove(pods: &kube::Api<Pod>, due: &[Arc<Pod>], log: &Log) {
    for pod in due {
        let metadata = &pod.metadata;
        let name = metadata.name.as_deref().unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let preconditions =
            Preconditions { uid: metadata.uid.clone(), resource_version: metadata.resource_version.clone() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let answer = match timeout(DELETE_TIMEOUT, pods.delete(name, &parameters)).await {
            Ok(answer) => answer.map(drop).map_err(ApiError::from),
            Err(_) => Err(ApiError::Unreachable("no answer in time".into())),
        };
        match answer {
            Ok(()) => log.write(
                codes::KUBERNETES_POD_REAPED,
                "a pod that was left without its connection is removed",
                &[("podName", name), ("namespace", namespace)],
            ),
            Err(error) if matches!(error.code(), Some(404 | 409)) => {}
            Err(error) => log.write(
                codes::KUBERNETES_POD_REMOVE_FAILED.at(Level::Warning),
                "a pod that was left without its connection cannot be removed, trying again",
                &[("podName", name), ("namespace", namespace), ("reason", &causes(&error))],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str, connection: &str) -> Arc<Pod> {
        let value = json!({"metadata": {"name": uid, "uid": uid, "labels": {CONNECTION: connection}}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn only_a_pod_without_its_connection_for_a_while_is_due() {
        let (living, dead) = (ConnectionId::random(), ConnectionId::random());
        let mut reaper = Reaper::new(Arc::new(move |id| id == living));
        let mut leaving = (*pod("leaving", &dead.to_string())).clone();
        leaving.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let pods = [
            pod("living", &living.to_string()),
            pod("orphan", &dead.to_string()),
            pod("foreign", "whatever"),
            Arc::new(leaving),
        ];
        let start = Instant::now();
        assert!(reaper.due(pods.iter(), start).is_empty());
        assert!(reaper.due(pods.iter(), start + ORPHANED / 2).is_empty());
        let due = reaper.due(pods.iter(), start + ORPHANED);
        assert_eq!(due.iter().map(|pod| pod.metadata.name.as_deref().unwrap()).collect::<Vec<_>>(), ["orphan"]);

        let under_way = reaper.begin();
        assert!(reaper.due(pods.iter(), start + ORPHANED).is_empty());
        drop(under_way);
        assert_eq!(reaper.due(pods.iter(), start + ORPHANED).len(), 1);
        assert!(reaper.due([].iter(), start + ORPHANED).is_empty());
        assert!(reaper.due(pods.iter(), start + ORPHANED).is_empty(), "who was seen to be gone starts anew");
    }
}
