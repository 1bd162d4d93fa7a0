//! Pods that are deleted before their worker first runs: on a runtime of one thread, a task that was spawned does not run
//! before the test waits.

use super::*;
use crate::faults::FaultBoard;
use crate::node::events::EventRecorder;
use crate::node::pods::NodeSetup;
use crate::objects::pulse::Pulse;
use crate::objects::store::Store;
use crate::process::sweep;
use serde_json::json;
use std::path::PathBuf;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

fn kubelet(scratch: PathBuf) -> Arc<Kubelet> {
    let store = Arc::new(Store::new(Pulse::new()));
    Kubelet::new(NodeSetup {
        events: EventRecorder::new(Arc::clone(&store)),
        store,
        board: Arc::new(FaultBoard::new()),
        scratch,
        cluster_id: format!("{:016x}", rand::random::<u64>()),
        api_port: 1,
        image_commands: Vec::new(),
        back_off: Duration::from_secs(10),
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
    })
}

fn pod(kubelet: &Kubelet) -> Arc<Value> {
    let container = json!({"name": "c", "image": "guest"});
    let object = json!({"metadata": {"name": "p", "namespace": "default"}, "spec": {"containers": [container]}});
    kubelet.node.store.create(ObjectKind::Pod, object).unwrap()
}

fn delete(kubelet: &Kubelet, uid: &str) {
    kubelet.node.store.remove((ObjectKind::Pod, "default", "p"), |_| Ok(())).unwrap();
    kubelet.order(uid, PodOrder::Stop(Duration::ZERO));
}

#[tokio::test]
async fn pod_that_is_deleted_before_its_worker_runs_leaves_nothing() {
    for deleted_before_adoption in [false, true] {
        let scratch = tempfile::tempdir().unwrap();
        let kubelet = kubelet(scratch.path().canonicalize().unwrap());
        let object = pod(&kubelet);
        let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
        if deleted_before_adoption {
            delete(&kubelet, &uid);
            adopt(&kubelet, object);
        } else {
            adopt(&kubelet, object);
            delete(&kubelet, &uid);
        }
        kubelet.node.tasks.close();
        let ended = tokio::time::timeout(SOON, kubelet.node.tasks.wait()).await.is_ok();
        let left = sweep::kill_all(&kubelet.mark());
        assert!(ended && left.is_empty() && kubelet.pod(&uid).is_none(), "{deleted_before_adoption}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
    }
}
