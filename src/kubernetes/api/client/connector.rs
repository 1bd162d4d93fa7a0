//! From a cluster's settings to a TLS connection: TCP without delay and with keep-alive, the certificate verified
//! against the configured name. TLS sessions are resumed, because exec streams need a connection each.

use super::ClientError;
use super::credentials::Credentials;
use crate::guest::INPUT_CHUNK;
use crate::settings::Cluster;
use crate::tls::{ConfigBlock, TlsTrial, Trial, explain_handshake};
use crate::types::{error_chain, root_cause};
use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::{Service, ServiceExt};

/// TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(10);
/// The length of the TLS output buffer, in bytes: a whole piece of a program's input goes out in one call.
const OUTGOING: usize = INPUT_CHUNK + INPUT_CHUNK / 8;
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TRIES: u32 = 4;

/// The error of a connection to a cluster.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Name resolution or TCP failed.
    #[error("cannot connect to the Kubernetes API: {}", root_cause(.0.as_ref()))]
    Tcp(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The handshake failed, a certificate that is not trusted included.
    #[error("TLS with the Kubernetes API failed: {}", explain_handshake(.0, ConfigBlock::Kubernetes))]
    Tls(#[source] io::Error),
    /// Not connected in time.
    #[error("the Kubernetes API did not take the connection within {} s", CONNECT.as_secs())]
    Timeout,
}

impl ConnectError {
    /// The failed connect behind an error, where one is.
    pub(crate) fn of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Self> {
        error_chain(error).find_map(<dyn std::error::Error>::downcast_ref)
    }

    /// True if another try may end otherwise: a certificate that is refused now is refused again.
    pub(crate) fn may_heal(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Timeout => true,
            Self::Tls(error) => error.kind() != io::ErrorKind::InvalidData,
        }
    }
}

/// Opens connections to one cluster; cheap to clone.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    target: Arc<TlsTarget>,
}

struct TlsTarget {
    uri: Uri,
    host: String,
    server_name: ServerName<'static>,
    credentials: Credentials,
}

impl Connector {
    pub(super) fn new(cluster: &Cluster, credentials: Credentials) -> Result<Self, ClientError> {
        let refused = || ClientError::Host { host: cluster.host.to_string() };
        let uri: Uri = cluster.host.as_str().parse().map_err(|_invalid| refused())?;
        let named = cluster.host.host().ok_or_else(refused)?;
        if cluster.host.scheme() != "https" || !matches!(cluster.host.path(), "" | "/") {
            return Err(refused());
        }
        let name = cluster.server_name.clone().unwrap_or_else(|| match named {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(address) => address.to_string(),
            url::Host::Ipv6(address) => address.to_string(),
        });
        let server_name = ServerName::try_from(name.clone()).map_err(|_invalid| ClientError::ServerName { name })?;
        let host = match cluster.host.port() {
            Some(port) => format!("{named}:{port}"),
            None => named.to_string(),
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_TRIES));
        tcp.set_connect_timeout(Some(CONNECT));
        Ok(Self { tcp, target: Arc::new(TlsTarget { uri, host, server_name, credentials }) })
    }

    /// The server as `host[:port]`.
    pub(super) fn host(&self) -> &str {
        &self.target.host
    }

    /// A connection of the same kind, to be tried step by step.
    pub(super) fn trial(&self) -> Trial {
        let TlsTarget { uri, server_name, .. } = &*self.target;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let config = self.credentials().current().tls;
        let tls = TlsTrial { name: server_name.clone(), config, block: ConfigBlock::Kubernetes };
        Trial { host, port: uri.port_u16().unwrap_or(443), tls: Some(tls) }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.target.credentials
    }

    /// Opens a new connection, TLS included.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, ConnectError> {
        let connecting = async {
            let tcp = self.tcp.clone().oneshot(self.target.uri.clone()).await;
            let tcp = tcp.map_err(|error| ConnectError::Tcp(error.into()))?.into_inner();
            let tls = TlsConnector::from(self.credentials().current().tls);
            let mut stream = tls.connect(self.target.server_name.clone(), tcp).await.map_err(ConnectError::Tls)?;
            stream.get_mut().1.set_buffer_limit(Some(OUTGOING));
            Ok(stream)
        };
        tokio::time::timeout(CONNECT, connecting).await.map_err(|_elapsed| ConnectError::Timeout)?
    }
}

/// The pool of REST connections asks here for new ones.
impl Service<Uri> for Connector {
    type Response = Pooled;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Pooled, ConnectError>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { Ok(Pooled(TokioIo::new(connector.connect().await?))) })
    }
}

/// A connection in the pool.
pub(super) struct Pooled(TokioIo<TlsStream<TcpStream>>);

impl Connection for Pooled {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Pooled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Pooled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
