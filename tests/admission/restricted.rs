//! A namespace under the Pod Security level `restricted`, chosen for a user by the config webhook.

use crate::support::cluster::{namespace, on_real};
use crate::support::{Setup, World};
use serde_json::{Value, json};

/// What the level asks of a container, and a root that nobody writes to.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// What the webhook says of a user's pods: where they are, and how their container is secured.
fn pod(namespace: &str, security: Value) -> Value {
    let console = json!({
        "name": "shell", "image": "podgate.test/restricted:1", "imagePullPolicy": "Never", "securityContext": security,
    });
    json!({"kubernetes": {"pod": {"metadata": {"namespace": namespace}, "spec": {"containers": [console]}}}})
}

/// A world in which alice's pods are as the level wants them and bob's are privileged; carol's are nobody's concern.
async fn world() -> Option<World> {
    if !on_real("Pod Security is the admission of a real API server") {
        return None;
    }
    let mut setup = Setup::default();
    let strict = namespace("strict");
    setup.users = vec![
        ("alice", pod(&strict, restricted())),
        ("bob", pod(&strict, json!({"privileged": true}))),
        ("carol", json!({})),
    ];
    setup.namespaces.push(strict.clone());
    let world = setup.start().await;
    let level = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    world.cluster.real().label_namespace(&strict, level).await;
    Some(world)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileged_pod_is_refused_in_the_clusters_own_words() {
    let Some(world) = world().await else { return };
    let done = world.ssh_as("bob").run("true").await.expect(255);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.starts_with("podgate: the cluster's rules do not admit the pod: "), "{}", done.stderr);
    let expected = "violates PodSecurity \"restricted:latest\": privileged (container \"shell\" must not set";
    assert!(done.stderr.contains(expected), "{}", done.stderr);
    world.ssh_as("carol").run("true").await.expect(0);
    world.wait_for_nothing().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_without_any_privilege_serves_programs_and_terminals() {
    let Some(world) = world().await else { return };
    let done = world.ssh().stdin("through").run("id -u; touch /here 2>&1 || cat").await.expect(0);
    assert_eq!(done.text(), "1000\ntouch: /here: Read-only file system\nthrough");
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.write("echo at-$(tty); exit 3\n").await;
    client.until_stdout("at-/dev/pts/").await;
    client.ended().await.expect(3);
    world.wait_for_nothing().await;
}
