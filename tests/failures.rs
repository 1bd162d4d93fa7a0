//! Pods that never start: the user reads one line that somebody can act on, at once where waiting cannot help, and
//! nothing is left behind.

mod api;
mod running;
mod waiting;

use crate::support::cluster::{Access, on_development};
use crate::support::role::Rights;
use crate::support::{Setup, World};
use podgate_devcluster::{ImageFault, Options, Token};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// `podStart` where nothing is configured: the time that a wait takes which cannot help.
const POD_START: Duration = Duration::from_secs(60);

/// Runs a command that cannot start; the one line that its user reads, without what marks it as ours.
async fn refused(world: &World) -> String {
    let start = Instant::now();
    let done = world.ssh().run("echo in").await.expect(255);
    assert!(start.elapsed() < POD_START, "{:?}: {}", start.elapsed(), done.stderr);
    assert_eq!(done.text(), "");
    let line = done.stderr.strip_prefix("podgate: ").and_then(|line| line.strip_suffix('\n')).map(str::to_owned);
    let line = line.unwrap_or_else(|| panic!("{:?}", done.stderr));
    assert!(!line.contains('\n') && line.len() < 200, "{line}");
    let secret = world.cluster.secret();
    assert!(!world.gateway.log().contains(secret), "a secret is in the log");
    world.wait_for_nothing().await;
    line
}

/// The log's details besides the reason.
async fn detail(world: &World, code: &str) -> String {
    let line = world.gateway.wait_for_line(code).await;
    assert_eq!(line["level"], "error", "{line}");
    assert!(line["details"]["podName"].is_string(), "{line}");
    line["details"]["detail"].as_str().unwrap_or_default().to_owned()
}

#[podgate_test::multi_thread]
async fn image_that_cannot_be_used_is_named_at_once() {
    if !on_development("nodes, registries and rules are imitated") {
        return;
    }
    for (fault, expected, logged) in [
        (
            ImageFault::NotFound,
            "the image local/guest:1 cannot be pulled: the registry does not have it",
            "code = NotFound",
        ),
        (
            ImageFault::Denied,
            "the image local/guest:1 cannot be pulled: it does not exist, or the registry wants other credentials \
             (imagePullSecrets)",
            "pull access denied",
        ),
        (
            ImageFault::NeverPulled,
            "the image local/guest:1 is not on the node, and its imagePullPolicy says never to pull it",
            "pull policy of Never",
        ),
        (ImageFault::InvalidName, "local/guest:1 is not the name of an image", "invalid reference format"),
        (
            ImageFault::ConfigError("secret \"keys\" not found".into()),
            "the container shell cannot be made: secret \"keys\" not found",
            "",
        ),
        (
            ImageFault::StartError("exec format error".into()),
            "the container shell cannot be started: exec format error",
            "OCI runtime create failed",
        ),
    ] {
        let world = World::start().await;
        world.cluster.faults().image("local/", fault);
        assert_eq!(refused(&world).await, expected);
        let told = detail(&world, "KUBERNETES_POD_WAIT_FAILED").await;
        assert!(told.contains(logged), "{told}");
    }
}

#[podgate_test::multi_thread]
async fn pod_that_the_api_does_not_take_is_refused_with_its_reason() {
    if !on_development("nodes, registries and rules are imitated") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().quota(Some(0));
    let line = refused(&world).await;
    assert!(line.starts_with("the quota of the namespace shells has no room for the pod: "), "{line}");
    world.cluster.faults().quota(None);
    world.cluster.faults().deny_pods(Some("images come from our registry only"));
    let line = refused(&world).await;
    assert!(line.starts_with("the cluster's rules do not admit the pod: "), "{line}");
    assert!(line.ends_with("denied the request: images come from our registry only"), "{line}");
    let detail = detail(&world, "KUBERNETES_POD_CREATE_FAILED").await;
    assert!(detail.contains("403"), "{detail}");
    world.cluster.faults().deny_pods(None);
    world.ssh().run("true").await.expect(0);
}

/// A world whose config server has this to say about alice.
async fn world_for_alice(settings: Value, config: Value) -> World {
    Setup { config, users: vec![("alice", settings)], ..Setup::default() }.start().await
}

