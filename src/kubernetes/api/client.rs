//! One client a cluster, opened at first use and shared by every connection whose settings name the same cluster.
//!
//! Nothing is inferred: no environment variable and no kubeconfig takes part, the host is always https and its
//! certificate is always verified. A cluster that a webhook named leaves no credentials behind for long: its client is
//! dropped when nobody has used it for five minutes and another is asked for, or earlier when room is needed.
//!
//! Its layers are our own beside kube's: credentials are read again from their files, and the calls and the streams of
//! `exec` share one connector with one rule for TLS.

mod answer_body;
mod connector;
mod credentials;
mod rest;
#[cfg(test)]
mod tests;

pub(crate) use connector::ConnectError;
pub(crate) use credentials::renewal;
pub(crate) use rest::AGENT;

use crate::settings::Cluster;
use crate::telemetry::metrics::Metrics;
use crate::tls::{TlsBuildError, Trial};
use crate::types::quoted;
use connector::Connector;
use credentials::Credentials;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// Limit of the unused clients that are kept.
const KEPT: usize = 64;
/// The time that an unused client of a webhook's cluster is kept.
const IDLE: Duration = Duration::from_secs(300);

/// The error of a cluster without a client. Every text names the setting's part that is wrong, none holds a secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The host is not a plain https URL.
    #[error("the Kubernetes host {host} is not https://host[:port]")]
    Host {
        /// The configured value or file.
        host: String,
    },
    /// `serverName` is neither a DNS name nor an address.
    #[error("the Kubernetes server name {} is neither a DNS name nor an address", quoted(name))]
    ServerName {
        /// The configured name.
        name: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A certificate or key cannot be used.
    #[error("Kubernetes connection: {0}")]
    Tls(#[from] TlsBuildError),
    /// The bearer token, or the user name and password, cannot be sent in a header.
    #[error("the Kubernetes {0} is empty or has characters that no HTTP header can carry")]
    Header(&'static str),
}

/// The clients of every cluster in use.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    open: Mutex<HashMap<Key, Entry>>,
    metrics: Metrics,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    cluster: Arc<Cluster>,
    http_timeout: Duration,
}

#[derive(Debug)]
struct Entry {
    client: Arc<ClusterClient>,
    asked: Instant,
}

impl Entry {
    fn held(&self) -> bool {
        Arc::strong_count(&self.client) > 1
    }
}

impl Clients {
    /// Makes a set without a client.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The same, and what its clients ask for is counted there.
    pub(crate) fn counted(metrics: Metrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// A cluster that a client is open for where it equals this one, so that connections hold certificates and keys once.
    pub(crate) fn known(&self, cluster: Arc<Cluster>) -> Arc<Cluster> {
        let open = self.open.lock();
        let known = open.keys().find(|key| key.cluster == cluster).map(|key| Arc::clone(&key.cluster));
        known.unwrap_or(cluster)
    }

    /// The client of this cluster whose REST calls take at most `http_timeout` each, opened if there is none. Opening
    /// reads files but does not connect. Call it within the runtime.
    ///
    /// # Errors
    /// The cluster's settings cannot be used.
    pub(crate) fn get(
        &self,
        cluster: &Arc<Cluster>,
        http_timeout: Duration,
    ) -> Result<Arc<ClusterClient>, ClientError> {
        let key = Key { cluster: Arc::clone(cluster), http_timeout };
        let now = Instant::now();
        let mut open = self.open.lock();
        let found = open.get_mut(&key).map(|entry| {
            entry.asked = now;
            entry.client.clone()
        });
        forget(&mut open, now);
        if let Some(client) = found {
            return Ok(client);
        }
        let client = Arc::new(ClusterClient::open(cluster, http_timeout, &self.metrics)?);
        open.insert(key, Entry { client: client.clone(), asked: now });
        Ok(client)
    }
}

/// Drops what nobody holds: webhooks' clusters after [`IDLE`], and the longest unused ones where more than [`KEPT`] are
/// left. What is held is bounded by the open connections.
fn forget(open: &mut HashMap<Key, Entry>, now: Instant) {
    open.retain(|key, entry| entry.held() || !key.cluster.from_webhook || now.duration_since(entry.asked) < IDLE);
    let mut unheld: Vec<Instant> = open.values().filter(|entry| !entry.held()).map(|entry| entry.asked).collect();
    let mut surplus = (unheld.len() + 1).saturating_sub(KEPT);
    unheld.sort_unstable();
    let Some(&newest) = surplus.checked_sub(1).and_then(|last| unheld.get(last)) else { return };
    open.retain(|_, entry| {
        let goes = surplus > 0 && entry.asked <= newest && !entry.held();
        surplus -= usize::from(goes);
        !goes
    });
}

/// One cluster: a [`kube::Client`] for REST calls and watches, and the way to upgraded streams. Both read changed
/// token and certificate files again.
pub(crate) struct ClusterClient {
    kube: kube::Client,
    connector: Connector,
    metrics: Metrics,
}

impl std::fmt::Debug for ClusterClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterClient").field("host", &self.connector.host()).finish_non_exhaustive()
    }
}

impl ClusterClient {
    fn open(cluster: &Cluster, http_timeout: Duration, metrics: &Metrics) -> Result<Self, ClientError> {
        let credentials = Credentials::read(cluster)?;
        let connector = Connector::new(cluster, credentials)?;
        let kube = rest::client(connector.clone(), http_timeout, metrics.clone());
        Ok(Self { kube, connector, metrics: metrics.clone() })
    }

    /// The client for REST calls and watches. A call fails after the `http_timeout` that this client was asked for
    /// with, tries and body together; a watch or a followed log only when its answer does not begin by then.
    pub(crate) fn kube(&self) -> kube::Client {
        self.kube.clone()
    }

    /// The metrics that count the calls.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        self.connector.connect().await
    }

    /// A connection to be tried step by step.
    pub(crate) fn trial(&self) -> Trial {
        self.connector.trial()
    }

    /// `host[:port]`, for the Host header (RFC 9110 section 7.2).
    pub(crate) fn authority(&self) -> &str {
        self.connector.host()
    }

    /// The reason and the remedy for an operator whose credentials the API does not accept, after its own text.
    pub(crate) fn expired(&self, text: &str) -> String {
        rest::expired(text, &self.connector)
    }

    /// The Authorization header's value, marked sensitive.
    pub(crate) fn authorization(&self) -> Option<http::HeaderValue> {
        self.connector.credentials().current().authorization
    }
}
