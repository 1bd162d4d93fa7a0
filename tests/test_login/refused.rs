//! Logins that would not be served: who says no, in which words, and with which exit status.

use super::{assert_nothing_was_made, public_key, test_login, with_config};
use crate::support::cluster::{Access, namespace, on_development, on_real};
use crate::support::role::Rights;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, accept_all, empty_config, success};
use crate::support::world::{PASSWORD, merge};
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// The user would be refused.
const REFUSED: i32 = 77;
/// Nobody can say.
const UNAVAILABLE: i32 = 69;

/// The world's configuration with something merged into it.
fn changed(world: &World, changes: Value) -> PathBuf {
    let text = fs::read_to_string(world.folder().join("podgate.json")).expect("a file");
    let mut config = serde_json::from_str(&text).expect("JSON");
    merge(&mut config, changes);
    let path = world.folder().join("changed.json");
    fs::write(&path, config.to_string()).expect("a file");
    path
}

#[podgate_test::multi_thread]
async fn credential_that_is_no_good_is_refused_before_the_configuration_is_asked_for() {
    let world = World::start().await;
    let other = crate::support::keys::Key::make(world.folder(), "other");
    let key = public_key(&world, &other);
    for (arguments, input, step) in [
        (&["alice", "--password-stdin"][..], "wrong\n", "password"),
        (&["mallory", "--password-stdin"], PASSWORD, "password"),
        (&["alice", "--public-key", &key], "", "public key"),
    ] {
        let tested = test_login(&world, arguments, input).await.expect(REFUSED);
        tested.assert(step, "refused", "was refused");
        assert_eq!(tested.reads(), "no reason: the client says that permission is denied");
        assert!(tested.log().starts_with("info SSH_AUTH_FAILED the login was refused (method="), "{}", tested.log());
        assert!(!tested.out.contains("configuration") && !tested.out.contains(input.trim()) || input.is_empty());
    }
    let long = "x".repeat(1025);
    let tested = test_login(&world, &[&long], "").await.expect(REFUSED);
    assert_eq!(tested.reads(), "podgate: the user name is longer than 1024 bytes");
    let private = other.file.display().to_string();
    let tested = test_login(&world, &["alice", "--public-key", &private], "").await.expect(64);
    assert_eq!(tested.err, format!("podgate: --public-key: {private}: this is no public key\n"));
    assert_nothing_was_made(&world);
}

#[podgate_test::multi_thread]
async fn authorization_has_the_last_word_with_and_without_a_credential() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/authz" => Reply::Json(json!({"success": false})),
        _ => accept_all(asked),
    })
    .await;
    let mut config = script.config();
    config["auth"]["authz"] = json!({"method": "webhook", "webhook": {"url": script.url}});
    let world = Setup::config(config).start().await;
    let tested = test_login(&world, &["alice"], "").await.expect(REFUSED);
    tested.assert("password", "skipped", "offered").assert("authorization", "refused", "authorization was refused");
    let tested = test_login(&world, &["alice", "--password-stdin"], "x").await.expect(REFUSED);
    tested.assert("password", "ok", "alice").assert("authorization", "refused", "authorization was refused");
    assert!(script.requests_to("/config").is_empty());
    assert_nothing_was_made(&world);
}

#[podgate_test::multi_thread]
async fn answer_that_is_not_understood_is_refused_with_the_field_that_is_wrong() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => Reply::Raw(200, "", "<html>".to_owned()),
        _ => success(),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    let tested = test_login(&world, &["alice"], "").await.expect(REFUSED);
    tested.assert("configuration", "refused", "it is HTML or XML");
    assert_eq!(tested.reads(), "podgate: the configuration server gives an answer that is not understood",);
    assert!(tested.out.contains("the log says:   error CONFIG_BACKEND_ERROR "), "{}", tested.out);
    let misspelt = json!({"config": {"kubernetes": {"pod": {"shellComand": ["/bin/s3cret"]}}}}).to_string();
    let tested = test_login(&world, &["alice", "--answer", "-"], &misspelt).await.expect(REFUSED);
    let expected = "kubernetes.pod.shellComand: unknown key; did you mean \"shellCommand\"?";
    tested.assert("configuration", "ok", "it says kubernetes").assert("settings", "refused", expected);
    assert!(!tested.out.contains("s3cret"), "{}", tested.out);
    assert_eq!(tested.reads(), "podgate: the configuration for this login is not valid; tell the operator");
    assert!(tested.log().starts_with("error SSH_BACKEND_REJECTED_HANDSHAKE "), "{}", tested.log());
    let two = json!({"config": {"kubernetes": {"pod": {"merge": "some", "image": ["s3cret"]}}}}).to_string();
    let tested = test_login(&world, &["alice", "--answer", "-"], &two).await.expect(REFUSED);
    assert_eq!(tested.log().matches("; kubernetes.pod.").count(), 1, "{}", tested.log());
    let tested = test_login(&world, &["alice", "--answer", "-"], r#"{"config": 5}"#).await.expect(REFUSED);
    tested.assert("configuration", "refused", "config");
    assert_eq!(script.requests_to("/config").len(), 1, "an answer that is given is not asked for");
    assert_nothing_was_made(&world);
}

