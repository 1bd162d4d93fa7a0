//! The handle with which tests make a running cluster misbehave.

use crate::api::access::Token;
use crate::api::delete::delete_pod;
use crate::api::watch::WatchOrder;
use crate::cluster::parts::ClusterParts;
use crate::faults::{FailingRequests, FaultBoard, ImageFault, RequestFailure};
use crate::node::pods::{Kubelet, PodHandle, PodOrder};
use crate::node::report::ForcedEnd;
use crate::objects::kinds::ObjectKind;
use std::sync::Arc;
use std::time::Duration;

/// The handle to make a cluster misbehave; cheap to clone. Every setting stays until it is taken back.
#[derive(Debug, Clone)]
pub struct Faults {
    parts: Arc<ClusterParts>,
}

impl Faults {
    pub(super) fn new(parts: Arc<ClusterParts>) -> Self {
        Self { parts }
    }

    fn board(&self) -> &FaultBoard {
        &self.parts.board
    }

    /// New pods stay in `ContainerCreating` until [`release_pods`](Self::release_pods).
    pub fn hold_pods(&self) {
        self.board().change(|settings| settings.hold = true);
    }

    /// Lets held pods start.
    pub fn release_pods(&self) {
        self.board().change(|settings| settings.hold = false);
    }

    /// New pods stay in `ContainerCreating` this long.
    pub fn delay_pods(&self, delay: Duration) {
        self.board().change(|settings| settings.delay = delay);
    }

    /// New pods find no node: `Unschedulable`, until this is called with false.
    pub fn unschedulable(&self, on: bool) {
        let message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: \
                       1 No preemption victims found for incoming pod.";
        self.board().change(|settings| settings.unschedulable = on.then(|| message.to_owned()));
    }

    /// New pods stay in `ContainerCreating`, and an event alone (`FailedMount`) gives this reason, until it is taken back.
    pub fn missing_volume(&self, reason: Option<&str>) {
        self.board().change(|settings| settings.volume = reason.map(str::to_owned));
    }

    /// Images whose names begin with `prefix` have this trouble.
    pub fn image(&self, prefix: &str, fault: ImageFault) {
        self.board().change(|settings| settings.images.insert(0, (prefix.to_owned(), fault)));
    }

    /// Takes back what [`image`](Self::image) set for this prefix: waiting pods try again at once.
    pub fn heal_image(&self, prefix: &str) {
        self.board().change(|settings| settings.images.retain(|(set, _)| set != prefix));
    }

    /// At most this many pods a namespace; more are refused with 403 `exceeded quota`.
    pub fn quota(&self, pods: Option<usize>) {
        self.board().change(|settings| settings.quota = pods);
    }

    /// Pods are refused with 403 by an admission webhook that gives this reason.
    pub fn deny_pods(&self, reason: Option<&str>) {
        self.board().change(|settings| settings.denial = reason.map(str::to_owned));
    }

    /// The next `times` requests of a verb (`create`, `get`, `list`, `watch`, `update`, `patch`, `delete`; `*` for all) on
    /// a resource (`pods`, `pods/exec`, `leases`; `*` for all) fail. A WebSocket exec or attach is a `get`.
    pub fn fail_requests(&self, verb: &str, resource: &str, times: u32, failure: RequestFailure) {
        self.board().add_trip(FailingRequests {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            left: times,
            failure,
        });
    }

    /// Takes back every [`fail_requests`](Self::fail_requests).
    pub fn heal_requests(&self) {
        self.board().change(|settings| settings.trips.clear());
    }

    /// Resets the connection of every open exec and attach, without a status.
    pub fn cut_streams(&self) {
        self.parts.streams.cut_all();
    }

    /// Streams opened from now on are reset once this many bytes have passed (both directions together).
    pub fn cut_streams_after(&self, bytes: Option<u64>) {
        self.board().change(|settings| settings.cut_after = bytes);
    }

