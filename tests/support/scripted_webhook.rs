//! A webhook server whose responses, valid or not, a test defines, and which records its requests.

use super::cluster::soon;
use parking_lot::Mutex;
use podgate_webhooks::server::{Listen, Server, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A received request.
#[derive(Debug, Clone)]
pub struct WebhookRequest {
    /// The request's path.
    pub path: String,
    /// The body.
    pub body: Value,
    /// The header `traceparent`.
    pub traceparent: Option<String>,
}

/// A response.
pub enum Reply {
    /// Status 200 and a body.
    Json(Value),
    /// A status, further header lines (each with CRLF) and a body.
    Raw(u16, &'static str, String),
    /// No response until the client disconnects.
    Hang,
    /// A body of this many spaces.
    Huge(usize),
}

/// Accepts a login.
pub fn success() -> Reply {
    Reply::Json(json!({"success": true}))
}

/// An empty config answer.
pub fn empty_config() -> Reply {
    Reply::Json(json!({"config": {}}))
}

/// Accepts every login, with an empty config answer.
pub fn accept_all(asked: &WebhookRequest) -> Reply {
    if asked.path == "/config" { empty_config() } else { success() }
}

type Answers = dyn Fn(&WebhookRequest) -> Reply + Send + Sync;

struct ServerState {
    answers: Box<Answers>,
    asked: Mutex<Vec<WebhookRequest>>,
    counts: watch::Sender<Counts>,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    asked: usize,
    connections: usize,
    disconnected: usize,
}

/// The server, on plain HTTP. Dropping it ends it.
pub struct ScriptedWebhook {
    /// The base URL.
    pub url: String,
    shared: Arc<ServerState>,
    task: JoinHandle<()>,
}

impl Drop for ScriptedWebhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScriptedWebhook {
    /// Starts the server.
    pub async fn start(answers: impl Fn(&WebhookRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let counts = watch::Sender::default();
        let shared = Arc::new(ServerState { answers: Box::new(answers), asked: Mutex::default(), counts });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.counts.send_modify(|counts| counts.connections += 1);
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Self { url, shared, task }
    }

    /// The gateway's configuration in which this is the only webhook server.
    pub fn config(&self) -> Value {
        config(&self.url)
    }

    /// The requests received, oldest first.
    pub fn requests(&self) -> Vec<WebhookRequest> {
        self.shared.asked.lock().clone()
    }

    /// The bodies of the requests to a path.
    pub fn requests_to(&self, path: &str) -> Vec<Value> {
        self.requests().into_iter().filter(|asked| asked.path == path).map(|asked| asked.body).collect()
    }

    /// The number of connections accepted.
    pub fn connections(&self) -> usize {
        self.shared.counts.borrow().connections
    }

    /// Waits until this many requests have arrived.
    pub async fn wait_for_requests(&self, count: usize) {
        self.wait(|counts| counts.asked >= count).await;
    }

    /// Waits until a client disconnects from a [`Reply::Hang`].
    pub async fn wait_for_disconnect(&self) {
        self.wait(|counts| counts.disconnected > 0).await;
    }

    async fn wait(&self, wanted: impl Fn(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        timeout(soon(), counts.wait_for(|counts| wanted(counts))).await.expect("in time").expect("a server");
    }
}

/// The gateway's configuration in which one server has all webhooks.
pub fn config(url: &str) -> Value {
    json!({
        "auth": {"password": {"webhook": {"url": url}}, "publicKey": {"webhook": {"url": url}}},
        "configserver": {"url": format!("{url}/config")},
    })
}

async fn serve(stream: TcpStream, shared: Arc<ServerState>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await {
        let Some(asked) = asked else {
            // The gateway checks whether the server is reachable.
            if stream.write_all(b"HTTP/1.1 405 x\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
            continue;
        };
        shared.asked.lock().push(asked.clone());
        shared.counts.send_modify(|counts| counts.asked += 1);
        let (status, headers, body) = match (shared.answers)(&asked) {
            Reply::Json(body) => (200, "", body.to_string()),
            Reply::Raw(status, headers, body) => (status, headers, body),
            Reply::Huge(bytes) => (200, "", " ".repeat(bytes)),
            Reply::Hang => {
                // The client has disconnected, with or without an error.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                shared.counts.send_modify(|counts| counts.disconnected += 1);
                return;
            }
        };
        let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads the next request. `Some(None)` is a HEAD.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Option<WebhookRequest>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_ascii_lowercase()),
        }
    }
    if lines.first()?.starts_with("head ") {
        return Some(None);
    }
    let path = lines.first()?.strip_prefix("post ")?.split(' ').next()?.to_owned();
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: "))?.parse().ok()?;
    let traceparent = lines.iter().find_map(|line| line.strip_prefix("traceparent: ")).map(str::to_owned);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Some(WebhookRequest { path, body: serde_json::from_slice(&body).expect("JSON"), traceparent }))
}

/// A CA for one test.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Makes a CA with a new key.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    /// The CA's certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Issues a certificate for `name`. Returns it and its key in PEM.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }

    /// An HTTPS address on loopback with a certificate for `name`. With `mutual`, clients need a certificate of this CA.
    pub fn listen(&self, name: &str, mutual: bool) -> Listen {
        let (certificate, key) = self.issue(name);
        let ca = self.pem();
        let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes(), mutual.then_some(ca.as_bytes()));
        Listen::parse("https://127.0.0.1:0", Some(tls.expect("TLS"))).expect("an address")
    }
}

/// Serves a router until the test ends. Returns its URL, `https://localhost:PORT` for TLS.
pub async fn serve_at(listen: Listen, router: axum::Router) -> String {
    let server = Server::bind(listen, router).await.expect("a place to listen");
    let url = server.url().replace("https://127.0.0.1", "https://localhost");
    tokio::spawn(server.run(std::future::pending()));
    url.trim_end_matches('/').to_owned()
}
