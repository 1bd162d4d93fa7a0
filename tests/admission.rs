//! Pods that a real cluster does not admit, or admits and cannot start: a person at a terminal reads the reason at once,
//! and the wait goes on only where it may help.

mod registries;
mod restricted;

use crate::support::client::Running;
use crate::support::cluster::{container, on_real};
use crate::support::real::observer::Observable;
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Within which a person reads why nothing happens, from when the API shows it: when it does is up to the node, which
/// shares few cores with everything else that is tested. What the API shows to the gateway alone (it takes no such pod)
/// is to be read as soon after the beginning of the login.
const AT_ONCE: Duration = Duration::from_secs(8);
/// Of so many logins most must be in time: a busy machine may hold up one that is well served.
const TRIES: usize = 3;
/// The gateway's time limit for a pod, longer than any test waits for its clients, so that no test's wait ends by it.
const POD_START: &str = "10m";

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
    let config = json!({"kubernetes": {"timeouts": {"podStart": POD_START}, "pod": {"spec": whole}}});
    Some(Setup::config(config).start().await)
}

/// A login at a terminal that has read this at once, as most do. The sign is how the API shows it to everybody; `None` where
/// it takes no such pod.
async fn reads(world: &World, reason: &str, sign: Option<Observable>) -> Running {
    let mut took = Vec::new();
    loop {
        let observer = match sign {
            Some(sign) => Some((sign, world.cluster.real().observe(world.namespace()).await)),
            None => None,
        };
        let start = Instant::now();
        let client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
        client.until_stderr(reason).await;
        let read = Instant::now();
        let shown = match observer {
            Some((sign, mut observer)) => observer.first_seen(sign).await,
            None => start,
        };
        took.push(read.saturating_duration_since(shown));
        let late = took.iter().filter(|took| **took > AT_ONCE).count();
        assert!(late <= TRIES / 2, "{reason:?} is read after {took:?}\n{}", world.gateway.log());
        if took.len() - late > TRIES / 2 {
            return client;
        }
        client.kill().await;
        if sign.is_some() {
            world.wait_for_nothing().await;
        }
    }
}

/// Asserts that a login reads this at once, and that nobody waits for more; all that it reads.
async fn assert_ends(world: &World, reason: &str, sign: Option<Observable>) -> String {
    let client = reads(world, reason, sign).await;
    let told = client.ended().await.expect(255).stderr;
    let last = told.lines().rfind(|line| line.starts_with("podgate: "));
    assert!(last.is_some_and(|line| line.contains(reason)), "{told}");
    let done = world.ssh().run("true").await.expect(255);
    assert!(done.stderr.starts_with(&format!("podgate: {reason}")), "{}", done.stderr);
    told
}

/// Asserts that a login reads this at once, that nobody waits for more, and that nothing stays.
async fn assert_final(world: &World, reason: &str, sign: Observable) {
    assert_ends(world, reason, Some(sign)).await;
    world.wait_for_nothing().await;
}

