//! A cluster from start to stop. It lives on a thread and runtime of its own, so that a caller that blocks does not stop
//! it; and it is gone, processes and files, when [`DevCluster::stop`] returns or the value is dropped. If this process is
//! killed, a watchdog does the same.

use crate::access::{Token, Tokens};
use crate::context::{ApiSwitch, Context, WatchOrder};
use crate::events::Recorder;
use crate::faults::{Board, Faults};
use crate::journal::{Journal, RequestRecord};
use crate::kinds::Kind;
use crate::kubeconfig::kubeconfig;
use crate::kubelet::{Kubelet, Node};
use crate::process::sweep;
use crate::pulse::Pulse;
use crate::server::{self, Port};
use crate::store::Store;
use crate::streams::Streams;
use crate::tls::{self, TlsError};
use crate::watchdog::Watchdog;
use rustls::ServerConfig;
use serde_json::{Value, json};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long the tasks may take to end once everything was killed and cut.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// How soon what nobody announces is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How a cluster is set up; the default is right for most tests.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the API listens; loopback only. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The directory in which the scratch directory is made; the system's temporary directory by default.
    pub scratch_root: Option<PathBuf>,
    /// Namespaces that are there from the start, beside `default` and `kube-system`.
    pub namespaces: Vec<String>,
    /// Tokens beside the administrator's.
    pub tokens: Vec<Token>,
    /// What images run where a container names no command: by prefix of the image's name.
    pub image_commands: Vec<(String, Vec<String>)>,
    /// The first wait of `CrashLoopBackOff`; it doubles up to five minutes. Kubernetes has 10 s.
    pub crash_back_off: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            scratch_root: None,
            namespaces: Vec::new(),
            tokens: Vec::new(),
            image_commands: Vec::new(),
            crash_back_off: Duration::from_secs(10),
        }
    }
}

/// Why a cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Anyone who reaches the API runs programs as the local user.
    #[error("the development cluster listens on loopback addresses only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address is taken or not ours.
    #[error("could not listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// No certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No scratch directory.
    #[error("could not make the scratch directory: {0}")]
    Scratch(#[source] io::Error),
    /// No shell that cleans up if this process is killed.
    #[error("could not start the cluster's watchdog: {0}")]
    Watchdog(#[source] io::Error),
    /// No thread or runtime.
    #[error("could not start the cluster's runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// What was awaited did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("the cluster did not come to the awaited state within {0:?}")]
pub struct NotInTime(Duration);

/// A running cluster.
#[derive(Debug)]
pub struct DevCluster {
    context: Arc<Context>,
    address: SocketAddr,
    ca_pem: String,
    token: String,
    scratch: PathBuf,
    thread: Option<JoinHandle<()>>,
    finished: watch::Receiver<bool>,
}

impl DevCluster {
    /// Starts a cluster. Returns when its API accepts connections.
    ///
    /// # Errors
    /// When the address is not a loopback address or is taken, or something that the start needs cannot be made.
    pub fn start(options: Options) -> Result<Self, StartError> {
        if !options.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(options.listen));
        }
        let port = Port::reserve(options.listen).map_err(|error| StartError::Listen(options.listen, error))?;
        let address = port.address;
        let identity = tls::identity(address.ip())?;
        let scratch = make_scratch(options.scratch_root.as_deref()).map_err(StartError::Scratch)?;
        let scratch_path = scratch.path().to_owned();
        let token = format!("{:032x}", rand::random::<u128>());
        let context = build(&options, &token, address.port(), scratch_path.clone());
        let watchdog = Watchdog::start(&context.kubelet.mark()).map_err(StartError::Watchdog)?;
        let serving = Serving { context: Arc::clone(&context), port, tls: identity.server, scratch, watchdog };
        let (ready, started) = std::sync::mpsc::channel();
        let (done, finished) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("devcluster".to_owned())
            .spawn(move || {
                serving.run(&ready);
                done.send_replace(true);
            })
            .map_err(StartError::Runtime)?;
        // A thread that went away without a word has panicked.
        started.recv().map_err(|lost| StartError::Runtime(io::Error::other(lost)))??;
        let ca_pem = identity.ca_pem;
        Ok(Self { context, address, ca_pem, token, scratch: scratch_path, thread: Some(thread), finished })
    }

    /// A kubeconfig (JSON, which is YAML) with the CA and the administrator's token.
    #[must_use]
    pub fn kubeconfig(&self) -> String {
        kubeconfig(&self.host(), &self.ca_pem, &self.token)
    }

    /// A kubeconfig with one of the tokens of the options.
    #[must_use]
    pub fn kubeconfig_for(&self, token: &str) -> String {
        kubeconfig(&self.host(), &self.ca_pem, token)
    }

    /// Address and port of the API: `127.0.0.1:40123`. It speaks https.
    #[must_use]
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The certificate of the cluster's CA.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The administrator's bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The directory below which all containers have theirs; removed at the end.
    #[must_use]
    pub fn scratch_dir(&self) -> &Path {
        &self.scratch
    }

    /// The knobs to misbehave.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.context))
    }

    /// What is there now.
    #[must_use]
    pub fn state(&self) -> State {
        State { context: Arc::clone(&self.context) }
    }

    /// The names of the pods of a namespace.
    #[must_use]
    pub fn pods(&self, namespace: &str) -> Vec<String> {
        self.state()
            .pods(namespace)
            .iter()
            .map(|pod| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Waits until the state is as wanted; looks again after every change of an object, request or stream.
    ///
    /// # Errors
    /// When it is not so within `limit`.
    pub async fn wait_until(&self, wanted: impl Fn(&State) -> bool, limit: Duration) -> Result<(), NotInTime> {
        let state = self.state();
        let mut changes = self.context.pulse.listen();
        let reached = async {
            while !wanted(&state) {
                // The pulse lives as long as our context. The system tells nobody when a process is gone from its table:
                // that alone is looked for again without a pulse.
                let _alive = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
            }
        };
        tokio::time::timeout(limit, reached).await.map_err(|_| NotInTime(limit))
    }

    /// Kills every process of every container, ends every connection and removes the scratch directory.
    pub async fn stop(mut self) {
        self.context.stopping.cancel();
        // An error here means that the thread has ended, which is what we wait for.
        let _finished = self.finished.wait_for(|finished| *finished).await.is_ok();
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed where it happened.
            let _panicked = thread.join();
        }
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        self.context.stopping.cancel();
        self.join();
    }
}

