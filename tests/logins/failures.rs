//! Webhooks that fail: the login is refused, or the first request is, within the deadline and with a reason that the user
//! can read.

use super::Trusting;
use crate::support::scripted_webhook::{
    Authority, Reply, ScriptedWebhook, WebhookRequest, accept_all, empty_config, serve_at, success,
};
use crate::support::world::{PASSWORD, merge};
use crate::support::{Setup, World};
use russh::client::{self, Config};
use russh::keys::{PrivateKeyWithHashAlg, load_secret_key};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The deadlines of these tests: of a try, and of all tries of a login.
const TRY: &str = "1s";
const ALL: &str = "3s";
/// The time limit for three logins with those: one alone takes as long with the default of `authTimeout`.
const OVER: Duration = Duration::from_secs(60);

fn hasty(url: &str) -> Value {
    let client = json!({"webhook": {"url": url, "timeout": TRY, "authTimeout": ALL}});
    json!({"auth": {"password": client, "publicKey": client}})
}

/// A login whose authentication webhook is `url`: refused in time, with that reason, without a pod.
async fn refused_login(url: &str, reason: &str) -> World {
    let world = Setup::config(hasty(url)).start().await;
    let begun = Instant::now();
    let by_password = world.ssh_as_person("alice").option("PreferredAuthentications=password");
    for client in [world.ssh_as_person("alice"), world.ssh_as("alice"), by_password] {
        let done = client.run("true").await.expect(255);
        let told = format!("podgate: the authentication server {reason}");
        assert!(done.stderr.contains(&told), "{told:?} is not in {:?}", done.stderr);
    }
    assert!(begun.elapsed() < OVER, "{:?}", begun.elapsed());
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    let line = world.gateway.wait_for_line("SSH_AUTH_UNAVAILABLE").await;
    assert_eq!(line["details"]["username"], "alice");
    let line = world.gateway.wait_for(|line| line["code"] == "AUTH_BACKEND_ERROR" && line["level"] == "error").await;
    assert!(line["details"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
    world
}

/// A faulty server's answer, and the text that the user reads.
fn broken() -> Vec<(Reply, &'static str)> {
    let raw = |status, body: &str| Reply::Raw(status, "", body.into());
    vec![
        (raw(500, "oops"), "answers with an error"),
        (raw(400, "{\"error\":\"no\"}"), "answers with an error"),
        (Reply::Raw(302, "location: /elsewhere\r\n", String::new()), "answers with an error"),
        (Reply::Huge(2 * 1024 * 1024), "gives an answer that is too large"),
        (raw(200, "{\"success\": \"yes\", \"config\": []}"), "gives an answer that is not understood"),
        (raw(200, "<html>"), "gives an answer that is not understood"),
        (
            raw(200, "{\"success\": true, \"environment\": {\"A\": {\"value\": \"x\\u0000\"}}, \"config\": 1}"),
            "gives an answer that is not understood",
        ),
        (Reply::Hang, "does not answer in time"),
    ]
}

async fn broken_server(at: usize, path: &'static str) -> ScriptedWebhook {
    ScriptedWebhook::start(move |asked: &WebhookRequest| {
        let broken = broken().into_iter().nth(at).map(|(reply, _)| reply).expect("one of them");
        if asked.path == path || path == "/password" && asked.path == "/pubkey" { broken } else { accept_all(asked) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_authentication_server_refuses_with_a_reason() {
    for (at, (_, reason)) in broken().into_iter().enumerate() {
        let script = broken_server(at, "/password").await;
        refused_login(&script.url, reason).await;
        assert!(script.requests_to("/elsewhere").is_empty());
        assert_eq!(script.requests_to("/password").len(), 1, "a directory counts: {reason}");
    }
}

#[podgate_test::multi_thread]
async fn authentication_server_that_is_down_refuses_with_a_reason() {
    refused_login("http://127.0.0.1:1", "cannot be reached").await;
}

#[podgate_test::multi_thread]
async fn certificate_of_another_ca_or_for_another_name_is_not_trusted() {
    let (ours, other) = (Authority::new(), Authority::new());
    for (authority, name) in [(&other, "localhost"), (&ours, "elsewhere.example")] {
        let url = serve_at(authority.listen(name, false), axum::Router::new()).await;
        let mut config = hasty(&url);
        for step in ["password", "publicKey"] {
            merge(&mut config, json!({"auth": {step: {"webhook": {"cacert": ours.pem()}}}}));
        }
        let world = Setup::config(config).start().await;
        let done = world.ssh().run("true").await.expect(255);
        let told = "podgate: the authentication server cannot be reached securely";
        assert!(done.stderr.contains(told), "{}", done.stderr);
        assert_eq!(world.cluster.requests("create", "pods"), 0);
        let line = world.gateway.wait_for_line("AUTH_BACKEND_ERROR").await;
        assert!(line["details"]["reason"].as_str().is_some_and(|reason| reason.contains("TLS")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_config_server_is_told_to_the_first_request_of_a_login_that_succeeded() {
    for (at, (reply, reason)) in broken().into_iter().enumerate() {
        // Without a deadline that can be set, a try that fails is made again for a minute.
        if matches!(reply, Reply::Hang | Reply::Raw(500, ..)) {
            continue;
        }
        let script = broken_server(at, "/config").await;
        let world = Setup::config(script.config()).start().await;
        let done = world.ssh_with_password("alice", PASSWORD).run("echo ran").await.expect(255);
        assert_eq!(done.text(), "");
        let told = format!("podgate: the configuration server {reason}\n");
        assert!(done.stderr.starts_with(&told), "{told:?} does not begin {:?}", done.stderr);
        world.gateway.wait_for_line("SSH_AUTH_SUCCESSFUL").await;
        let line = world.gateway.wait_for_line("SSH_BACKEND_REJECTED_HANDSHAKE").await;
        assert_eq!(line["details"]["username"], "alice");
        world.gateway.wait_for_line("SSH_DISCONNECTED").await;
        assert_eq!(script.requests_to("/password").len(), 1);
        assert_eq!(world.cluster.requests("create", "pods"), 0);
    }
}

#[podgate_test::multi_thread]
async fn server_that_recovers_is_asked_again_but_not_for_a_password_and_a_no_is_not() {
    let tries = std::sync::atomic::AtomicUsize::new(0);
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => empty_config(),
        "/password" => Reply::Raw(503, "", String::new()),
        _ if tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2 => Reply::Raw(503, "", String::new()),
        _ => success(),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    world.ssh_as_person("alice").run("true").await.expect(0);
    assert_eq!(script.requests_to("/pubkey").len(), 3);
    world.ssh_with_password("alice", PASSWORD).run("true").await.expect(255);
    assert_eq!(script.requests_to("/password").len(), 1);

    let script = ScriptedWebhook::start(|_: &WebhookRequest| Reply::Raw(403, "", String::new())).await;
    let world = Setup::config(script.config()).start().await;
    world.ssh_with_password("alice", PASSWORD).run("true").await.expect(255);
    assert_eq!(script.requests().len(), 1);
}

#[podgate_test::multi_thread]
async fn disconnect_of_the_client_cancels_what_it_made_the_gateway_ask() {
    for slow in ["/password", "/config"] {
        let script = ScriptedWebhook::start(
            move |asked: &WebhookRequest| if asked.path == slow { Reply::Hang } else { accept_all(asked) },
        )
        .await;
        let mut config = script.config();
        merge(&mut config, json!({"auth": {"password": {"webhook": {"timeout": "60s"}}}}));
        merge(&mut config, json!({"configserver": {"timeout": "60s"}}));
        let world = Setup::config(config).start().await;
        let client = world.ssh_with_password("alice", PASSWORD).arg("127.0.0.1").arg("true").spawn();
        script.wait_for_requests(if slow == "/config" { 2 } else { 1 }).await;
        drop(client);
        script.wait_for_disconnect().await;
        world.gateway.wait_for_line("SSH_DISCONNECTED").await;
        assert_eq!(world.cluster.requests("create", "pods"), 0);
    }
}

#[podgate_test::multi_thread]
async fn login_that_ended_with_a_reason_is_never_told_success_and_lets_nobody_do_anything() {
    let script = ScriptedWebhook::start(|_: &WebhookRequest| Reply::Raw(400, "", String::new())).await;
    let world = Setup::config(script.config()).start().await;
    for by_key in [false, true] {
        let connected = client::connect(Arc::new(Config::default()), world.gateway.address, Trusting).await;
        let mut client = connected.expect("a connection");
        let answer = if by_key {
            // The proof of a key that nobody could judge: the gateway asks for it, and it counts for nothing.
            let key = load_secret_key(&world.key.file, None).expect("the key");
            client.authenticate_publickey("alice", PrivateKeyWithHashAlg::new(Arc::new(key), None)).await
        } else {
            client.authenticate_password("alice", PASSWORD).await
        };
        assert!(!answer.is_ok_and(|answer| answer.success()));
        assert!(client.channel_open_session().await.is_err());
    }
    world.gateway.wait_for(|_| world.gateway.lines("SSH_DISCONNECTED").len() == 2).await;
    let log = world.gateway.log();
    assert!(!log.contains("SSH_AUTH_SUCCESSFUL") && !log.contains("SSH_NEW_CHANNEL"), "{log}");
    assert_eq!(script.requests().len(), 2);
    assert_eq!(world.cluster.requests("create", "pods"), 0);
}
