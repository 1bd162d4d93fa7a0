//! A small client: HTTP/1.1 and WebSocket frames over TLS, with nothing of the crate's own code.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use podgate_devcluster::{DevCluster, Options};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longer than anything takes on a loaded machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";

type Stream = TokioIo<hyper::upgrade::Upgraded>;

#[derive(Clone)]
pub(crate) struct Client {
    host: String,
    tls: TlsConnector,
    token: String,
}

pub(crate) fn cluster() -> (DevCluster, Client) {
    let cluster = DevCluster::start(Options::default()).unwrap();
    let client = Client::new(&cluster, cluster.token());
    (cluster, client)
}

/// A pod of one container that runs a shell script; no script idles.
pub(crate) fn pod(name: &str, script: Option<&str>) -> Value {
    let mut container = json!({"name": "shell", "image": "guest"});
    if let Some(script) = script {
        container["command"] = json!(["/bin/sh", "-c", script]);
    }
    json!({"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [container]}})
}

impl Client {
    pub(crate) fn new(cluster: &DevCluster, token: &str) -> Self {
        Self::at(&cluster.host(), cluster.ca_pem(), token)
    }

    pub(crate) fn at(host: &str, ca_pem: &str, token: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { host: host.to_owned(), tls: TlsConnector::from(Arc::new(config)), token: token.to_owned() }
    }

    async fn request(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<http::Response<Incoming>, Box<dyn std::error::Error>> {
        let tcp = TcpStream::connect(&self.host).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.split(':').next().unwrap().to_owned())?;
        let tls = self.tls.connect(name, tcp).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }

    pub(crate) async fn open(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<http::Response<Incoming>, Box<dyn std::error::Error>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", content_type)
            .body(Full::from(body.to_vec()))?;
        self.request(request).await
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let response = self.open(method, path, content_type, &body).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, &Value::Null).await
    }

    pub(crate) async fn text(&self, path: &str) -> String {
        let response = self.open("GET", path, "", b"").await.unwrap();
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    pub(crate) async fn create(&self, pod: &Value) -> Value {
        let (status, created) = self.call("POST", PODS, pod).await;
        assert_eq!(status, 201, "{created}");
        created
    }

    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let response = self.open("GET", path, "", b"").await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Watch { body: response.into_body(), buffer: Vec::new() }
    }

    pub(crate) async fn exec(&self, pod: &str, command: &[&str], flags: &str) -> Exec {
        let command: String = command.iter().map(|word| format!("&command={}", percent(word))).collect();
        self.channel(&format!("{PODS}/{pod}/exec?{flags}{command}"), "v5.channel.k8s.io, v4.channel.k8s.io")
            .await
            .unwrap()
    }

    /// Opens a WebSocket; the error is the `Status` of the refusal.
    /// Opens a stream, or tells the Status of the refusal, or code and text where it has none.
    pub(crate) async fn channel(&self, path: &str, protocols: &str) -> Result<Exec, Value> {
        let request = Request::builder()
            .uri(path)
            .header("host", &self.host)
            .header("authorization", format!("Bearer {}", self.token))
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("sec-websocket-protocol", protocols)
            .body(Full::default())
            .unwrap();
        let response = self.request(request).await.unwrap();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let code = response.status().as_u16();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let text = || json!({"code": code, "text": String::from_utf8_lossy(&bytes)});
            return Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| text()));
        }
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let protocol = response.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned();
        let (read, write) = tokio::io::split(TokioIo::new(hyper::upgrade::on(response).await.unwrap()));
        Ok(Exec { protocol, output: Output { read }, input: Input { write } })
    }
}

fn percent(word: &str) -> String {
    word.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) struct Watch {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Watch {
    /// The next event's type and object; none at the end, an error when cut.
    pub(crate) async fn next(&mut self) -> Result<Option<(String, Value)>, hyper::Error> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let event: Value = serde_json::from_slice(&line).unwrap();
                return Ok(Some((event["type"].as_str().unwrap().to_owned(), event["object"].clone())));
            }
            let frame = tokio::time::timeout(SOON, self.body.frame()).await.expect("an event in time");
            match frame {
                Some(frame) => self.buffer.extend_from_slice(&frame?.into_data().unwrap()),
                None => return Ok(None),
            }
        }
    }
}

