//! A running server, an HTTP client for any stream, and certificates.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use podgate_webhooks::server::Server;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server at work.
pub(crate) struct Running {
    address: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(server: Server) -> Self {
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            stopped.await.unwrap_or_default();
        }));
        Self { address, stop, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a TCP server")
    }

    /// Says stop, and waits for the end.
    pub(crate) async fn end(self) {
        drop(self.stop);
        self.task.await.expect("no panic");
    }
}

/// What a server said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Value,
}

pub(crate) async fn post<S>(stream: S, path: &str, body: String) -> Said
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    request(stream, &Method::POST, path, body).await
}

pub(crate) async fn request<S>(stream: S, method: &Method, path: &str, body: String) -> Said
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    let connection = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    let request = request.body(Full::new(Bytes::from(body))).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let status = response.status().as_u16();
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    drop(sender);
    connection.abort();
    Said { status, content_type, body: serde_json::from_slice(&body).expect("JSON") }
}

/// A CA of a test's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, in PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }
}

/// A TLS connection to `localhost` at `address`, with the client's certificate and key if there are any.
pub(crate) async fn connect_tls(
    address: SocketAddr,
    trusted: &Authority,
    identity: Option<&(String, String)>,
) -> io::Result<TlsStream<TcpStream>> {
    connect_as(address, tls_client(trusted, identity)).await
}

/// A TLS connection to `localhost` at `address`, by a client that may have been there before.
pub(crate) async fn connect_as(address: SocketAddr, client: Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(client).connect(name, stream).await
}

/// A client that trusts an authority, with a certificate and key of its own if there are any.
pub(crate) fn tls_client(trusted: &Authority, identity: Option<&(String, String)>) -> Arc<ClientConfig> {
    let certificates = |pem: &str| {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>().expect("certificates")
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&trusted.pem()));
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(certificates(certificate), key).expect("an identity")
        }
    };
    Arc::new(config)
}

/// Whether the server ends the connection before it has answered anything.
pub(crate) async fn refused(address: SocketAddr, trusted: &Authority, identity: Option<&(String, String)>) -> bool {
    let Ok(mut stream) = connect_tls(address, trusted, identity).await else { return true };
    let head = b"POST /authz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}";
    // May fail already: the refusal can be faster than the write.
    drop(stream.write_all(head).await);
    !matches!(stream.read(&mut [0; 1]).await, Ok(1))
}