#[podgate_test::multi_thread]
async fn program_that_the_policy_denies_is_refused_in_its_words() {
    let commands = json!({"security": {"command": {"mode": "filter", "allow": ["id"]}, "shell": {"mode": "disable"}}});
    let nothing = json!({"security": {"defaultMode": "disable"}});
    let setup = Setup { users: vec![("alice", commands), ("bob", nothing)], ..Setup::default() };
    let world = setup.start().await;
    let tested = test_login(&world, &["alice", "--command", "id -u"], "").await.expect(REFUSED);
    tested.assert("shell", "denied", "shells are disabled (SECURITY_SHELL_REJECTED)");
    tested.assert("command", "allowed", "only \"id\"").assert("program", "refused", "this command is not allowed");
    tested.assert("environment", "allowed", "only LANG, LC_*");
    tested.assert("forwarding -L", "denied", "port forwarding is disabled");
    let done = world.ssh().run("id -u").await.expect(255);
    assert_eq!(done.stderr.trim_end(), tested.reads());
    let line = world.gateway.wait_for_line("SECURITY_EXEC_REJECTED").await;
    let message = line["message"].as_str().expect("a message");
    let expected =
        format!("info SECURITY_EXEC_REJECTED {message} (reason=\"this command is not allowed\" request=\"exec\")");
    assert_eq!(tested.log(), expected);
    let tested = test_login(&world, &["bob"], "").await.expect(REFUSED);
    tested.assert("terminal", "denied", "terminals are disabled").assert("program", "refused", "shells are disabled");
    test_login(&world, &["bob", "--subsystem", "sftp"], "").await.expect(REFUSED);
}

/// Asserts that the test of a login tells what a login's user reads, and what the log says of it.
async fn assert_told_as_at_a_login(world: &World, user: &str, code: &str) -> String {
    let tested = test_login(world, &[user], "").await.expect(REFUSED);
    tested.assert("pod", "ok", "").assert("dry run", "refused", "");
    let done = world.ssh_as(user).run("true").await.expect(255);
    // The pod's name is another each time.
    let named = |text: &str| {
        let words = text.split(['"', '\\', ' ', ')']).filter(|word| word.starts_with("containerssh-"));
        words.fold(text.to_owned(), |text, name| text.replace(name, "NAME"))
    };
    assert_eq!(named(tested.reads()), named(done.stderr.trim_end()));
    let line = world.gateway.wait_for_line(code).await;
    let log = named(tested.log());
    let message = line["message"].as_str().expect("a message");
    assert!(log.starts_with(&format!("error {code} {message} (")), "{log}");
    for key in ["reason", "detail"] {
        let Some(said) = line["details"][key].as_str() else { continue };
        let said = format!("{key}={:?}", named(said));
        assert!(log.contains(&said), "{said} is not in {log}");
    }
    tested.reads().to_owned()
}

#[podgate_test::multi_thread]
async fn admissions_refusal_is_told_as_at_a_login() {
    if !on_development("its admission can be told what to say") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().deny_pods(Some("no roots here"));
    let reads = assert_told_as_at_a_login(&world, "alice", "KUBERNETES_POD_CREATE_FAILED").await;
    assert!(reads.starts_with("podgate: the cluster's rules do not admit the pod: "), "{reads}");
    assert!(reads.contains("no roots here"), "{reads}");
    world.cluster.faults().deny_pods(None);
    world.cluster.faults().quota(Some(0));
    let tested = test_login(&world, &["alice"], "").await.expect(REFUSED);
    tested.assert("dry run", "refused", "has no room for the pod");
}

