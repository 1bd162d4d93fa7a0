//! The whole way once: a login, a command, its exit.

use crate::support::World;

#[podgate_test::multi_thread]
async fn stranger_is_refused_and_leaves_no_pod() {
    let world = World::start().await;
    let done = world.ssh_as("mallory").run("true").await.expect(255);
    assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    assert_eq!(world.cluster.requests("create", "pods"), 0);
}

#[podgate_test::multi_thread]
async fn command_runs_in_a_pod_of_its_own_that_is_gone_after_it() {
    let world = World::start().await;
    let done = world.ssh().run("echo out; echo err >&2; exit 7").await.expect(7);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(world.cluster.requests("create", "pods"), 1);
    world.wait_for_pods(0).await;
}