    /// Every open watch is told 410 `Expired`, and no earlier resourceVersion can be watched from.
    pub fn expire_watches(&self) {
        self.parts.store.compact();
        self.parts.watches.send_replace(WatchOrder::Expire);
    }

    /// The connection of every open watch is cut.
    pub fn cut_watches(&self) {
        self.parts.watches.send_replace(WatchOrder::Cut);
    }

    /// From now on this token is known with these rules; one with the same text is replaced.
    pub fn set_token(&self, token: Token) {
        self.parts.tokens.set(token);
    }

    /// From now on this token is nobody's.
    pub fn revoke_token(&self, token: &str) {
        self.parts.tokens.revoke(token);
    }

    /// Lets accounts ask for their identity and rights, or not. Kubernetes' `system:basic-user` lets everybody ask.
    /// The administrator always may.
    pub fn questions_about_oneself(&self, allowed: bool) {
        self.parts.tokens.set_basic_user(allowed);
    }

    /// The API server goes away: connections are closed, new ones refused. Pods live on. Returns when it is so.
    pub async fn api_down(&self) {
        self.parts.switch.set(false).await;
    }

    /// The API server comes back on the same port. Returns when it accepts connections.
    pub async fn api_up(&self) {
        self.parts.switch.set(true).await;
    }

    /// Ends a pod as an eviction does: phase `Failed`, reason `Evicted`. Says whether there was such a pod.
    pub fn evict(&self, namespace: &str, pod: &str) -> bool {
        let message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 0.".to_owned();
        self.on_pod(namespace, pod, |kubelet, uid, _| {
            kubelet.order(uid, PodOrder::Fail(ForcedEnd { reason: "Evicted", message }));
        })
    }

    /// Kills a container as the kernel does when memory runs out: reason `OOMKilled`, code 137. Says whether it ran.
    pub fn oom_kill(&self, namespace: &str, pod: &str, container: &str) -> bool {
        self.kill(namespace, pod, container, Some("OOMKilled"))
    }

    /// Kills a container's first process: reason `Error`, code 137. Says whether it ran.
    pub fn kill_container(&self, namespace: &str, pod: &str, container: &str) -> bool {
        self.kill(namespace, pod, container, None)
    }

    /// Deletes a pod, as somebody else with `kubectl delete` would. Says whether there was such a pod.
    pub fn delete_pod(&self, namespace: &str, pod: &str, grace: Duration) -> bool {
        delete_pod((&self.parts.store, &self.parts.kubelet), (namespace, pod), Some(grace.as_secs()), |_| Ok(()))
            .is_ok()
    }

    /// Deletes a Lease, as somebody with `kubectl delete` would. Says whether there was such a Lease.
    pub fn delete_lease(&self, namespace: &str, name: &str) -> bool {
        self.parts.store.remove((ObjectKind::Lease, namespace, name), |_| Ok(())).is_ok()
    }

    /// Changes a Lease as an administrator would; whether it was there.
    pub fn touch_lease(&self, namespace: &str, name: &str) -> bool {
        let touch = |lease: &serde_json::Value| {
            let mut lease = lease.clone();
            lease["metadata"]["annotations"]["podgate.test/touched"] = "yes".into();
            Ok(lease)
        };
        self.parts.store.update((ObjectKind::Lease, namespace, name), touch).is_ok()
    }

    fn kill(&self, namespace: &str, pod: &str, container: &str, doom: Option<&'static str>) -> bool {
        let mut ran = false;
        self.on_pod(namespace, pod, |_, _, handle| {
            if let Some(container) = handle.container(container, false).filter(|c| c.termination().is_none()) {
                container.kill(doom);
                ran = true;
            }
        });
        ran
    }

    fn on_pod(&self, namespace: &str, pod: &str, act: impl FnOnce(&Kubelet, &str, &PodHandle)) -> bool {
        let Some(object) = self.parts.store.get(ObjectKind::Pod, namespace, pod) else { return false };
        let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
        let Some(handle) = self.parts.kubelet.pod(uid) else { return false };
        act(&self.parts.kubelet, uid, &handle);
        true
    }
}
