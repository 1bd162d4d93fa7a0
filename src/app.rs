//! Composition of the gateway: [`App::build`] creates every part and binds every listener, or nothing starts. [`App::run`]
//! serves, then drains and shuts down in order: accept no connection, notify every session, remove every pod, await every task, and
//! close the health and metrics endpoints last.

pub(crate) mod doctor;
pub(crate) mod flags;

pub(crate) mod test_login;

mod country_watch;
mod drain;
mod endpoints;
mod file_watch;
mod file_work;
mod offline_checks;
mod reachability;
mod reading;
mod reload;
mod startup_checks;

pub use offline_checks::{offline_faults, offline_warnings, unusable_places};

use crate::admin::{AdminError, Health, Operations, Phase};
use crate::audit::{Recordings, RecordingsError};
use crate::auth::Authenticator;
use crate::collector::{Collector, CollectorError};
use crate::config::{Config, ShutdownConfig};
use crate::descriptors;
use crate::heartbeat::Heartbeats;
use crate::kubernetes;
use crate::kubernetes::Clients;
use crate::locks::{Locks, LocksError};
use crate::registry::Registry;
use crate::reload::{ReloadOrders, ReloadQueue};
use crate::schema::ConfigError;
use crate::settings::{ConfigClient, GatewayHome};
use crate::shutdown::{ALL_TASKS, StopOrders, Tasks};
use crate::socket_activation::PassedSockets;
use crate::ssh::{self, KeyMaterialError, ListenError, Server, Snapshot};
use crate::telemetry::{CountriesError, Level, Log, LogError, Traces, codes};
use crate::webhook::WebhookBuildError;
use drain::Drain;
use endpoints::Endpoints;
use parking_lot::Mutex;
use reachability::Reachability;
use reload::Reloader;
use startup_checks::StartupChecks;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The limit of open files below which the default limits of clients are lowered: four times `ssh.maxStartups`.
const ENOUGH_DESCRIPTORS: u64 = 4096;

