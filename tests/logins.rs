//! Who gets in: passwords, keys, authorization, and what the gateway asks about them.

mod agents;
mod algorithms;
mod bytes;
mod certificates;
mod denials;
mod failures;
mod known;
mod names;
mod offers;
mod places;
mod reasons;
mod ssh_audit;

use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, accept_all, empty_config, success};
use crate::support::world::PASSWORD;
use crate::support::{Setup, World};
use russh::client::{self, AuthResult, Config, KeyboardInteractiveAuthResponse};
use russh::keys::agent::AgentIdentity;
use russh::keys::{PublicKey, PublicKeyOrCertificate};
use serde_json::json;
use std::sync::Arc;

/// The configuration that also asks a server for authorization.
fn with_authz(script: &ScriptedWebhook) -> serde_json::Value {
    let mut config = script.config();
    config["auth"]["authz"] = json!({"method": "webhook", "webhook": {"url": script.url}});
    config
}

#[podgate_test::multi_thread]
async fn wrong_password_unknown_user_and_wrong_key_are_refused_without_a_pod() {
    let world = World::start().await;
    for (user, password) in [("alice", "wrong"), ("alice", ""), ("mallory", PASSWORD)] {
        let done = world.ssh_with_password(user, password).run("true").await.expect(255);
        assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    }
    let other = crate::support::keys::Key::make(world.folder(), "other");
    let done = world.ssh().option(&format!("IdentityFile={}", other.file.display()));
    // The world's own key is the first to be tried: it must not be there.
    std::fs::remove_file(&world.key.file).expect("the key");
    let done = done.run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    assert_eq!(world.gateway.log().matches("SSH_AUTH_SUCCESSFUL").count(), 0);
}

#[podgate_test::multi_thread]
async fn right_password_and_right_key_let_in() {
    let world = World::start().await;
    assert_eq!(world.ssh_with_password("alice", PASSWORD).run("echo in").await.expect(0).text(), "in\n");
    assert_eq!(world.ssh_as("bob").run("echo in").await.expect(0).text(), "in\n");
}

/// A signer without the key.
struct Forger;

impl russh::Signer for Forger {
    type Error = russh::SendError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        _hash: Option<russh::keys::HashAlg>,
        mut data: Vec<u8>,
    ) -> Result<Vec<u8>, russh::SendError> {
        let text = |into: &mut Vec<u8>, bytes: &[u8]| {
            into.extend(u32::try_from(bytes.len()).expect("short").to_be_bytes());
            into.extend(bytes);
        };
        let mut signature = Vec::new();
        text(&mut signature, b"ssh-ed25519");
        text(&mut signature, &[7; 64]);
        text(&mut data, &signature);
        Ok(data)
    }
}

/// A client that trusts every server.
struct Trusting;

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

#[podgate_test::multi_thread]
async fn key_that_the_client_cannot_sign_with_is_asked_about_and_never_trusted() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(with_authz(&script)).start().await;
    let key = PublicKey::from_openssh(&world.key.public).expect("a key");
    let connected = client::connect(Arc::new(Config::default()), world.gateway.address, Trusting).await;
    let mut client = connected.expect("a connection");
    let outcome = client.authenticate_publickey_with("alice", key, None, &mut Forger).await;
    assert!(!matches!(outcome, Ok(AuthResult::Success)), "{outcome:?}");
    drop(client);
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(script.requests_to("/pubkey").len(), 1);
    assert_eq!(script.requests().len(), 1, "{:?}", script.requests());
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    assert_eq!(world.gateway.log().matches("SSH_AUTH_SUCCESSFUL").count(), 0);
}

#[podgate_test::multi_thread]
async fn only_configured_methods_are_offered() {
    for (method, other) in [("publicKey", "password"), ("password", "publickey")] {
        let world = Setup::config(json!({"auth": {method: null}})).start().await;
        let done = world.ssh().option("PreferredAuthentications=none").run("true").await.expect(255);
        assert!(done.stderr.contains(&format!("({other})")), "{}", done.stderr);
    }
    let world = World::start().await;
    let done = world.ssh().option("PreferredAuthentications=none").run("true").await.expect(255);
    assert!(done.stderr.contains("(publickey,password)"), "{}", done.stderr);
}

#[podgate_test::multi_thread]
async fn method_that_is_not_offered_is_refused_with_a_line_that_names_it_and_the_user() {
    let world = World::start().await;
    let connected = client::connect(Arc::new(Config::default()), world.gateway.address, Trusting).await;
    let mut client = connected.expect("a connection");
    let outcome = client.authenticate_keyboard_interactive_start("alice", None).await.expect("an answer");
    assert!(matches!(outcome, KeyboardInteractiveAuthResponse::Failure { .. }), "{outcome:?}");
    let line = world.gateway.wait_for_line("SSH_AUTH_UNAVAILABLE").await;
    let (details, wanted) = (&line["details"], (&json!("keyboard-interactive"), &json!("alice")));
    assert_eq!((&details["method"], &details["username"]), wanted, "{line}");
    assert_eq!(line["level"], "info", "{line}");
}

#[podgate_test::multi_thread]
async fn authorization_that_says_no_keeps_a_proven_user_out() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/authz" => Reply::Json(json!({"success": asked.body["username"] == "alice"})),
        "/config" => empty_config(),
        _ => success(),
    })
    .await;
    let world = Setup::config(with_authz(&script)).start().await;
    let done = world.ssh_as("bob").run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    assert!(script.requests_to("/config").is_empty());
    assert_eq!(world.ssh_as("alice").run("echo in").await.expect(0).text(), "in\n");
}

#[podgate_test::multi_thread]
async fn answer_without_success_is_a_no_whatever_else_it_says() {
    for answer in [json!({}), json!({"authenticatedUsername": "alice"}), json!({"success": false, "metadata": {}})] {
        let script = ScriptedWebhook::start(move |_| Reply::Json(answer.clone())).await;
        let world = Setup::config(script.config()).start().await;
        let done = world.ssh_with_password("alice", PASSWORD).run("true").await.expect(255);
        assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
        assert_eq!(world.cluster.requests("create", "pods"), 0);
    }
}

#[podgate_test::multi_thread]
async fn webhooks_are_asked_in_order_over_one_connection_each_and_every_password_over_its_own() {
    let script = ScriptedWebhook::start(accept_all).await;
    let world = Setup::config(with_authz(&script)).start().await;
    world.ssh_with_password("alice", PASSWORD).run("true").await.expect(0);
    world.ssh_with_password("alice", PASSWORD).run("true").await.expect(0);
    let asked = script.requests();
    let paths: Vec<_> = asked.iter().map(|asked| asked.path.as_str()).collect();
    let round = ["/password", "/authz", "/config"];
    assert_eq!(paths, [round, round].concat());
    // A client for each of the three and for the other method, reached at the start and kept alive over both logins; but for
    // passwords, each of which has a connection of its own.
    assert_eq!(script.connections(), 6);
    assert_eq!(asked[0].body["passwordBase64"], "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==");
    for asked in &asked {
        assert_eq!(asked.body["username"], "alice");
        assert!(asked.body["remoteAddress"].as_str().is_some_and(|at| at.starts_with("127.0.0.1:")), "{asked:?}");
        assert!(asked.body["clientVersion"].as_str().is_some_and(|v| v.starts_with("SSH-2.0-OpenSSH")), "{asked:?}");
        assert!(asked.body["connectionId"].as_str().is_some_and(|id| id.len() == 32), "{asked:?}");
    }
    assert_ne!(asked[0].body["connectionId"], asked[3].body["connectionId"]);
}
