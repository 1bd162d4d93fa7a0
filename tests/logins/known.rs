//! What webhooks know about a user: the name, metadata, environment and files, and where each of them ends up.

use super::with_authz;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, empty_config, success};
use crate::support::world::PASSWORD;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

/// The pod of a login that lasts as long as this looks at it.
async fn pod_of(world: &World, user: &str) -> Value {
    let mut client = world.ssh_with_password(user, PASSWORD).arg("127.0.0.1").arg("echo x; cat").spawn();
    let mut byte = [0];
    client.stdout.as_mut().expect("a pipe").read_exact(&mut byte).await.expect("the program runs");
    let mut pods = world.cluster.pods(world.namespace());
    assert_eq!(pods.len(), 1, "{pods:?}");
    pods.remove(0)
}

#[podgate_test::multi_thread]
async fn authenticated_name_goes_from_answer_to_answer_and_onto_the_pod() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/password" => Reply::Json(json!({"success": true, "authenticatedUsername": "alice@example.org"})),
        "/config" => empty_config(),
        _ => success(),
    })
    .await;
    let world = Setup::config(with_authz(&script)).start().await;
    let pod = pod_of(&world, "alice").await;
    assert_eq!(script.requests_to("/authz")[0]["authenticatedUsername"], "alice@example.org");
    assert_eq!(script.requests_to("/config")[0]["authenticatedUsername"], "alice@example.org");
    assert_eq!(script.requests_to("/config")[0]["username"], "alice");
    assert_eq!(pod["metadata"]["annotations"]["podgate/username"], "alice@example.org");
    assert_eq!(pod["metadata"]["labels"]["containerssh_username"], "alice-example.org");
    assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/managed-by"], "podgate");
    let line = world.gateway.wait_for(|line| line["code"] == "SSH_AUTH_SUCCESSFUL").await;
    assert_eq!(line["details"]["username"], "alice");
}

#[podgate_test::multi_thread]
async fn authenticated_name_is_the_login_name_where_nobody_gives_one() {
    let script = ScriptedWebhook::start(crate::support::scripted_webhook::accept_all).await;
    let world = Setup::config(script.config()).start().await;
    let pod = pod_of(&world, "bob").await;
    assert_eq!(script.requests_to("/config")[0]["authenticatedUsername"], "bob");
    assert_eq!(pod["metadata"]["annotations"]["podgate/username"], "bob");
}

#[podgate_test::multi_thread]
async fn variables_that_a_shell_does_not_allow_are_left_out_and_the_user_lands() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/password" => Reply::Json(json!({"success": true, "metadata": {"team": {"value": "blue"}}, "environment": {
            "X-Y": {"value": "1"}, "GOOD": {"value": "first"}}})),
        _ => Reply::Json(json!({
            "config": {"kubernetes": {"pod": {"exposeAuthMetadataAsEnv": {"team": "MY-TEAM"}}}},
            "environment": {"a.b": {"value": "2"}, "ALSO": {"value": "second"}}})),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    let done = world.ssh_with_password("alice", PASSWORD).run("echo $GOOD $ALSO; env").await.expect(0);
    assert!(done.text().starts_with("first second\n"), "{}", done.text());
    assert!(["X-Y=", "a.b=", "MY-TEAM="].iter().all(|name| !done.text().contains(name)), "{}", done.text());
    for (code, name) in
        [("AUTH_ENV_LEFT_OUT", "X-Y"), ("CONFIG_ENV_LEFT_OUT", "a.b"), ("CONFIG_ENV_LEFT_OUT", "MY-TEAM")]
    {
        let shown = format!("{name:?}");
        let line = world.gateway.wait_for(|line| line["code"] == code && line["details"]["variables"] == *shown).await;
        assert_eq!(line["level"], "warning", "{line}");
    }
}

#[podgate_test::multi_thread]
async fn sensitive_values_reach_the_config_server_only_where_it_is_said_and_never_authorization() {
    for transmit in [false, true] {
        let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
            "/password" => Reply::Json(json!({"success": true, "metadata": {
                "team": {"value": "blue"}, "token": {"value": "s3cret", "sensitive": true}}})),
            "/authz" => Reply::Json(json!({"success": true, "metadata": {"floor": {"value": "2"}}})),
            _ => empty_config(),
        })
        .await;
        let mut config = with_authz(&script);
        config["configserver"]["transmitSensitiveMetadata"] = transmit.into();
        let world = Setup::config(config).start().await;
        world.ssh_with_password("alice", PASSWORD).run("true").await.expect(0);
        let authz = &script.requests_to("/authz")[0]["metadata"];
        assert_eq!((&authz["team"]["value"], &authz["token"]), (&json!("blue"), &Value::Null));
        let config = &script.requests_to("/config")[0]["metadata"];
        assert_eq!((&config["team"]["value"], &config["floor"]["value"]), (&json!("blue"), &json!("2")));
        assert_eq!(config.get("token").is_some(), transmit, "{config}");
        assert!(!world.gateway.log().contains("s3cret"));
    }
}

#[podgate_test::multi_thread]
async fn environment_of_answers_reaches_the_program_and_a_sensitive_one_is_left_out_with_a_warning() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/password" => Reply::Json(json!({"success": true, "environment": {
            "TEAM": {"value": "blue"}, "FLOOR": {"value": "1"}, "TOKEN": {"value": "s3cret", "sensitive": true}}})),
        _ => Reply::Json(json!({"config": {}, "environment": {"FLOOR": {"value": "two words"}}})),
    })
    .await;
    // Without an agent there is no way for it.
    let world = Setup::config(script.config()).plain_exec().start().await;
    let shown = world.ssh_with_password("alice", PASSWORD).run("echo \"$TEAM/$FLOOR/$TOKEN\"").await.expect(0);
    assert_eq!(shown.text(), "blue/two words/\n");
    let warning = world.gateway.wait_for_line("KUBERNETES_ENV_LEFT_OUT").await;
    assert_eq!((&warning["level"], &warning["details"]["variable"]), (&json!("warning"), &json!("TOKEN")));
    assert!(!world.gateway.log().contains("s3cret"));
}

#[podgate_test::multi_thread]
async fn files_of_answers_are_there_before_the_first_program_for_its_user_alone() {
    let answer = json!({"config": {}, "files": {"it's a file": {"value": "aGVsbG8AAQo="}}});
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(answer.clone()),
        _ => success(),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    let done = world.ssh().run("stat -c %a \"it's a file\"; cat \"it's a file\"").await.expect(0);
    assert_eq!(done.stdout, b"600\nhello\0\x01\n");
}

#[podgate_test::multi_thread]
async fn file_that_cannot_be_written_is_the_reason_that_the_first_request_gets() {
    let answer = json!({"config": {}, "files": {"/nowhere/at/all": {"value": "aGVsbG8="}}});
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Json(answer.clone()),
        _ => success(),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    let done = world.ssh().run("echo ran").await.expect(255);
    assert_eq!(done.text(), "");
    assert!(done.stderr.contains("podgate: the file /nowhere/at/all cannot be written"), "{}", done.stderr);
    world.gateway.wait_for_line("KUBERNETES_FILE_WRITE_FAILED").await;
    world.wait_for_pods(0).await;
}