pub(crate) struct Exec {
    pub(crate) protocol: String,
    pub(crate) output: Output,
    pub(crate) input: Input,
}

pub(crate) struct Output {
    read: ReadHalf<Stream>,
}

pub(crate) struct Input {
    write: WriteHalf<Stream>,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Option<Value>,
}

impl Outcome {
    /// The exit code that the status tells; none without a status.
    pub(crate) fn code(&self) -> Option<i32> {
        let status = self.status.as_ref()?;
        if status["status"] == "Success" {
            return Some(0);
        }
        assert_eq!(status["reason"], "NonZeroExitCode", "{status}");
        assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
        status["details"]["causes"][0]["message"].as_str().unwrap().parse().ok()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Output {
    /// The next message's channel and payload; none after the close frame.
    pub(crate) async fn next(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let first = self.read.read_u8().await?;
        let length = match self.read.read_u8().await? {
            126 => u64::from(self.read.read_u16().await?),
            127 => self.read.read_u64().await?,
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.read.read_exact(&mut payload).await?;
        match first {
            0x82 => {
                assert!(payload.len() <= 32_769, "a frame of {} bytes", payload.len());
                let data = payload.split_off(1);
                Ok(Some((payload[0], data)))
            }
            0x88 => {
                assert_eq!(payload, 1000_u16.to_be_bytes());
                Ok(None)
            }
            0x8a => Ok(Some((b'p', payload))),
            other => panic!("frame {other:#x}"),
        }
    }

    /// Everything until the end of the stream, however it ends.
    pub(crate) async fn rest(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let all = async {
            while let Ok(Some((channel, data))) = self.next().await {
                match channel {
                    1 => outcome.stdout.extend(data),
                    2 => outcome.stderr.extend(data),
                    3 if !data.is_empty() => outcome.status = Some(serde_json::from_slice(&data).unwrap()),
                    _ => {}
                }
            }
        };
        tokio::time::timeout(SOON * 4, all).await.expect("the stream to end in time");
        outcome
    }

    /// Reads stdout until it holds a text.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        let found = async {
            while !seen.contains(wanted) {
                let (channel, data) = self.next().await.unwrap().expect("more output");
                if channel == 1 {
                    seen.push_str(&String::from_utf8_lossy(&data));
                }
            }
        };
        tokio::time::timeout(SOON, found).await.unwrap_or_else(|_| panic!("{wanted:?} in time"));
        seen
    }
}

impl Input {
    pub(crate) async fn frame(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
            middle @ 126..65_536 => {
                frame.push(0xfe);
                frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
            }
            long => {
                frame.push(0xff);
                frame.extend((long as u64).to_be_bytes());
            }
        }
        let mask = [0x11, 0x22, 0x33, 0x44];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.write.write_all(&frame).await?;
        self.write.flush().await
    }

    pub(crate) async fn stdin(&mut self, data: &[u8]) -> io::Result<()> {
        self.frame(2, &[&[0], data].concat()).await
    }

    pub(crate) async fn close_stdin(&mut self) {
        self.frame(2, &[255, 0]).await.unwrap();
    }

    pub(crate) async fn resize(&mut self, columns: u16, rows: u16) {
        let size = json!({"Width": columns, "Height": rows}).to_string();
        self.frame(2, &[&[4], size.as_bytes()].concat()).await.unwrap();
    }
}

/// Waits until a pod's phase is this one.
pub(crate) async fn phase(cluster: &DevCluster, name: &str, phase: &str) -> Arc<Value> {
    let is = |pod: &Value| pod["status"]["phase"] == phase;
    cluster
        .wait_until(|state| state.pod("default", name).is_some_and(|pod| is(&pod)), SOON)
        .await
        .unwrap_or_else(|error| panic!("{name} {phase}: {error}: {:?}", cluster.state().pod("default", name)));
    cluster.state().pod("default", name).unwrap()
}

/// A running pod.
pub(crate) async fn running(name: &str, script: Option<&str>) -> (DevCluster, Client) {
    let (cluster, client) = cluster();
    client.create(&pod(name, script)).await;
    phase(&cluster, name, "Running").await;
    (cluster, client)
}