/// A reason that prevents the start of the gateway.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{section}: {source}")]
    Webhook {
        /// Path of the webhook's section in the configuration.
        section: &'static str,
        source: WebhookBuildError,
    },
    /// A certificate or key of the configuration cannot be used.
    #[error("{0}")]
    Material(ConfigError),
    #[error(transparent)]
    SshKey(#[from] KeyMaterialError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Recordings(#[from] RecordingsError),
    #[error(transparent)]
    Locks(#[from] LocksError),
    #[error(transparent)]
    Log(LogError),
    #[error(transparent)]
    Collector(#[from] CollectorError),
    #[error(transparent)]
    Countries(#[from] CountriesError),
    /// The cluster would refuse every login.
    #[error("{0}")]
    Cluster(String),
    /// Several errors, one line each.
    #[error("{}", lines(.0))]
    Several(Vec<BuildError>),
}

fn lines(errors: &[BuildError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The gateway with its listeners bound, before it serves.
pub struct App {
    server: Server,
    endpoints: Endpoints,
    health: Health,
    reachability: Option<Reachability>,
    drain: Arc<Mutex<ShutdownConfig>>,
    orders: StopOrders,
    reloads: (ReloadOrders, ReloadQueue),
    reloader: Reloader,
    registry: Registry,
    backend: kubernetes::Backend,
    tasks: Tasks,
    log: Log,
}

impl App {
    /// Builds every part and binds every listener, or takes those that were passed to the process.
    ///
    /// # Errors
    /// Every fault that would otherwise appear only at a login.
    pub async fn build(config: &Config, passed: PassedSockets, log: Log) -> Result<Self, BuildError> {
        crate::tls::install();
        record_descriptors(&log);
        let tasks = Tasks::new();
        let registry = Registry::new(Locks::open(config.admin.lock_directory.as_deref())?);
        let orders = StopOrders::default();
        let notices = reload::warnings(config);
        notices.iter().for_each(|(key, text)| log.write(codes::CORE_CONFIG_NOTICE, text, &[("key", key)]));
        log.change_events(log.prepare_events(config.events.as_ref()).map_err(BuildError::Log)?);
        log.change_countries(log.prepare_countries(config.geoip.as_deref())?);
        let collector = config.traces.as_ref().map(|traces| Collector::new(traces, log.clone())).transpose()?;
        let (auth, config_client) = webhooks(config)?;
        let backend = backend(&registry, &tasks, &log);
        let checks = StartupChecks { config, backend: &backend, auth: &auth, config_client: config_client.as_ref() };
        let findings = checks.run().await;
        findings.told.iter().for_each(|(code, text)| log.write(*code, text, &[]));
        let faults = findings.faults.into_iter().map(BuildError::Cluster);
        ssh::make_host_keys(&config.ssh, &log)?;
        let beats = Heartbeats::default();
        let health = Health::new(beats.clone());
        let reachability = Reachability::of(config, &auth, config_client.as_ref(), &backend, (&health, &log));
        let recordings = open_recordings(config, &log)?;
        let snapshot = Snapshot::build(config, auth, config_client, Arc::new(backend.clone()), recordings)?;
        let listeners = ssh::listen(&config.ssh.listeners, passed).await;
        let reloads = ReloadOrders::new();
        let operations = Operations::new(registry.clone(), orders.clone(), reloads.0.clone(), log.clone());
        let endpoints = Endpoints::bind(config, &health, operations, &log).await;
        match (listeners, endpoints, faults.collect::<Vec<_>>()) {
            (Ok(listeners), Ok(endpoints), faults) if faults.is_empty() => {
                let server = Server::new(listeners, snapshot, registry.clone(), beats, log.clone());
                if let Some(home) = GatewayHome::of(&config.base) {
                    backend.join(home, log.clone());
                }
                make_traces(collector, &log, &tasks);
                let served = (server.control(), backend.clone());
                let reloader = Reloader::new(config, served, (tasks.clone(), health.clone()), log.clone());
                let drain = reloader.drain.clone();
                log.metrics().note_configuration();
                Ok(Self {
                    server,
                    endpoints,
                    health,
                    reachability,
                    drain,
                    orders,
                    reloads,
                    reloader,
                    registry,
                    backend,
                    tasks,
                    log,
                })
            }
            (listeners, endpoints, mut faults) => {
                faults.extend(listeners.err().into_iter().flatten().map(BuildError::Listen));
                faults.extend(endpoints.err().map(BuildError::Admin));
                Err(BuildError::Several(faults))
            }
        }
    }

    /// Addresses of the SSH listeners, with the port that the system chose for port 0.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.server.local_addrs()
    }

    /// The orders to end the process, which operators give, too.
    pub fn orders(&self) -> StopOrders {
        self.orders.clone()
    }

    /// The orders to read the configuration again.
    pub fn reloads(&self) -> ReloadOrders {
        self.reloads.0.clone()
    }

    /// Serves until the first order to end, then drains, until the second at most, and shuts down in order.
    pub async fn run(self) {
        let orders = self.orders;
        let closing = CancellationToken::new();
        let answering = TaskTracker::new();
        let observers = (self.health.clone(), self.log.clone());
        let endpoints = self.endpoints.serve(observers, closing.clone(), answering.clone());
        self.health.enter(Phase::Serving);
        let host_keys = self.server.host_keys().join(", ");
        for address in self.server.local_addrs() {
            let details = [("address", &*address.to_string()), ("hostKeys", &host_keys)];
            self.log.write(codes::SSH_AVAILABLE, "the SSH server is listening", &details);
        }
        let (_reloads, queue) = self.reloads;
        let stopping = self.tasks.stopping().clone();
        // Listening before the first reload.
        let accepting = self.tasks.spawn(self.server.run(self.tasks.clone()));
        self.tasks.spawn(country_watch::run(self.log.clone(), stopping.clone()));
        self.tasks.spawn(self.reloader.run((queue, stopping), self.reachability, endpoints));
        orders.draining().await;
        self.health.enter(Phase::Draining);
        self.log.write(codes::SERVICE_STOPPING, "shutting down", &[]);
        let (registry, tasks, log) = (&self.registry, &self.tasks, &self.log);
        let times = *self.drain.lock();
        Drain { times, orders: &orders, registry, tasks, log }.run(accepting).await;
        self.tasks.stopping().cancel();
        // The collector's task ends when no connection adds to a trace any more.
        self.log.change_traces(None);
        for (_, connection) in self.registry.all() {
            connection.disconnect("the server is shutting down");
        }
        let (code, text) = match timeout(ALL_TASKS, self.tasks.finish()).await {
            Ok(()) => (codes::SERVICE_STOPPED, "every connection has ended"),
            Err(_elapsed) => (codes::SERVICE_STOPPED.at(Level::Warning), "gave up waiting for connections to end"),
        };
        self.backend.leave().await;
        self.log.write(code, text, &[]);
        closing.cancel();
        answering.close();
        answering.wait().await;
    }
}

/// Opens the place of recordings, and tells that connections are recorded.
fn open_recordings(config: &Config, log: &Log) -> Result<Option<Recordings>, RecordingsError> {
    let recordings = config.audit.as_ref().map(Recordings::open).transpose()?;
    Ok(recordings.inspect(|recordings| recordings.tell(log)))
}

/// Has connections from now on make traces, and sends these. Who sends those of before ends with their connections.
fn make_traces(collector: Option<(Traces, Collector)>, log: &Log, tasks: &Tasks) {
    let (traces, collector) = collector.unzip();
    log.change_traces(traces);
    if let Some(collector) = collector {
        tasks.spawn(collector.run(tasks.stopping().clone()));
    }
    // The end of the process may have begun during a reload.
    if tasks.stopping().is_cancelled() {
        log.change_traces(None);
    }
}

/// Raises the limit of open files as far as it goes, and logs it: with a low one, few clients are served.
fn record_descriptors(log: &Log) {
    let limit = descriptors::raise();
    let code = codes::CORE_DESCRIPTORS;
    let (before, now) = (limit.before.to_string(), limit.now.to_string());
    let (code, text) = match limit.now < ENOUGH_DESCRIPTORS {
        true => (code, "the limit of open files is low: fewer clients are served than the configuration allows"),
        false => (code.at(Level::Info), "the limit of open files was raised as far as it goes"),
    };
    log.write(code, text, &[("before", &before), ("limit", &now)]);
}

/// Makes the backend, which removes the pods of connections that are not registered.
fn backend(registry: &Registry, tasks: &Tasks, log: &Log) -> kubernetes::Backend {
    let registry = registry.clone();
    let lives = move |id| registry.lives(id);
    kubernetes::Backend::new(log.clone(), tasks.clone(), Clients::counted(log.metrics().clone()), Arc::new(lives))
}

/// Builds the clients of the webhooks. Nothing is shared with those of another configuration.
fn webhooks(config: &Config) -> Result<(Authenticator, Option<ConfigClient>), BuildError> {
    let failed = |section| move |source| BuildError::Webhook { section, source };
    let auth = Authenticator::new(&config.auth).map_err(failed("auth"))?;
    let config_client = config.configserver.as_ref().map(ConfigClient::new).transpose();
    Ok((auth, config_client.map_err(failed("configserver"))?))
}

#[cfg(test)]
mod tests;
