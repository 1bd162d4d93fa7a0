//! The questions that decide whether the gateway is ready: can each webhook and the Kubernetes API be reached? They are
//! asked in the background, each at its own interval and with a deadline, so that a prober's request costs nobody anything.
//! A webhook that is slow is reached: clients that have not logged in can make it slow, and all gateways ask the same one.

use super::startup_checks::{decided, kubernetes_of_file};
use crate::admin::{Change, CheckId, Health};
use crate::auth::Authenticator;
use crate::config::Config;
use crate::kubernetes::Backend;
use crate::settings::{ConfigClient, KubernetesSettings};
use crate::telemetry::{Level, Log, codes};
use crate::webhook::WebhookClient;
use futures_util::future::join_all;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// The time for one answer: more than a webhook's client takes to find out that it gets no connection or a slow one.
const DEADLINE: Duration = Duration::from_secs(8);

/// The servers that logins need, with the check of each.
pub(super) struct Reachability {
    servers: Vec<(CheckId, &'static str, Server)>,
    interval: Duration,
    health: Health,
    log: Log,
}

enum Server {
    Webhook(WebhookClient),
    Cluster(Backend, Box<KubernetesSettings>),
}

impl Reachability {
    /// Collects the servers of the file; none where no health endpoint is configured. A cluster that only a config webhook
    /// names is not among them.
    pub(super) fn of(
        config: &Config,
        auth: &Authenticator,
        config_client: Option<&ConfigClient>,
        backend: &Backend,
        (health, log): (&Health, &Log),
    ) -> Option<Self> {
        if config.health.is_none() {
            health.set_checks([]);
        }
        let interval = config.health.as_ref()?.check_interval;
        let webhooks = auth.webhooks().into_iter();
        let webhooks = webhooks.chain(config_client.map(|client| ("configserver", client.webhook())));
        let webhooks = webhooks.map(|(section, client)| (section, Server::Webhook(client)));
        let settings = kubernetes_of_file(config).filter(|_| decided(config).connection);
        let cluster = settings.map(|settings| ("kubernetes", Server::Cluster(backend.clone(), Box::new(settings))));
        let servers: Vec<_> = webhooks.chain(cluster).collect();
        let ids = health.set_checks(servers.iter().map(|(name, _)| *name));
        let servers = ids.into_iter().zip(servers).map(|(id, (name, server))| (id, name, server)).collect();
        Some(Self { servers, interval, health: health.clone(), log: log.clone() })
    }

    /// Asks until `stop` is cancelled.
    pub(super) async fn run(self, stop: CancellationToken) {
        let asked = self.servers.iter().map(|(id, name, server)| self.ask(*id, name, server));
        tokio::select! {
            _ = join_all(asked) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn ask(&self, id: CheckId, name: &str, server: &Server) {
        loop {
            match self.health.observe(id, server.reach().await) {
                None => {}
                Some(Change::Lost(reason)) => {
                    let text = "a server that logins need cannot be reached: the gateway is not ready";
                    self.log.write(codes::HEALTH_CHECK_CHANGED, text, &[("check", name), ("reason", &reason)]);
                }
                Some(Change::Reached) => {
                    let code = codes::HEALTH_CHECK_CHANGED.at(Level::Notice);
                    self.log.write(code, "a server that logins need can be reached again", &[("check", name)]);
                }
            }
            // Not all replicas in the same moment.
            sleep(self.interval.mul_f64(rand::random_range(0.9..1.1))).await;
        }
    }
}

impl Server {
    async fn reach(&self) -> Result<(), String> {
        match self {
            Self::Webhook(client) => {
                let reached = async {
                    let reached = client.connect().await;
                    reached.map_err(|failure| format!("{} cannot be reached: {failure}", client.place()))
                };
                in_time(reached).await
            }
            Self::Cluster(backend, settings) => reach_cluster(backend, settings).await,
        }
    }
}

/// Asks whether a cluster can be reached.
///
/// # Errors
/// One line for the operator.
pub(super) async fn reach_cluster(backend: &Backend, settings: &KubernetesSettings) -> Result<(), String> {
    in_time(backend.reach(settings)).await
}

async fn in_time(answer: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = |_elapsed| Err(format!("no answer within {} s", DEADLINE.as_secs()));
    timeout(DEADLINE, answer).await.unwrap_or_else(late)
}
