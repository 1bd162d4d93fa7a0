//! Servers on real sockets: what is refused before anyone listens, TLS both ways, Unix sockets, and each webhook.

use crate::support::{Authority, Running, Said, connect_as, connect_tls, post, refused, request, tls_client};
use hyper::Method;
use podgate_webhooks::directory::{Directory, User};
use podgate_webhooks::server::{BindError, Listen, Server, SocketMode, Tls};
use podgate_webhooks::toolkit::{Decide, Decision, router};
use podgate_webhooks::wire::Connection;
use rustls::HandshakeKind;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

fn directory() -> Directory {
    let user = User::with_password("right").expect("a hash").key(KEY).expect("a key");
    let user = user.settings(json!({"backend": "kubernetes"})).expect("settings");
    Directory::new().user("foo", user)
}

async fn plain() -> Running {
    let listen = Listen::parse("http://127.0.0.1:0", None).expect("an address");
    Running::start(Server::bind(listen, router(directory())).await.expect("a port"))
}

async fn ask(running: &Running, path: &str, body: &Value) -> Said {
    let stream = TcpStream::connect(running.address()).await.expect("a connection");
    post(stream, path, body.to_string()).await
}

#[tokio::test]
async fn plain_http_beyond_this_machine_is_refused() {
    for address in ["http://0.0.0.0:0", "http://[::]:0", "http://[::ffff:0.0.0.0]:0", "http://192.0.2.1:80"] {
        let listen = Listen::parse(address, None).expect("an address");
        let bound = Server::bind(listen, router(directory())).await;
        assert!(matches!(bound, Err(BindError::Plaintext(_))), "{address}: {bound:?}");
    }
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_are_denied() {
    let running = plain().await;
    for (user, password) in [("foo", "d3Jvbmc="), ("foo", ""), ("bar", "cmlnaHQ="), ("", "cmlnaHQ=")] {
        let said = ask(&running, "/password", &json!({"username": user, "passwordBase64": password})).await;
        assert_eq!((said.status, said.body), (200, json!({"success": false})), "{user} {password}");
    }
    let other = KEY.replace("HR4f", "HR4g");
    for (user, key) in [("foo", other.as_str()), ("bar", KEY), ("foo", "nonsense")] {
        let said = ask(&running, "/pubkey", &json!({"username": user, "publicKey": key})).await;
        assert_eq!((said.status, said.body), (200, json!({"success": false})), "{user} {key}");
    }
    let said = ask(&running, "/config", &json!({"username": "bar"})).await;
    let denied = json!({"success": false, "message": "the user is not in the directory"});
    assert_eq!((said.status, said.body), (200, denied));
    running.end().await;
}

#[tokio::test]
async fn what_is_not_the_request_is_refused_with_a_reason_in_json() {
    let running = plain().await;
    let stream = async || TcpStream::connect(running.address()).await.expect("a connection");
    let huge = format!(r#"{{"username":"{}"}}"#, "x".repeat(4 << 20));
    for (method, path, body, status) in [
        (Method::GET, "/password", String::new(), 405),
        (Method::PUT, "/config", String::new(), 405),
        (Method::POST, "/", "{}".into(), 404),
        (Method::POST, "/password/", "{}".into(), 404),
        (Method::POST, "/password", String::new(), 400),
        (Method::POST, "/password", "s3cret".into(), 400),
        (Method::POST, "/password", r#"{"username":"foo","passwordBase64":"s3cret!"}"#.into(), 400),
        (Method::POST, "/pubkey", r#"{"username":"foo"}"#.into(), 400),
        (Method::POST, "/authz", r#"{"username":["s3cret"]}"#.into(), 400),
        (Method::POST, "/config", huge, 413),
    ] {
        let said = request(stream().await, &method, path, body).await;
        assert_eq!(said.status, status, "{method} {path}: {:?}", said.body);
        assert_eq!(said.content_type.as_deref(), Some("application/json"), "{method} {path}");
        let reason = said.body["error"].as_str().unwrap_or_default();
        assert!(!reason.is_empty() && !reason.contains("s3cret"), "{method} {path}: {reason:?}");
    }
    running.end().await;
}

#[tokio::test]
async fn listed_user_gets_in_by_password_and_key_and_gets_a_config() {
    let running = plain().await;
    let yes = json!({"success": true, "authenticatedUsername": "foo"});
    let said = ask(&running, "/password", &json!({"username": "foo", "passwordBase64": "cmlnaHQ="})).await;
    assert_eq!((said.status, &said.body), (200, &yes));
    assert_eq!(said.content_type.as_deref(), Some("application/json"));
    let said = ask(&running, "/pubkey", &json!({"username": "foo", "publicKey": KEY})).await;
    assert_eq!((said.status, &said.body), (200, &yes));
    let said = ask(&running, "/authz", &json!({"username": "foo", "authenticatedUsername": "foo"})).await;
    assert_eq!((said.status, &said.body), (200, &yes));
    let said = ask(&running, "/config", &json!({"username": "foo", "authenticatedUsername": "foo"})).await;
    assert_eq!((said.status, said.body), (200, json!({"config": {"backend": "kubernetes"}, "exact": true})));
    running.end().await;
}

#[tokio::test]
async fn decider_that_implements_nothing_denies_everything() {
    struct Nothing;
    impl Decide for Nothing {}
    let listen = Listen::parse("http://localhost:0", None).expect("an address");
    let running = Running::start(Server::bind(listen, router(Nothing)).await.expect("a port"));
    let said = ask(&running, "/password", &json!({"username": "foo", "passwordBase64": ""})).await;
    assert_eq!((said.status, said.body), (200, json!({"success": false})));
    let said = ask(&running, "/pubkey", &json!({"username": "foo", "publicKey": KEY})).await;
    assert_eq!((said.status, said.body), (200, json!({"success": false})));
    let said = ask(&running, "/authz", &json!({"username": "foo"})).await;
    assert_eq!((said.status, said.body), (200, json!({"success": false})));
    assert_eq!(ask(&running, "/config", &json!({"username": "foo"})).await.status, 403);
    running.end().await;
}

#[tokio::test]
async fn https_answers_a_client_that_trusts_it_and_no_other() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes(), None).expect("a certificate");
    let listen = Listen::parse("https://127.0.0.1:0", Some(tls)).expect("an address");
    let running = Running::start(Server::bind(listen, router(directory())).await.expect("a port"));

    assert!(connect_tls(running.address(), &Authority::new(), None).await.is_err());
    let stream = connect_tls(running.address(), &authority, None).await.expect("a connection");
    let said = post(stream, "/password", json!({"username": "foo", "passwordBase64": "cmlnaHQ="}).to_string()).await;
    assert_eq!((said.status, &said.body["success"]), (200, &json!(true)));
    running.end().await;
}

#[tokio::test]
async fn client_without_a_certificate_of_the_client_ca_is_refused() {
    let authority = Authority::new();
    let clients = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes(), Some(clients.pem().as_bytes())).expect("TLS");
    let listen = Listen::parse("https://127.0.0.1:0", Some(tls)).expect("an address");
    let running = Running::start(Server::bind(listen, router(directory())).await.expect("a port"));

    // TLS 1.3 clients learn of the refusal only when they read.
    for identity in [None, Some(Authority::new().issue("client"))] {
        assert!(refused(running.address(), &authority, identity.as_ref()).await);
    }
    let identity = clients.issue("client");
    let stream = connect_tls(running.address(), &authority, Some(&identity)).await.expect("a connection");
    let said = post(stream, "/authz", json!({"username": "foo"}).to_string()).await;
    assert_eq!((said.status, &said.body["success"]), (200, &json!(true)));
    running.end().await;
}

#[tokio::test]
async fn clients_certificate_is_looked_at_in_every_handshake() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = authority.issue("localhost");
    let tls = Tls::from_pem(certificate.as_bytes(), key.as_bytes(), Some(clients.pem().as_bytes())).expect("TLS");
    let listen = Listen::parse("https://127.0.0.1:0", Some(tls)).expect("an address");
    let running = Running::start(Server::bind(listen, router(directory())).await.expect("a port"));
    let client = tls_client(&authority, Some(&clients.issue("client")));
    for _ in 0..2 {
        let stream = connect_as(running.address(), client.clone()).await.expect("a connection");
        // A resumed one would take the client for who it was, however long its certificate has been over.
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        // The answer brings along whatever a session could be resumed with.
        let said = post(stream, "/authz", json!({"username": "foo"}).to_string()).await;
        assert_eq!(said.status, 200);
    }
    running.end().await;
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("localhost");
    let (_, other_key) = authority.issue("localhost");
    let torn = certificate.replace("-----END", "");
    let garbage = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    for (certificate, key, client_ca, expected) in [
        ("", key.as_str(), None, "the certificate file holds no certificate"),
        (torn.as_str(), key.as_str(), None, "the certificate is not PEM: a line -----END …----- is missing"),
        (certificate.as_str(), "", None, "the key is not PEM: it holds no private key, or one with a passphrase"),
        (
            certificate.as_str(),
            other_key.as_str(),
            None,
            "certificate and key cannot be used: the key does not match the certificate",
        ),
        (
            garbage,
            key.as_str(),
            None,
            "certificate and key cannot be used: the certificate is damaged, or no X.509 certificate",
        ),
        (
            certificate.as_str(),
            key.as_str(),
            Some(garbage),
            "certificate number 1 of the client CA cannot be used: it is damaged, or no X.509 certificate",
        ),
        (certificate.as_str(), key.as_str(), Some(""), "the client CA file holds no certificate"),
    ] {
        let error =
            Tls::from_pem(certificate.as_bytes(), key.as_bytes(), client_ca.map(str::as_bytes)).expect_err(expected);
        assert_eq!(error.to_string(), expected);
        assert!(std::error::Error::source(&error).is_none(), "the text says all: {error:?}");
    }
    let missing = Path::new("/nonexistent/podgate.pem");
    let error = Tls::from_files(missing, missing, None).expect_err("no file").to_string();
    assert_eq!(error, "cannot read /nonexistent/podgate.pem");
}

#[tokio::test]
async fn unix_socket_is_private_replaces_a_stale_one_and_goes_at_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hooks.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));

    let listen = Listen::parse(&format!("unix:{}", path.display()), None).expect("an address");
    let server = Server::bind(listen.clone(), router(directory())).await.expect("the socket");
    assert_eq!(server.local_addr(), None);
    assert_eq!(server.url(), format!("unix:{}", path.display()));
    let running = Running::start(server);
    let mode = std::fs::symlink_metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let second = Server::bind(listen, router(directory())).await;
    assert!(matches!(second, Err(BindError::Live(_))), "{second:?}");
    let stream = UnixStream::connect(&path).await.expect("a connection");
    let said = post(stream, "/authz", json!({"username": "foo"}).to_string()).await;
    assert_eq!((said.status, &said.body["success"]), (200, &json!(true)));

    running.end().await;
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}

