//! The reload: the configuration is read again, and takes the place of the one in force as a whole, or not at all.
//!
//! Invariants: nothing changes before everything that may fail has succeeded; open connections go on with what they began
//! with; one reload runs at a time.

use super::endpoints::{EndpointChange, ServedEndpoints};
use super::file_watch::{FileWatch, content};
use super::reachability::Reachability;
use super::startup_checks::{StartupChecks, decided};
use super::{BuildError, offline_faults, offline_warnings, webhooks};
use crate::admin::Health;
use crate::audit::Recordings;
use crate::auth::Authenticator;
use crate::config::{Config, ShutdownConfig};
use crate::kubernetes::Backend;
use crate::reload::{ReloadOutcome, ReloadQueue};
use crate::schema::{Errors, FileContents};
use crate::settings::{ConfigClient, GatewayHome};
use crate::shutdown::Tasks;
use crate::ssh::{self, ListenerChange, ServerControl, Snapshot};
use crate::telemetry::{Level, Log, LogChange, codes};
use parking_lot::Mutex;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;

/// The parts of the gateway that a reload changes.
pub(super) struct Reloader {
    /// The configuration of the start, by which is told what changes at the next one.
    started: Arc<Config>,
    /// The configuration in force.
    current: Arc<Config>,
    /// The files of the configuration that was read last.
    watch: FileWatch,
    server: ServerControl,
    backend: Backend,
    pub(super) drain: Arc<Mutex<ShutdownConfig>>,
    tasks: Tasks,
    health: Health,
    log: Log,
}

/// The reason why a configuration is not taken: its mistakes, one line each.
struct Refused(Vec<String>);

/// A configuration with everything that is made of it.
struct Prepared {
    config: Config,
    clients: (Authenticator, Option<ConfigClient>),
    snapshot: Snapshot,
    log: LogChange,
    /// `None` if the listeners need sockets that only a start is passed.
    listeners: Option<ListenerChange>,
    endpoints: EndpointChange,
}

impl Reloader {
    /// Begins with the configuration that the gateway starts with.
    pub(super) fn new(
        config: &Config,
        (server, backend): (ServerControl, Backend),
        (tasks, health): (Tasks, Health),
        log: Log,
    ) -> Self {
        let started = Arc::new(config.clone());
        Self {
            watch: watch(config.contents.clone(), config),
            current: started.clone(),
            started,
            server,
            backend,
            drain: Arc::new(Mutex::new(config.shutdown)),
            tasks,
            health,
            log,
        }
    }

    /// Reloads at each order until `stop` is cancelled. `reachability` asks whether the servers of the configuration in force
    /// can be reached.
    pub(super) async fn run(
        mut self,
        (mut queue, stop): (ReloadQueue, CancellationToken),
        reachability: Option<Reachability>,
        mut endpoints: ServedEndpoints,
    ) {
        let mut asking = Asking::start(reachability, &stop);
        loop {
            let orders = tokio::select! {
                () = stop.cancelled() => break,
                orders = queue.next() => orders,
                () = self.watch.changed(), if self.current.reloads_on_change => Vec::new(),
            };
            let outcome = match stop.run_until_cancelled(Box::pin(self.prepare(&endpoints))).await {
                None => break,
                Some(Ok(prepared)) => {
                    asking.end().await;
                    let (reachability, outcome) = self.apply(prepared, &mut endpoints).await;
                    asking = Asking::start(reachability, &stop);
                    outcome
                }
                Some(Err(Refused(mistakes))) => self.refuse(mistakes),
            };
            for order in orders.into_iter().flatten() {
                // Who asked may have left.
                let _ = order.send(outcome.clone());
            }
        }
        drop(queue);
        asking.end().await;
    }

    /// Does everything that can fail.
    async fn prepare(&mut self, endpoints: &ServedEndpoints) -> Result<Prepared, Refused> {
        let Some(file) = self.current.file.clone() else {
            return Err(Refused(vec!["the configuration is not from a file".to_owned()]));
        };
        let (config, contents) = blocking(move || Ok(load(&file))).await?;
        self.watch = watch(contents, config.as_ref().unwrap_or(&self.current));
        let config = config?;
        let (auth, config_client) = webhooks(&config)?;
        self.check_cluster(&config, &auth).await?;
        let (backend, log, before) = (Arc::new(self.backend.clone()), self.log.clone(), self.current.clone());
        let (config, clients, snapshot, log) = blocking(move || {
            ssh::make_host_keys(&config.ssh, &log).map_err(BuildError::SshKey)?;
            let recordings = config.audit.as_ref().map(Recordings::open).transpose();
            let recordings = recordings.map_err(BuildError::Recordings)?;
            let snapshot = Snapshot::build(&config, auth.clone(), config_client.clone(), backend, recordings);
            let snapshot = snapshot.map_err(BuildError::SshKey)?;
            let log = Log::prepare(&config.log, &before.log).map_err(BuildError::Log)?;
            Ok((config, (auth, config_client), snapshot, log))
        })
        .await?;
        // The sockets last: who connects to one that is given up again would be cut.
        let endpoints = endpoints.prepare(&config, &self.current).await.map_err(BuildError::Admin)?;
        let listeners = self.server.prepare_listeners(&config.ssh.listeners).await;
        let listeners = listeners.map_err(|errors| Refused(errors.iter().map(ToString::to_string).collect()))?;
        Ok(Prepared { config, clients, snapshot, log, listeners, endpoints })
    }

