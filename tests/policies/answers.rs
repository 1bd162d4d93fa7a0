//! Settings of one user's own, from the config webhook.

use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, success};
use crate::support::{Setup, World};
use serde_json::{Value, json};

const ALL_ZERO: &str = include_str!("../data/config-answer-all-zero.json");

/// A world with rules in its file, whose config webhook gives everyone this answer.
async fn answered(file: Value, answer: Value) -> World {
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Raw(200, "content-type: text/plain; charset=utf-8\r\n", answer.to_string()),
        _ => success(),
    })
    .await;
    let mut config = script.config();
    config["security"] = file;
    let mut world = Setup::config(config).start().await;
    world.keep(script);
    world
}

#[podgate_test::multi_thread]
async fn rules_of_one_user_override_the_file_for_that_user_alone() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/config" if asked.body["username"] == "alice" => {
            Reply::Json(json!({"config": {"security": {"shell": {"mode": "disable"}, "forceCommand": "echo forced"}}}))
        }
        "/config" => Reply::Json(json!({"config": {"security": {"command": {"mode": "enable"}}}})),
        _ => success(),
    })
    .await;
    let mut config = script.config();
    config["security"] = json!({"command": {"mode": "disable"}});
    let world = Setup::config(config).start().await;
    assert_eq!(world.ssh_as("bob").run("echo own").await.expect(0).text(), "own\n");
    let alice = world.ssh().run("echo own").await.expect(255);
    assert_eq!(alice.stderr, "podgate: commands are disabled\n");
    let shell = world.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(255);
    assert_eq!(shell.stderr, "podgate: shells are disabled\n");
}

#[podgate_test::multi_thread]
async fn zeros_of_a_whole_structure_change_nothing() {
    let answer = serde_json::from_str(ALL_ZERO).expect("JSON");
    let world =
        answered(json!({"maxSessions": 3, "command": {"mode": "filter", "allow": ["echo in; cat"]}}), answer).await;
    let running = world.ssh().start("echo in; cat");
    running.until_stdout("in").await;
    assert_eq!(world.pods().len(), 1);
    world.ssh().run("id").await.expect(255);
}

#[podgate_test::multi_thread]
async fn exact_answer_means_its_zeros() {
    let rules = json!({"security": {"maxSessions": 0}});
    let world = answered(json!({}), json!({"config": rules})).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    let world = answered(json!({}), json!({"config": rules, "exact": true})).await;
    let done = world.ssh().arg("-v").run("echo in").await.expect(255);
    assert!(done.stderr.contains("too many sessions are open"), "{}", done.stderr);
}

#[podgate_test::multi_thread]
async fn answer_that_reaches_for_the_cluster_or_a_file_is_refused() {
    for connection in [json!({"host": "127.0.0.1:1"}), json!({"bearerTokenFile": "/etc/passwd"})] {
        let answer = json!({"config": {"kubernetes": {"connection": connection}}});
        let world = answered(json!({}), answer).await;
        let done = world.ssh().run("echo in").await.expect(255);
        let told = "podgate: the configuration for this login is not valid; tell the operator\n";
        assert_eq!((done.text().as_str(), done.stderr.starts_with(told)), ("", true), "{}", done.stderr);
        let line = world.gateway.wait_for_line("SSH_BACKEND_REJECTED_HANDSHAKE").await;
        assert!(line["details"]["reason"].as_str().is_some_and(|why| why.contains("kubernetes.connection")), "{line}");
        assert_eq!(world.cluster.requests("create", "pods"), 0);
    }
}
