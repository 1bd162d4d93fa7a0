//! A webhook server that answers as a test says, rightly or wrongly, and remembers what it was asked.

use super::cluster::soon;
use podgate_webhooks::server::{Listen, Server, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A question.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The request's path.
    pub path: String,
    /// The body.
    pub body: Value,
}

/// An answer.
pub enum Reply {
    /// Status 200 and a body.
    Json(Value),
    /// Status, further header lines (each with its end) and a body.
    Raw(u16, &'static str, String),
    /// None, until the client goes away.
    Hang,
    /// A body of so many bytes.
    Huge(usize),
}

/// A yes to a login.
pub fn yes() -> Reply {
    Reply::Json(json!({"success": true}))
}

/// A configuration that says nothing.
pub fn nothing() -> Reply {
    Reply::Json(json!({"config": {}}))
}

/// Yes to everyone, with nothing to say about what they get.
pub fn open_door(asked: &Asked) -> Reply {
    if asked.path == "/config" { nothing() } else { yes() }
}

type Answers = dyn Fn(&Asked) -> Reply + Send + Sync;

struct Shared {
    answers: Box<Answers>,
    asked: Mutex<Vec<Asked>>,
    counts: watch::Sender<Counts>,
}

#[derive(Default, Clone, Copy)]
struct Counts {
    asked: usize,
    connections: usize,
    hung_up: usize,
}

/// The server on plain HTTP; gone when dropped.
pub struct Script {
    /// Where it is.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    /// Starts it.
    pub async fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let counts = watch::Sender::default();
        let shared = Arc::new(Shared { answers: Box::new(answers), asked: Mutex::default(), counts });
        let serving = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.counts.send_modify(|counts| counts.connections += 1);
                tokio::spawn(serve(stream, serving.clone()));
            }
        });
        Self { url, shared, task }
    }

    /// The gateway's configuration that makes it the only server to ask.
    pub fn config(&self) -> Value {
        config(&self.url)
    }

    /// What was asked, oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("asked").clone()
    }

    /// What was asked at a path.
    pub fn asked_at(&self, path: &str) -> Vec<Value> {
        self.asked().into_iter().filter(|asked| asked.path == path).map(|asked| asked.body).collect()
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.shared.counts.borrow().connections
    }

    /// Waits until so many questions came.
    pub async fn wait_for_asked(&self, count: usize) {
        self.wait(|counts| counts.asked >= count).await;
    }

    /// Waits until a client went away from a question that hung.
    pub async fn wait_for_hang_up(&self) {
        self.wait(|counts| counts.hung_up > 0).await;
    }

    async fn wait(&self, wanted: impl Fn(&Counts) -> bool) {
        let mut counts = self.shared.counts.subscribe();
        timeout(soon(), counts.wait_for(|counts| wanted(counts))).await.expect("in time").expect("a server");
    }
}

/// The gateway's configuration that asks one server everything.
pub fn config(url: &str) -> Value {
    json!({
        "auth": {"password": {"webhook": {"url": url}}, "publicKey": {"webhook": {"url": url}}},
        "configserver": {"url": format!("{url}/config")},
    })
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream).await {
        let Some(asked) = asked else {
            // The gateway's look whether somebody is there.
            if stream.write_all(b"HTTP/1.1 405 x\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
            continue;
        };
        shared.asked.lock().expect("asked").push(asked.clone());
        shared.counts.send_modify(|counts| counts.asked += 1);
        let (status, headers, body) = match (shared.answers)(&asked) {
            Reply::Json(body) => (200, "", body.to_string()),
            Reply::Raw(status, headers, body) => (status, headers, body),
            Reply::Huge(bytes) => (200, "", " ".repeat(bytes)),
            Reply::Hang => {
                // However it ends, the client is gone.
                let _ = stream.read_to_end(&mut Vec::new()).await;
                shared.counts.send_modify(|counts| counts.hung_up += 1);
                return;
            }
        };
        let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n", body.len());
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next question; `Some(None)` is a HEAD, which asks nothing.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Option<Asked>> {
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
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Some(Asked { path, body: serde_json::from_slice(&body).expect("JSON") }))
}

/// A CA of a test's own.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// A fresh one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    /// Its certificate in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name` and its key, in PEM.
    pub fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem())
    }

    /// An HTTPS address on loopback with a certificate for `name`; with `mutual`, for clients of this CA alone.
    pub fn listen(&self, name: &str, mutual: bool) -> Listen {
        let (certificate, key) = self.issue(name);
        let ca = self.pem();
        let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes(), mutual.then_some(ca.as_bytes()));
        Listen::parse("https://127.0.0.1:0", Some(tls.expect("TLS"))).expect("an address")
    }
}

/// Serves a router until the test ends, and says where: `https://localhost:PORT` where it is TLS.
pub async fn serve_at(listen: Listen, router: axum::Router) -> String {
    let server = Server::bind(listen, router).await.expect("a place to listen");
    let url = server.url().replace("https://127.0.0.1", "https://localhost");
    tokio::spawn(server.run(std::future::pending()));
    url.trim_end_matches('/').to_owned()
}
