//! The metrics page of a gateway in use.

use super::{ask, free, get};
use crate::support::client::PATIENCE;
use crate::support::gateway::SOON;
use crate::support::leash;
use crate::support::peer::{answered, until};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest};
use crate::support::world::{PASSWORD, merge};
use crate::support::{Setup, World, available};
use serde_json::json;
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Debian's, for which its modules are.
const PYTHON: &str = "/usr/bin/python3";
/// Reads the page with the parser of Prometheus' own library, which takes nothing that OpenMetrics does not allow.
const STRICT: &str = "import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
for family in parse(sys.stdin.read()): print(family.name, family.type, len(family.samples))";

pub(super) async fn page(at: SocketAddr) -> String {
    let answer = get(at, "/metrics").await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains(CLASSIC), "{head}");
    body.to_owned()
}

/// The page in OpenMetrics.
async fn open_page(at: SocketAddr) -> String {
    let answer = ask(at, "/metrics", &format!("accept: {OPEN}\r\n")).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains(OPEN), "{head}");
    body.to_owned()
}

/// The output of a program that checks a page on its standard input. It must find no mistake.
pub(super) async fn judged(program: &str, args: &[&str], page: &str) -> String {
    let mut command = leash::program(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("its input");
    stdin.write_all(page.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("in time").expect("its output");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{program}: {told}\n{page}");
    String::from_utf8(output.stdout).expect("text")
}

/// A page on which every family has a sample.
pub(super) async fn used() -> (World, SocketAddr) {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.body["username"].as_str() {
        Some("broken") => Reply::Raw(403, "", String::new()),
        _ => Reply::Json(json!({"success": false})),
    })
    .await;
    let (world, at) = counting(script.config()).await;
    for user in ["mallory", "broken"] {
        world.ssh_with_password(user, PASSWORD).run("true").await.expect(255);
    }
    (world, at)
}

#[podgate_test::multi_thread]
async fn promtool_finds_nothing_wrong_with_the_classic_page() {
    if !available("promtool", "prometheus") {
        return;
    }
    let (_world, at) = used().await;
    judged("promtool", &["check", "metrics"], &page(at).await).await;
}

#[podgate_test::multi_thread]
async fn strict_parser_of_openmetrics_takes_the_page_that_it_asks_for() {
    let module = leash::program(PYTHON).args(["-c", "import prometheus_client"]).output().await;
    if !module.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("PODGATE_TEST_ALL").is_none(), "install python3-prometheus-client");
        eprintln!("skipped: install python3-prometheus-client");
        return;
    }
    let (_world, at) = used().await;
    let families = judged(PYTHON, &["-c", STRICT], &open_page(at).await).await;
    for family in ["podgate_build info 1", "containerssh_ssh_connections counter 1", "podgate_current_sessions gauge 1"]
    {
        assert!(families.lines().any(|line| line == family), "{family} is not in\n{families}");
    }
    assert!(families.contains("podgate_login_step_seconds histogram "), "{families}");
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

#[podgate_test::multi_thread]
async fn refused_login_and_failing_webhook_are_counted_by_cause() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.body["username"].as_str() {
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
        (r#"podgate_log_events_total{level="debug",code="SSH_AUTH_UNAVAILABLE"}"#, 1.0),
        (r#"containerssh_ssh_successful_handshakes_total{country="XX"}"#, 0.0),
    ] {
        assert!(value(&page, sample) >= least, "{sample}: {page}");
    }
}

#[podgate_test::multi_thread]
async fn every_step_of_a_login_is_measured_and_no_label_names_a_user() {
    let (world, at) = counting(json!({"security": {"tty": {"mode": "disable"}}})).await;
    world.ssh_with_password("alice", PASSWORD).arg("-t").arg("-t").run("true").await.expect(255);
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.exec(true, "echo up; cat").await.expect("a request");
    assert!(answered(&mut channel).await);
    until(&mut channel, "up").await;
    let connections = r#"containerssh_ssh_current_connections{country="XX"}"#;
    // The client that was refused has gone before the gateway is done with it.
    timeout(SOON, async { while value(&page(at).await, connections) > 1.0 {} }).await.expect("in time");
    let page = page(at).await;
    for step in ["handshake", "pubkey", "config", "pod_create", "pod_ready", "pod_prepare", "exec", "first_program"] {
        let count = value(&page, &format!(r#"podgate_login_step_seconds_count{{step="{step}",outcome="success"}}"#));
        assert!(count >= 1.0, "{step}: {page}");
    }
    for direction in ["in", "out"] {
        let bytes = value(&page, &format!(r#"podgate_traffic_bytes_total{{direction="{direction}"}}"#));
        assert!(bytes > 1000.0, "{direction}: {page}");
    }
    for (sample, exact) in [
        (r#"containerssh_ssh_current_connections{country="XX"}"#, 1.0),
        ("podgate_current_sessions", 1.0),
        (r#"podgate_log_events_total{level="info",code="SECURITY_TTY_REJECTED"}"#, 1.0),
        (r#"podgate_log_events_total{level="debug",code="SSH_HANDSHAKE_SUCCESSFUL"}"#, 2.0),
    ] {
        assert_eq!(value(&page, sample), exact, "{sample}: {page}");
    }
    assert!(value(&page, r#"containerssh_backend_requests_total{backend="kubernetes"}"#) >= 4.0, "{page}");
    assert!(!world.gateway.log().contains("SSH_HANDSHAKE_SUCCESSFUL"), "it is counted below the log's level, too");
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
        "authtype",
        "retry",
        "country",
        "type",
        "reason",
        "backend",
        "step",
        "outcome",
        "le",
        "level",
        "code",
        "cause",
        "direction",
        "on_failure",
        "way",
        "result",
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
