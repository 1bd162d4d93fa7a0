//! The pods of one watch and their followers. Pure: it takes in the watcher's events and updates the followers.
//!
//! A pod is deleted when the watch says so, or when a list that began after it was followed does not have it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodSpec, PodStatus};
use kube::runtime::watcher::Event;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The last state of a pod that a watch showed.
#[derive(Debug, Clone)]
pub(crate) enum WatchedPod {
    /// The watch has not shown the pod yet.
    Unknown,
    Present(Arc<Pod>),
    Deleted,
}

#[derive(Debug, Default)]
pub(super) struct PodTable {
    pods: HashMap<String, Arc<Pod>>,
    followers: HashMap<u64, FollowerEntry>,
    next: u64,
    list: Option<ListInProgress>,
    trouble: Option<(String, Instant)>,
}

/// Time after which the last error of a watch no longer counts: a watch that works again shows nothing until a pod changes.
const ERROR_LIFETIME: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct FollowerEntry {
    uid: String,
    seen: watch::Sender<WatchedPod>,
}

/// A list in progress: the uids that it should have, and those that it had so far.
#[derive(Debug)]
struct ListInProgress {
    expected: HashSet<String>,
    had: HashSet<String>,
}

impl PodTable {
    /// Follows a pod that exists. The state that the watch has shown already may be newer than the one that the caller knows.
    pub(super) fn follow(&mut self, uid: &str) -> (u64, watch::Receiver<WatchedPod>) {
        let (sender, receiver) = watch::channel(WatchedPod::Unknown);
        if let Some(pod) = self.pods.get(uid) {
            sender.send_replace(WatchedPod::Present(Arc::clone(pod)));
        }
        let number = self.next;
        self.next += 1;
        self.followers.insert(number, FollowerEntry { uid: uid.to_owned(), seen: sender });
        (number, receiver)
    }

    pub(super) fn unfollow(&mut self, number: u64) {
        self.followers.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// Takes in an error of the watch; returns false if an earlier error still counts.
    pub(super) fn failed(&mut self, error: String, now: Instant) -> bool {
        let is_first = self.trouble(now).is_none();
        self.trouble = Some((error, now));
        is_first
    }

    /// Returns the last error, while it counts.
    pub(super) fn trouble(&self, now: Instant) -> Option<&str> {
        let (error, at) = self.trouble.as_ref()?;
        (now.duration_since(*at) < ERROR_LIFETIME).then_some(error)
    }

    /// Takes in an event, and updates the followers of its pod.
    pub(super) fn take(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => {
                let followed = self.followers.values().map(|entry| entry.uid.clone());
                let expected = followed.chain(self.pods.keys().cloned()).collect();
                self.list = Some(ListInProgress { expected, had: HashSet::new() });
            }
            Event::InitApply(pod) => {
                if let (Some(list), Some(uid)) = (&mut self.list, &pod.metadata.uid) {
                    list.had.insert(uid.clone());
                }
                self.there(pod);
            }
            Event::InitDone => {
                self.trouble = None;
                let Some(list) = self.list.take() else { return };
                for uid in list.expected.difference(&list.had) {
                    self.gone(uid);
                }
            }
            Event::Apply(pod) => {
                self.trouble = None;
                self.there(pod);
            }
            Event::Delete(pod) => {
                self.trouble = None;
                if let Some(uid) = &pod.metadata.uid {
                    self.gone(uid);
                }
            }
        }
    }

    fn there(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let pod = Arc::new(reduced(pod));
        self.tell(&uid, &WatchedPod::Present(Arc::clone(&pod)));
        self.pods.insert(uid, pod);
    }

    fn gone(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.tell(uid, &WatchedPod::Deleted);
    }

    fn tell(&self, uid: &str, seen: &WatchedPod) {
        for entry in self.followers.values().filter(|entry| entry.uid == uid) {
            entry.seen.send_replace(seen.clone());
        }
    }
}

/// Drops the parts of a pod that are not read here, which are most of it: one pod is kept for every connection.
fn reduced(mut pod: Pod) -> Pod {
    pod.metadata.managed_fields = None;
    pod.metadata.annotations = None;
    if let Some(spec) = &mut pod.spec {
        let node_name = spec.node_name.take();
        *spec = PodSpec { node_name, ..PodSpec::default() };
    }
    pod.status = pod.status.map(|status| PodStatus {
        phase: status.phase,
        reason: status.reason,
        message: status.message,
        conditions: status.conditions,
        init_container_statuses: status.init_container_statuses.map(|all| all.into_iter().map(container).collect()),
        container_statuses: status.container_statuses.map(|all| all.into_iter().map(container).collect()),
        ..PodStatus::default()
    });
    pod
}

