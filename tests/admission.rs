//! Pods that a real cluster does not admit, or admits and cannot start: a person at a terminal reads the reason at once,
//! and the wait goes on only where it may help.

mod registries;
mod restricted;

use crate::support::client::Running;
use crate::support::cluster::{container, on_real};
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Within which a person reads why nothing happens.
const AT_ONCE: Duration = Duration::from_secs(3);
/// How often that may fail on a busy machine.
const TRIES: usize = 4;

/// The usual world with something merged into the container of its pods and into their spec; `None` on the development
/// cluster.
async fn world(guest: Value, spec: Value) -> Option<World> {
    if !on_real("its rules, registries and volumes are imitated") {
        return None;
    }
    let mut console = container("shell");
    merge(&mut console, guest);
    let mut whole = json!({"containers": [console]});
    merge(&mut whole, spec);
    Some(Setup::config(json!({"kubernetes": {"pod": {"spec": whole}}})).start().await)
}

/// A login at a terminal that has read this, and did so at once.
async fn reads(world: &World, reason: &str) -> Running {
    let mut took = Vec::new();
    while took.len() < TRIES {
        let start = Instant::now();
        let client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
        client.until_stderr(&format!("podgate: {reason}")).await;
        took.push(start.elapsed());
        if start.elapsed() < AT_ONCE {
            return client;
        }
    }
    panic!("{reason:?} is read after {took:?}\n{}", world.gateway.log());
}

/// Asserts that a login reads this at once, and that nobody waits for more.
async fn assert_final(world: &World, reason: &str) {
    let client = reads(world, reason).await;
    let done = client.ended().await.expect(255);
    let last = done.stderr.lines().rfind(|line| line.starts_with("podgate: "));
    assert!(last.is_some_and(|line| line.contains(reason)), "{}", done.stderr);
    let done = world.ssh().run("true").await.expect(255);
    assert!(done.stderr.starts_with(&format!("podgate: {reason}")), "{}", done.stderr);
    world.wait_for_nothing().await;
}

/// Asserts that a login reads this at once and waits on, until its user has had enough.
async fn assert_waits(world: &World, reason: &str) {
    let mut client = reads(world, reason).await;
    client.write("\x03").await;
    client.ended().await.expect(130);
    world.wait_for_nothing().await;
}

/// An object of the world's namespace.
fn object(world: &World, group: &str, kind: &str, rest: Value) -> Value {
    let mut object = json!({
        "apiVersion": group, "kind": kind, "metadata": {"name": "test", "namespace": world.namespace()},
    });
    merge(&mut object, rest);
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quota_without_room_is_told_with_its_numbers() {
    let Some(world) = world(json!({}), json!({})).await else { return };
    let quota = object(&world, "v1", "ResourceQuota", json!({"spec": {"hard": {"pods": "1"}}}));
    world.cluster.real().make(quota).await;
    let client = world.ssh().start("echo up; cat");
    client.until_stdout("up").await;
    let reason = format!("the quota of the namespace {} has no room for the pod: test, requested: ", world.namespace());
    reads(&world, &(reason + "pods=1, used: pods=1, limited: pods=1")).await.ended().await.expect(255);
    client.kill().await;
    world.wait_for_nothing().await;
    world.ssh().run("true").await.expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limit_range_that_a_pod_exceeds_is_told_with_its_numbers() {
    let guest = json!({"resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "1Mi"}}});
    let Some(world) = world(guest, json!({})).await else { return };
    let limits = json!({"spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}});
    world.cluster.real().make(object(&world, "v1", "LimitRange", limits)).await;
    let client = reads(&world, "the cluster's rules do not admit the pod: ").await;
    let done = client.ended().await.expect(255);
    let expected = "is forbidden: maximum memory usage per Container is 64Mi, but limit is 128Mi";
    assert!(done.stderr.contains(expected), "{}", done.stderr);
    world.wait_for_nothing().await;
}

/// A policy that denies every pod of the namespace, and its binding.
fn denial(namespace: &str, message: &str) -> [Value; 2] {
    let group = "admissionregistration.k8s.io/v1";
    let pods = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let here = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    [
        json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": namespace}, "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [pods]},
            "validations": [{"expression": "false", "message": message}],
        }}),
        json!({"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": namespace},
            "spec": {"policyName": namespace, "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": here}}}),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admission_policy_that_denies_is_told_in_its_own_words() {
    let Some(world) = world(json!({}), json!({})).await else { return };
    let cluster = world.cluster.real();
    for part in denial(world.namespace(), "shells are closed today") {
        cluster.make(part).await;
    }
    let pod = object(&world, "v1", "Pod", json!({"spec": {"containers": [container("shell")]}}));
    // Nothing tells when the API servers have begun to heed a policy.
    while cluster.admits(&pod).await {}
    let client = reads(&world, "the cluster's rules do not admit the pod: ").await;
    let done = client.ended().await.expect(255);
    assert!(done.stderr.contains("shells are closed today"), "{}", done.stderr);
    assert!(!done.stderr.contains("specification"), "{}", done.stderr);
    world.wait_for_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_that_is_nowhere_ends_the_wait() {
    let Some(world) = world(json!({"image": "podgate.test/none:1"}), json!({})).await else { return };
    let reason = "the image podgate.test/none:1 is not on the node, and its imagePullPolicy says never to pull it";
    assert_final(&world, reason).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_that_cannot_be_reached_is_told_and_waited_for() {
    let guest = json!({"image": "127.0.0.1:1/none:1", "imagePullPolicy": "Always"});
    let Some(world) = world(guest, json!({})).await else { return };
    let reason = "the image 127.0.0.1:1/none:1 cannot be pulled yet: ";
    assert_waits(&world, reason).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_name_that_is_none_ends_the_wait() {
    let Some(world) = world(json!({"image": "podgate.test/UPPER:1"}), json!({})).await else { return };
    assert_final(&world, "podgate.test/UPPER:1 is not the name of an image").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volume_of_a_missing_config_map_is_told_and_waited_for() {
    let volumes = json!({"volumes": [{"name": "notes", "configMap": {"name": "notes"}}]});
    let mount = json!({"volumeMounts": [{"name": "notes", "mountPath": "/notes"}]});
    let Some(world) = world(mount, volumes).await else { return };
    let mut client = reads(&world, "a volume is missing: ").await;
    client.until_stderr("configmap \"notes\" not found").await;
    let map = json!({"metadata": {"name": "notes"}, "data": {"today": "open"}});
    world.cluster.real().make(object(&world, "v1", "ConfigMap", map)).await;
    client.write("cat /notes/today; exit 3\n").await;
    client.until_stdout("open").await;
    client.ended().await.expect(3);
    world.wait_for_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variable_of_a_missing_secret_ends_the_wait() {
    let from = json!({"secretKeyRef": {"name": "keys", "key": "first"}});
    let Some(world) = world(json!({"env": [{"name": "KEY", "valueFrom": from}]}), json!({})).await else { return };
    assert_final(&world, "the container shell cannot be made: secret \"keys\" not found").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_that_fits_on_no_node_is_told_and_waited_for() {
    let Some(world) = world(json!({"resources": {"requests": {"memory": "1Pi"}}}), json!({})).await else { return };
    assert_waits(&world, "no node takes the pod yet: 0/1 nodes are available: 1 Insufficient memory").await;
}