/// Asserts that a login reads this at once and waits on, until its user has had enough.
async fn assert_waits(world: &World, reason: &str, sign: Observable) {
    let mut client = reads(world, reason, Some(sign)).await;
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

#[podgate_test::multi_thread]
async fn quota_without_room_is_told_with_its_numbers() {
    let Some(world) = world(json!({}), json!({})).await else { return };
    let quota = object(&world, "v1", "ResourceQuota", json!({"spec": {"hard": {"pods": "1"}}}));
    world.cluster.real().make(quota).await;
    let client = world.ssh().start("echo up; cat");
    client.until_stdout("up").await;
    let reason = format!("the quota of the namespace {} has no room for the pod: test, requested: ", world.namespace());
    assert_ends(&world, &(reason + "pods=1, used: pods=1, limited: pods=1"), None).await;
    client.kill().await;
    world.wait_for_nothing().await;
    world.ssh().run("true").await.expect(0);
}

#[podgate_test::multi_thread]
async fn limit_range_that_a_pod_exceeds_is_told_with_its_numbers() {
    let guest = json!({"resources": {"limits": {"memory": "128Mi"}, "requests": {"memory": "1Mi"}}});
    let Some(world) = world(guest, json!({})).await else { return };
    let limits = json!({"spec": {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]}});
    world.cluster.real().make(object(&world, "v1", "LimitRange", limits)).await;
    let told = assert_ends(&world, "the cluster's rules do not admit the pod: ", None).await;
    let expected = "is forbidden: maximum memory usage per Container is 64Mi, but limit is 128Mi";
    assert!(told.contains(expected), "{told}");
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

#[podgate_test::multi_thread]
async fn admission_policy_that_denies_is_told_in_its_own_words() {
    let Some(world) = world(json!({}), json!({})).await else { return };
    let cluster = world.cluster.real();
    for part in denial(world.namespace(), "shells are closed today") {
        cluster.make(part).await;
    }
    let pod = object(&world, "v1", "Pod", json!({"spec": {"containers": [container("shell")]}}));
    // Nothing tells when the API servers have begun to heed a policy.
    while cluster.admits(&pod).await {}
    let told = assert_ends(&world, "the cluster's rules do not admit the pod: ", None).await;
    assert!(told.contains("shells are closed today"), "{told}");
    assert!(!told.contains("specification"), "{told}");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn image_that_is_nowhere_ends_the_wait() {
    let Some(world) = world(json!({"image": "podgate.test/none:1"}), json!({})).await else { return };
    let reason = "the image podgate.test/none:1 is not on the node, and its imagePullPolicy says never to pull it";
    assert_final(&world, reason, Observable::Pod("ErrImageNeverPull")).await;
}

#[podgate_test::multi_thread]
async fn registry_that_cannot_be_reached_is_told_and_waited_for() {
    let guest = json!({"image": "127.0.0.1:1/none:1", "imagePullPolicy": "Always"});
    let Some(world) = world(guest, json!({})).await else { return };
    let reason = "the image 127.0.0.1:1/none:1 cannot be pulled yet: ";
    assert_waits(&world, reason, Observable::Pod("ErrImagePull")).await;
}

#[podgate_test::multi_thread]
async fn image_name_that_is_none_ends_the_wait() {
    // The only kind of name that the gateway's own check leaves to the node: it looks like an image's id.
    let name = "0123456789abcdef".repeat(4);
    let Some(world) = world(json!({"image": name}), json!({})).await else { return };
    let reason = format!("{name} is not the name of an image");
    assert_final(&world, &reason, Observable::Pod("InvalidImageName")).await;
}

#[podgate_test::multi_thread]
async fn volume_of_a_missing_config_map_is_told_and_waited_for() {
    let volumes = json!({"volumes": [{"name": "notes", "configMap": {"name": "notes"}}]});
    let mount = json!({"volumeMounts": [{"name": "notes", "mountPath": "/notes"}]});
    let Some(world) = world(mount, volumes).await else { return };
    let mut client = reads(&world, "a volume is missing: ", Some(Observable::Event("FailedMount"))).await;
    client.until_stderr("configmap \"notes\" not found").await;
    let map = json!({"metadata": {"name": "notes"}, "data": {"today": "open"}});
    world.cluster.real().make(object(&world, "v1", "ConfigMap", map)).await;
    client.write("cat /notes/today; exit 3\n").await;
    client.until_stdout("open").await;
    client.ended().await.expect(3);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn variable_of_a_missing_secret_ends_the_wait() {
    let from = json!({"secretKeyRef": {"name": "keys", "key": "first"}});
    let Some(world) = world(json!({"env": [{"name": "KEY", "valueFrom": from}]}), json!({})).await else { return };
    let reason = "the container shell cannot be made: secret \"keys\" not found";
    assert_final(&world, reason, Observable::Pod("CreateContainerConfigError")).await;
}

#[podgate_test::multi_thread]
async fn pod_that_fits_on_no_node_is_told_and_waited_for() {
    let Some(world) = world(json!({"resources": {"requests": {"memory": "1Pi"}}}), json!({})).await else { return };
    let reason = "no node takes the pod yet: 0/1 nodes are available: 1 Insufficient memory";
    assert_waits(&world, reason, Observable::Pod("Insufficient memory")).await;
}

#[podgate_test::multi_thread]
async fn warning_of_the_node_that_holds_nothing_up_is_no_reason_to_wait() {
    // The container counts as being created until the hook has ended.
    let hook = json!({"exec": {"command": ["sleep", "6"]}});
    let Some(world) = world(json!({"lifecycle": {"postStart": hook}}), json!({})).await else { return };
    let client = world.ssh().start("echo in");
    let told = |events: &[Value]| events.iter().any(|event| event["reason"] == "MissingClusterDNS");
    assert!(world.cluster.wait_for_events(world.namespace(), told).await, "the node has a cluster DNS");
    let done = client.ended().await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
    assert!(!done.waited.iter().any(|line| line.contains("DNS")), "{:?}", done.waited);
    world.wait_for_nothing().await;
}
