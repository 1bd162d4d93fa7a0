//! The endpoints against real sockets.

use super::*;
use crate::config::ServerTlsConfig;
use crate::types::Secret;
use crate::webhook::{HealthQuestion, HttpClientConfig, WebhookUrl, probe};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, generate_simple_self_signed};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn plain() -> HttpServerConfig {
    HttpServerConfig { listen: "127.0.0.1:0".into(), tls: None }
}

fn client(url: &str) -> HttpClientConfig {
    let url = WebhookUrl::Http(url.parse().unwrap());
    HttpClientConfig { url, timeout: SOON, ca: None, identity: None, tls: crate::tls::TlsOptions::default() }
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(endpoint: Endpoint) -> Self {
        let (address, stop) = (endpoint.local_addr(), CancellationToken::new());
        Self { address, task: tokio::spawn(endpoint.run(stop.clone())), stop }
    }

    async fn health(server: HttpServerConfig, health: &super::Health) -> Self {
        let config = HealthConfig { client: client("http://127.0.0.1:1"), server, check_interval: SOON };
        Self::start(Endpoint::health(&config, health.clone(), (None, &[])).await.unwrap())
    }

    /// The whole answer to one request.
    async fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    }
}

#[tokio::test]
async fn gateway_that_does_not_serve_is_not_ok_before_and_after() {
    let gateway = super::Health::default();
    let health = Running::health(plain(), &gateway).await;
    let (no, yes) = ("HTTP/1.1 503 Service Unavailable", "HTTP/1.1 200 OK");
    for (phase, status, said) in
        [(Phase::Starting, no, "\"not ok\""), (Phase::Serving, yes, "\"ok\""), (Phase::Draining, no, "\"not ok\"")]
    {
        gateway.enter(phase);
        for request in ["GET / HTTP/1.1", "POST /any/thing?x HTTP/1.1"] {
            let answer = health.ask(request).await;
            assert!(answer.starts_with(status) && answer.ends_with(&format!("\r\n\r\n{said}")), "{request}: {answer}");
        }
    }
}

/// The status and the body of an answer.
fn split(answer: &str) -> (&str, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap(), body)
}