/// What is there at the moment of each question.
#[derive(Debug, Clone)]
pub struct State {
    context: Arc<Context>,
}

impl State {
    /// The pods of a namespace, as the API gives them.
    #[must_use]
    pub fn pods(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.context.store.list(Kind::Pod, Some(namespace)).0
    }

    /// The pods of all namespaces.
    #[must_use]
    pub fn all_pods(&self) -> Vec<Arc<Value>> {
        self.context.store.list(Kind::Pod, None).0
    }

    /// One pod.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.context.store.get(Kind::Pod, namespace, name)
    }

    /// The leases of a namespace.
    #[must_use]
    pub fn leases(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.context.store.list(Kind::Lease, Some(namespace)).0
    }

    /// The events of a namespace.
    #[must_use]
    pub fn events(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.context.store.list(Kind::Event, Some(namespace)).0
    }

    /// How many exec and attach streams are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.context.streams.count()
    }

    /// How many requests of a verb there were on a resource (`get` on `pods/exec` is a WebSocket exec). Dry runs are not
    /// counted.
    #[must_use]
    pub fn requests(&self, verb: &str, resource: &str) -> u64 {
        self.context.journal.count(verb, resource)
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn request_log(&self) -> Vec<RequestRecord> {
        self.context.journal.last()
    }

    /// The process ids of everything that runs in containers.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        sweep::find(&self.context.kubelet.mark())
    }
}

fn make_scratch(root: Option<&Path>) -> io::Result<TempDir> {
    let root = root.map_or_else(std::env::temp_dir, Path::to_owned);
    std::fs::create_dir_all(&root)?;
    // Processes are found by their working directory, which the system tells without links.
    tempfile::Builder::new().prefix("podgate-").tempdir_in(root.canonicalize()?)
}

fn build(options: &Options, token: &str, api_port: u16, scratch: PathBuf) -> Arc<Context> {
    let pulse = Pulse::new();
    let store = Arc::new(Store::new(pulse.clone()));
    let board = Arc::new(Board::new());
    let (tasks, stopping) = (TaskTracker::new(), CancellationToken::new());
    for name in ["default", "kube-system"].into_iter().chain(options.namespaces.iter().map(String::as_str)) {
        let mut namespace = json!({"metadata": {"name": name}});
        crate::defaults::apply(Kind::Namespace, &mut namespace);
        // A name that was given twice is there once.
        let _twice = store.create(Kind::Namespace, namespace);
    }
    let kubelet = Kubelet::new(Node {
        store: Arc::clone(&store),
        events: Recorder::new(Arc::clone(&store)),
        board: Arc::clone(&board),
        scratch,
        cluster_id: format!("{:016x}", rand::random::<u64>()),
        api_port,
        image_commands: options.image_commands.clone(),
        back_off: options.crash_back_off,
        tasks: tasks.clone(),
        stopping: stopping.clone(),
    });
    Arc::new(Context {
        store,
        kubelet,
        tokens: Tokens::new(token, options.tokens.clone()),
        board,
        streams: Streams::new(pulse.clone()),
        journal: Journal::new(pulse.clone()),
        pulse,
        watches: watch::Sender::new(WatchOrder::GoOn),
        api: ApiSwitch::new(stopping.clone()),
        tasks,
        stopping,
    })
}

/// What the cluster's thread owns.
struct Serving {
    context: Arc<Context>,
    port: Port,
    tls: Arc<ServerConfig>,
    scratch: TempDir,
    watchdog: Watchdog,
}

impl Serving {
    /// Lives the cluster's life; `ready` is told when the port is listened on, or why it is not.
    fn run(self, ready: &Sender<Result<(), StartError>>) {
        let Self { context, port, tls, scratch, watchdog } = self;
        let address = port.address;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("devcluster")
            .enable_all()
            .build();
        let runtime = match runtime.map_err(StartError::Runtime) {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let mark = context.kubelet.mark();
        runtime.block_on(async {
            let listener = match port.listen().map_err(|error| StartError::Listen(address, error)) {
                Ok(listener) => listener,
                Err(error) => return drop(ready.send(Err(error))),
            };
            // Whoever starts us waits for this.
            let _heard = ready.send(Ok(()));
            server::serve(Arc::clone(&context), port, listener, tls).await;
            let killing = mark.clone();
            // A panic in the sweep has been printed; the second one follows.
            let _swept = tokio::task::spawn_blocking(move || sweep::kill_all(&killing)).await;
            context.tasks.close();
            // What has not ended by then ends with the runtime.
            let _late = tokio::time::timeout(WIND_DOWN, context.tasks.wait()).await;
        });
        runtime.shutdown_timeout(WIND_DOWN);
        sweep::kill_all(&mark);
        // A file that somebody else made unremovable stays; there is nobody to tell.
        let _left = scratch.close();
        watchdog.dismiss();
    }
}