#[tokio::test]
async fn file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes");
    std::fs::write(&path, "mine").expect("a file");
    let listen = Listen::Unix(path.clone(), SocketMode::default());
    let bound = Server::bind(listen, router(directory())).await;
    assert!(matches!(bound, Err(BindError::NotASocket(_))), "{bound:?}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), "mine");
}

#[tokio::test]
async fn socket_of_a_successor_outlives_us_and_the_group_may_be_let_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hooks.sock");
    let mode = "0660".parse().expect("a mode");
    let server = Server::bind(Listen::Unix(path.clone(), mode), router(directory())).await.expect("the socket");
    let found = std::fs::symlink_metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(found & 0o777, 0o660);
    std::fs::remove_file(&path).expect("the socket's file");
    let successor = std::os::unix::net::UnixListener::bind(&path).expect("another socket");
    drop(server);
    assert!(path.exists());
    drop(successor);
    for text in ["", "0666", "777", "0602"] {
        assert!(text.parse::<SocketMode>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn request_under_way_is_answered_after_the_call_to_stop() {
    struct Slow {
        asked: Arc<Notify>,
        go: Arc<Notify>,
    }
    impl Decide for Slow {
        async fn password(&self, _: &Connection, _: &[u8]) -> Decision {
            self.asked.notify_one();
            self.go.notified().await;
            Decision::allow()
        }
    }
    let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("hooks.sock");
    let slow = Slow { asked: Arc::clone(&asked), go: Arc::clone(&go) };
    let listen = Listen::Unix(path.clone(), SocketMode::default());
    let running = Running::start(Server::bind(listen, router(slow)).await.expect("the socket"));
    let stream = UnixStream::connect(&path).await.expect("a connection");
    let body = json!({"username": "foo", "passwordBase64": ""}).to_string();
    let waiting = tokio::spawn(post(stream, "/password", body));
    asked.notified().await;

    let ended = tokio::spawn(running.end());
    // The socket's file goes when nothing is accepted any more.
    while path.exists() {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(waiting.await.expect("no panic").body, json!({"success": true}));
    ended.await.expect("no panic");
}

#[tokio::test]
async fn decision_that_cannot_be_made_is_503_so_that_the_gateway_asks_again() {
    struct Down;
    impl Decide for Down {
        async fn public_key(&self, _: &Connection, _: &str) -> Decision {
            Decision::Unavailable("the database is away".into())
        }
    }
    let listen = Listen::parse("http://127.0.0.1:0", None).expect("an address");
    let running = Running::start(Server::bind(listen, router(Down)).await.expect("a port"));
    let said = ask(&running, "/pubkey", &json!({"username": "foo", "publicKey": KEY})).await;
    assert_eq!((said.status, said.body), (503, json!({"error": "the database is away"})));
    running.end().await;
}
