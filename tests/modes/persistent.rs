//! Mode persistent: a pod that is there before its connections and stays after them, and belongs to one identity.

use super::{den, persistent};
use crate::support::cluster::{Access, on_development};
use crate::support::role::Rights;
use crate::support::{Setup, World};
use podgate_devcluster::RequestFailure;
use serde_json::{Value, json};
use std::time::Duration;

/// A world of mode persistent whose pod is made where it is missing.
async fn creating() -> World {
    world_with(json!({"createMissingPods": true})).await
}

async fn world_with(pod: Value) -> World {
    Setup::config(persistent(pod)).start().await
}

/// The pod as the API has it.
fn pod(world: &World) -> Value {
    let mut pods = world.cluster.pods(world.namespace());
    assert_eq!(pods.len(), 1, "{pods:?}");
    pods.remove(0)
}

/// The text for a user who may not have the pod.
async fn refused(world: &World, user: &str) -> String {
    let done = world.ssh_as(user).run("echo ran").await.expect(255);
    assert_eq!(done.text(), "");
    done.stderr
}

#[podgate_test::multi_thread]
async fn missing_pod_is_refused_with_the_reason() {
    let world = world_with(json!({})).await;
    let told = format!(
        "podgate: there is no pod den in the namespace {}, and kubernetes.pod.createMissingPods is off\n",
        world.namespace()
    );
    assert_eq!(refused(&world, "alice").await, told);
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    world.gateway.wait_for_line("KUBERNETES_POD_NOT_FOUND").await;
}

#[podgate_test::multi_thread]
async fn pod_of_another_identity_is_refused_with_the_line_that_changes_it() {
    let world = world_with(json!({})).await;
    world.cluster.create_pod(world.namespace(), den(json!({"labels": {"team": "blue"}}))).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    let claimed = pod(&world);
    assert_eq!(claimed["metadata"]["annotations"]["podgate/username"], "alice");
    assert_eq!(claimed["metadata"]["labels"]["team"], "blue");
    let told = refused(&world, "bob").await;
    assert_eq!(told, "podgate: the pod den belongs to another user; the gateway's log says how to change that\n");
    let line = world.gateway.wait_for(|line| line["code"] == "KUBERNETES_POD_TAKEN").await;
    let detail = line["details"]["detail"].as_str().expect("a detail");
    let (_, command) = detail.split_once(": ").expect("a command");
    assert!(detail.starts_with("it belongs to alice; this gives it to bob: kubectl label pod -n "), "{detail}");
    let label = command.split_whitespace().find_map(|word| word.strip_prefix("podgate/identity=")).expect("the label");
    assert_ne!(claimed["metadata"]["labels"]["podgate/identity"], label);
    assert_eq!(world.ssh().run("echo still").await.expect(0).text(), "still\n");
}

#[podgate_test::multi_thread]
async fn names_that_make_one_label_are_two_identities() {
    let script = crate::support::scripted_webhook::ScriptedWebhook::start(
        |asked: &crate::support::scripted_webhook::WebhookRequest| {
            let user = asked.body["username"].as_str().unwrap_or_default();
            let name = if user == "alice" { "a@x" } else { "a-x" };
            match asked.path.as_str() {
                "/config" => crate::support::scripted_webhook::empty_config(),
                _ => crate::support::scripted_webhook::Reply::Json(
                    json!({"success": true, "authenticatedUsername": name}),
                ),
            }
        },
    )
    .await;
    let mut config = persistent(json!({"createMissingPods": true}));
    crate::support::world::merge(&mut config, script.config());
    let world = Setup::config(config).start().await;
    world.ssh().run("true").await.expect(0);
    assert_eq!(pod(&world)["metadata"]["labels"]["containerssh_username"], "a-x");
    assert!(refused(&world, "bob").await.contains("belongs to another user"));
}

#[podgate_test::multi_thread]
async fn pod_of_a_connection_is_nobodys_to_stay_in() {
    let world = world_with(json!({})).await;
    world.cluster.create_pod(world.namespace(), den(json!({"labels": {"podgate/instance": "another"}}))).await;
    let told = refused(&world, "alice").await;
    assert_eq!(told, "podgate: the pod den belongs to another connection and is not persistent\n");
}

#[podgate_test::multi_thread]
async fn gateway_that_may_not_claim_says_so_and_uses_no_unclaimed_pod() {
    let access = Access::Rights(Rights::gateway());
    let world = Setup { access, ..Setup::config(persistent(json!({}))) }.start().await;
    world.cluster.grant(&Rights::gateway().without("patch", "pods")).await;
    world.cluster.create_pod(world.namespace(), den(json!({}))).await;
    let told = format!("podgate: the gateway may not patch pods in the namespace {}\n", world.namespace());
    assert_eq!(refused(&world, "alice").await, told);
}

