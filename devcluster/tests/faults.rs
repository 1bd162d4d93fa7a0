//! Every knob, as a client sees it.

use crate::client::{Client, PODS, SOON, cluster, phase, pod, running};
use podgate_devcluster::{DevCluster, ImageFault, RequestFailure};
use serde_json::{Value, json};
use std::time::Duration;

/// Waits for a waiting reason of the only container, and gives its message.
async fn waiting(cluster: &DevCluster, name: &str, reason: &str) -> String {
    let state = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    let found = |pod: &Value| state(pod)["reason"] == reason;
    cluster.wait_until(|all| all.pod("default", name).is_some_and(|pod| found(&pod)), SOON).await.unwrap();
    state(&cluster.state().pod("default", name).unwrap())["message"].as_str().unwrap_or_default().to_owned()
}

fn with_image(name: &str, image: &str) -> Value {
    let mut object = pod(name, None);
    object["spec"]["containers"][0]["image"] = json!(image);
    object
}

#[tokio::test]
async fn image_errors_are_told_as_a_kubelet_tells_them() {
    let (cluster, client) = cluster();
    let faults = cluster.faults();
    let cases = [
        ("a", "missing/x:1", ImageFault::NotFound, "ImagePullBackOff", "docker.io/missing/x:1: not found"),
        ("b", "denied/x", ImageFault::Denied, "ImagePullBackOff", "pull access denied"),
        ("c", "r.example/x", ImageFault::Unreachable, "ImagePullBackOff", "lookup r.example: no such host"),
        ("d", "bad/x", ImageFault::InvalidName, "InvalidImageName", "invalid reference format"),
        ("e", "never/x", ImageFault::NeverPulled, "ErrImageNeverPull", "is not present with pull policy of Never"),
        ("f", "config/x", ImageFault::ConfigError("no such key".into()), "CreateContainerConfigError", "no such key"),
    ];
    for (name, image, fault, reason, text) in cases {
        faults.image(image, fault);
        client.create(&with_image(name, image)).await;
        let message = waiting(&cluster, name, reason).await;
        assert!(message.contains(text), "{message}");
        let told = |event: &Value| event["involvedObject"]["name"] == name && event["type"] == "Warning";
        assert!(cluster.state().events("default").iter().any(|event| told(event)));
        faults.heal_image(image);
        phase(&cluster, name, "Running").await;
    }
    client.create(&with_image("g", "Upper:::")).await;
    waiting(&cluster, "g", "InvalidImageName").await;
    faults.image("start", ImageFault::StartError("cgroup is full".into()));
    client.create(&with_image("h", "start/x")).await;
    let failed = phase(&cluster, "h", "Failed").await;
    let state = &failed["status"]["containerStatuses"][0]["state"]["terminated"];
    assert!(state["message"].as_str().unwrap().ends_with("cgroup is full: unknown"), "{state}");
}

