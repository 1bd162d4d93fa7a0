//! Logins that would be served: what is asked of the webhooks and of the API, and what is shown.

use super::{assert_nothing_was_made, public_key, test_login};
use crate::support::cluster::{container, kubeconfig};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, accept_all, success};
use crate::support::world::{PASSWORD, merge};
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs;

#[podgate_test::multi_thread]
async fn nothing_is_left_behind_and_every_step_is_told() {
    let world = World::start().await;
    let key = public_key(&world, &world.key);
    // The gateway's own.
    assert!(world.cluster.wait_for_leases(world.namespace(), |leases| leases.len() == 1).await, "there is no Lease");
    for (arguments, input, step) in [
        (&["alice"][..], "", "login name"),
        (&["alice", "--password-stdin"], &*format!("{PASSWORD}\n"), "password"),
        (&["alice", "--password-stdin"], &format!("{PASSWORD}\r\n"), "password"),
        (&["alice", "--public-key", &key], "", "public key"),
    ] {
        let tested = test_login(&world, arguments, input).await.expect(0);
        tested.assert(step, "ok", "alice").assert("configuration", "ok", "").assert(
            "settings",
            "ok",
            "mode connection",
        );
        tested.assert("shell", "allowed", "runs \"/bin/sh\"").assert("command", "allowed", "any");
        tested.assert("subsystem sftp", "allowed", "sftp-server").assert("program", "ok", "shell");
        tested.assert("terminal", "allowed", "").assert("environment", "allowed", "any but SSH_*");
        tested.assert("pod", "ok", "containerssh-").assert("dry run", "ok", world.namespace());
        assert!(tested.out.contains("\nkind: Pod\nmetadata:\n"), "{}", tested.out);
        assert!(tested.out.contains("\nalice would be served ("), "{}", tested.out);
        assert!(!tested.out.contains(PASSWORD), "{}", tested.out);
        assert_eq!(tested.err, "");
    }
    assert_nothing_was_made(&world);
    assert_eq!(world.cluster.leases(world.namespace()).len(), 1, "a Lease was made");
    let tries = world.cluster.api_requests().into_iter().filter(|asked| asked.query.contains("dryRun=All"));
    let tries = tries.filter(|asked| asked.verb == "create" && asked.resource == "pods").count();
    // The gateway's own at its start, and one each. A real cluster's audit is read without dry runs.
    assert_eq!(tries, if kubeconfig().is_none() { 5 } else { 0 });
    // The gateway beside it has seen no login.
    assert_eq!(world.gateway.lines("SSH_AUTH_SUCCESSFUL").len(), 0);
    world.ssh().run("true").await.expect(0);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn webhooks_can_tell_a_test_and_what_they_keep_secret_is_not_shown() {
    let script = ScriptedWebhook::start(|asked: &WebhookRequest| match asked.path.as_str() {
        "/password" => Reply::Json(json!({
            "success": true, "authenticatedUsername": "alice@example.org",
            "environment": {"TOKEN": {"value": "s3cret-1", "sensitive": true}, "TEAM": {"value": "s3cret-2"}},
        })),
        "/authz" => success(),
        _ => accept_all(asked),
    })
    .await;
    let mut config = script.config();
    config["auth"]["authz"] = json!({"method": "webhook", "webhook": {"url": script.url}});
    let world = Setup::config(config).start().await;
    let arguments = ["alice", "--password-stdin", "--remote-address", "192.0.2.7:4022", "--output", "json"];
    let tested = test_login(&world, &arguments, "s3cret-3").await.expect(0);
    let report = tested.json();
    assert!(!tested.out.contains("s3cret"), "{}", tested.out);
    assert_eq!(report["result"], "served");
    assert_eq!(report["authenticatedUsername"], "alice@example.org");
    assert_eq!(report["pod"]["metadata"]["annotations"]["podgate/username"], "alice@example.org");
    let env = &report["pod"]["spec"]["containers"][0]["env"];
    assert_eq!(*env, json!([{"name": "TEAM", "value": "masked"}]));
    let steps = report["steps"].as_array().expect("steps");
    let step = |name: &str| steps.iter().find(|step| step["step"] == name).expect("a step").clone();
    assert_eq!(step("authorization")["result"], "ok");
    assert!(steps.iter().all(|step| step["durationMs"].is_u64()), "{report}");
    // Only the agent can pass on TOKEN, and a dry run asks no container for it.
    assert_eq!(step("dry run")["log"], json!([]), "{report}");
    for path in ["/password", "/authz", "/config"] {
        let asked = script.requests_to(path);
        assert_eq!(asked.len(), 1, "{path}");
        assert_eq!(asked[0]["clientVersion"], report["clientVersion"], "{path}");
        assert_eq!(asked[0]["connectionId"], report["connectionId"], "{path}");
        assert_eq!(asked[0]["remoteAddress"], "192.0.2.7:4022", "{path}");
    }
    let version = report["clientVersion"].as_str().expect("a text");
    assert!(version.starts_with("SSH-2.0-podgate_") && version.ends_with(" test-login"), "{version}");
    assert_nothing_was_made(&world);
}

#[podgate_test::multi_thread]
async fn answer_in_a_file_is_merged_and_no_server_is_asked() {
    let script = ScriptedWebhook::start(|_: &WebhookRequest| Reply::Raw(500, "", String::new())).await;
    let world = Setup::config(script.config()).start().await;
    let mut guest = container("other");
    guest["env"] = json!([{"name": "A", "value": "s3cret"}]);
    let answer = json!({
        "config": {
            "security": {"forceCommand": "/bin/guard --all"},
            "kubernetes": {"pod": {"spec": {"containers": [guest]}}},
        },
        "authenticatedUsername": "jo",
    });
    let file = world.folder().join("answer.json");
    fs::write(&file, answer.to_string()).expect("a file");
    let tested = test_login(&world, &["alice", "--answer", &file.display().to_string()], "").await.expect(0);
    tested.assert("configuration", "ok", "it says kubernetes, security").assert("settings", "ok", "container other");
    tested.assert("shell", "allowed", "runs \"/bin/sh\" \"-c\" \"/bin/guard --all\"");
    tested.assert("command", "allowed", "any; runs").assert("environment", "allowed", "only LANG, LC_*");
    assert!(tested.out.contains("podgate/username: jo"), "{}", tested.out);
    assert!(!tested.out.contains("s3cret"), "{}", tested.out);
    let strict = test_login(&world, &["alice", "--answer", "-"], &answer.to_string()).await.expect(0);
    assert_eq!(strict.step("settings").split("  ").last(), tested.step("settings").split("  ").last());
    assert!(script.requests().is_empty());
    assert_nothing_was_made(&world);
}

/// A world of a mode, with the pod's name fixed where it is persistent.
async fn world_of(mode: Value) -> World {
    let mut setup = Setup::default();
    merge(&mut setup.config, json!({"kubernetes": {"pod": mode}}));
    setup.start().await
}

#[podgate_test::multi_thread]
async fn every_mode_tells_what_it_would_do() {
    let world = world_of(json!({"mode": "session"})).await;
    let tested = test_login(&world, &["alice", "--command", "id"], "").await.expect(0);
    tested.assert("dry run", "ok", "for each program").assert("program", "ok", "command \"id\"");
    assert!(tested.out.contains("stdinOnce: true"), "{}", tested.out);
    assert_nothing_was_made(&world);

    let world = world_of(json!({"mode": "persistent", "createMissingPods": true, "metadata": {"name": "den"}})).await;
    let tested = test_login(&world, &["alice"], "").await.expect(0);
    tested.assert("dry run", "ok", "the user's pod is not there: it would be created");
    assert_nothing_was_made(&world);
    let mut idle = container("shell");
    idle["command"] = json!(["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"]);
    let den = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "den"}, "spec": {"containers": [idle]}});
    world.cluster.create_pod(world.namespace(), den).await;
    let tested = test_login(&world, &["alice"], "").await.expect(0);
    tested.assert("dry run", "ok", "nobody's: it would be claimed");
    let labels = world.cluster.pods(world.namespace())[0]["metadata"]["labels"].clone();
    assert_eq!(labels.get("podgate/identity"), None, "it was claimed");
    world.ssh().run("true").await.expect(0);
    let tested = test_login(&world, &["alice"], "").await.expect(0);
    tested.assert("dry run", "ok", "is there in").assert("settings", "ok", "the user's pod den");
    test_login(&world, &["bob"], "").await.expect(77);
}
