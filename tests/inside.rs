//! The gateway as an operator runs it: a pod of its own image, from `deploy/kubernetes.yaml`, with that role and no more. Only
//! a real cluster has the image and a network for pods.

mod chart;
mod deployed;
mod manifests;

use crate::support::cluster::on_real;
use deployed::{Deployed, Edit, Token};
use std::time::Duration;
use tokio::time::Instant;

const WHY: &str = "its pods have neither images nor a network of their own";

#[podgate_test::multi_thread]
async fn gateway_in_a_pod_serves_whom_the_webhook_knows_and_leaves_nothing() {
    if !on_real(WHY) {
        return;
    }
    let gateway = Deployed::start(Token::Mounted, Edit::None).await;
    let refused = gateway.ssh("mallory").run("true").await;
    assert!(refused.status == 255 && refused.stderr.contains("Permission denied"), "{refused:?}");

    // The namespace takes no pod whose container an answer replaced by a bare one; an answer may change the image.
    let refused = gateway.ssh("carol").run("true").await.expect(255);
    assert!(refused.stderr.contains("violates PodSecurity \"restricted:latest\""), "{refused:?}");
    let log = gateway.log().await;
    assert!(log.contains("has no securityContext as the file's has: to change the image alone, answer"), "{log}");
    assert_eq!(gateway.ssh("bob").run("id -u; echo $WHO").await.expect(0).text(), "1000\nbob\n");

    let done = gateway.ssh("alice").run("id -u; exit 7").await.expect(7);
    assert_eq!(done.text(), "1000\n");
    let held = gateway.ssh("alice").start("echo here; cat");
    held.until_stdout("here").await;
    let pods = gateway.guests(&["get", "pods", "-o", "jsonpath={.items[*].spec.automountServiceAccountToken}"]).await;
    assert!(pods.contains("false"), "{pods}");

    gateway.gateway(&["delete", "deployment/podgate", "--cascade=foreground", "--timeout=60s"]).await;
    let told = held.ended().await;
    assert!(told.status == 255 && told.stderr.contains("shutting down"), "{told:?}");
    gateway.guests(&["wait", "--for=delete", "pods", "--all", "--timeout=60s"]).await;
}

#[podgate_test::multi_thread]
async fn gateway_in_a_pod_goes_on_with_a_swapped_token() {
    if !on_real(WHY) {
        return;
    }
    let gateway = Deployed::start(Token::File, Edit::None).await;
    let mut held = gateway.ssh("alice").start("echo here; cat");
    held.until_stdout("here").await;
    gateway.swap_token().await;
    // The kubelet brings the new one when it next looks at the pod; until then the cluster refuses the old one.
    let limit = Instant::now() + Duration::from_secs(180);
    loop {
        let done = gateway.ssh("alice").run("echo served").await;
        if done.status == 0 {
            assert_eq!(done.text(), "served\n");
            break;
        }
        assert_eq!(done.status, 255, "{done:?}");
        assert!(Instant::now() < limit, "{done:?}\n{}", gateway.log().await);
    }
    // A stream that is open needs no token any more.
    held.write("still\n").await;
    held.until_stdout("still").await;
    held.kill().await;
}

#[podgate_test::multi_thread]
async fn gateway_in_a_pod_edited_for_mode_session_lacks_no_right_of_it() {
    if !on_real(WHY) {
        return;
    }
    let gateway = Deployed::start(Token::Mounted, Edit::Session).await;
    for status in [0, 3] {
        let done = gateway.ssh("alice").run(&format!("echo in $((40 + 2)); exit {status}")).await.expect(status);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in 42\n", ""));
    }
    gateway.guests(&["wait", "--for=delete", "pods", "--all", "--timeout=60s"]).await;
    let log = gateway.log().await;
    assert!(!log.contains("KUBERNETES_INSPECTED"), "{log}");
}

#[podgate_test::multi_thread]
async fn replicas_have_one_host_key_and_each_ends_its_own_sessions_alone() {
    if !on_real(WHY) {
        return;
    }
    let mut gateway = Deployed::start(Token::Mounted, Edit::None).await;
    let first = gateway.address.clone();
    let second = gateway.another_replica().await;
    let leases = gateway.guests(&["get", "leases", "-o", "name"]).await;
    assert_eq!(leases.lines().count(), 2, "{leases}");

    let ends = gateway.ssh_at(&first, "alice").start("echo here; cat");
    ends.until_stdout("here").await;
    let pod = gateway.guests(&["get", "pods", "-o", "name"]).await;
    let mut stays = gateway.ssh_at(&second, "alice").start("echo here; cat");
    stays.until_stdout("here").await;
    let one = ["delete", "pods", "--field-selector", &format!("status.podIP={first}"), "--wait=false"];
    gateway.gateway(&one).await;
    let told = ends.ended().await;
    assert!(told.status == 255 && told.stderr.contains("the server is shutting down"), "{told:?}");
    gateway.guests(&["wait", "--for=delete", pod.trim(), "--timeout=60s"]).await;
    stays.write("still\n").await;
    stays.until_stdout("still").await;
    stays.kill().await;
}
