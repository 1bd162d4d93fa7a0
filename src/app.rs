//! The composition: everything is built and every listener bound here, or nothing starts. [`App::run`] serves, then ends in
//! order: no new connection, every session told, every pod removed, every task awaited, and the endpoints last.

pub mod flags;

pub mod test_login;

mod inspect;
mod unusable;

pub use unusable::unusable;

use crate::admin::{AdminError, Endpoint, Serving};
use crate::auth::Authenticator;
use crate::config::{Config, ConfigError, Level};
use crate::kubernetes;
use crate::kubernetes::client::Clients;
use crate::registry::{Command, Registry};
use crate::settings::Home;
use crate::shutdown::Tasks;
use crate::ssh::{HostKeyError, Server, Snapshot};
use crate::telemetry::{Log, LogError};
use crate::webhook::{ConfigClient, WebhookBuildError};
use inspect::Look;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long the end may take: the grace that Kubernetes gives a pod by default, less the time to notice.
const DRAIN: Duration = Duration::from_secs(25);

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A webhook's client cannot be made.
    #[error("{section}: {source}")]
    Webhook {
        /// The section of the configuration.
        section: &'static str,
        /// Why.
        source: WebhookBuildError,
    },
    /// A certificate or key of the configuration cannot be used.
    #[error("{0}")]
    Material(ConfigError),
    /// A host key is none.
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// The address cannot be had.
    #[error("ssh.listen: cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The health endpoint or the metrics page cannot be served.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// There is no log.
    #[error(transparent)]
    Log(LogError),
    /// The cluster would not serve a login.
    #[error("{0}")]
    Cluster(String),
    /// More than one of these, a line each.
    #[error("{}", lines(.0))]
    Several(Vec<BuildError>),
}

fn lines(errors: &[BuildError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What is served beside SSH.
struct Endpoints {
    serving: Serving,
    health: Option<Endpoint>,
    metrics: Option<Endpoint>,
}

/// The gateway, bound and not yet serving.
pub struct App {
    server: Server,
    endpoints: Endpoints,
    registry: Registry,
    backend: kubernetes::Backend,
    tasks: Tasks,
    log: Log,
}

impl App {
    /// Builds everything and binds every listener.
    ///
    /// # Errors
    /// Whatever would fail later, said now.
    pub async fn build(config: &Config, log: Log) -> Result<Self, BuildError> {
        crate::tls::install();
        let tasks = Tasks::new();
        let registry = Registry::default();
        for notice in config.notices.iter().filter(|notice| notice.warn) {
            log.write(Level::Warning, "CORE_CONFIG_NOTICE", &notice.text, &[("key", &notice.path)]);
        }
        let auth =
            Authenticator::new(&config.auth).map_err(|source| BuildError::Webhook { section: "auth", source })?;
        let config_client = config.configserver.as_ref().map(ConfigClient::new).transpose();
        let config_client = config_client.map_err(|source| BuildError::Webhook { section: "configserver", source })?;
        let lives = {
            let registry = registry.clone();
            move |id| registry.lives(id)
        };
        let backend = kubernetes::Backend::new(
            log.clone(),
            tasks.clone(),
            Clients::counted(log.metrics().clone()),
            Arc::new(lives),
        );
        let look = Look { config, backend: &backend, auth: &auth, config_client: config_client.as_ref(), log: &log };
        let found = look.around().await.into_iter().map(BuildError::Cluster);
        let snapshot = Snapshot::new(config, auth, config_client, Arc::new(backend.clone()))?;
        let listen = config.ssh.listen.clone();
        let server = Server::bind(&listen, snapshot, registry.clone(), log.clone()).await;
        let server = server.map_err(|source| BuildError::Listen { listen, source });
        let endpoints = Endpoints::bind(config, &log).await;
        match (server, endpoints, found.collect::<Vec<_>>()) {
            (Ok(server), Ok(endpoints), found) if found.is_empty() => {
                if let Some(home) = Home::of(&config.base) {
                    backend.join(home, log.clone());
                }
                Ok(Self { server, endpoints, registry, backend, tasks, log })
            }
            (server, endpoints, mut found) => {
                found.extend(server.err());
                found.extend(endpoints.err().map(BuildError::Admin));
                Err(BuildError::Several(found))
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Serves until `stop` is done, then ends in order.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (serving, closing) = (self.endpoints.serving.clone(), CancellationToken::new());
        let endpoints = self.endpoints.start(&self.log, &closing);
        let address = self.server.local_addr().to_string();
        serving.set(true);
        let host_keys = self.server.host_keys().join(", ");
        let details = [("address", address.as_str()), ("hostKeys", &host_keys)];
        self.log.write(Level::Info, "SSH_AVAILABLE", "the SSH server is listening", &details);
        let accepting = self.tasks.spawn(self.server.run(self.tasks.clone()));
        stop.await;
        serving.set(false);
        self.log.write(Level::Info, "SERVICE_STOPPING", "shutting down", &[]);
        self.tasks.stopping().cancel();
        // The accept loop adds no connection once it has ended.
        let _ = accepting.await;
        for (_, connection) in self.registry.all() {
            connection.ask(Command::Disconnect { reason: "the server is shutting down".to_owned() });
        }
        let (level, code, text) = match timeout(DRAIN, self.tasks.finish()).await {
            Ok(()) => (Level::Info, "SERVICE_STOPPED", "every connection has ended"),
            Err(_elapsed) => (Level::Warning, "SERVICE_STOPPED", "gave up waiting for connections to end"),
        };
        self.backend.leave().await;
        self.log.write(level, code, text, &[]);
        closing.cancel();
        for endpoint in endpoints {
            // It ends at once, and what it could fail at is a panic that was told already.
            let _ = endpoint.await;
        }
    }
}

impl Endpoints {
    async fn bind(config: &Config, log: &Log) -> Result<Self, AdminError> {
        let serving = Serving::default();
        let health = match &config.health {
            Some(health) => Some(Endpoint::health(health, serving.clone()).await?),
            None => None,
        };
        let metrics = match &config.metrics {
            Some(metrics) => Some(Endpoint::metrics(metrics, log.metrics().clone()).await?),
            None => None,
        };
        Ok(Self { serving, health, metrics })
    }

    /// Begins to answer; each ends soon after `closing`.
    fn start(self, log: &Log, closing: &CancellationToken) -> Vec<JoinHandle<()>> {
        let health = self.health.map(|endpoint| ("HEALTH_AVAILABLE", "the health endpoint is listening", endpoint));
        let metrics = self.metrics.map(|endpoint| ("METRICS_AVAILABLE", "the metrics page is listening", endpoint));
        let started = health.into_iter().chain(metrics).map(|(code, message, endpoint)| {
            log.write(Level::Info, code, message, &[("address", &endpoint.local_addr().to_string())]);
            tokio::spawn(endpoint.run(closing.clone()))
        });
        started.collect()
    }
}
