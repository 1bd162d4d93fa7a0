//! Ways to a pod that runs, and what is left when they are cut short.

use super::*;
use podgate_devcluster::RequestFailure;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

#[podgate_test::multi_thread]
async fn disconnect_while_the_pod_starts_leaves_nothing() {
    let stand = Stand::new();
    stand.cluster.faults().hold_pods();
    let (told, dropped) = (stand.guest(), stand.guest());
    stand.pods(2).await;
    drop(dropped);
    stand.pods(1).await;
    timeout(SOON, told.end()).await.unwrap();
    stand.pods(0).await;
    assert_eq!(refusal(&told).await.reason, "the connection has ended");
    timeout(SOON, told.end()).await.unwrap();
    stand.finish(vec![told]).await;
}

#[podgate_test::multi_thread]
async fn disconnect_before_the_api_has_answered_leaves_nothing() {
    let stand = Stand::new();
    stand.cluster.faults().fail_requests("create", "pods", 1, RequestFailure::Delay(Duration::from_secs(1)));
    let guest = stand.guest();
    let asked = |state: &podgate_devcluster::ClusterState| state.requests("create", "pods") == 1;
    stand.cluster.wait_until(asked, SOON).await.unwrap();
    timeout(SOON, guest.end()).await.unwrap();
    stand.pods(0).await;
    assert_eq!(stand.cluster.state().requests("delete", "pods"), 1, "it was created, and then removed");
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn pod_whose_answer_was_lost_is_found_and_used() {
    let stand = Stand::new();
    stand.cluster.faults().fail_requests("create", "pods", 1, RequestFailure::LoseAnswer);
    let guest = stand.guest();
    assert_eq!(run(&guest, "echo here").await.0, "here\n");
    assert_eq!(stand.cluster.pods("default").len(), 1);
    assert_eq!(stand.cluster.state().requests("create", "pods"), 2);
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn pod_whose_answer_was_lost_is_removed_when_nobody_wants_it_any_more() {
    let stand = Stand::new();
    stand.cluster.faults().fail_requests("create", "pods", 1, RequestFailure::LoseAnswer);
    stand.cluster.faults().fail_requests("get", "pods", 1, RequestFailure::Unavailable);
    let guest = stand.guest();
    stand.pods(1).await;
    drop(guest);
    stand.pods(0).await;
    stand.finish(vec![]).await;
}

#[podgate_test::multi_thread]
async fn trouble_that_passes_is_outlived() {
    let stand = Stand::new();
    let faults = stand.cluster.faults();
    faults.fail_requests("create", "pods", 1, RequestFailure::TooManyRequests { retry_after: 1 });
    faults.fail_requests("create", "pods", 1, RequestFailure::InternalError);
    faults.fail_requests("create", "pods", 1, RequestFailure::Drop);
    let guest = stand.guest();
    assert_eq!(run(&guest, "echo here").await.0, "here\n");
    assert_eq!(stand.cluster.state().requests("create", "pods"), 4);
    faults.fail_requests("delete", "pods", 2, RequestFailure::InternalError);
    timeout(SOON, guest.end()).await.unwrap();
    assert_eq!(stand.cluster.state().requests("delete", "pods"), 3);
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn api_restart_while_the_pod_starts_is_outlived() {
    let stand = Stand::new();
    let faults = stand.cluster.faults();
    faults.hold_pods();
    let guest = stand.guest();
    stand.pods(1).await;
    faults.api_down().await;
    faults.release_pods();
    faults.api_up().await;
    ready(&guest).await;
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn watch_that_expires_or_breaks_is_opened_again() {
    let stand = Stand::new();
    let faults = stand.cluster.faults();
    let first = stand.guest();
    ready(&first).await;
    faults.expire_watches();
    let second = stand.guest();
    ready(&second).await;
    faults.cut_watches();
    let name = stand.cluster.pods("default").remove(0);
    assert!(faults.delete_pod("default", &name, Duration::ZERO));
    let noticed = async {
        tokio::select! { _ = first.gone() => {}, _ = second.gone() => {} }
    };
    assert!(timeout(SOON, noticed).await.is_ok());
    stand.finish(vec![first, second]).await;
}

#[podgate_test::multi_thread]
async fn pod_starts_where_the_watch_never_works() {
    let stand = Stand::new();
    stand.cluster.faults().fail_requests("watch", "pods", 1000, RequestFailure::Drop);
    stand.cluster.faults().fail_requests("list", "pods", 1000, RequestFailure::InternalError);
    let guest = stand.guest();
    ready(&guest).await;
    assert!(stand.logged().contains("KUBERNETES_WATCH_FAILED"));
    stand.cluster.faults().heal_requests();
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn pod_starts_whose_watch_stopped_working_after_it_had_shown_the_pod() {
    let stand = Stand::new();
    let faults = stand.cluster.faults();
    faults.unschedulable(true);
    let guest = stand.guest();
    reported(&guest, "no node takes the pod yet").await;
    faults.fail_requests("watch", "pods", 1000, RequestFailure::Drop);
    faults.fail_requests("list", "pods", 1000, RequestFailure::InternalError);
    faults.cut_watches();
    let failed = |state: &podgate_devcluster::ClusterState| state.requests("watch", "pods") > 1;
    stand.cluster.wait_until(failed, SOON).await.unwrap();
    faults.unschedulable(false);
    ready(&guest).await;
    faults.heal_requests();
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn pod_that_was_listed_before_it_was_ready_starts_where_the_watch_never_works() {
    let stand = Stand::new();
    let faults = stand.cluster.faults();
    faults.hold_pods();
    faults.fail_requests("list", "pods", 1000, RequestFailure::InternalError);
    let guest = stand.guest();
    stand.pods(1).await;
    faults.heal_requests();
    faults.fail_requests("watch", "pods", 1000, RequestFailure::Drop);
    let before = stand.cluster.state().requests("list", "pods");
    let listed = stand.cluster.wait_until(|state| state.requests("list", "pods") > before, SOON);
    assert!(listed.await.is_ok(), "{}", stand.logged());
    faults.release_pods();
    ready(&guest).await;
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn many_guests_share_one_watch_of_our_own_pods() {
    let stand = Stand::new();
    let guests: Vec<_> = (0..6).map(|_| stand.guest()).collect();
    for guest in &guests {
        ready(guest).await;
    }
    let asked = stand.cluster.state().request_log();
    let looks = |verb: &str| asked.iter().filter(|r| r.verb == verb && r.resource == "pods").collect::<Vec<_>>();
    assert_eq!(looks("watch").len(), 1, "{asked:?}");
    for request in looks("watch").into_iter().chain(looks("list")) {
        assert!(request.query.contains("labelSelector=podgate%2Finstance%3D"), "{request:?}");
    }
    stand.finish(guests).await;
}

#[podgate_test::multi_thread]
async fn pod_carries_its_labels_and_the_spec_as_it_was_given() {
    let mut stand = Stand::new();
    stand.settings.pod.spec["containers"][0]["env"] = json!([{"name": "GIVEN", "value": "1"}]);
    let guest = stand.guest_of(&fixtures::identity("a@x"));
    ready(&guest).await;
    let pod: Value = (*stand.cluster.state().pods("default")[0]).clone();
    assert_eq!(pod["metadata"]["labels"]["containerssh_username"], "a-x");
    assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/managed-by"], "podgate");
    assert_eq!(pod["metadata"]["annotations"]["podgate/username"], "a@x");
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(run(&guest, "echo $GIVEN").await.0, "1\n");
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn orphan_is_removed_only_as_it_was_seen() {
    let stand = Stand::new();
    let guest = stand.guest();
    ready(&guest).await;
    let client = stand.backend.shared.clients.get(&stand.settings.cluster, Duration::from_secs(5)).unwrap();
    let pods = kube::Api::<k8s_openapi::api::core::v1::Pod>::namespaced(client.kube(), "default");
    let name = stand.cluster.pods("default").remove(0);
    let seen = pods.get(&name).await.unwrap();
    let mut earlier = seen.clone();
    earlier.metadata.resource_version = Some("1".into());
    pod::reaper::remove(&pods, &[Arc::new(earlier)], &stand.log).await;
    assert!(pods.get(&name).await.unwrap().metadata.deletion_timestamp.is_none());
    pod::reaper::remove(&pods, &[Arc::new(seen)], &stand.log).await;
    assert!(stand.logged().contains("KUBERNETES_POD_REAPED"));
    assert_eq!(gone(&guest).await, "the pod was deleted");
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn pod_that_cannot_be_removed_is_named_with_the_command_that_does_it() {
    let mut stand = Stand::new();
    stand.settings.timeouts.pod_stop = Duration::from_secs(1);
    let guest = stand.guest();
    ready(&guest).await;
    let name = stand.cluster.pods("default").remove(0);
    stand.cluster.faults().fail_requests("delete", "pods", 1000, RequestFailure::InternalError);
    timeout(SOON, guest.end()).await.unwrap();
    assert!(stand.logged().contains(&format!("kubectl delete pod -n default {name}")), "{}", stand.logged());
    stand.cluster.faults().heal_requests();
    assert!(stand.cluster.faults().delete_pod("default", &name, Duration::ZERO));
    stand.finish(vec![]).await;
}

#[podgate_test::multi_thread]
async fn end_is_told_only_when_the_pod_is_on_its_way_out() {
    let stand = Stand::new();
    let guest = stand.guest();
    ready(&guest).await;
    stand.cluster.faults().fail_requests("delete", "pods", 1, RequestFailure::Delay(Duration::from_millis(500)));
    let over = AtomicBool::new(false);
    let end = async {
        guest.end().await;
        over.store(true, Ordering::SeqCst);
    };
    let look = async {
        let asked = |state: &podgate_devcluster::ClusterState| state.requests("delete", "pods") == 1;
        stand.cluster.wait_until(asked, SOON).await.unwrap();
        assert!(!over.load(Ordering::SeqCst));
    };
    tokio::join!(end, look);
    stand.finish(vec![guest]).await;
}
