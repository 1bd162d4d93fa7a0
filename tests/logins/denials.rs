//! Denials with a reason of the webhook's own, and answers that are not understood: what the user reads, and what the log has.

use super::with_authz;
use crate::support::keys::Key;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, accept_all, empty_config, success};
use crate::support::world::PASSWORD;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// A reason with what no terminal may get.
const MESSAGE: &str = "your access ended on Friday:\n\u{1b}[31mask\u{202e} ops@example.org";
/// The reason as a user reads it.
const READ: &str = "podgate: your access ended on Friday: [31mask ops@example.org";

fn no() -> Reply {
    Reply::Json(json!({"success": false, "message": MESSAGE}))
}

/// A server that gives `answer` at one path, and yes to everything else.
async fn answering(path: &'static str, answer: impl Fn() -> Reply + Send + Sync + 'static) -> ScriptedWebhook {
    ScriptedWebhook::start(move |asked: &WebhookRequest| if asked.path == path { answer() } else { accept_all(asked) })
        .await
}

/// Asserts that the log has one line about the refused login, with its reason and the user's.
async fn assert_told(world: &World, reason: &str, message: Option<&str>) {
    let line = world.gateway.wait_for_line("SSH_AUTH_FAILED").await;
    assert_eq!((&line["level"], &line["details"]["reason"]), (&json!("info"), &json!(reason)), "{line}");
    assert_eq!(line["details"].get("message").and_then(Value::as_str), message, "{line}");
    assert_eq!(world.gateway.lines("SSH_AUTH_FAILED").len(), 1);
    assert_eq!(world.cluster.requests("create", "pods"), 0);
}

#[podgate_test::multi_thread]
async fn refused_authorization_is_shown_with_its_message_however_the_user_logs_in() {
    let script = answering("/authz", no).await;
    let message = READ.strip_prefix("podgate: ");
    for keys_alone in [false, true] {
        let mut config = with_authz(&script);
        if keys_alone {
            config["auth"]["password"] = Value::Null;
        }
        let world = Setup::config(config.clone()).start().await;
        let done = world.ssh().run("true").await.expect(255);
        assert!(done.stderr.contains(READ), "in batch mode: {}", done.stderr);
        assert_told(&world, "authorization was refused", message).await;
        let world = Setup::config(config).start().await;
        let done = world.ssh_as_person("alice").run("true").await.expect(255);
        assert!(done.stderr.contains(READ) && !done.stderr.contains('\u{1b}'), "as a person: {}", done.stderr);
    }
    let world = Setup::config(with_authz(&script)).start().await;
    let by_password = world.ssh_as_person("alice").option("PreferredAuthentications=password");
    let done = by_password.run("true").await.expect(255);
    assert!(done.stderr.contains(READ), "{}", done.stderr);
    assert_told(&world, "authorization was refused", message).await;
}

#[podgate_test::multi_thread]
async fn refused_password_with_a_message_ends_the_connection_with_it() {
    let script = answering("/password", no).await;
    let world = Setup::config(script.config()).start().await;
    let by_password = world.ssh_as_person("alice").option("PreferredAuthentications=password");
    let done = by_password.run("true").await.expect(255);
    assert!(done.stderr.contains(READ), "{}", done.stderr);
    assert_eq!(script.requests_to("/password").len(), 1, "what was typed at the second prompt was asked about");
    assert_told(&world, "the password was refused", READ.strip_prefix("podgate: ")).await;
}

#[podgate_test::multi_thread]
async fn refused_key_with_a_message_leaves_the_next_key_its_chance() {
    let first = AtomicBool::new(true);
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/pubkey" if first.swap(false, Ordering::Relaxed) => no(),
        "/config" => empty_config(),
        _ => success(),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    let other = Key::make(world.folder(), "other");
    let client = world.ssh().option(&format!("IdentityFile={}", other.file.display()));
    let done = client.run("echo in").await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
    let line = world.gateway.wait_for_line("SSH_AUTH_FAILED").await;
    assert_eq!(line["details"]["message"], READ["podgate: ".len()..], "{line}");
}

#[podgate_test::multi_thread]
async fn denial_without_a_message_tells_the_user_nothing() {
    for (answer, reason) in [
        (json!({"success": false}), "the password was refused"),
        (json!({"success": false, "message": ""}), "the password was refused"),
        (json!({"message": null}), "the password was refused: the answer has no success"),
    ] {
        let script = answering("/password", move || Reply::Json(answer.clone())).await;
        let world = Setup::config(script.config()).start().await;
        let done = world.ssh_with_password("alice", PASSWORD).run("true").await.expect(255);
        assert!(done.stderr.contains("Permission denied") && !done.stderr.contains("podgate:"), "{}", done.stderr);
        assert_told(&world, reason, None).await;
    }
}

