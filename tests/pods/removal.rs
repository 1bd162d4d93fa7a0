//! No pod outlives its connection, whatever ended it and whatever the API did meanwhile.

use crate::support::cluster::on_development;
use crate::support::{Setup, World};
use podgate_devcluster::RequestFailure;
use serde_json::json;
use std::time::{Duration, Instant};

/// Asserts that every line about the pod names it.
fn assert_named(world: &World) {
    for (code, level) in
        [("KUBERNETES_POD_CREATE", "debug"), ("KUBERNETES_POD_READY", "info"), ("KUBERNETES_POD_REMOVE", "debug")]
    {
        for line in world.gateway.lines(code) {
            let details = &line["details"];
            assert!(details["podName"].as_str().is_some_and(|name| !name.is_empty()), "{line}");
            assert_eq!(line["level"], level, "{line}");
        }
    }
}

#[podgate_test::multi_thread]
async fn idle_shell_of_ours_ends_at_once_when_it_is_told_to() {
    let world = World::start().await;
    world.ssh().run("true").await.expect(0);
    let start = Instant::now();
    world.wait_for_nothing().await;
    // The grace: a shell that did not heed TERM would be waited for that long.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    world.gateway.wait_for_line("KUBERNETES_POD_REMOVE_SUCCESSFUL").await;
    assert_named(&world);
}

#[podgate_test::multi_thread]
async fn client_that_was_killed_leaves_nothing() {
    let world = World::start().await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    client.kill().await;
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn client_that_leaves_while_the_pod_starts_leaves_nothing() {
    let world = Setup::unschedulable(json!({})).start().await;
    let client = world.ssh().start("true");
    world.pod().await;
    client.kill().await;
    world.wait_for_nothing().await;
    assert_eq!(world.gateway.lines("KUBERNETES_POD_WAIT_FAILED"), Vec::<serde_json::Value>::new());
}

#[podgate_test::multi_thread]
async fn client_that_leaves_while_the_create_is_under_way_leaves_nothing() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().fail_requests("create", "pods", 1, RequestFailure::Delay(Duration::from_secs(2)));
    let client = world.ssh().start("true");
    world.gateway.wait_for_line("KUBERNETES_POD_CREATE").await;
    client.kill().await;
    world.gateway.wait_for_line("KUBERNETES_POD_REMOVE_SUCCESSFUL").await;
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn connection_whose_every_request_was_denied_leaves_nothing() {
    let world = Setup::config(json!({"security": {"command": {"mode": "disable"}}})).start().await;
    world.ssh().run("true").await.expect(255);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn create_whose_answer_was_lost_is_used_and_leaves_nothing() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().fail_requests("create", "pods", 1, RequestFailure::LoseAnswer);
    world.cluster.faults().fail_requests("get", "pods", 1, RequestFailure::InternalError);
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn create_whose_answer_was_lost_before_the_client_left_leaves_nothing() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().hold_pods();
    world.cluster.faults().fail_requests("create", "pods", 1, RequestFailure::LoseAnswer);
    world.cluster.faults().fail_requests("create", "pods", 100, RequestFailure::Unavailable);
    let client = world.ssh().start("true");
    world.pod().await;
    client.kill().await;
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn delete_that_fails_is_tried_again() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    for failure in
        [RequestFailure::InternalError, RequestFailure::Drop, RequestFailure::TooManyRequests { retry_after: 1 }]
    {
        let world = World::start().await;
        world.cluster.faults().fail_requests("delete", "pods", 2, failure);
        world.ssh().run("true").await.expect(0);
        world.wait_for_nothing().await;
        assert!(world.cluster.state().requests("delete", "pods") >= 2, "{failure:?}");
        let levels = world.gateway.lines("KUBERNETES_POD_REMOVE_FAILED");
        assert!(levels.iter().all(|line| line["level"] == "debug"), "{failure:?}: {levels:?}");
    }
}

#[podgate_test::multi_thread]
async fn pod_that_cannot_be_removed_is_named_with_the_command_that_does_it() {
    if !on_development("the API misbehaves at a word") {
        return;
    }
    let world = Setup::config(json!({"kubernetes": {"timeouts": {"podStop": "1s"}}})).start().await;
    world.cluster.faults().fail_requests("delete", "pods", 1000, RequestFailure::InternalError);
    world.ssh().run("true").await.expect(0);
    let pod = world.pod().await;
    let failed = |line: &serde_json::Value| line["code"] == "KUBERNETES_POD_REMOVE_FAILED" && line["level"] == "error";
    let line = world.gateway.wait_for(failed).await;
    let message = line["message"].as_str().expect("a message");
    assert!(message.contains(&format!("kubectl delete pod -n {} {pod}", world.namespace())), "{message}");
    assert_eq!(line["details"]["podName"], pod.as_str());
}
