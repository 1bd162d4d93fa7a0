//! The pod of a connection: what it is made like, and which container the user lands in.

mod merged;
mod removal;
mod scalars;
mod trouble;

use crate::support::cluster::{container, image, namespace, on_development};
use crate::support::world::merge;
use crate::support::{Setup, World, agent};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

/// The usual world with something merged into `kubernetes.pod`.
async fn world_with_pod(pod: Value) -> World {
    Setup::config(json!({"kubernetes": {"pod": pod}})).start().await
}

/// A world whose images have no agent, with this beside.
async fn world_without_agent_in_image(more: Value) -> World {
    let mut pod = agent::by_default();
    merge(&mut pod, more);
    world_with_pod(pod).await
}

/// The one pod as the API has it, while a session runs.
async fn pod_of(world: &World) -> Value {
    world.pod().await;
    world.cluster.pods(world.namespace()).remove(0)
}

#[podgate_test::multi_thread]
async fn pod_that_names_an_unknown_field_is_refused_with_its_path() {
    let settings = json!({"kubernetes": {"pod": {"spec": {"colour": "blue"}}}});
    let world = Setup { users: vec![("alice", settings)], ..Setup::default() }.start().await;
    let done = world.ssh().run("true").await.expect(255);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    assert!(done.stderr.contains("unknown field \"spec.colour\""), "{}", done.stderr);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn metadata_and_spec_arrive_as_they_were_written() {
    let mut guest = container("shell");
    let more = json!({
        "env": [{"name": "FROM_SPEC", "value": "1"}],
        "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
        "securityContext": {"allowPrivilegeEscalation": false, "runAsUser": 0},
    });
    merge(&mut guest, more);
    let spec = json!({
        "terminationGracePeriodSeconds": 7,
        "hostname": "den",
        "enableServiceLinks": false,
        "hostnameOverride": "den.example",
        "tolerations": [{"key": "shells", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [guest],
    });
    let metadata = json!({
        "generateName": "den-",
        "labels": {"team": "blue"},
        "annotations": {"example.com/note": "kept: as it is"},
        "ownerReferences": [],
    });
    let world = world_with_pod(json!({"spec": spec, "metadata": metadata})).await;
    let running = world.ssh().start("echo up; cat");
    running.until_stdout("up").await;
    let pod = pod_of(&world).await;
    for (path, expected) in [
        ("/spec/terminationGracePeriodSeconds", json!(7)),
        ("/spec/hostname", json!("den")),
        ("/spec/enableServiceLinks", json!(false)),
        ("/spec/hostnameOverride", json!("den.example")),
        ("/spec/tolerations/0/key", json!("shells")),
        ("/spec/automountServiceAccountToken", json!(false)),
        ("/spec/containers/0/env/0/value", json!("1")),
        ("/spec/containers/0/resizePolicy/0/resourceName", json!("cpu")),
        ("/spec/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
        ("/spec/containers/0/securityContext/runAsUser", json!(0)),
        ("/metadata/labels/team", json!("blue")),
        ("/metadata/labels/containerssh_username", json!("alice")),
        ("/metadata/labels/app.kubernetes.io~1managed-by", json!("podgate")),
        ("/metadata/annotations/containerssh_ip", json!("127.0.0.1")),
        ("/metadata/annotations/podgate~1username", json!("alice")),
        ("/metadata/annotations/example.com~1note", json!("kept: as it is")),
    ] {
        assert_eq!(pod.pointer(path), Some(&expected), "{path} of {pod:#}");
    }
    assert!(world.pods()[0].starts_with("den-"), "{:?}", world.pods());
    for label in ["containerssh_connection_id", "podgate/instance", "podgate/identity"] {
        let value = pod["metadata"]["labels"][label].as_str().unwrap_or_default();
        assert!(value.len() >= 16, "{label}: {value:?}");
    }
}

#[podgate_test::multi_thread]
async fn webhook_chooses_the_namespace() {
    let mut setup = Setup::default();
    let other = namespace("other");
    let chosen = json!({"kubernetes": {"pod": {"metadata": {"namespace": other}}}});
    setup.users = vec![("alice", chosen), ("bob", json!({}))];
    setup.namespaces.push(other.clone());
    let world = setup.start().await;
    let (alice, bob) = (world.ssh().start("echo up; cat"), world.ssh_as("bob").start("echo up; cat"));
    tokio::join!(alice.until_stdout("up"), bob.until_stdout("up"));
    assert_eq!((world.cluster.pods(&other).len(), world.pods().len()), (1, 1));
    drop((alice, bob));
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn user_lands_in_the_console_container() {
    let mut containers = [container("side"), container("console")];
    containers[0]["command"] = json!(["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]);
    for container in &mut containers {
        container["env"] = json!([{"name": "LANDED_IN", "value": container["name"]}]);
    }
    let world = world_with_pod(json!({"consoleContainerNumber": 1, "spec": {"containers": containers}})).await;
    assert_eq!(world.ssh().run("echo $LANDED_IN").await.expect(0).text(), "console\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn image_without_the_agent_of_its_idle_command_says_the_ways_out() {
    let world = world_without_agent_in_image(json!({"agentPush": false})).await;
    let start = Instant::now();
    let done = world.ssh().run("true").await.expect(255);
    let told = format!(
        "podgate: the image {} has no /usr/bin/containerssh-agent: put the agent into the image, set \
         kubernetes.pod.agentImage, or set kubernetes.pod.disableAgent to true\n",
        image()
    );
    assert_eq!(done.stderr, told);
    // The default of `podStart`, to which a wait that cannot help would last.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn image_without_an_agent_idles_by_its_shell_until_one_is_brought() {
    let world = world_without_agent_in_image(json!({})).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn agent_image_is_refused_beside_something_of_its_name() {
    let spec = json!({"containers": [container("shell")], "volumes": [{"name": "podgate-agent", "emptyDir": {}}]});
    let mut setup = Setup::config(json!({"kubernetes": {"pod": agent::by_default()}}));
    setup.users = vec![("alice", json!({"kubernetes": {"pod": {"agentImage": "agent:1", "spec": spec}}}))];
    let world = setup.start().await;
    let done = world.ssh().run("true").await.expect(255);
    let told = "podgate: kubernetes.pod.spec.volumes has podgate-agent, which kubernetes.pod.agentImage uses; give yours \
                another name\n";
    assert_eq!(done.stderr, told);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn agent_image_without_the_agent_is_told() {
    let world = world_without_agent_in_image(json!({"agentImage": image()})).await;
    let done = world.ssh().run("true").await.expect(255);
    let told = done.stderr.lines().last().unwrap_or_default();
    assert!(told.starts_with("podgate: the container podgate-agent cannot be started: "), "{told}");
    assert!(told.contains("\"podgate-agent\": executable file not found in $PATH"), "{told}");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn image_with_an_agent_idles_by_it() {
    if !on_development("the agent is a file of this machine, which is the guest's there") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let agent = folder.path().join("containerssh-agent");
    fs::write(&agent, "#!/bin/sh\n[ \"$1\" = wait-signal ] || exit 2\ntrap 'exit 0' TERM\nsleep 1000 & wait\n")
        .expect("a script");
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).expect("its mode");
    let world = world_with_pod(json!({"disableAgent": false, "agentPath": agent})).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn idle_command_of_ones_own_needs_no_agent() {
    let idle = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"];
    let world = world_without_agent_in_image(json!({"idleCommand": idle})).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
}