#[podgate_test::multi_thread]
async fn answer_to_a_login_that_is_not_understood_is_a_no_and_its_field_is_in_the_log() {
    for (path, body, reason) in [
        ("/password", r#"{"sucess": true}"#, "sucess: is not a known field; did you mean success?"),
        ("/password", r#"{"success": true, "group": "ops"}"#, "group: is not a known field; known here are success, "),
        ("/password", r#"{"success": true, "success": false}"#, r#"the key "success" is there twice"#),
        ("/authz", r#"{"success": 1}"#, "success: is not true or false"),
        ("/authz", r#"{"result": true}"#, "result: is not a known field"),
    ] {
        let script = answering(path, || Reply::Raw(200, "", body.to_owned())).await;
        let world = Setup::config(with_authz(&script)).start().await;
        let by_password = world.ssh_as_person("alice").option("PreferredAuthentications=password");
        let done = by_password.run("true").await.expect(255);
        let kind = if path == "/authz" { "authorization" } else { "authentication" };
        let told = format!("podgate: the {kind} server gives an answer that is not understood");
        assert!(done.stderr.contains(&told), "{body}: {}", done.stderr);
        let line = world.gateway.wait_for_line("AUTH_BACKEND_ERROR").await;
        assert!(line["details"]["reason"].as_str().is_some_and(|why| why.contains(reason)), "{reason}: {line}");
        assert_eq!((line["level"].as_str(), world.gateway.lines("AUTH_BACKEND_ERROR").len()), (Some("error"), 1));
        assert_eq!(line["message"], "the webhook gave no answer that is understood");
        assert_eq!(world.cluster.requests("create", "pods"), 0);
    }
}

#[podgate_test::multi_thread]
async fn config_answer_that_is_not_understood_gives_nobody_the_files_defaults() {
    for (body, reason) in [
        (json!({}), "config: is missing"),
        (json!({"config": null}), "config: is null"),
        (json!({"security": {"shell": {"mode": "disable"}}}), "security: is not a known field"),
        (json!({"configuration": {}}), "configuration: is not a known field; did you mean config?"),
        (json!({"error": "no such user"}), "error: is not a known field"),
    ] {
        let answer = body.clone();
        let script = answering("/config", move || Reply::Json(answer.clone())).await;
        let world = Setup::config(script.config()).start().await;
        let done = world.ssh().run("echo ran").await.expect(255);
        let told = "podgate: the configuration server gives an answer that is not understood\n";
        assert_eq!((done.text().as_str(), done.stderr.starts_with(told)), ("", true), "{body}: {}", done.stderr);
        let line = world.gateway.wait_for_line("CONFIG_BACKEND_ERROR").await;
        assert_eq!(line["level"], "error", "{line}");
        assert!(line["details"]["reason"].as_str().is_some_and(|why| why.contains(reason)), "{reason}: {line}");
        assert_eq!(world.gateway.lines("CONFIG_BACKEND_ERROR").len(), 1);
        assert_eq!(world.cluster.requests("create", "pods"), 0);
    }
}

#[podgate_test::multi_thread]
async fn config_server_that_says_no_is_told_to_the_first_request_with_its_message() {
    for (answer, told, message) in [
        (json!({"success": false}), "podgate: the configuration server refused this login\n".to_owned(), None),
        (
            json!({"success": false, "config": {}, "message": MESSAGE}),
            format!("{READ}\n"),
            Some(&READ["podgate: ".len()..]),
        ),
    ] {
        let script = answering("/config", move || Reply::Json(answer.clone())).await;
        let world = Setup::config(script.config()).start().await;
        let done = world.ssh().run("echo ran").await.expect(255);
        assert_eq!((done.text().as_str(), done.stderr.starts_with(&told)), ("", true), "{}", done.stderr);
        let line = world.gateway.wait_for_line("CONFIG_DENIED").await;
        assert_eq!((line["level"].as_str(), line["details"]["username"].as_str()), (Some("info"), Some("alice")));
        assert_eq!(line["details"].get("message").and_then(Value::as_str), message, "{line}");
        world.gateway.wait_for_line("SSH_DISCONNECTED").await;
        let log = world.gateway.log();
        assert!(!log.contains("\"level\":\"error\"") && !log.contains("\"level\":\"warning\""), "{log}");
        assert_eq!(world.cluster.requests("create", "pods"), 0);
    }
}
