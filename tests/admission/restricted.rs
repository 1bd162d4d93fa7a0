//! A namespace under the Pod Security level `restricted`: chosen for a user by the config webhook, or the file's own, where
//! the webhook changes the image, or more, of a pod that the namespace admits.

use crate::support::cluster::{container, kubeconfig, namespace, on_real};
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};

/// The container's settings that the level requires, and a read-only root file system.
fn restricted() -> Value {
    json!({
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
        "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// The webhook's answer about a user's pods: their namespace, and their container's security context.
fn pod(namespace: &str, security: Value) -> Value {
    let console = json!({
        "name": "shell", "image": "podgate.test/restricted:1", "imagePullPolicy": "Never", "securityContext": security,
    });
    json!({"kubernetes": {"pod": {"metadata": {"namespace": namespace}, "spec": {"containers": [console]}}}})
}

/// A world in which alice's pods are as the level wants them and bob's are privileged; carol's are nobody's concern.
async fn world() -> Option<World> {
    if !on_real("its containers run as the test's own user, with its rights") {
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
    world.cluster.restrict(&strict).await;
    Some(world)
}

#[podgate_test::multi_thread]
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

#[podgate_test::multi_thread]
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

/// The image of guests that are not root.
fn image() -> &'static str {
    if kubeconfig().is_some() { "podgate.test/restricted:1" } else { "local/guest:1" }
}

/// The same under another name, for the answers.
fn another_image() -> &'static str {
    if kubeconfig().is_some() { "podgate.test/restricted:1" } else { "local/guest:2" }
}

/// A world whose file keeps to the level that its namespace enforces, as `deploy/kubernetes.yaml` does; what each user gets
/// of `kubernetes.pod`.
async fn file_keeps_to_it(users: Vec<(&'static str, Value)>) -> World {
    file_keeps_to_it_with(json!({}), users).await
}

/// The same, with something merged into the file's `kubernetes.pod`.
async fn file_keeps_to_it_with(more: Value, users: Vec<(&'static str, Value)>) -> World {
    let mut console = container("shell");
    let own = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let env = json!([{"name": "FILE", "value": "of the file"}]);
    merge(&mut console, json!({"image": image(), "securityContext": own, "env": env}));
    let whole = json!({
        "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"},
    });
    let spec = json!({"securityContext": whole, "containers": [console]});
    let mut pod = json!({"spec": spec});
    merge(&mut pod, more);
    let mut setup = Setup::config(json!({"kubernetes": {"pod": pod}}));
    setup.users = users.into_iter().map(|(user, pod)| (user, json!({"kubernetes": {"pod": pod}}))).collect();
    let world = setup.start().await;
    world.cluster.restrict(world.namespace()).await;
    world
}

#[podgate_test::multi_thread]
async fn agent_of_an_image_is_copied_for_a_user_without_privileges() {
    if !on_real("nothing is mounted, and its images are this machine") {
        return;
    }
    // The agent of a debug build needs the C library, which this image has.
    let image = "podgate.test/guest:1";
    let agent = json!({"agentImage": "podgate.test/podgate:1", "image": image});
    let world = file_keeps_to_it_with(json!({"disableAgent": false}), vec![("alice", agent)]).await;
    let script = "tr '\\0' ' ' </proc/1/cmdline; echo; stat -c '%a %u' /.podgate/podgate-agent; touch /.podgate/x 2>&1; \
                  /.podgate/podgate-agent --help | head -n 1";
    let done = world.ssh().run(script).await.expect(0);
    assert_eq!(
        done.text(),
        "/.podgate/podgate-agent wait-signal --signal INT --signal TERM \n555 1000\n\
         touch: cannot touch '/.podgate/x': Read-only file system\nUsage: podgate-agent MODE\n"
    );
    world.wait_for_nothing().await;
}

/// The pod's own mode where it is one that stays.
fn den() -> Value {
    json!({"mode": "persistent", "createMissingPods": true, "metadata": {"name": "den"}})
}

#[podgate_test::multi_thread]
async fn bare_container_of_an_answer_is_refused_and_the_log_says_what_to_answer_instead() {
    let bare = json!({"spec": {"containers": [{"name": "shell", "image": another_image()}]}});
    let mut persistent = den();
    merge(&mut persistent, bare.clone());
    let session = json!({"mode": "session", "spec": bare["spec"]});
    let world = file_keeps_to_it(vec![("alice", bare), ("bob", persistent), ("carol", session)]).await;
    for user in ["alice", "bob", "carol"] {
        let done = world.ssh_as(user).run("true").await.expect(255);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
        assert!(done.stderr.starts_with("podgate: the cluster's rules do not admit the pod: pods "), "{}", done.stderr);
        let expected =
            "violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false (container \"shell\"";
        assert!(done.stderr.contains(expected) && !done.stderr.contains("webhook"), "{}", done.stderr);
        let is_said = |line: &Value| {
            let detail = line["details"]["detail"].as_str().unwrap_or_default();
            line["details"]["username"] == user
                && detail.contains("the config webhook's answer replaced spec.containers, and its container has no ")
                && detail
                    .contains("answer kubernetes.pod.image; to change more, answer kubernetes.pod.merge: strategic")
        };
        world.gateway.wait_for(is_said).await;
    }
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn answer_that_changes_one_thing_keeps_what_the_namespace_asks_for() {
    let env = json!([{"name": "ANSWER", "value": "of the answer"}]);
    let short = json!({"image": another_image(), "env": env, "resources": {"requests": {"cpu": "1m"}}});
    let change =
        json!({"name": "shell", "image": another_image(), "env": env, "resources": {"requests": {"cpu": "1m"}}});
    let strategic = json!({"merge": "strategic", "spec": {"containers": [change]}});
    let with = |mut pod: Value| {
        merge(&mut pod, short.clone());
        pod
    };
    let users = vec![
        ("alice", short.clone()),
        ("bob", strategic),
        ("carol", with(json!({"mode": "session"}))),
        ("dave", with(den())),
    ];
    let world = file_keeps_to_it(users).await;
    for user in ["alice", "bob", "carol", "dave"] {
        let running = world.ssh_as(user).start("echo $FILE, $ANSWER; cat");
        running.until_stdout("of the file, of the answer").await;
        world.wait_for_pods(1).await;
        let pod = world.cluster.pods(world.namespace()).remove(0);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["image"], another_image(), "{user}: {pod:#}");
        assert_eq!(container["resources"]["requests"]["cpu"], "1m", "{user}: {pod:#}");
        assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]), "{user}: {pod:#}");
        running.kill().await;
        if user != "dave" {
            world.wait_for_nothing().await;
        }
    }
}
