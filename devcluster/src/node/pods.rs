//! The pods on the node, and the orders to their workers.

use crate::faults::FaultBoard;
use crate::node::container::Container;
use crate::node::events::EventRecorder;
use crate::node::report::ForcedEnd;
use crate::objects::store::Store;
use crate::process::sweep::ProcessMark;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The rest of the cluster, as far as the node needs it.
#[derive(Debug)]
pub(crate) struct NodeSetup {
    pub(crate) store: Arc<Store>,
    pub(crate) events: EventRecorder,
    pub(crate) board: Arc<FaultBoard>,
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

/// An order to a pod's worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodOrder {
    Run,
    /// End the containers and keep the object as Failed.
    Fail(ForcedEnd),
    /// End the containers within this grace and remove the object.
    Stop(Duration),
}

/// A pod on the node.
#[derive(Debug)]
pub(crate) struct PodHandle {
    pub(crate) orders: watch::Sender<PodOrder>,
    runs: Mutex<BTreeMap<String, ContainerRuns>>,
}

#[derive(Debug, Default, Clone)]
struct ContainerRuns {
    current: Option<Arc<Container>>,
    previous: Option<Arc<Container>>,
}

impl PodHandle {
    fn new() -> Arc<Self> {
        Arc::new(Self { orders: watch::Sender::new(PodOrder::Run), runs: Mutex::default() })
    }

    /// The newest run of a container, or the one before it.
    pub(crate) fn container(&self, name: &str, previous: bool) -> Option<Arc<Container>> {
        let runs = self.runs.lock().get(name).cloned()?;
        if previous { runs.previous } else { runs.current }
    }

    pub(super) fn started(&self, name: &str, container: Arc<Container>) {
        let mut all = self.runs.lock();
        let runs = all.entry(name.to_owned()).or_default();
        runs.previous = runs.current.replace(container);
    }

    pub(super) fn containers(&self) -> Vec<(String, Arc<Container>)> {
        let all = self.runs.lock();
        all.iter().filter_map(|(name, runs)| Some((name.clone(), runs.current.clone()?))).collect()
    }
}

/// The node and its pods.
#[derive(Debug)]
pub(crate) struct Kubelet {
    pub(crate) node: NodeSetup,
    pods: Mutex<HashMap<String, Arc<PodHandle>>>,
}

impl Kubelet {
    pub(crate) fn new(node: NodeSetup) -> Arc<Self> {
        Arc::new(Self { node, pods: Mutex::default() })
    }

    /// Enters a new pod, which runs no container yet.
    pub(super) fn enter(&self, uid: &str) -> Arc<PodHandle> {
        let handle = PodHandle::new();
        self.pods.lock().insert(uid.to_owned(), Arc::clone(&handle));
        handle
    }

    /// A pod on the node.
    pub(crate) fn pod(&self, uid: &str) -> Option<Arc<PodHandle>> {
        self.pods.lock().get(uid).cloned()
    }

    /// Tells a pod's worker what to do; a pod that is gone needs no telling.
    pub(crate) fn order(&self, uid: &str, order: PodOrder) {
        if let Some(pod) = self.pod(uid) {
            pod.orders.send_replace(order);
        }
    }

    pub(super) fn forget(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }

    /// The processes of the whole cluster.
    pub(crate) fn mark(&self) -> ProcessMark {
        ProcessMark { value: format!("{}/", self.node.cluster_id), directory: self.node.scratch.clone() }
    }

    pub(super) fn pod_directory(&self, uid: &str) -> PathBuf {
        // Short, since Unix sockets below it have at most 108 bytes.
        self.node.scratch.join(uid.get(..8).unwrap_or(uid))
    }
}
