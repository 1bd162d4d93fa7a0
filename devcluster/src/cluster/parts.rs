//! The parts of one cluster, made once at its start. Only the cluster and its handles hold all of them; the API and the node
//! get those that they need.

use crate::api::ApiServer;
use crate::api::access::Tokens;
use crate::api::exec::ExecApi;
use crate::api::journal::RequestJournal;
use crate::api::open_streams::OpenStreams;
use crate::api::server::ApiSwitch;
use crate::api::watch::WatchOrder;
use crate::cluster::options::Options;
use crate::faults::FaultBoard;
use crate::node::events::EventRecorder;
use crate::node::pods::{Kubelet, NodeSetup};
use crate::objects::defaults;
use crate::objects::kinds::ObjectKind;
use crate::objects::pulse::Pulse;
use crate::objects::store::Store;
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug)]
pub(super) struct ClusterParts {
    pub(super) store: Arc<Store>,
    pub(super) kubelet: Arc<Kubelet>,
    pub(super) tokens: Arc<Tokens>,
    pub(super) board: Arc<FaultBoard>,
    pub(super) streams: OpenStreams,
    pub(super) journal: Arc<RequestJournal>,
    pub(super) pulse: Pulse,
    /// Carries the last order to all open watches.
    pub(super) watches: watch::Sender<WatchOrder>,
    pub(super) switch: ApiSwitch,
    pub(super) tasks: TaskTracker,
    pub(super) stopping: CancellationToken,
}

impl ClusterParts {
    /// The API server over these parts.
    pub(super) fn api(&self) -> Arc<ApiServer> {
        let (store, kubelet, board) = (Arc::clone(&self.store), Arc::clone(&self.kubelet), Arc::clone(&self.board));
        let exec = ExecApi {
            store: Arc::clone(&store),
            kubelet: Arc::clone(&kubelet),
            board: Arc::clone(&board),
            streams: self.streams.clone(),
            tasks: self.tasks.clone(),
        };
        Arc::new(ApiServer {
            store,
            kubelet,
            tokens: Arc::clone(&self.tokens),
            board,
            journal: Arc::clone(&self.journal),
            watches: self.watches.clone(),
            exec,
            stopping: self.stopping.clone(),
        })
    }
}

pub(super) fn build(options: &Options, token: &str, api_port: u16, scratch: PathBuf) -> Arc<ClusterParts> {
    let pulse = Pulse::new();
    let store = Arc::new(Store::new(pulse.clone()));
    let board = Arc::new(FaultBoard::new());
    let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
    for name in ["default", "kube-system"].into_iter().chain(options.namespaces.iter().map(String::as_str)) {
        let mut namespace = json!({"metadata": {"name": name}});
        defaults::apply(ObjectKind::Namespace, &mut namespace);
        // A name that was given twice is there once.
        let _twice = store.create(ObjectKind::Namespace, namespace);
    }
    let kubelet = Kubelet::new(NodeSetup {
        store: Arc::clone(&store),
        events: EventRecorder::new(Arc::clone(&store)),
        board: Arc::clone(&board),
        scratch,
        cluster_id: format!("{:016x}", rand::random::<u64>()),
        api_port,
        image_commands: options.image_commands.clone(),
        back_off: options.crash_back_off,
        tasks: tasks.clone(),
        stopping: stopping.clone(),
    });
    Arc::new(ClusterParts {
        store,
        kubelet,
        tokens: Arc::new(Tokens::new(token, options.tokens.clone())),
        board,
        streams: OpenStreams::new(pulse.clone()),
        journal: Arc::new(RequestJournal::new(pulse.clone())),
        pulse,
        watches: watch::Sender::new(WatchOrder::GoOn),
        switch: ApiSwitch::new(stopping.clone()),
        tasks,
        stopping,
    })
}
