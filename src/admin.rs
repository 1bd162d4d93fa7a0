//! Questions of the operator's own machinery: whether the gateway serves, and what it has counted; and what operators ask for over
//! the Unix socket. Only this module names axum.
//!
//! An endpoint is bound before anything is served, and answers until the very end, so that a gateway that drains says so.
//! Neither health nor metrics tell anything about a user.

mod accept;
mod client;
mod health;
mod operations;
mod socket;
#[cfg(test)]
mod tests;

pub use client::{AdminClientError, answer_text, ask_gateway};
pub(crate) use operations::Operations;
pub(crate) use socket::AdminSocket;

pub(crate) use health::{Change, CheckId, Health, Phase};

use crate::config::{HealthConfig, HttpServerConfig, MetricsConfig, ServerTlsConfig};
use crate::listening::{self, Leaving};
use crate::telemetry::metrics::Metrics;
use crate::tls::TlsBuildError;
use crate::types::is_hidden;
use accept::Form;
use axum::Router;
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::IntoResponse;
use hyper_util::service::TowerToHyperService;
use podgate_http_server::{LimitedServer, ServerLimits};
use rustls::ServerConfig;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, lookup_host};
use tokio_util::sync::CancellationToken;

/// The limits of each endpoint.
const LIMITS: ServerLimits = ServerLimits {
    connections: 256,
    handshake: Duration::from_secs(5),
    header: Duration::from_secs(2),
    idle: Duration::from_secs(15),
    body: Duration::from_secs(5),
    life: Duration::from_secs(600),
    grace: Duration::from_secs(1),
};

/// Why an endpoint cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The certificate or key cannot be used.
    #[error("{section}: {source}")]
    Tls {
        /// `health` or `metrics`.
        section: &'static str,
        /// The fault.
        source: TlsBuildError,
    },
    /// The address cannot be had.
    #[error("{section}.{key}: cannot listen on {listen}: {source}")]
    Listen {
        /// `health`, `metrics` or `admin`.
        section: &'static str,
        /// `listen` or `socket`.
        key: &'static str,
        /// The address.
        listen: String,
        /// System error.
        source: io::Error,
    },
}

/// An endpoint that is bound and answers nobody yet.
pub(crate) struct Endpoint {
    socket: OpenSocket,
    server: LimitedServer,
    router: Router,
    address: SocketAddr,
}

/// The socket of an endpoint, which another endpoint can take over while it is open.
#[derive(Debug, Clone)]
pub(crate) struct OpenSocket {
    listen: String,
    listener: Arc<TcpListener>,
}

/// The socket that an endpoint takes over if its address stays, and those that are about to leave.
pub(crate) type Before<'a> = (Option<&'a OpenSocket>, &'a [&'a OpenSocket]);

impl OpenSocket {
    /// The address, as it is configured.
    pub(crate) fn listen(&self) -> &str {
        &self.listen
    }

    async fn bind(listen: &str, (before, leaving): Before<'_>) -> io::Result<Self> {
        if let Some(same) = before.filter(|before| before.listen == listen) {
            return Ok(same.clone());
        }
        let leaving: Vec<Leaving<'_>> = leaving.iter().map(|socket| &*socket.listener).collect();
        let mut bound = Err(io::Error::new(io::ErrorKind::InvalidInput, "the host has no address"));
        for address in lookup_host(listen).await? {
            bound = listening::bind(address, false, &leaving);
            if bound.is_ok() {
                break;
            }
        }
        Ok(Self { listen: listen.to_owned(), listener: Arc::new(bound?) })
    }
}

impl Endpoint {
    /// Binds the health endpoint: 200 and `ok`, or 503 and `not ok`, at every path.
    ///
    /// # Errors
    /// An address that cannot be had, a certificate that cannot be used.
    pub(crate) async fn health(config: &HealthConfig, health: Health, before: Before<'_>) -> Result<Self, AdminError> {
        let answer = move |uri: Uri, headers: HeaderMap| async move { health.answer(&uri, &headers) };
        let router = Router::new().fallback(answer);
        Self::bind("health", &config.server, router, before).await
    }

    /// Binds the metrics page: `metrics` at exactly the configured path, in the form that is asked for; 404 elsewhere.
    ///
    /// # Errors
    /// An address that cannot be had, a certificate that cannot be used.
    pub(crate) async fn metrics(
        config: &MetricsConfig,
        metrics: Metrics,
        before: Before<'_>,
    ) -> Result<Self, AdminError> {
        let path = config.path.clone();
        // Not a route: the path is the operator's, and may hold what a router reads as a pattern.
        let router = Router::new().fallback(move |request: Request| async move {
            if request.uri().path() != path {
                return StatusCode::NOT_FOUND.into_response();
            }
            let form = Form::asked(request.headers());
            let page = match form {
                Form::Open => metrics.text(),
                Form::Classic => metrics.classic_text(),
            };
            match page {
                Ok(text) => ([(CONTENT_TYPE, form.content_type()), (VARY, ACCEPT.as_str())], text).into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        });
        Self::bind("metrics", &config.server, router, before).await
    }

    /// The TLS of an endpoint; nothing where it has none.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub(crate) fn tls(section: &'static str, config: &HttpServerConfig) -> Result<Option<ServerConfig>, AdminError> {
        let make = |tls: &ServerTlsConfig| {
            crate::tls::server_config((&tls.certificate, &tls.key), tls.client_ca.as_deref(), &tls.options)
        };
        config.tls.as_ref().map(make).transpose().map_err(|source| AdminError::Tls { section, source })
    }

    async fn bind(
        section: &'static str,
        config: &HttpServerConfig,
        router: Router,
        before: Before<'_>,
    ) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Listen { section, key: "listen", listen: config.listen.clone(), source };
        let tls = Self::tls(section, config)?;
        let socket = OpenSocket::bind(&config.listen, before).await.map_err(failed)?;
        let address = socket.listener.local_addr().map_err(failed)?;
        Ok(Self { socket, server: LimitedServer::new(tls.map(Arc::new), LIMITS), router, address })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The socket, which another endpoint can take over.
    pub(crate) fn socket(&self) -> OpenSocket {
        self.socket.clone()
    }

    /// Answers until `stop` is cancelled, then lets what is under way finish, for a second at most.
    pub(crate) async fn run(self, stop: CancellationToken) {
        self.server.run(self.socket.listener, TowerToHyperService::new(self.router), stop.cancelled()).await;
    }
}

/// Writes JSON whose text can go to a terminal: characters that are [hidden](is_hidden) or control it are escaped.
fn json_text(value: &serde_json::Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        if is_hidden(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a text cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}