#[podgate_test::multi_thread]
async fn namespace_that_is_not_there_is_named() {
    let pod = json!({"metadata": {"namespace": "nowhere"}});
    let world = world_for_alice(json!({"kubernetes": {"pod": pod}}), json!({})).await;
    assert_eq!(refused(&world).await, "the namespace nowhere does not exist");
}

/// A world whose gateway had every right when it started, and has these now: verbs on resources.
async fn world_with_rights(rights: &[(&str, &str)]) -> World {
    let world = Setup { access: Access::Rights(Rights::gateway()), ..Setup::default() }.start().await;
    world.cluster.grant(&Rights::of(rights)).await;
    world
}

#[podgate_test::multi_thread]
async fn gateway_without_its_rights_says_which() {
    let world = world_with_rights(&[("*", "events")]).await;
    let told = format!("the gateway may not create pods in the namespace {}", world.namespace());
    assert_eq!(refused(&world).await, told);
    assert!(detail(&world, "KUBERNETES_POD_CREATE_FAILED").await.contains("403"));

    let world = world_with_rights(&[("*", "pods"), ("*", "events"), ("get", "pods/exec")]).await;
    assert_eq!(refused(&world).await, "the gateway may not use pods/exec (needs get and create)");
    let line = world.gateway.wait_for_line("SSH_CHANNEL_REQUEST_FAILED").await;
    let detail = line["details"]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("is forbidden"), "{line}");
}

#[podgate_test::multi_thread]
async fn gateway_needs_no_more_than_its_role() {
    let world = Setup { access: Access::Rights(Rights::gateway()), ..Setup::default() }.start().await;
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.write("echo in-$((40 + 2))\nexit 3\n").await;
    client.until_stdout("in-42").await;
    client.ended().await.expect(3);
    world.wait_for_nothing().await;
    world.gateway.wait_for_line("KUBERNETES_POD_REMOVE_SUCCESSFUL").await;
    for line in world.gateway.log().lines() {
        assert!(!line.contains("FAILED") && !line.contains("forbidden"), "{line}");
    }
}

#[podgate_test::multi_thread]
async fn gateway_that_may_not_watch_still_works_and_says_so_in_its_log() {
    let world = world_with_rights(&[
        ("create", "pods"),
        ("get", "pods"),
        ("delete", "pods"),
        ("*", "events"),
        ("*", "pods/exec"),
    ])
    .await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
    assert_eq!(world.gateway.wait_for_line("KUBERNETES_WATCH_FAILED").await["level"], "warning");
}

#[podgate_test::multi_thread]
async fn wrong_credentials_are_the_gateways_fault_and_told_so() {
    if !on_development("a real cluster takes a token as good for a while after it was taken back") {
        return;
    }
    let token = Token { token: "t-revoked".into(), user: "gateway".into(), rules: Rights::gateway().rules() };
    let cluster = Options { tokens: vec![token], ..Options::default() };
    let world = Setup { access: Access::Token("t-revoked".into()), cluster, ..Setup::default() }.start().await;
    world.cluster.faults().revoke_token("t-revoked");
    assert_eq!(refused(&world).await, "the gateway's credentials for Kubernetes are not accepted");
    assert!(!world.gateway.log().contains("t-revoked"), "a secret is in the log");
}

#[podgate_test::multi_thread]
async fn api_with_another_ca_is_not_trusted() {
    let other = podgate_devcluster::DevCluster::start(podgate_devcluster::Options::default()).expect("a cluster");
    let settings = json!({"kubernetes": {"connection": {"cacert": other.ca_pem(), "bearerToken": "t-canary"}}});
    let world = world_for_alice(settings, json!({"configserver": {"allowConnection": true}})).await;
    assert_eq!(refused(&world).await, "the Kubernetes API cannot be reached securely");
    let detail = detail(&world, "KUBERNETES_POD_CREATE_FAILED").await;
    assert!(detail.contains("certificate"), "{detail}");
    assert_eq!(world.cluster.requests("create", "pods"), 0);
}

#[podgate_test::multi_thread]
async fn image_name_that_is_none_is_told_with_the_name() {
    let containers: Value = json!([{"name": "shell", "image": "local/Guest"}]);
    // By the answer alone: a gateway whose file has such a name does not start.
    let settings = json!({"kubernetes": {"pod": {"spec": {"containers": containers}}}});
    let world = world_for_alice(settings, json!({})).await;
    assert_eq!(refused(&world).await, "local/Guest is not the name of an image");
}
