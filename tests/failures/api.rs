//! The API server goes away, or cuts what it carries: never an exit of 0, always a line, and the gateway recovers by
//! itself.

use super::POD_START;
use crate::support::cluster::{on_development, soon};
use crate::support::{Setup, World};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::time::timeout;

const LOST: &str = "podgate: the connection to the container was lost\n";

#[podgate_test::multi_thread]
async fn cut_stream_is_not_success() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = World::start().await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    world.cluster.faults().cut_streams();
    let done = client.ended().await.expect(255);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("up\n", LOST));
    let line = world.gateway.wait_for_line("SSH_EXIT_CODE_FAILED").await;
    assert!(line["details"]["detail"].is_string(), "{line}");
    world.wait_for_nothing().await;
    world.ssh().run("true").await.expect(0);
}

#[podgate_test::multi_thread]
async fn stream_that_is_cut_in_the_middle_of_its_data_is_not_success() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().cut_streams_after(Some(1_000_000));
    let done = world.ssh().run("head -c 8000000 /dev/zero").await.expect(255);
    assert!(done.stdout.len() < 8_000_000, "{}", done.stdout.len());
    assert_eq!(done.stderr, LOST);
    let done = world.ssh().stdin(vec![0; 8_000_000]).run("wc -c").await.expect(255);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", LOST));
    world.cluster.faults().cut_streams_after(None);
    let done = world.ssh().run("head -c 8000000 /dev/zero").await.expect(0);
    assert_eq!(done.stdout.len(), 8_000_000);
}

#[podgate_test::multi_thread]
async fn api_that_goes_away_under_a_session_comes_back_for_the_next() {
    let world = Setup::default().alone().start().await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    world.cluster.api_down().await;
    assert_eq!(client.ended().await.expect(255).stderr, LOST);
    world.cluster.api_up().await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn api_that_is_away_at_the_login_is_told_within_pod_start() {
    let world = Setup::config(json!({"kubernetes": {"timeouts": {"podStart": "2s"}}})).alone().start().await;
    world.cluster.api_down().await;
    let start = Instant::now();
    let done = world.ssh().run("true").await.expect(255);
    assert!(start.elapsed() < POD_START, "{:?}", start.elapsed());
    assert_eq!(done.stderr, "podgate: the pod could not be created within 2s: Kubernetes cannot be reached\n");
    let line = world.gateway.wait_for_line("KUBERNETES_POD_CREATE_FAILED").await;
    assert!(line["details"]["podName"].is_string(), "{line}");
    world.cluster.api_up().await;
    // A real node whose API was away may take longer for a pod than this podStart.
    let served = async { while world.ssh().run("true").await.status != 0 {} };
    timeout(soon(), served).await.expect("a login is served");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn api_that_is_away_while_a_pod_starts_is_waited_for() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().hold_pods();
    let client = world.ssh().start("echo in");
    world.pod().await;
    world.cluster.api_down().await;
    world.cluster.faults().release_pods();
    world.cluster.api_up().await;
    let done = client.ended().await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
}

#[podgate_test::multi_thread]
async fn watch_that_expires_or_is_cut_is_opened_again() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = World::start().await;
    world.ssh().run("true").await.expect(0);
    for trouble in [podgate_devcluster::Faults::expire_watches, podgate_devcluster::Faults::cut_watches] {
        let client = world.ssh().start("echo up; cat");
        client.until_stdout("up").await;
        trouble(&world.cluster.faults());
        assert_eq!(world.ssh_as("bob").run("echo in").await.expect(0).text(), "in\n");
        let pods = world.pods();
        for pod in &pods {
            world.cluster.delete_pod(world.namespace(), pod, Duration::ZERO);
        }
        let done = client.ended().await.expect(255);
        assert!(done.stderr.starts_with("podgate: the pod was deleted"), "{}", done.stderr);
        world.wait_for_nothing().await;
    }
}
