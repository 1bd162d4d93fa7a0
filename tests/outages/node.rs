//! What makes pods and carries their streams goes away: the kubelet, containerd, and the node for maintenance.

use super::{answers, assert_lost, assert_recovered, mark, person};
use crate::support::client::Done;
use crate::support::cluster::on_real;
use crate::support::{Setup, World};
use serde_json::json;

/// A world on a node whose parts may be stopped; `None` on the development cluster, which is one process.
async fn world() -> Option<World> {
    if !on_real("its node has no parts that could go away alone") {
        return None;
    }
    let world = Setup::default().alone().start().await;
    assert!(world.cluster.real().nodes_ready(true).await, "the node takes no pods");
    Some(world)
}

#[podgate_test::multi_thread]
async fn node_that_does_not_begin_is_told_and_waited_for() {
    let Some(world) = world().await else { return };
    let cluster = world.cluster.real();
    cluster.control("kill kubelet").await;
    let mut client = person(&world).launch();
    let program = world.ssh_as("bob").start("echo in");
    client.until_stderr("podgate: waiting: the node node1 has not begun to start the pod").await;
    cluster.control("start kubelet").await;
    answers(&mut client).await;
    client.write("exit 3\n").await;
    client.ended().await.expect(3);
    let done = program.ended().await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
    world.wait_for_nothing().await;
}

/// Ends a part of the node under a program and a terminal, and starts it again when both clients have ended; what they
/// were told.
async fn ended_with(world: &World, part: &str, mark: &str) -> [Done; 2] {
    let client = world.ssh().start(&format!("echo up; sleep {mark}; exit 5"));
    client.until_stdout("up").await;
    let mut terminal = person(world).launch();
    answers(&mut terminal).await;
    world.cluster.real().control(&format!("kill {part}")).await;
    let told = [client.ended().await, terminal.ended().await];
    world.cluster.real().control(&format!("start {part}")).await;
    told
}

#[podgate_test::multi_thread]
async fn kubelet_that_ends_under_a_session_is_not_success() {
    let Some(world) = world().await else { return };
    let mark = mark();
    ended_with(&world, "kubelet", &mark).await.into_iter().for_each(assert_lost);
    assert_recovered(&world, &mark).await;
}

/// The API server takes the end of containerd for the good end of the programs: `kubectl exec` ends with 0.
#[podgate_test::multi_thread]
async fn containerd_that_ends_under_a_session_is_not_success() {
    let Some(world) = world().await else { return };
    let mark = mark();
    ended_with(&world, "containerd", &mark).await.into_iter().for_each(assert_lost);
    assert_recovered(&world, &mark).await;
}

#[podgate_test::multi_thread]
async fn session_outlives_a_kubelet_that_stands_still_for_a_while() {
    let Some(world) = world().await else { return };
    let cluster = world.cluster.real();
    let mut client = person(&world).launch();
    answers(&mut client).await;
    cluster.control("freeze kubelet").await;
    assert!(cluster.nodes_ready(false).await, "the node stays ready");
    cluster.control("thaw kubelet").await;
    client.write("echo still-$((40 + 2)); exit 3\n").await;
    client.until_stdout("still-42").await;
    let done = client.ended().await.expect(3);
    assert!(!done.stderr.contains("podgate"), "{}", done.stderr);
    assert!(cluster.nodes_ready(true).await, "the node does not come back");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn containerd_that_is_away_while_a_pod_starts_is_told_and_waited_for() {
    let Some(world) = world().await else { return };
    let cluster = world.cluster.real();
    cluster.control("kill containerd").await;
    let mut client = person(&world).launch();
    client.until_stderr("podgate: waiting: the node cannot start it yet: ").await;
    cluster.control("start containerd").await;
    answers(&mut client).await;
    client.write("exit 3\n").await;
    client.ended().await.expect(3);
    world.wait_for_nothing().await;
}

/// A node that takes pods again when this is dropped.
struct Drained<'a>(&'a World);

impl Drop for Drained<'_> {
    fn drop(&mut self) {
        let uncordon = self.0.cluster.real().kubectl(&["uncordon", "node1"]);
        let done = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(uncordon));
        assert!(done.status.success(), "{done:?}");
    }
}

#[podgate_test::multi_thread]
async fn drained_node_tells_its_users_and_the_next_login_waits_for_another() {
    let Some(world) = world().await else { return };
    let client = world.ssh().start("trap '' TERM; echo up; sleep 1000");
    client.until_stdout("up").await;
    let mut terminal = person(&world).launch();
    answers(&mut terminal).await;
    let node = Drained(&world);
    let drain = "drain node1 --pod-selector=app.kubernetes.io/managed-by=podgate --force --timeout=60s";
    let drain = drain.split(' ').collect::<Vec<_>>();
    let drained = world.cluster.real().kubectl(&drain);
    let (drained, client, terminal) = tokio::join!(drained, client.ended(), terminal.ended());
    assert!(drained.status.success(), "{drained:?}");
    for done in [client, terminal] {
        let done = done.expect(255);
        assert!(done.stderr.contains("podgate: the pod was evicted, its node is being drained"), "{}", done.stderr);
    }
    let mut waiting = person(&world).launch();
    waiting
        .until_stderr(
            "podgate: waiting: no node takes the pod yet: 0/1 nodes are available: 1 node(s) were unschedulable",
        )
        .await;
    drop(node);
    answers(&mut waiting).await;
    waiting.write("exit\n").await;
    waiting.ended().await.expect(0);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn node_that_never_begins_is_named_at_pod_start() {
    if !on_real("its node has no parts that could go away alone") {
        return;
    }
    let world = Setup::config(json!({"kubernetes": {"timeouts": {"podStart": "3s"}}})).alone().start().await;
    assert!(world.cluster.real().nodes_ready(true).await, "the node takes no pods");
    world.cluster.real().control("kill kubelet").await;
    let done = world.ssh().run("true").await.expect(255);
    let told = "podgate: the pod was not ready within 3s: the node node1 has not begun to start the pod\n";
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", told));
    world.cluster.real().control("start kubelet").await;
    world.wait_for_nothing().await;
}
