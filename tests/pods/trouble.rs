//! A busy or slow API is waited for as long as `podStart` allows, and no longer.

use crate::support::cluster::on_development;
use crate::support::{Setup, World};
use podgate_devcluster::RequestFailure;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The usual world with these `kubernetes.timeouts`.
async fn world_with_timeouts(timeouts: Value) -> World {
    Setup::config(json!({"kubernetes": {"timeouts": timeouts}})).start().await
}

/// The text that the user reads when a login is given up, before the default of every deadline that a test shortens.
async fn given_up(world: &World) -> String {
    let start = Instant::now();
    let done = world.ssh().run("true").await.expect(255);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!(done.text(), "");
    done.stderr
}

#[podgate_test::multi_thread]
async fn pod_that_never_gets_ready_is_given_up_at_pod_start() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = world_with_timeouts(json!({"podStart": "2s"})).await;
    world.cluster.faults().hold_pods();
    assert_eq!(given_up(&world).await, "podgate: the pod was not ready within 2s\n");
    world.wait_for_nothing().await;
    let line = world.gateway.wait_for_line("KUBERNETES_POD_WAIT_FAILED").await;
    assert!(line["details"]["podName"].is_string() && line["level"] == "error", "{line}");
}

#[podgate_test::multi_thread]
async fn api_that_never_answers_the_create_is_given_up_at_pod_start() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = world_with_timeouts(json!({"podStart": "3s", "http": "1s"})).await;
    world.cluster.faults().fail_requests("create", "pods", 100, RequestFailure::Delay(Duration::from_secs(600)));
    let told = given_up(&world).await;
    assert_eq!(told, "podgate: the pod could not be created within 3s: Kubernetes cannot be reached\n");
    let line = world.gateway.wait_for_line("KUBERNETES_POD_REMOVE").await;
    assert!(line["details"]["podName"].is_string(), "{line}");
}

#[podgate_test::multi_thread]
async fn program_that_does_not_start_is_given_up_at_command_start() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = world_with_timeouts(json!({"commandStart": "1s"})).await;
    world.cluster.faults().fail_requests("get", "pods/exec", 100, RequestFailure::Delay(Duration::from_secs(600)));
    let told = given_up(&world).await;
    assert_eq!(told, "podgate: the container did not start the program in time\n");
    world.wait_for_pods(0).await;
}

#[podgate_test::multi_thread]
async fn api_that_stays_busy_is_given_up_at_pod_start() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = world_with_timeouts(json!({"podStart": "2s"})).await;
    world.cluster.faults().fail_requests("create", "pods", 1000, RequestFailure::TooManyRequests { retry_after: 1 });
    let told = given_up(&world).await;
    assert_eq!(told, "podgate: the pod could not be created within 2s: Kubernetes is busy\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn api_that_is_busy_for_a_while_is_waited_for() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    for failure in [
        RequestFailure::TooManyRequests { retry_after: 1 },
        RequestFailure::InternalError,
        RequestFailure::Unavailable,
        RequestFailure::Drop,
    ] {
        let world = World::start().await;
        world.cluster.faults().fail_requests("create", "pods", 2, failure);
        let done = world.ssh().run("echo in").await.expect(0);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""), "{failure:?}");
        world.wait_for_nothing().await;
    }
}