#[podgate_test::multi_thread]
async fn shared_pod_is_everybodys_is_not_claimed_and_is_warned_of() {
    let rights = Rights::gateway();
    let config = persistent(json!({"shared": true}));
    let world = Setup { access: Access::Rights(rights), ..Setup::config(config) }.start().await;
    world.cluster.create_pod(world.namespace(), den(json!({}))).await;
    for user in ["alice", "bob"] {
        assert_eq!(world.ssh_as(user).run("echo in").await.expect(0).text(), "in\n");
    }
    assert_eq!(pod(&world)["metadata"]["labels"].get("podgate/identity"), None);
    let line = world.gateway.wait_for_line("CORE_CONFIG_NOTICE").await;
    assert_eq!((&line["details"]["key"], &line["level"]), (&json!("kubernetes.pod.shared"), &json!("warning")));
    let client = world.ssh().start("echo up; cat");
    client.until_stdout("up").await;
    assert!(world.cluster.delete_pod(world.namespace(), "den", Duration::ZERO));
    assert_eq!(client.ended().await.expect(255).stderr, "podgate: the pod was deleted\n");
}

#[podgate_test::multi_thread]
async fn pod_stays_with_what_is_in_it_when_its_connections_and_its_gateway_end() {
    let mut world = creating().await;
    world.ssh().run("echo kept > \"$HOME/note\"").await.expect(0);
    let made = pod(&world);
    assert_eq!((&made["metadata"]["name"], made["metadata"]["labels"].get("podgate/instance")), (&json!("den"), None));
    assert_eq!(world.ssh().run("cat \"$HOME/note\"").await.expect(0).text(), "kept\n");
    assert_eq!(world.cluster.requests("create", "pods"), 1);
    let client = world.ssh().start("echo up; cat");
    client.until_stdout("up").await;
    world.gateway.signal("TERM");
    assert!(world.gateway.ended().await.success());
    drop(client);
    let now = pod(&world);
    assert_eq!((&now["metadata"]["uid"], &now["status"]["phase"]), (&made["metadata"]["uid"], &json!("Running")));
    assert_eq!(world.cluster.requests("delete", "pods"), 0);
}

#[podgate_test::multi_thread]
async fn of_logins_that_come_at_once_one_creates_the_pod_and_all_of_an_identity_use_it() {
    let world = creating().await;
    let logins = (0..6).map(|_| world.ssh().run("echo in"));
    for done in futures_util::future::join_all(logins).await {
        assert_eq!(done.expect(0).text(), "in\n");
    }
    let _one = pod(&world);
}

#[podgate_test::multi_thread]
async fn of_two_identities_that_come_at_once_one_gets_the_pod() {
    for made in [false, true] {
        let world = creating().await;
        if made {
            world.cluster.create_pod(world.namespace(), den(json!({}))).await;
        }
        let (alice, bob) = tokio::join!(world.ssh().run("echo in"), world.ssh_as("bob").run("echo in"));
        let mut status = [alice.status, bob.status];
        status.sort_unstable();
        assert_eq!(status, [0, 255], "{alice:?} {bob:?}");
        let owner = if alice.status == 0 { "alice" } else { "bob" };
        assert_eq!(pod(&world)["metadata"]["annotations"]["podgate/username"], owner);
    }
}

#[podgate_test::multi_thread]
async fn answers_that_are_lost_change_nothing() {
    if !on_development("answers are lost at a word") {
        return;
    }
    for (verb, made) in [("create", false), ("patch", true)] {
        let world = creating().await;
        if made {
            world.cluster.create_pod(world.namespace(), den(json!({}))).await;
        }
        world.cluster.faults().fail_requests(verb, "pods", 1, RequestFailure::LoseAnswer);
        assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n", "{verb}");
        let _one = pod(&world);
    }
}

#[podgate_test::multi_thread]
async fn pod_on_its_way_out_is_waited_for_and_made_anew_where_that_is_allowed() {
    let world = creating().await;
    world.ssh().run("true").await.expect(0);
    let first = pod(&world)["metadata"]["uid"].clone();
    // A program that does not heed the end keeps the pod for the length of its grace.
    assert!(world.cluster.delete_pod(world.namespace(), "den", Duration::from_secs(2)));
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    assert_ne!(pod(&world)["metadata"]["uid"], first);
}

#[podgate_test::multi_thread]
async fn pod_that_cannot_start_stays_and_serves_once_it_can() {
    let mut config = persistent(json!({"createMissingPods": true}));
    config["kubernetes"]["timeouts"] = json!({"podStart": "2s"});
    let world = Setup::unschedulable(config).start().await;
    let told = refused(&world, "alice").await;
    assert!(told.contains("podgate: the pod was not ready within 2s: "), "{told}");
    let created = pod(&world);
    refused(&world, "alice").await;
    assert_eq!(pod(&world)["metadata"]["uid"], created["metadata"]["uid"]);
    world.schedule().await;
    let ready = |pods: &[Value]| pods[0]["status"]["containerStatuses"][0]["ready"] == true;
    assert!(world.cluster.wait_for_pods(world.namespace(), ready).await, "{}", pod(&world));
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    assert_eq!(pod(&world)["metadata"]["uid"], created["metadata"]["uid"]);
}

#[podgate_test::multi_thread]
async fn pod_that_ends_under_its_connections_is_told() {
    let world = creating().await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    assert!(world.cluster.delete_pod(world.namespace(), "den", Duration::ZERO));
    assert_eq!(client.ended().await.expect(255).stderr, "podgate: the pod was deleted\n");
}
