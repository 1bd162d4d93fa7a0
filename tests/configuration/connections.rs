//! Settings that are wrong for one user: named in the log with their path, a short reason for the user, and everybody else
//! goes on.

use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, empty_config, success};
use crate::support::{Setup, World};
use serde_json::{Value, json};

/// A world where alice's settings are these and bob's are the usual.
async fn with_settings_of_alice(settings: Value) -> World {
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" if asked.body["username"] == "alice" => Reply::Json(json!({"config": settings, "exact": true})),
        "/config" => empty_config(),
        _ => success(),
    })
    .await;
    let mut world = Setup::config(script.config()).start().await;
    world.keep(script);
    world
}

/// Logs in as both; alice is told this, and the log names that.
async fn refused(settings: Value, told: &str, code: &str, named: &str) {
    let world = with_settings_of_alice(settings.clone()).await;
    let done = world.ssh().run("echo ran").await.expect(255);
    assert_eq!(done.text(), "", "{settings}");
    assert!(done.stderr.contains(&format!("podgate: {told}")), "{settings}: {}", done.stderr);
    assert!(done.stderr.len() < 400, "{}", done.stderr);
    let line = world.gateway.wait_for(|line| line["code"] == code && line["details"]["username"] == "alice").await;
    assert!(line["details"].to_string().contains(named), "{named:?} is not in {line}");
    assert_eq!(world.ssh_as("bob").run("echo ran").await.expect(0).text(), "ran\n");
    world.wait_for_pods(0).await;
}

const NOT_VALID: &str = "the configuration for this login is not valid; tell the operator";

#[podgate_test::multi_thread]
async fn settings_that_are_wrong_in_themselves_are_named_by_their_path() {
    let pod = |pod: Value| json!({"kubernetes": {"pod": pod}});
    for (settings, path) in [
        (pod(json!({"spec": {"containers": []}})), "kubernetes.pod.spec.containers"),
        (pod(json!({"consoleContainerNumber": 1})), "kubernetes.pod.consoleContainerNumber"),
        (pod(json!({"metadata": {"namespace": "No_Label"}})), "kubernetes.pod.metadata.namespace"),
        (pod(json!({"shellComand": ["/bin/sh"]})), "kubernetes.pod.shellComand"),
        (pod(json!({"shellCommand": 7})), "kubernetes.pod.shellCommand"),
        (json!({"security": {"shell": {"mode": "perhaps"}}}), "security.shell.mode"),
        (json!({"backend": "podman"}), "backend"),
    ] {
        refused(settings, NOT_VALID, "SSH_BACKEND_REJECTED_HANDSHAKE", path).await;
    }
}

#[podgate_test::multi_thread]
async fn field_that_the_cluster_does_not_know_is_named_by_its_path() {
    let mut container = crate::support::cluster::container("shell");
    container["imagePullPolice"] = json!("Never");
    let settings = json!({"kubernetes": {"pod": {"spec": {"containers": [container]}}}});
    refused(settings, "", "KUBERNETES_POD_CREATE_FAILED", "imagePullPolice").await;
}

#[podgate_test::multi_thread]
async fn namespace_that_is_not_there_is_a_reason() {
    let settings = json!({"kubernetes": {"pod": {"metadata": {"namespace": "elsewhere"}}}});
    refused(settings, "", "KUBERNETES_POD_CREATE_FAILED", "elsewhere").await;
}
