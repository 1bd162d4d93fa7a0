//! Pods that end under an open connection: the user reads why, and the connection does not outlive its pod.

use crate::support::World;
use crate::support::client::{Client, Running};
use crate::support::cluster::kubeconfig;
use std::time::Duration;

/// Ends the world's one pod.
type End = fn(&World, &str) -> bool;

/// The ways in which a pod ends, and what the user reads of each.
const ENDS: &[(End, &str)] = &[
    (|world, pod| world.cluster.delete_pod(world.namespace(), pod, Duration::from_secs(1)), DELETED),
    (|world, pod| world.cluster.delete_pod(world.namespace(), pod, Duration::ZERO), DELETED),
];

/// The ways that the development cluster imitates.
const IMITATED: &[(End, &str)] = &[
    (|world, pod| world.cluster.faults().evict(world.namespace(), pod), "the pod was evicted from its node: "),
    (
        |world, pod| world.cluster.faults().oom_kill(world.namespace(), pod, "shell"),
        "the container shell ran out of memory",
    ),
    (
        |world, pod| world.cluster.faults().kill_container(world.namespace(), pod, "shell"),
        "the container shell ended with status 137",
    ),
];

const DELETED: &str = "the pod was deleted";

/// The ways in which a pod can be made to end here; on a real cluster, `outages::ends` has the others.
fn ends() -> impl Iterator<Item = &'static (End, &'static str)> {
    let imitated = if kubeconfig().is_some() { &[] } else { IMITATED };
    ENDS.iter().chain(imitated)
}

/// Deletes the world's one pod.
async fn delete(world: &World) {
    assert!(world.cluster.delete_pod(world.namespace(), &world.pod().await, Duration::from_secs(1)));
}

/// A client's options for a connection that later ones share.
fn shared(world: &World, client: Client, master: &str) -> Client {
    let socket = world.folder().join("master");
    client.option(&format!("ControlPath={}", socket.display())).option(&format!("ControlMaster={master}"))
}

/// A connection without any session, which later ones share.
async fn idle_master(world: &World) -> Running {
    let master = shared(world, world.ssh(), "yes").arg("-N").arg("127.0.0.1").launch();
    world.gateway.wait_for_line("KUBERNETES_POD_READY").await;
    master
}

#[podgate_test::multi_thread]
async fn pod_that_ends_under_a_session_is_told_and_never_success() {
    for (end, expected) in ends() {
        let world = World::start().await;
        let client = world.ssh().start("trap '' TERM HUP; echo up; sleep 1000");
        client.until_stdout("up").await;
        let pod = world.pod().await;
        assert!(end(&world, &pod));
        let done = client.ended().await.expect(255);
        let first = done.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with(&format!("podgate: {expected}")), "{expected}: {}", done.stderr);
        let line = world.gateway.wait_for_line("KUBERNETES_POD_GONE").await;
        assert_eq!(line["details"]["podName"], pod.as_str());
        world.wait_for_nothing().await;
    }
}

#[podgate_test::multi_thread]
async fn master_without_a_session_does_not_hold_a_corpse() {
    for (end, expected) in ends() {
        let world = World::start().await;
        let master = idle_master(&world).await;
        let done = shared(&world, world.ssh(), "no").run("echo in").await.expect(0);
        assert_eq!(done.text(), "in\n");
        assert!(end(&world, &world.pod().await));
        let done = master.ended().await.expect(255);
        assert!(done.stderr.contains(&format!("podgate: {expected}")), "{expected}: {}", done.stderr);
        world.wait_for_nothing().await;
    }
}

#[podgate_test::multi_thread]
async fn session_that_comes_after_the_end_gets_the_reason() {
    let world = World::start().await;
    let master = idle_master(&world).await;
    delete(&world).await;
    world.gateway.wait_for_line("KUBERNETES_POD_GONE").await;
    let done = shared(&world, world.ssh(), "no").run("echo in").await.expect(255);
    assert!(done.stderr.starts_with("podgate: the pod was deleted"), "{}", done.stderr);
    assert_eq!(done.text(), "");
    master.ended().await.expect(255);
    world.wait_for_nothing().await;
    world.ssh().run("true").await.expect(0);
}

#[podgate_test::multi_thread]
async fn person_at_a_terminal_reads_the_reason_too() {
    let world = World::start().await;
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.write("echo up-$((1 + 1))\n").await;
    client.until_stdout("up-2").await;
    delete(&world).await;
    let done = client.ended().await.expect(255);
    assert!(done.stderr.contains("podgate: the pod was deleted"), "{}", done.stderr);
}