#[podgate_test::multi_thread]
async fn pod_security_is_told_as_at_a_login() {
    if !on_real("Pod Security is the admission of a real API server") {
        return;
    }
    let mut setup = Setup::default();
    let strict = namespace("strict");
    setup.users =
        vec![("alice", json!({"kubernetes": {"pod": {"metadata": {"namespace": strict}}}})), ("carol", json!({}))];
    setup.namespaces.push(strict.clone());
    let world = setup.start().await;
    world.cluster.restrict(&strict).await;
    let reads = assert_told_as_at_a_login(&world, "alice", "KUBERNETES_POD_CREATE_FAILED").await;
    assert!(reads.contains("violates PodSecurity \"restricted:latest\": "), "{reads}");
    test_login(&world, &["carol"], "").await.expect(0);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn missing_right_and_unknown_credentials_are_told_as_at_a_login() {
    let setup = Setup { access: Access::Rights(Rights::gateway()), ..Setup::default() };
    let world = setup.start().await;
    world.cluster.grant(&Rights::gateway().without("create", "pods")).await;
    let reads = assert_told_as_at_a_login(&world, "alice", "KUBERNETES_POD_CREATE_FAILED").await;
    assert_eq!(reads, format!("podgate: the gateway may not create pods in the namespace {}", world.namespace()));
    let config = changed(&world, json!({"kubernetes": {"connection": {"bearerToken": "unknown"}}}));
    let tested = with_config(&config, &["alice"], "").await.expect(REFUSED);
    assert_eq!(tested.reads(), "podgate: the gateway's credentials for Kubernetes are not accepted");
}

#[podgate_test::multi_thread]
async fn server_that_is_away_is_no_refusal() {
    let world = World::start().await;
    let away = json!({"url": "http://127.0.0.1:1", "timeout": "300ms"});
    let auth = changed(&world, json!({"auth": {"password": {"webhook": away}}}));
    let tested = with_config(&auth, &["alice", "--password-stdin", "--timeout", "1"], "x").await.expect(UNAVAILABLE);
    tested.assert("password", "unavailable", "cannot be reached");
    assert!(tested.err.starts_with("podgate: asking again: warning AUTH_BACKEND_ERROR a try "), "{}", tested.err);
    assert_eq!(tested.reads(), "podgate: the authentication server cannot be reached");
    let server = changed(&world, json!({"configserver": away}));
    let tested = with_config(&server, &["alice", "--timeout", "1"], "").await.expect(UNAVAILABLE);
    tested.assert("configuration", "unavailable", "gave up after");
    assert_eq!(tested.reads(), "podgate: the configuration server cannot be reached");
    let api = changed(&world, json!({"kubernetes": {"connection": {"host": "https://127.0.0.1:1"}}}));
    let tested = with_config(&api, &["alice"], "").await.expect(UNAVAILABLE);
    tested.assert("dry run", "unavailable", "Kubernetes cannot be reached");
    assert!(tested.log().starts_with("error KUBERNETES_POD_CREATE_FAILED "), "{}", tested.log());
    assert_nothing_was_made(&world);
}

#[podgate_test::multi_thread]
async fn wrong_configuration_and_command_line_are_told_apart_from_a_refusal() {
    let world = World::start().await;
    let config = changed(&world, json!({"kubernetes": {"pod": {"shellComand": []}}}));
    let tested = with_config(&config, &["alice"], "").await.expect(64);
    assert!(tested.err.contains("did you mean \"shellCommand\"?"), "{}", tested.err);
    for arguments in [
        &["alice", "--password-stdin", "--answer", "-"][..],
        &["alice", "--password-stdin", "--public-key", "x"],
        &["alice", "--remote-address", "here"],
        &["alice", "--answer", "/no/such/file"],
        &["alice", "--timeout", "0"],
        &[],
    ] {
        let tested = test_login(&world, arguments, "").await.expect(64);
        assert_eq!(tested.out, "", "{arguments:?}");
    }
}

#[podgate_test::multi_thread]
async fn another_users_persistent_pod_is_refused_with_the_line_that_changes_it() {
    let mode = json!({"kubernetes": {"pod": {"mode": "persistent", "metadata": {"name": "den"}}}});
    let script = ScriptedWebhook::start(
        |asked: &WebhookRequest| if asked.path == "/config" { empty_config() } else { success() },
    )
    .await;
    let mut config = script.config();
    merge(&mut config, mode);
    let world = Setup::config(config).start().await;
    let tested = test_login(&world, &["alice"], "").await.expect(REFUSED);
    tested.assert("dry run", "refused", "there is no pod den");
    assert!(tested.log().starts_with("error KUBERNETES_POD_NOT_FOUND "), "{}", tested.log());
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "den", "labels": {"podgate/identity": "x"}, "annotations": {"podgate/username": "carol"}},
        "spec": {"containers": [crate::support::cluster::container("shell")]},
    });
    world.cluster.create_pod(world.namespace(), pod).await;
    let tested = test_login(&world, &["alice"], "").await.expect(REFUSED);
    assert_eq!(
        tested.reads(),
        "podgate: the pod den belongs to another user; the gateway's log says how to change that"
    );
    assert!(tested.log().contains("kubectl label pod -n "), "{}", tested.log());
    assert_eq!(world.cluster.requests("patch", "pods"), 0);
}
