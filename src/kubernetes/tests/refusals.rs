//! What never becomes a pod in which anything runs, and that nothing of it stays.

use super::*;
use podgate_devcluster::ImageFault;
use podgate_webhooks::wire;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::time::Instant;

#[podgate_test::multi_thread]
async fn final_answer_of_the_api_ends_it_at_the_first_try() {
    let mut stand = Stand::new();
    stand.cluster.faults().quota(Some(0));
    let over = stand.guest();
    let told = refusal(&over).await;
    assert!(told.reason.starts_with("the quota of the namespace default has no room for the pod"), "{told:?}");
    stand.cluster.faults().quota(None);

    stand.cluster.faults().deny_pods(Some("no pods on Sundays"));
    let denied = stand.guest();
    let told = refusal(&denied).await;
    assert!(told.reason.contains("do not admit the pod") && told.reason.contains("Sundays"), "{told:?}");
    stand.cluster.faults().deny_pods(None);

    stand.settings.pod.spec.insert("noSuchField".into(), json!(1));
    let unknown = stand.guest();
    let told = refusal(&unknown).await;
    assert!(told.reason.contains("not valid") && told.reason.contains("noSuchField"), "{told:?}");

    assert_eq!(stand.cluster.state().requests("create", "pods"), 3);
    assert!(stand.logged().contains("KUBERNETES_POD_CREATE_FAILED"));
    stand.finish(vec![over, denied, unknown]).await;
}

#[podgate_test::multi_thread]
async fn bad_environment_never_reaches_the_api() {
    let stand = Stand::new();
    let environment =
        BTreeMap::from([("--split-string=id".into(), wire::Value { value: "x".into(), sensitive: false })]);
    let known = wire::Known { environment, ..wire::Known::default() };
    let guest = stand.guest_of(&fixtures::identity_with("alice", known));
    assert!(refusal(&guest).await.reason.contains("--split-string=id"));
    assert_eq!(stand.cluster.state().requests("*", "pods"), 0);
    assert!(stand.cluster.state().request_log().is_empty());
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn image_that_cannot_be_had_ends_it_at_once() {
    for (fault, expected) in [
        (ImageFault::NotFound, "the image guest:1 cannot be pulled"),
        (ImageFault::Denied, "the image guest:1 cannot be pulled"),
        (ImageFault::InvalidName, "guest:1 is not the name of an image"),
        (ImageFault::NeverPulled, "the image guest:1 is not on the node"),
        (ImageFault::ConfigError("secret \"x\" not found".into()), "the container shell cannot be made: secret \"x\""),
    ] {
        let stand = Stand::new();
        stand.cluster.faults().image("guest", fault.clone());
        let begun = Instant::now();
        let guest = stand.guest();
        let told = refusal(&guest).await.reason;
        assert!(told.starts_with(expected), "{fault:?}: {told}");
        assert!(begun.elapsed() < stand.settings.timeouts.pod_start, "{fault:?}");
        stand.pods(0).await;
        stand.finish(vec![guest]).await;
    }
}

#[podgate_test::multi_thread]
async fn image_without_the_agent_names_the_ways_out() {
    let mut stand = Stand::new();
    stand.settings.pod.disable_agent = false;
    stand.settings.pod.agent_path = "/nonexistent/podgate-agent".into();
    stand.settings.pod.agent_path_is_set = true;
    let guest = stand.guest();
    let told = refusal(&guest).await.reason;
    assert!(told.contains("has no /nonexistent/podgate-agent") && told.contains("disableAgent"), "{told}");
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn what_may_heal_runs_to_the_deadline_and_is_told_meanwhile() {
    let mut stand = Stand::new();
    stand.settings.timeouts.pod_start = Duration::from_secs(2);
    stand.cluster.faults().unschedulable(true);
    let homeless = stand.guest();
    reported(&homeless, "no node takes the pod yet").await;
    let told = refusal(&homeless).await.reason;
    assert!(told.starts_with("the pod was not ready within 2s: no node takes the pod yet: 0/1 nodes"), "{told}");
    stand.cluster.faults().unschedulable(false);

    stand.cluster.faults().image("guest", ImageFault::Unreachable);
    let pulling = stand.guest();
    let told = refusal(&pulling).await.reason;
    assert!(told.contains("within 2s: the image guest:1 cannot be pulled yet"), "{told}");
    stand.pods(0).await;
    assert!(stand.logged().contains("KUBERNETES_POD_WAIT_FAILED"));
    stand.finish(vec![homeless, pulling]).await;
}

#[podgate_test::multi_thread]
async fn api_that_is_down_is_waited_for_to_the_deadline_and_no_longer() {
    let mut stand = Stand::new();
    stand.settings.timeouts.pod_start = Duration::from_secs(2);
    stand.cluster.faults().api_down().await;
    let guest = stand.guest();
    reported(&guest, "Kubernetes cannot be reached").await;
    let told = refusal(&guest).await.reason;
    assert!(told.starts_with("the pod could not be created within 2s: Kubernetes cannot be reached"), "{told}");
    stand.cluster.faults().api_up().await;
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn foreign_pod_of_the_configured_name_is_neither_used_nor_removed() {
    let mut stand = Stand::new();
    stand.settings.pod.metadata.insert("name".into(), json!("only-one"));
    let first = stand.guest();
    ready(&first).await;
    let second = stand.guest();
    assert!(refusal(&second).await.reason.starts_with("a pod named only-one exists already"));
    timeout(SOON, second.end()).await.unwrap();
    assert_eq!(run(&first, "echo here").await.0, "here\n");
    stand.finish(vec![first, second]).await;
}

#[podgate_test::multi_thread]
async fn file_that_cannot_be_written_is_the_first_request_s_reason() {
    let stand = Stand::new();
    let files = BTreeMap::from([("/nonexistent/folder/key".to_owned(), wire::File::plain(*b"x"))]);
    let known = wire::Known { files, ..wire::Known::default() };
    let guest = stand.guest_of(&fixtures::identity_with("alice", known));
    assert_eq!(refusal(&guest).await.reason, "the file /nonexistent/folder/key cannot be written");
    stand.pods(0).await;
    assert!(stand.logged().contains("KUBERNETES_FILE_WRITE_FAILED"));
    stand.finish(vec![guest]).await;
}