    /// Asks the cluster what the start would ask it, if anything has changed there.
    async fn check_cluster(&self, config: &Config, auth: &Authenticator) -> Result<(), Refused> {
        let section = |config: &Config| config.base.sections.get("kubernetes").cloned();
        if section(config) == section(&self.current) && decided(config) == decided(&self.current) {
            return Ok(());
        }
        let checks = StartupChecks { config, backend: &self.backend, auth, config_client: None, log: &self.log };
        let faults = checks.cluster().await;
        if faults.is_empty() { Ok(()) } else { Err(Refused(faults)) }
    }

    /// Puts a configuration in force.
    async fn apply(
        &mut self,
        prepared: Prepared,
        served: &mut ServedEndpoints,
    ) -> (Option<Reachability>, ReloadOutcome) {
        let Prepared { config, clients: (auth, config_client), snapshot, log, listeners, endpoints } = prepared;
        self.log.change(log);
        for (key, text) in warnings(&config) {
            self.log.write(codes::CORE_CONFIG_NOTICE, &text, &[("key", &key)]);
        }
        self.server.replace(snapshot);
        let waits = listeners.is_none();
        if let Some(listeners) = listeners {
            self.server.change_listeners(listeners, &self.tasks).await;
        }
        served.apply(endpoints).await;
        *self.drain.lock() = config.shutdown;
        let observers = (&self.health, &self.log);
        let reachability = Reachability::of(&config, &auth, config_client.as_ref(), &self.backend, observers);
        let mut next_start = self.at_next_start(&config);
        if waits {
            next_start.push("ssh.listeners".to_owned());
        }
        self.current = Arc::new(config);
        self.log.metrics().count_reload(true);
        let text = "the configuration was read again and is in force";
        match next_start.is_empty() {
            true => self.log.write(codes::CORE_RELOADED, text, &[]),
            false => {
                let details = [("nextStart", &*next_start.join(", "))];
                self.log.write(codes::CORE_RELOADED.at(Level::Warning), text, &details);
            }
        }
        (reachability, ReloadOutcome::Applied { next_start })
    }

    fn refuse(&self, mistakes: Vec<String>) -> ReloadOutcome {
        self.log.metrics().count_reload(false);
        let text = "the configuration was read again and has mistakes; the old one stays in force";
        self.log.write(codes::CORE_RELOAD_REFUSED, text, &[("reason", &mistakes.join("; "))]);
        ReloadOutcome::Refused { mistakes }
    }

    /// The keys of a configuration that take effect at the next start alone.
    fn at_next_start(&self, config: &Config) -> Vec<String> {
        let mut keys = config.at_next_start(&self.started);
        if !self.backend.rejoin(GatewayHome::of(&config.base), &self.log) {
            keys.push(
                "kubernetes.connection and kubernetes.pod.metadata.namespace, for the gateway's Lease".to_owned(),
            );
        }
        keys
    }
}

/// The task that asks whether servers can be reached.
struct Asking {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Asking {
    fn start(reachability: Option<Reachability>, stop: &CancellationToken) -> Self {
        let stop = stop.child_token();
        let task = reachability.map(|reachability| tokio::spawn(reachability.run(stop.clone())));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            // Its only failure is a panic, which has been logged.
            let _ = task.await;
        }
    }
}

impl From<BuildError> for Refused {
    fn from(error: BuildError) -> Self {
        Self(error.to_string().lines().map(str::to_owned).collect())
    }
}

/// Runs something that reads files.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    spawn_blocking(work).await.unwrap_or_else(|panic| Err(Refused(vec![panic.to_string()])))
}

/// Reads a configuration that a gateway could start with, and records what was read.
fn load(file: &Path) -> (Result<Config, Refused>, FileContents) {
    match fs::metadata(file) {
        Ok(found) if !found.is_file() => {
            let text = format!("{} is no regular file, and is not read twice", file.display());
            return (Err(Refused(vec![text])), FileContents::new());
        }
        // One that is not there is reported by whoever reads it.
        Ok(_) | Err(_) => {}
    }
    let (config, contents) = Config::load_recorded(file);
    let mistakes = |errors: Errors| Refused(errors.0.iter().map(ToString::to_string).collect());
    let config = config.map_err(mistakes).and_then(|config| {
        let faults = offline_faults(&config);
        if faults.is_empty() { Ok(config) } else { Err(Refused(faults.iter().map(ToString::to_string).collect())) }
    });
    (config, contents)
}

/// The watch of what was read for a configuration, without files that are read again by themselves.
fn watch(mut contents: FileContents, config: &Config) -> FileWatch {
    let cluster = GatewayHome::of(&config.base).map(|home| home.cluster);
    for file in cluster.iter().flat_map(|cluster| cluster.files()) {
        contents.remove(file);
    }
    contents.extend(ssh::host_key_files(&config.ssh).into_iter().map(|file| {
        let content = content(&file);
        (file, content)
    }));
    FileWatch::of(contents)
}

/// The warnings about a configuration that is put in force: the key's path and the text.
pub(super) fn warnings(config: &Config) -> Vec<(String, String)> {
    let notices = config.notices.iter().filter(|notice| notice.warn);
    let notices = notices.map(|notice| (notice.path.clone(), notice.text.clone()));
    notices.chain(offline_warnings(config)).collect()
}