fn container(status: ContainerStatus) -> ContainerStatus {
    ContainerStatus {
        name: status.name,
        image: status.image,
        image_id: status.image_id,
        state: status.state,
        last_state: status.last_state,
        restart_count: status.restart_count,
        ..ContainerStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(uid: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p", "uid": uid}})).unwrap()
    }

    #[test]
    fn what_a_pod_is_judged_by_is_kept_and_the_rest_is_not() {
        let whole = json!({
            "metadata": {
                "name": "p", "uid": "u", "labels": {"a": "b"}, "annotations": {"c": "d"},
                "managedFields": [{"manager": "m"}],
            },
            "spec": {"nodeName": "n", "containers": [{"name": "shell"}]},
            "status": {
                "phase": "Running", "reason": "r", "message": "m", "podIP": "10.0.0.1", "qosClass": "BestEffort",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "shell", "image": "i", "imageID": "id", "ready": true, "restartCount": 2,
                    "containerID": "containerd://1", "resources": {},
                    "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                }],
            },
        });
        let expected = json!({
            "metadata": {"name": "p", "uid": "u", "labels": {"a": "b"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {
                "phase": "Running", "reason": "r", "message": "m",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{
                    "name": "shell", "image": "i", "imageID": "id", "ready": false, "restartCount": 2,
                    "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
                }],
            },
        });
        let expected: Pod = serde_json::from_value(expected).unwrap();
        assert_eq!(reduced(serde_json::from_value(whole).unwrap()), expected);
    }

    fn word(seen: &watch::Receiver<WatchedPod>) -> &'static str {
        match &*seen.borrow() {
            WatchedPod::Unknown => "not yet",
            WatchedPod::Present(_) => "there",
            WatchedPod::Deleted => "gone",
        }
    }

    #[test]
    fn pod_missing_from_a_later_list_is_gone() {
        let mut table = PodTable::default();
        table.take(Event::Init);
        let (_, early) = table.follow("young");
        table.take(Event::InitDone);
        assert_eq!(word(&early), "not yet", "that list may have been read before the pod was created");
        table.take(Event::Init);
        table.take(Event::InitDone);
        assert_eq!(word(&early), "gone");
    }

    #[test]
    fn pod_lost_between_two_lists_is_gone_and_the_other_stays() {
        let mut table = PodTable::default();
        table.take(Event::Apply(pod("a")));
        table.take(Event::Apply(pod("b")));
        let (a, b) = (table.follow("a").1, table.follow("b").1);
        assert_eq!((word(&a), word(&b)), ("there", "there"));
        table.take(Event::Init);
        table.take(Event::InitApply(pod("b")));
        assert_eq!(word(&a), "there", "a list is not over before its end");
        table.take(Event::InitDone);
        assert_eq!((word(&a), word(&b)), ("gone", "there"));
    }

    #[test]
    fn pod_that_was_seen_before_it_was_followed_is_news() {
        let mut table = PodTable::default();
        table.take(Event::Apply(pod("a")));
        let ((_, seen), (_, unseen)) = (table.follow("a"), table.follow("b"));
        assert_eq!((word(&seen), seen.has_changed().unwrap()), ("there", true));
        assert_eq!((word(&unseen), unseen.has_changed().unwrap()), ("not yet", false));
    }

    #[test]
    fn pod_of_the_same_name_is_another_pod() {
        let mut table = PodTable::default();
        let (_, seen) = table.follow("new");
        table.take(Event::Apply(pod("old")));
        table.take(Event::Delete(pod("old")));
        assert_eq!(word(&seen), "not yet");
        table.take(Event::Apply(pod("new")));
        table.take(Event::Delete(pod("new")));
        assert_eq!(word(&seen), "gone");
    }

    #[test]
    fn trouble_is_told_once_and_ends_with_the_next_event_or_by_itself() {
        let mut table = PodTable::default();
        let now = Instant::now();
        assert!(table.failed("cut".into(), now));
        assert!(!table.failed("cut again".into(), now + ERROR_LIFETIME / 2));
        assert_eq!(table.trouble(now + ERROR_LIFETIME), Some("cut again"));
        assert_eq!(table.trouble(now + ERROR_LIFETIME * 2), None);
        table.take(Event::Apply(pod("a")));
        assert_eq!(table.trouble(now), None);
    }

    #[test]
    fn nobody_is_kept_who_no_longer_follows() {
        let mut table = PodTable::default();
        let (number, seen) = table.follow("a");
        table.unfollow(number);
        assert!(seen.has_changed().is_err());
        assert!(table.is_empty());
    }
}
