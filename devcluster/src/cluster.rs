//! A cluster from start to stop. It lives on a thread and runtime of its own, so that a caller that blocks does not stop
//! it; and it is gone, processes and files, when [`DevCluster::stop`] returns or the value is dropped. If this process is
//! killed, a watchdog does the same.

pub(crate) mod certificate;
pub(crate) mod faults;
mod kubeconfig;
mod options;
mod parts;
pub(crate) mod state;

pub use options::Options;

use crate::api::server::{self, ReservedPort};
use crate::cluster::certificate::CertificateFailure;
use crate::cluster::faults::Faults;
use crate::cluster::kubeconfig::kubeconfig;
use crate::cluster::parts::ClusterParts;
use crate::cluster::state::ClusterState;
use crate::process::watchdog::Watchdog;
use crate::process::{signals, sweep};
use rustls::ServerConfig;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;

/// Time for the tasks to end once everything was killed and cut.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// Interval at which a wait looks for changes that nothing announces.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Error of a cluster's start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Anyone who reaches the API runs programs as the local user.
    #[error("the development cluster listens on loopback addresses only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The address is taken or not ours.
    #[error("could not listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate cannot be made.
    #[error(transparent)]
    Tls(#[from] CertificateFailure),
    /// The scratch directory cannot be made.
    #[error("could not make the scratch directory: {0}")]
    Scratch(#[source] io::Error),
    /// No default signal dispositions for the containers.
    #[error("could not restore the signals that this process ignores: {0}")]
    Signals(#[source] io::Error),
    /// No shell that cleans up if this process is killed.
    #[error("could not start the cluster's watchdog: {0}")]
    Watchdog(#[source] io::Error),
    /// No thread or runtime.
    #[error("could not start the cluster's runtime: {0}")]
    Runtime(#[source] io::Error),
}

/// The awaited state was not reached in time.
#[derive(Debug, thiserror::Error)]
#[error("the cluster did not come to the awaited state within {0:?}")]
pub struct NotInTime(Duration);

/// A running cluster; dropping it ends everything in it.
#[derive(Debug)]
pub struct DevCluster {
    parts: Arc<ClusterParts>,
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
        let port = ReservedPort::reserve(options.listen).map_err(|error| StartError::Listen(options.listen, error))?;
        let address = port.address;
        let identity = certificate::identity(address.ip())?;
        let scratch = make_scratch(options.scratch_root.as_deref()).map_err(StartError::Scratch)?;
        let scratch_path = scratch.path().to_owned();
        let token = format!("{:032x}", rand::random::<u128>());
        let parts = parts::build(&options, &token, address.port(), scratch_path.clone());
        signals::restore_in_children().map_err(StartError::Signals)?;
        let watchdog = Watchdog::start(&parts.kubelet.mark()).map_err(StartError::Watchdog)?;
        let serving = ClusterThread { parts: Arc::clone(&parts), port, tls: identity.server, scratch, watchdog };
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
        Ok(Self { parts, address, ca_pem, token, scratch: scratch_path, thread: Some(thread), finished })
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
        Faults::new(Arc::clone(&self.parts))
    }

    /// The view of the cluster's objects, requests and streams.
    #[must_use]
    pub fn state(&self) -> ClusterState {
        ClusterState::new(Arc::clone(&self.parts))
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
    pub async fn wait_until(&self, wanted: impl Fn(&ClusterState) -> bool, limit: Duration) -> Result<(), NotInTime> {
        let state = self.state();
        let mut changes = self.parts.pulse.listen();
        let reached = async {
            while !wanted(&state) {
                // The pulse lives as long as our parts. The system tells nobody when a process is gone from its table:
                // that alone is looked for again without a pulse.
                let _alive = tokio::time::timeout(LOOK_AGAIN, changes.changed()).await;
            }
        };
        tokio::time::timeout(limit, reached).await.map_err(|_| NotInTime(limit))
    }

    /// Kills every process of every container, ends every connection and removes the scratch directory.
    pub async fn stop(mut self) {
        self.parts.stopping.cancel();
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
        self.parts.stopping.cancel();
        self.join();
    }
}

fn make_scratch(root: Option<&Path>) -> io::Result<TempDir> {
    let root = root.map_or_else(std::env::temp_dir, Path::to_owned);
    std::fs::create_dir_all(&root)?;
    // Processes are found by their working directory, which the system tells without links.
    tempfile::Builder::new().prefix("podgate-").tempdir_in(root.canonicalize()?)
}

/// The values that the cluster's thread owns.
struct ClusterThread {
    parts: Arc<ClusterParts>,
    port: ReservedPort,
    tls: Arc<ServerConfig>,
    scratch: TempDir,
    watchdog: Watchdog,
}

impl ClusterThread {
    /// Lives the cluster's life; `ready` is told when the port is listened on, or why it is not.
    fn run(self, ready: &Sender<Result<(), StartError>>) {
        let Self { parts, port, tls, scratch, watchdog } = self;
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
        let mark = parts.kubelet.mark();
        runtime.block_on(async {
            let listener = match port.listen().map_err(|error| StartError::Listen(address, error)) {
                Ok(listener) => listener,
                Err(error) => return drop(ready.send(Err(error))),
            };
            // Whoever starts us waits for this.
            let _heard = ready.send(Ok(()));
            server::serve(parts.api(), parts.switch.clone(), (port, listener), tls).await;
            let killing = mark.clone();
            // A panic in the sweep has been printed; the second one follows.
            let _swept = tokio::task::spawn_blocking(move || sweep::kill_all(&killing)).await;
            parts.tasks.close();
            // What has not ended by then ends with the runtime.
            let _late = tokio::time::timeout(WIND_DOWN, parts.tasks.wait()).await;
        });
        runtime.shutdown_timeout(WIND_DOWN);
        sweep::kill_all(&mark);
        // A file that somebody else made unremovable stays; there is nobody to tell.
        let _left = scratch.close();
        watchdog.dismiss();
    }
}
