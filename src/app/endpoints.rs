//! The HTTP endpoints beside SSH, and their change while they serve.
//!
//! Invariants: an address that stays is not closed for a moment; the endpoints answer until the very end of the process.

use crate::admin::{AdminError, AdminSocket, Endpoint, Health, OpenSocket, Operations};
use crate::config::{Config, HealthConfig, MetricsConfig};
use crate::telemetry::{Code, Log, codes};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The endpoints of a start: bound, and answering nobody yet.
pub(super) struct Endpoints {
    health: Option<Endpoint>,
    metrics: Option<Endpoint>,
    admin: Option<AdminSocket>,
}

/// The endpoints that answer.
pub(super) struct ServedEndpoints {
    health: Option<ServedEndpoint>,
    metrics: Option<ServedEndpoint>,
    state: Health,
    log: Log,
    closing: CancellationToken,
    tasks: TaskTracker,
}

struct ServedEndpoint {
    socket: OpenSocket,
    stop: CancellationToken,
    answering: JoinHandle<()>,
}

/// The change of one endpoint.
enum Change {
    Stays,
    Ends,
    Begins(Endpoint),
}

/// The endpoints of another configuration, bound.
pub(super) struct EndpointChange {
    health: Change,
    metrics: Change,
}

impl Endpoints {
    pub(super) async fn bind(
        config: &Config,
        health: &Health,
        operations: Operations,
        log: &Log,
    ) -> Result<Self, AdminError> {
        let health = match &config.health {
            Some(config) => Some(Endpoint::health(config, health.clone(), (None, &[])).await?),
            None => None,
        };
        let metrics = match &config.metrics {
            Some(metrics) => Some(Endpoint::metrics(metrics, log.metrics().clone(), (None, &[])).await?),
            None => None,
        };
        let admin = config.admin.socket.as_deref().map(|path| AdminSocket::bind(path, operations)).transpose()?;
        Ok(Self { health, metrics, admin })
    }

    /// Answers from now on; each task is one of `tasks` and ends soon after `closing` is cancelled.
    pub(super) fn serve(
        self,
        (state, log): (Health, Log),
        closing: CancellationToken,
        tasks: TaskTracker,
    ) -> ServedEndpoints {
        let mut served = ServedEndpoints { health: None, metrics: None, state, log, closing, tasks };
        served.health = self.health.map(|endpoint| served.begin(HEALTH, endpoint));
        served.metrics = self.metrics.map(|endpoint| served.begin(METRICS, endpoint));
        if let Some(socket) = self.admin {
            let path = socket.path().display().to_string();
            served.log.write(codes::ADMIN_AVAILABLE, "the socket for operators is listening", &[("socket", &path)]);
            served.tasks.spawn(socket.run(served.closing.clone()));
        }
        served
    }
}

const HEALTH: (Code, &str) = (codes::HEALTH_AVAILABLE, "the health endpoint is listening");
const METRICS: (Code, &str) = (codes::METRICS_AVAILABLE, "the metrics page is listening");

impl ServedEndpoints {
    /// Binds what has changed between two configurations.
    ///
    /// # Errors
    /// An address that cannot be had, a certificate that cannot be used.
    pub(super) async fn prepare(&self, config: &Config, before: &Config) -> Result<EndpointChange, AdminError> {
        let server = |health: &HealthConfig| health.server.clone();
        let page = |metrics: &MetricsConfig| (metrics.server.clone(), metrics.path.clone());
        // Two may change places.
        let listens = [
            config.health.as_ref().map(|health| &health.server.listen),
            config.metrics.as_ref().map(|metrics| &metrics.server.listen),
        ];
        let sockets = [&self.health, &self.metrics].map(|served| served.as_ref().map(|served| &served.socket));
        let leaving = sockets
            .into_iter()
            .zip(listens)
            .filter_map(|(socket, listen)| socket.filter(|socket| Some(socket.listen()) != listen.map(String::as_str)));
        let leaving: Vec<&OpenSocket> = leaving.collect();
        let health = match &config.health {
            new if new.as_ref().map(server) == before.health.as_ref().map(server) => Change::Stays,
            None => Change::Ends,
            Some(new) => Change::Begins(Endpoint::health(new, self.state.clone(), (sockets[0], &leaving)).await?),
        };
        let metrics = match &config.metrics {
            new if new.as_ref().map(page) == before.metrics.as_ref().map(page) => Change::Stays,
            None => Change::Ends,
            Some(new) => {
                let metrics = self.log.metrics().clone();
                Change::Begins(Endpoint::metrics(new, metrics, (sockets[1], &leaving)).await?)
            }
        };
        Ok(EndpointChange { health, metrics })
    }

    /// Lets the endpoints of a change answer, and ends those that are replaced, which have ended when this returns.
    pub(super) async fn apply(&mut self, EndpointChange { health, metrics }: EndpointChange) {
        let before = (self.health.take(), self.metrics.take());
        self.health = self.changed(before.0, health, HEALTH).await;
        self.metrics = self.changed(before.1, metrics, METRICS).await;
    }

    async fn changed(
        &self,
        before: Option<ServedEndpoint>,
        change: Change,
        what: (Code, &str),
    ) -> Option<ServedEndpoint> {
        let begun = match change {
            Change::Stays => return before,
            Change::Ends => None,
            Change::Begins(endpoint) => Some(self.begin(what, endpoint)),
        };
        if let Some(ServedEndpoint { socket, stop, answering }) = before {
            stop.cancel();
            drop(socket);
            // Its only failure is a panic, which has been logged.
            let _ = answering.await;
        }
        begun
    }

    fn begin(&self, (code, message): (Code, &str), endpoint: Endpoint) -> ServedEndpoint {
        self.log.write(code, message, &[("address", &endpoint.local_addr().to_string())]);
        let (socket, stop) = (endpoint.socket(), self.closing.child_token());
        let answering = self.tasks.spawn(endpoint.run(stop.clone()));
        ServedEndpoint { socket, stop, answering }
    }
}