#[tokio::test]
async fn held_pods_wait_until_they_are_released() {
    let (cluster, client) = cluster();
    cluster.faults().hold_pods();
    client.create(&pod("p", None)).await;
    waiting(&cluster, "p", "ContainerCreating").await;
    assert_eq!(cluster.state().processes(), Vec::<i32>::new());
    cluster.faults().release_pods();
    phase(&cluster, "p", "Running").await;
    cluster.faults().delay_pods(Duration::from_millis(200));
    let start = std::time::Instant::now();
    client.create(&pod("q", None)).await;
    phase(&cluster, "q", "Running").await;
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_held_pod_can_be_deleted() {
    let (cluster, client) = cluster();
    cluster.faults().hold_pods();
    client.create(&pod("p", None)).await;
    waiting(&cluster, "p", "ContainerCreating").await;
    client.call("DELETE", &format!("{PODS}/p"), &Value::Null).await;
    cluster.wait_until(|state| state.pods("default").is_empty(), SOON).await.unwrap();
}

#[tokio::test]
async fn an_unschedulable_pod_waits_for_a_node() {
    let (cluster, client) = cluster();
    cluster.faults().unschedulable(true);
    client.create(&pod("p", None)).await;
    let unscheduled = |pod: &Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
    cluster.wait_until(|state| state.pod("default", "p").is_some_and(|pod| unscheduled(&pod)), SOON).await.unwrap();
    let refused = client.channel(&format!("{PODS}/p/exec?command=true&stdout=true"), "v5.channel.k8s.io").await;
    assert_eq!(refused.err().unwrap()["message"], "pod p does not have a host assigned");
    assert!(cluster.state().events("default").iter().any(|event| event["reason"] == "FailedScheduling"));
    cluster.faults().unschedulable(false);
    phase(&cluster, "p", "Running").await;
}

#[tokio::test]
async fn quota_and_admission_refuse_with_403() {
    let (cluster, client) = running("p", None).await;
    cluster.faults().quota(Some(1));
    let (code, status) = client.call("POST", PODS, &pod("q", None)).await;
    assert_eq!(code, 403);
    let text = "pods \"q\" is forbidden: exceeded quota: devcluster, requested: pods=1, used: pods=1, limited: pods=1";
    assert_eq!(status["message"], text);
    cluster.faults().quota(None);
    cluster.faults().deny_pods(Some("no root"));
    let (code, status) = client.call("POST", PODS, &pod("q", None)).await;
    assert_eq!(code, 403);
    assert!(status["message"].as_str().unwrap().ends_with("denied the request: no root"), "{status}");
}

#[tokio::test]
async fn requests_fail_as_often_as_they_are_told() {
    let (cluster, client) = cluster();
    let faults = cluster.faults();
    faults.fail_requests("list", "pods", 1, RequestFailure::TooManyRequests { retry_after: 7 });
    let response = client.open("GET", PODS, "", b"").await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["retry-after"].to_str().unwrap()), (429, "7"));
    faults.fail_requests("*", "pods", 2, RequestFailure::InternalError);
    assert_eq!((client.get(PODS).await.0, client.get(PODS).await.0, client.get(PODS).await.0), (500, 500, 200));
    faults.fail_requests("create", "pods", 1, RequestFailure::Drop);
    let body = pod("p", None).to_string();
    assert!(client.open("POST", PODS, "application/json", body.as_bytes()).await.is_err());
    assert!(cluster.pods("default").is_empty());
    faults.fail_requests("create", "pods", 1, RequestFailure::LoseAnswer);
    assert!(client.open("POST", PODS, "application/json", body.as_bytes()).await.is_err());
    assert_eq!(cluster.pods("default"), ["p"]);
    assert_eq!(cluster.state().requests("create", "pods"), 2);
    faults.fail_requests("get", "pods/exec", 1, RequestFailure::Unavailable);
    phase(&cluster, "p", "Running").await;
    let refused = client.channel(&format!("{PODS}/p/exec?command=true&stdout=true"), "v5.channel.k8s.io").await;
    assert_eq!(refused.err().unwrap()["code"], 503);
}

#[tokio::test]
async fn the_api_goes_down_and_comes_back_while_pods_live_on() {
    let (cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["sh", "-c", "echo up; sleep 300"], "stdout=true").await;
    exec.output.until("up").await;
    let (faults, before) = (cluster.faults(), cluster.state().processes());
    for _ in 0..3 {
        faults.api_down().await;
        let told = client.open("GET", PODS, "", b"").await.unwrap_err().to_string();
        assert!(told.contains("refused"), "{told}");
        faults.api_up().await;
        assert_eq!(client.get(PODS).await.0, 200);
    }
    assert_eq!(exec.output.rest().await.code(), None);
    let after = cluster.state().processes();
    assert!(before.iter().all(|process| after.contains(process)), "{before:?} {after:?}");
}

#[tokio::test]
async fn pods_end_from_outside() {
    let (cluster, client) = running("evicted", None).await;
    for name in ["killed", "deleted"] {
        client.create(&pod(name, None)).await;
        phase(&cluster, name, "Running").await;
    }
    let faults = cluster.faults();
    assert!(!faults.evict("default", "nope") && !faults.oom_kill("default", "killed", "nope"));
    assert!(faults.evict("default", "evicted"));
    let evicted = phase(&cluster, "evicted", "Failed").await;
    assert_eq!(evicted["status"]["reason"], "Evicted");
    assert!(faults.oom_kill("default", "killed", "shell"));
    let killed = phase(&cluster, "killed", "Failed").await;
    let state = &killed["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((state["reason"].as_str(), state["exitCode"].as_i64()), (Some("OOMKilled"), Some(137)));
    assert!(faults.delete_pod("default", "deleted", Duration::from_secs(5)));
    cluster.wait_until(|state| state.pod("default", "deleted").is_none(), SOON).await.unwrap();
    assert_eq!(cluster.state().processes(), Vec::<i32>::new());
}

#[tokio::test]
async fn a_running_exec_ends_with_137_when_its_container_dies() {
    let (cluster, client) = running("p", None).await;
    let mut exec = client.exec("p", &["sh", "-c", "echo up; sleep 300"], "stdout=true&stdin=true").await;
    exec.output.until("up").await;
    assert!(cluster.faults().kill_container("default", "p", "shell"));
    assert_eq!(exec.output.rest().await.code(), Some(137));
}

#[tokio::test]
async fn a_stranger_cannot_trip_a_fault() {
    let (cluster, client) = cluster();
    cluster.faults().fail_requests("list", "pods", 1, RequestFailure::InternalError);
    assert_eq!(Client::new(&cluster, "nope").get(PODS).await.0, 401);
    assert_eq!(client.get(PODS).await.0, 500);
}
