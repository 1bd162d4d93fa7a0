//! `--pod`: a pod that is created, used and removed; and pods that nobody removes.

use super::{command, examine, file};
use crate::support::agent;
use crate::support::cluster::{Kind, is_development, on_development, soon};
use crate::support::{Setup, World};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use podgate_devcluster::ImageFault;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::time::timeout;

async fn has_pods(world: &World, count: usize) -> bool {
    world.cluster.wait(Kind::Pods, world.namespace(), &|pods: &[Value]| pods.len() == count).await
}

#[podgate_test::multi_thread]
async fn image_that_cannot_be_had_fails_as_its_user_reads_it_and_the_pod_goes() {
    if !on_development("it is told to misbehave") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().image("local/", ImageFault::NeverPulled);
    let examined = examine(&file(&world), &["--pod"]).await;
    examined.assert("pod-start", "failed", "is not on the node, and its imagePullPolicy says never to pull it");
    examined.assert("pod-removal", "ok", "the pod is removed");
    assert_eq!(examined.status, 1, "{}", examined.out);
    assert!(has_pods(&world, 0).await);
}

#[podgate_test::multi_thread]
async fn signal_while_the_pod_starts_removes_it() {
    if !on_development("it holds pods back") {
        return;
    }
    let world = World::start().await;
    world.cluster.faults().hold_pods();
    let mut child =
        command(&file(&world), &["--pod"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary");
    assert!(has_pods(&world, 1).await, "it makes a pod");
    let id = child.id().expect("it runs").to_string();
    let signalled = crate::support::leash::program("kill").args(["-INT", &id]).status().await.expect("kill");
    assert!(signalled.success());
    let status = timeout(soon(), child.wait()).await.expect("in time").expect("a status");
    assert_eq!(status.code(), Some(130));
    world.cluster.faults().release_pods();
    assert!(has_pods(&world, 0).await, "it removes the pod");
}

#[podgate_test::multi_thread]
async fn program_in_a_pod_of_each_kind_gives_all_back_and_the_pod_goes() {
    let plain = json!({"kubernetes": {"pod": agent::disabled()}});
    let session = json!({"kubernetes": {"pod": {"mode": "session"}}});
    for (config, result) in
        [(json!({}), Some(if is_development() { "ok" } else { "skipped" })), (plain, Some("skipped")), (session, None)]
    {
        let world = Setup::config(config).start().await;
        let examined = examine(&file(&world), &["--pod"]).await;
        assert_eq!(examined.status, 0, "{}", examined.out);
        examined.assert("pod-program", "ok", "arrive whole");
        examined.assert("pod-removal", "ok", "the pod is removed");
        if let Some(result) = result {
            examined.assert("pod-start", "ok", "a pod is ready within ");
            examined.assert("pod-agent", result, "agent");
        }
        assert!(has_pods(&world, 0).await);
    }
}

#[podgate_test::multi_thread]
async fn pod_of_a_gateway_without_a_lease_is_an_orphan() {
    if !on_development("a real one runs it") {
        return;
    }
    let mut world = World::start().await;
    // It would take care of the pod.
    world.gateway.signal("KILL");
    world.gateway.ended().await;
    let labels = json!({
        "podgate/instance": "0123456789abcdef0123456789abcdef", "podgate/home": world.namespace(), "podgate/term": "0",
    });
    let pod = json!({
        "metadata": {"name": "left", "labels": labels}, "spec": {"containers": [{"name": "shell", "image": "local/guest:1"}]},
    });
    let pod: Pod = serde_json::from_value(pod).expect("a pod");
    let pods: Api<Pod> = Api::namespaced(world.cluster.client().await, world.namespace());
    pods.create(&PostParams::default(), &pod).await.expect("it is created");
    let examined = examine(&file(&world), &[]).await;
    examined.assert("orphans", "warning", "1 pods belong to gateways that are gone: left");
}
