//! A server on a real socket that answers as a test tells it to, and misbehaves.

use super::url::{HttpClientConfig, WebhookUrl};
use crate::types::Secret;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request that the fake server received.
#[derive(Debug, Clone)]
pub(crate) struct FakeRequest {
    pub(crate) path: String,
    /// Header lines in lower case.
    pub(crate) headers: Vec<String>,
    pub(crate) body: Value,
}

/// Reply to a request.
pub(crate) enum FakeReply {
    /// An answer with status and body.
    Answer(u16, String),
    /// The whole answer, as written.
    Raw(&'static str),
    /// Nothing, until the client goes away.
    Hang,
    /// The end of the connection.
    Close,
    /// Status and body, and the end of the connection without a word of it in the answer.
    Last(u16, &'static str),
    /// 200 and a body without an end or a length.
    Endless,
}

pub(crate) fn yes() -> FakeReply {
    FakeReply::Answer(200, r#"{"success":true}"#.into())
}

type FakeScript = dyn Fn(usize, &FakeRequest) -> FakeReply + Send + Sync;

struct FakeState {
    script: Box<FakeScript>,
    asked: Mutex<Vec<FakeRequest>>,
    connections: AtomicUsize,
    hung_up: Notify,
}

/// The server; gone when dropped.
pub(crate) struct FakeWebhook {
    shared: Arc<FakeState>,
    url: WebhookUrl,
    ca: Option<String>,
    listening: JoinHandle<()>,
}

impl Drop for FakeWebhook {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl FakeWebhook {
    /// Answers the requests, counted from 0, by plain HTTP.
    pub(crate) async fn start(script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = FakeState::new(script);
        let listening = tokio::spawn(tcp(listener, None, shared.clone()));
        Self { shared, url: WebhookUrl::Http(url.parse().unwrap()), ca: None, listening }
    }

    /// The same by HTTPS, with a certificate for `name` by a CA of its own, asked for as `localhost`.
    pub(crate) async fn start_tls(
        name: &str,
        script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static,
    ) -> Self {
        Self::start_with(&FakeAuthority::new(), name, false, script).await
    }

    /// The same with a certificate for `localhost` that is self-signed and a CA's, as `openssl req -x509` makes them.
    pub(crate) async fn start_self_signed(
        script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static,
    ) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self::start_under(certificate.pem(), acceptor(&certificate, &key, None), script).await
    }

    /// The same for `localhost`, taking only clients with a certificate of its CA; with such a client's identity.
    pub(crate) async fn start_mutual(
        script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static,
    ) -> (Self, (String, Secret)) {
        let authority = FakeAuthority::new();
        let (certificate, key) = authority.issue("client");
        let identity = (certificate.pem(), Secret::new(key.serialize_pem()));
        (Self::start_with(&authority, "localhost", true, script).await, identity)
    }

    async fn start_with(
        authority: &FakeAuthority,
        name: &str,
        mutual: bool,
        script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static,
    ) -> Self {
        Self::start_under(authority.certificate.pem(), authority.acceptor(name, mutual), script).await
    }

    async fn start_under(
        ca: String,
        acceptor: TlsAcceptor,
        script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/hook", listener.local_addr().unwrap().port());
        let shared = FakeState::new(script);
        let listening = tokio::spawn(tcp(listener, Some(acceptor), shared.clone()));
        Self { shared, url: WebhookUrl::Http(url.parse().unwrap()), ca: Some(ca), listening }
    }

    /// The same on a Unix socket.
    pub(crate) fn start_unix(
        socket: &Path,
        script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let url = WebhookUrl::Unix { socket: socket.to_owned(), request: "http://localhost/hook".parse().unwrap() };
        let shared = FakeState::new(script);
        let serving = shared.clone();
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Self { shared, url, ca: None, listening }
    }

    /// The client block for this server: 1 s a try.
    pub(crate) fn block(&self) -> HttpClientConfig {
        HttpClientConfig {
            url: self.url.clone(),
            timeout: Duration::from_secs(1),
            ca: self.ca.clone(),
            identity: None,
            tls: crate::tls::TlsOptions::default(),
        }
    }

    pub(crate) fn asked(&self) -> Vec<FakeRequest> {
        self.shared.asked.lock().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until a client went away from a request that hung.
    pub(crate) async fn hung_up(&self) {
        tokio::time::timeout(Duration::from_secs(10), self.shared.hung_up.notified()).await.unwrap();
    }
}

impl FakeState {
    fn new(script: impl Fn(usize, &FakeRequest) -> FakeReply + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            hung_up: Notify::new(),
        })
    }
}

/// A CA of a test's own.
struct FakeAuthority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl FakeAuthority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    fn issue(&self, name: &str) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn acceptor(&self, name: &str, mutual: bool) -> TlsAcceptor {
        let (certificate, key) = self.issue(name);
        acceptor(&certificate, &key, mutual.then_some(&self.certificate))
    }
}

/// Serves under a certificate; with `clients`, only those that show one of that CA.
fn acceptor(certificate: &Certificate, key: &KeyPair, clients: Option<&Certificate>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if let Some(ca) = clients {
        let mut roots = RootCertStore::empty();
        roots.add(ca.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    TlsAcceptor::from(Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap()))
}

async fn tcp(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<FakeState>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        tokio::spawn(async move {
            match acceptor {
                None => serve(stream, shared).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<FakeState>) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await {
        let at = {
            let mut all = shared.asked.lock();
            all.push(asked.clone());
            all.len() - 1
        };
        let written = match (shared.script)(at, &asked) {
            FakeReply::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-type: text/plain\r\ncontent-length: {}", body.len());
                stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await
            }
            FakeReply::Raw(text) => stream.write_all(text.as_bytes()).await,
            FakeReply::Close => return,
            FakeReply::Last(status, body) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                return;
            }
            FakeReply::Hang => {
                let _ = stream.read_to_end(&mut Vec::new()).await;
                shared.hung_up.notify_one();
                return;
            }
            FakeReply::Endless => endless(&mut stream).await,
        };
        if written.is_err() {
            return;
        }
    }
}

async fn endless(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
    let chunk = format!("{:x}\r\n{}\r\n", 64 * 1024, " ".repeat(64 * 1024));
    loop {
        stream.write_all(chunk.as_bytes()).await?;
    }
}

async fn read(stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>) -> Option<FakeRequest> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let (method, rest) = lines.first()?.split_once(' ')?;
    let path = rest.split(' ').next()?.to_owned();
    let headers: Vec<String> = lines[1..].iter().map(|line| line.to_ascii_lowercase()).collect();
    if method == "HEAD" {
        return Some(FakeRequest { path, headers, body: Value::Null });
    }
    if method != "POST" {
        return None;
    }
    let length = headers.iter().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(FakeRequest { path, headers, body: serde_json::from_slice(&body).ok()? })
}