#[tokio::test]
async fn ready_gateway_is_one_that_serves_and_has_reached_every_server_and_a_draining_one_lives() {
    let gateway = super::Health::default();
    let [check] = gateway.set_checks(["configserver"])[..] else { panic!("one") };
    let health = Running::health(plain(), &gateway).await;
    let reason = |text: &str| Err(text.to_owned());
    for (phase, result, live, ready) in [
        (Phase::Starting, Ok(()), "200", "503"),
        (Phase::Serving, reason("gone"), "200", "200"),
        (Phase::Serving, reason("gone"), "200", "200"),
        (Phase::Serving, reason("gone"), "200", "503"),
        (Phase::Serving, Ok(()), "200", "503"),
        (Phase::Serving, Ok(()), "200", "200"),
        (Phase::Draining, Ok(()), "200", "503"),
    ] {
        gateway.enter(phase);
        gateway.observe(check, result);
        for (path, status) in [("/healthz", live), ("/readyz", ready), ("/readyz?verbose=1&x", ready)] {
            let answer = health.ask(&format!("GET {path} HTTP/1.1")).await;
            assert_eq!(split(&answer).0, status, "{path} while {phase:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn verbose_answer_names_each_check_with_its_reason_in_json_or_as_kubernetes_does() {
    let gateway = super::Health::default();
    gateway.enter(Phase::Serving);
    let [first, second] = gateway.set_checks(["configserver", "kubernetes"])[..] else { panic!("two") };
    gateway.observe(first, Err("no \u{1b}[1mroute".to_owned()));
    gateway.observe(second, Ok(()));
    let health = Running::health(plain(), &gateway).await;
    let answer = health.ask("GET /readyz?verbose HTTP/1.1").await;
    let body: serde_json::Value = serde_json::from_str(split(&answer).1).unwrap();
    let reason = crate::types::printable("no \u{1b}[1mroute", 100);
    assert!(!reason.contains('\u{1b}'));
    let checks = serde_json::json!([
        {"name": "gateway", "ok": true},
        {"name": "accept", "ok": true},
        {"name": "configserver", "ok": false, "reason": reason},
        {"name": "kubernetes", "ok": true},
    ]);
    assert_eq!(body, serde_json::json!({"status": "not ok", "checks": checks}));
    let answer = health.ask("GET /readyz?verbose HTTP/1.1\r\naccept: text/plain").await;
    let lines = format!("[+]gateway ok\n[+]accept ok\n[-]configserver failed: {reason}\n[+]kubernetes ok\n");
    assert_eq!(split(&answer), ("503", &*format!("{lines}readyz check failed\n")));
    let answer = health.ask("GET /healthz?verbose HTTP/1.1\r\naccept: text/plain").await;
    assert_eq!(split(&answer), ("200", "[+]accept ok\nhealthz check passed\n"));
}

#[tokio::test]
async fn health_is_text_for_those_who_ask_for_text_alone() {
    let gateway = super::Health::default();
    gateway.enter(Phase::Serving);
    let health = Running::health(plain(), &gateway).await;
    for (accept, body) in [
        ("text/plain", "ok"),
        ("text/html, text/*;q=0.5", "ok"),
        ("*/*", "\"ok\""),
        ("application/*", "\"ok\""),
        ("text/html, application/json", "\"ok\""),
        ("image/png", "\"ok\""),
        ("\u{7f}", "\"ok\""),
    ] {
        let answer = health.ask(&format!("GET / HTTP/1.1\r\naccept: {accept}")).await;
        // What is no header at all is refused by HTTP itself.
        let taken = accept != "\u{7f}";
        assert_eq!(answer.ends_with(&format!("\r\n\r\n{body}")), taken, "{accept}: {answer}");
    }
}

#[tokio::test]
async fn metrics_are_at_their_path_alone() {
    let metrics = Metrics::default();
    let config = MetricsConfig { server: plain(), path: "/a/{b}".into() };
    let page = Running::start(Endpoint::metrics(&config, metrics.clone(), (None, &[])).await.unwrap());
    for path in ["/", "/metrics", "/a/{b}/", "/a/c", "/A/{b}"] {
        let answer = page.ask(&format!("GET {path} HTTP/1.1")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
    let _connection = metrics.connection(Default::default());
    let answer = page.ask("GET /a/{b}?x=y HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("containerssh_ssh_connections_total{country=\"XX\"} 1\n"), "{answer}");
}

#[tokio::test]
async fn metrics_are_classic_unless_openmetrics_is_asked_for() {
    let config = MetricsConfig { server: plain(), path: "/metrics".into() };
    let page = Running::start(Endpoint::metrics(&config, Metrics::default(), (None, &[])).await.unwrap());
    let build = concat!("podgate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n");
    let open = "application/openmetrics-text";
    for (accept, kind, family, end) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", "# TYPE podgate_build_info gauge\n", build),
        ("\r\naccept: */*", "text/plain; version=0.0.4; charset=utf-8", "# TYPE podgate_build_info gauge\n", build),
        (
            &format!("\r\naccept: text/plain;q=0.5\r\naccept: {open}"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "# TYPE podgate_build info\n",
            "# EOF\n",
        ),
    ] {
        let answer = page.ask(&format!("GET /metrics HTTP/1.1{accept}")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("\r\ncontent-type: {kind}\r\n")) && head.contains("vary: accept"), "{head}");
        assert!(body.contains(family) && body.contains(build) && body.ends_with(end), "{body}");
        let answer = page.ask(&format!("HEAD /metrics HTTP/1.1{accept}")).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\ncontent-type: {kind}\r\n")) && body.is_empty(), "{answer}");
    }
}

#[tokio::test]
async fn taken_address_is_an_error_that_names_the_endpoint_and_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let server = HttpServerConfig { listen: listen.clone(), tls: None };
    let config = MetricsConfig { server, path: "/metrics".into() };
    let error = Endpoint::metrics(&config, Metrics::default(), (None, &[])).await.err().expect("taken").to_string();
    assert!(error.starts_with(&format!("metrics.listen: cannot listen on {listen}: ")), "{error}");
}

#[tokio::test]
async fn key_of_another_certificate_is_an_error_that_names_the_endpoint() {
    let tls = ServerTlsConfig { key: certificates(false).server.key, ..certificates(false).server };
    let config = HealthConfig {
        server: HttpServerConfig { tls: Some(tls), ..plain() },
        client: client("http://127.0.0.1:1"),
        check_interval: SOON,
    };
    let error =
        Endpoint::health(&config, super::Health::default(), (None, &[])).await.err().expect("refused").to_string();
    assert_eq!(error, "health: the key does not match the certificate");
}

/// A certificate for 127.0.0.1 and its key, and one for clients of a CA.
struct Certificates {
    server: ServerTlsConfig,
    identity: (String, Secret),
}

fn certificates(mutual: bool) -> Certificates {
    let own = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(["client".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = ServerTlsConfig {
        certificate: own.cert.pem(),
        key: Secret::new(own.signing_key.serialize_pem()),
        client_ca: mutual.then(|| ca.pem()),
        options: crate::tls::TlsOptions::default(),
    };
    Certificates { server, identity: (client.pem(), Secret::new(key.serialize_pem())) }
}

#[tokio::test]
async fn client_without_a_certificate_is_not_answered_where_one_is_asked_for() {
    let gateway = super::Health::default();
    gateway.enter(Phase::Serving);
    let Certificates { server, identity } = certificates(true);
    let ca = Some(server.certificate.clone());
    let health = Running::health(HttpServerConfig { tls: Some(server), ..plain() }, &gateway).await;
    let url = format!("https://{}/", health.address);
    assert!(probe(&HttpClientConfig { ca: ca.clone(), ..client(&url) }, HealthQuestion::Serving).await.is_err());
    probe(&HttpClientConfig { ca, identity: Some(identity), ..client(&url) }, HealthQuestion::Serving).await.unwrap();
    assert!(
        probe(&client(&format!("http://{}/", health.address)), HealthQuestion::Serving).await.is_err(),
        "no plain http beside TLS"
    );
}

#[tokio::test]
async fn probe_is_content_with_200_alone() {
    let gateway = super::Health::default();
    let server = certificates(false).server;
    let ca = Some(server.certificate.clone());
    let health = Running::health(HttpServerConfig { tls: Some(server), ..plain() }, &gateway).await;
    let block = HttpClientConfig { ca, ..client(&format!("https://{}/", health.address)) };
    let error = probe(&block, HealthQuestion::Serving).await.unwrap_err().to_string();
    assert!(error.contains("503"), "{error}");
    gateway.enter(Phase::Serving);
    probe(&block, HealthQuestion::Serving).await.unwrap();
    let untrusting = HttpClientConfig { ca: Some(certificates(false).server.certificate), ..block };
    assert!(probe(&untrusting, HealthQuestion::Serving).await.is_err());
}

#[tokio::test]
async fn six_hundred_silent_clients_keep_no_probe_out() {
    let gateway = super::Health::default();
    gateway.enter(Phase::Serving);
    let health = Running::health(plain(), &gateway).await;
    let metrics = MetricsConfig { server: plain(), path: "/metrics".into() };
    let metrics = Running::start(Endpoint::metrics(&metrics, Metrics::default(), (None, &[])).await.unwrap());
    for endpoint in [&health, &metrics] {
        let mut silent = Vec::new();
        for number in 0..600 {
            let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET / HT").await.unwrap();
            }
            silent.push(stream);
        }
        assert!(endpoint.ask("GET /metrics HTTP/1.1").await.starts_with("HTTP/1.1 200 OK\r\n"));
        // The oldest have given way to the others, and the youngest have their time for a header.
        for mut stream in silent {
            assert_eq!(timeout(SOON, stream.read(&mut [0; 16])).await.unwrap().unwrap_or(0), 0);
        }
    }
}

#[tokio::test]
async fn silent_client_does_not_hold_up_the_end() {
    let health = Running::health(plain(), &super::Health::default()).await;
    let mut silent = TcpStream::connect(health.address).await.unwrap();
    silent.write_all(b"GET / HT").await.unwrap();
    health.ask("GET / HTTP/1.1").await;
    health.stop.cancel();
    timeout(SOON, health.task).await.unwrap().unwrap();
    assert_eq!(timeout(SOON, silent.read(&mut [0; 16])).await.unwrap().unwrap_or(0), 0);
    // A program that another test starts has a copy of the listener until its exec.
    let refused = async { while TcpStream::connect(health.address).await.is_ok() {} };
    timeout(SOON, refused).await.expect("nothing listens there any more");
}

#[test]
fn answer_has_no_character_that_a_terminal_obeys() {
    let hostile = serde_json::json!({"program": "a\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{e0001}\r\n\u{e9}"});
    let text = super::json_text(&hostile);
    assert!(text.chars().all(|c| !crate::types::is_hidden(c)), "{text}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), hostile);
}
