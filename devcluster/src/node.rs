//! The node: one worker for each pod, from scheduling to removal. A worker is the only writer of its pod's status, and a pod's
//! object leaves the store only after its processes have ended (unless it was deleted without grace).

pub(crate) mod container;
mod container_log;
mod environment;
pub(crate) mod events;
mod image;
mod plan;
pub(crate) mod pods;
pub(crate) mod report;
mod start;
#[cfg(test)]
mod tests;
mod worker;

use crate::node::plan::PodPlan;
use crate::node::pods::{Kubelet, PodOrder};
use crate::node::worker::Worker;
use crate::objects::kinds::ObjectKind;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Takes charge of a new pod.
pub(crate) fn adopt(kubelet: &Arc<Kubelet>, object: Arc<Value>) {
    let plan = PodPlan::of(&object);
    let handle = kubelet.enter(&plan.uid);
    // The worker gets every order from here on, also those that come before it first runs.
    let orders = handle.orders.subscribe();
    // A deletion between the creation and now has found no worker.
    let stored = kubelet.node.store.get(ObjectKind::Pod, &plan.namespace, &plan.name);
    if stored.is_none_or(|pod| pod["metadata"]["uid"] != plan.uid.as_str()) {
        handle.orders.send_replace(PodOrder::Stop(Duration::ZERO));
    }
    let worker = Worker::new(Arc::clone(kubelet), handle, orders, (plan, object));
    let stopping = kubelet.node.stopping.clone();
    kubelet.node.tasks.spawn(async move { stopping.run_until_cancelled(worker.work()).await });
}
