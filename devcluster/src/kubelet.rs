//! The node: one worker a pod, from scheduling to removal. A worker is the only writer of its pod's status, and a pod's
//! object leaves the store only after its processes have ended (unless it was deleted without grace).

pub(crate) mod environment;
pub(crate) mod image;
pub(crate) mod plan;
pub(crate) mod report;
mod run;
mod start;

use crate::container::Container;
use crate::events::Recorder;
use crate::faults::Board;
use crate::kinds::Kind;
use crate::kubelet::plan::PodPlan;
use crate::kubelet::report::Verdict;
use crate::kubelet::run::Worker;
use crate::process::sweep::Mark;
use crate::store::Store;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the node needs from the rest of the cluster.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) store: Arc<Store>,
    pub(crate) events: Recorder,
    pub(crate) board: Arc<Board>,
    /// Below it every pod has its directory.
    pub(crate) scratch: PathBuf,
    /// Distinguishes this cluster's processes from another's.
    pub(crate) cluster_id: String,
    pub(crate) api_port: u16,
    pub(crate) image_commands: Vec<(String, Vec<String>)>,
    /// The first wait of `CrashLoopBackOff`.
    pub(crate) back_off: Duration,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

/// What a pod's worker is told from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    /// End the containers and keep the object as Failed.
    Fail(Verdict),
    /// End the containers within this grace and remove the object.
    Stop(Duration),
}

/// A pod on the node.
#[derive(Debug)]
pub(crate) struct PodHandle {
    pub(crate) orders: watch::Sender<Order>,
    runs: Mutex<BTreeMap<String, Runs>>,
}

#[derive(Debug, Default, Clone)]
struct Runs {
    current: Option<Arc<Container>>,
    previous: Option<Arc<Container>>,
}

impl PodHandle {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Runs>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest run of a container, or the one before it.
    pub(crate) fn container(&self, name: &str, previous: bool) -> Option<Arc<Container>> {
        let runs = self.lock().get(name).cloned()?;
        if previous { runs.previous } else { runs.current }
    }

    fn started(&self, name: &str, container: Arc<Container>) {
        let mut all = self.lock();
        let runs = all.entry(name.to_owned()).or_default();
        runs.previous = runs.current.replace(container);
    }

    fn containers(&self) -> Vec<(String, Arc<Container>)> {
        let all = self.lock();
        all.iter().filter_map(|(name, runs)| Some((name.clone(), runs.current.clone()?))).collect()
    }
}

/// The node and its pods.
#[derive(Debug)]
pub(crate) struct Kubelet {
    pub(crate) node: Node,
    pods: Mutex<HashMap<String, Arc<PodHandle>>>,
}

impl Kubelet {
    pub(crate) fn new(node: Node) -> Arc<Self> {
        Arc::new(Self { node, pods: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<PodHandle>>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes charge of a new pod.
    pub(crate) fn adopt(self: &Arc<Self>, object: Arc<Value>) {
        // The worker hears every order from here on, also those that come before it first runs.
        let (orders, heard) = watch::channel(Order::Run);
        let handle = Arc::new(PodHandle { orders, runs: Mutex::default() });
        let plan = PodPlan::of(&object);
        self.lock().insert(plan.uid.clone(), Arc::clone(&handle));
        // Whoever deleted it between its creation and now found nobody to tell.
        let stored = self.node.store.get(Kind::Pod, &plan.namespace, &plan.name);
        if stored.is_none_or(|pod| pod["metadata"]["uid"] != plan.uid.as_str()) {
            handle.orders.send_replace(Order::Stop(Duration::ZERO));
        }
        let worker = Worker::new(Arc::clone(self), handle, heard, (plan, object));
        let stopping = self.node.stopping.clone();
        self.node.tasks.spawn(async move { stopping.run_until_cancelled(worker.work()).await });
    }

    /// A pod on the node.
    pub(crate) fn pod(&self, uid: &str) -> Option<Arc<PodHandle>> {
        self.lock().get(uid).cloned()
    }

    /// Tells a pod's worker what to do; a pod that is gone needs no telling.
    pub(crate) fn order(&self, uid: &str, order: Order) {
        if let Some(pod) = self.pod(uid) {
            pod.orders.send_replace(order);
        }
    }

    fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// The processes of the whole cluster.
    pub(crate) fn mark(&self) -> Mark {
        Mark { value: format!("{}/", self.node.cluster_id), directory: self.node.scratch.clone() }
    }

    fn pod_directory(&self, uid: &str) -> PathBuf {
        // Short, since Unix sockets below it have at most 108 bytes.
        self.node.scratch.join(uid.get(..8).unwrap_or(uid))
    }
}

#[cfg(test)]
mod tests;
