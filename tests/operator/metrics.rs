//! The metrics page of a gateway in use.

use super::{free, get};
use crate::support::gateway::SOON;
use crate::support::peer::{answered, until};
use crate::support::script::{Asked, Reply, Script};
use crate::support::world::{PASSWORD, merge};
use crate::support::{Setup, World};
use serde_json::json;
use std::net::SocketAddr;
use tokio::time::timeout;

async fn page(at: SocketAddr) -> String {
    let answer = get(at, "/metrics").await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("application/openmetrics-text"), "{head}");
    body.to_owned()
}

/// A sample's value; the labels in their order on the page.
fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{sample} is not in\n{page}")).parse().expect("a number")
}

async fn counting(more: serde_json::Value) -> (World, SocketAddr) {
    let at = free();
    let mut config = json!({"metrics": {"enable": true, "listen": at.to_string()}, "log": {"level": "info"}});
    merge(&mut config, more);
    (Setup::config(config).start().await, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_login_and_failing_webhook_are_counted_by_cause() {
    let script = Script::start(|asked: &Asked| match asked.body["username"].as_str() {
        Some("broken") => Reply::Raw(403, "", String::new()),
        _ => Reply::Json(json!({"success": false})),
    })
    .await;
    let (world, at) = counting(script.config()).await;
    world.ssh_with_password("mallory", PASSWORD).run("true").await.expect(255);
    world.ssh_with_password("broken", PASSWORD).run("true").await.expect(255);
    let page = page(at).await;
    for (sample, least) in [
        (r#"containerssh_auth_failures_total{authtype="password",retry="0",country="XX"}"#, 1.0),
        (r#"containerssh_auth_server_requests_total{authtype="password",retry="0"}"#, 2.0),
        (
            r#"containerssh_auth_server_failures_total{type="hard",authtype="password",retry="0",reason="AUTH_INVALID_STATUS"}"#,
            1.0,
        ),
        (r#"podgate_login_step_seconds_count{step="password",outcome="refused"}"#, 1.0),
        (r#"podgate_login_step_seconds_count{step="password",outcome="failed"}"#, 1.0),
        (r#"podgate_log_events_total{level="info",code="SSH_AUTH_FAILED"}"#, 1.0),
        (r#"podgate_log_events_total{level="info",code="SSH_AUTH_UNAVAILABLE"}"#, 1.0),
        (r#"containerssh_ssh_successful_handshakes_total{country="XX"}"#, 0.0),
    ] {
        assert!(value(&page, sample) >= least, "{sample}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_of_a_login_is_measured_and_no_label_names_a_user() {
    let (world, at) = counting(json!({"security": {"tty": {"mode": "disable"}}})).await;
    world.ssh_with_password("alice", PASSWORD).arg("-t").arg("-t").run("true").await.expect(255);
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "echo up; cat").await.expect("a request");
    assert!(answered(&mut channel).await);
    until(&mut channel, "up").await;
    let page = page(at).await;
    for step in ["handshake", "pubkey", "config", "pod_create", "pod_ready", "pod_prepare", "exec", "first_program"] {
        let count = value(&page, &format!(r#"podgate_login_step_seconds_count{{step="{step}",outcome="success"}}"#));
        assert!(count >= 1.0, "{step}: {page}");
    }
    for (sample, exact) in [
        (r#"containerssh_ssh_current_connections{country="XX"}"#, 1.0),
        ("podgate_current_sessions", 1.0),
        (r#"podgate_log_events_total{level="debug",code="SECURITY_TTY_REJECTED"}"#, 1.0),
    ] {
        assert_eq!(value(&page, sample), exact, "{sample}: {page}");
    }
    assert!(value(&page, r#"containerssh_backend_requests_total{backend="kubernetes"}"#) >= 4.0, "{page}");
    assert!(!world.gateway.log().contains("SECURITY_TTY_REJECTED"), "it is counted below the log's level, too");
    only_words_of_the_program(&world, &page);

    peer.handle.disconnect(russh::Disconnect::ByApplication, "", "").await.expect("a disconnect");
    world.wait_for_pods(0).await;
    let none = r#"containerssh_ssh_current_connections{country="XX"}"#;
    // A page tells nobody that it has changed.
    let emptied = async { while value(&self::page(at).await, none) > 0.0 {} };
    timeout(SOON, emptied).await.expect("in time");
    assert_eq!(value(&self::page(at).await, "podgate_current_sessions"), 0.0);
}

/// Nothing that a user, a client, a webhook or the cluster named.
fn only_words_of_the_program(world: &World, page: &str) {
    let pods = world.pods();
    for name in pods.iter().map(String::as_str).chain(["alice", "127.0.0.1", world.namespace(), "echo up"]) {
        assert!(!page.contains(name), "{name} is in\n{page}");
    }
    let keys = [
        "authtype", "retry", "country", "type", "reason", "backend", "step", "outcome", "le", "level", "code", "cause",
        "version",
    ];
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let labels = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(labels, _)| labels);
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (key, word) = label.split_once('=').expect("a label");
            let plain = word.trim_matches('"').chars().all(|c| c.is_ascii_alphanumeric() || "_.+".contains(c));
            assert!(keys.contains(&key) && plain, "{line}");
        }
    }
}
