//! Pods that are over before their connection.

use super::*;

async fn dies(cause: impl Fn(&Stand, &str), expected: &str) {
    let stand = Stand::new();
    let guest = stand.guest();
    ready(&guest).await;
    let mut program = start(&guest, "echo up; sleep 60").await.unwrap();
    assert_eq!(timeout(SOON, program.output.next()).await.unwrap(), OutputEvent::Stdout("up\n".into()));
    let name = stand.cluster.pods("default").remove(0);
    cause(&stand, &name);
    let told = gone(&guest).await;
    assert!(told.starts_with(expected), "{told}");
    let (_, _, exit) = to_its_end(program).await;
    assert_ne!(exit, Exit::Status(0), "what ran in it did not succeed");
    assert_eq!(refusal(&guest).await.reason, told);
    stand.pods(0).await;
    assert!(stand.logged().contains("KUBERNETES_POD_GONE"));
    stand.finish(vec![guest]).await;
}

#[podgate_test::multi_thread]
async fn evicted_pod_is_over_with_its_reason() {
    dies(|stand, name| assert!(stand.cluster.faults().evict("default", name)), "the pod was evicted from its node")
        .await;
}

#[podgate_test::multi_thread]
async fn container_out_of_memory_is_over_with_its_reason() {
    let cause = |stand: &Stand, name: &str| assert!(stand.cluster.faults().oom_kill("default", name, "shell"));
    dies(cause, "the container shell ran out of memory").await;
}

#[podgate_test::multi_thread]
async fn deleted_pod_is_over_with_its_reason() {
    let cause =
        |stand: &Stand, name: &str| assert!(stand.cluster.faults().delete_pod("default", name, Duration::from_secs(1)));
    dies(cause, "the pod was deleted").await;
}

#[podgate_test::multi_thread]
async fn pod_deleted_while_it_starts_is_over_at_once() {
    let stand = Stand::new();
    stand.cluster.faults().hold_pods();
    let guest = stand.guest();
    stand.pods(1).await;
    let name = stand.cluster.pods("default").remove(0);
    assert!(stand.cluster.faults().delete_pod("default", &name, Duration::ZERO));
    let told = gone(&guest).await;
    assert!(told.starts_with("the pod was deleted"), "{told}");
    stand.finish(vec![guest]).await;
}
