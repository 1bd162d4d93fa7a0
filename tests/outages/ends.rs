//! Pods that a real node ends under a session, by its own rules: memory and disk.

use super::{answers, person};
use crate::support::cluster::{container, on_real};
use crate::support::real::observer::Observable;
use crate::support::world::merge;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Within which a person reads why a pod has ended, from when the API shows it: the grace of the pod, at whose end the
/// API has forgotten it.
const AT_ONCE: Duration = Duration::from_secs(30);

/// A world with something merged into `kubernetes.pod` and into its container; `None` on the development cluster.
async fn world(pod: Value, guest: Value) -> Option<World> {
    if !on_real("its containers have this machine's memory and disk") {
        return None;
    }
    let mut console = container("shell");
    merge(&mut console, guest);
    let mut whole = json!({"spec": {"containers": [console]}});
    merge(&mut whole, pod);
    Some(Setup::config(json!({"kubernetes": {"pod": whole}})).start().await)
}

/// The first line of ours that a session reads whose pod ends while `command` runs.
async fn told(world: &World, command: &str) -> String {
    let mut client = world.ssh().start(&format!("read go; {command}"));
    // A kubelet whose API was away a moment ago tells its events late.
    world.wait_for_event("Started").await;
    client.write("\n").await;
    let done = client.ended().await.expect(255);
    let line = done.stderr.lines().find_map(|line| line.strip_prefix("podgate: "));
    line.unwrap_or_else(|| panic!("{:?}", done.stderr)).to_owned()
}

/// A container with little memory.
fn small() -> Value {
    json!({"resources": {"limits": {"memory": "64Mi"}}})
}

#[podgate_test::multi_thread]
async fn container_that_runs_out_of_memory_is_told() {
    // The kernel ends the largest process: here it is the container's first.
    let idle = json!(["/bin/sh", "-c", "mkfifo /tmp/eat; read line </tmp/eat; exec tail /dev/zero"]);
    let pod = json!({"idleCommand": idle, "spec": {"terminationGracePeriodSeconds": 1}});
    let Some(world) = world(pod, small()).await else { return };
    let reason = told(&world, "while [ ! -p /tmp/eat ]; do :; done; echo >/tmp/eat; sleep 1000").await;
    assert_eq!(reason, "the container shell ran out of memory");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn program_that_runs_out_of_memory_was_killed() {
    let Some(world) = world(json!({}), small()).await else { return };
    let done = world.ssh().run("tail /dev/zero; echo $?").await;
    match done.status {
        // With cgroups of version 1 the rest of the container goes on.
        0 => assert_eq!(done.text(), "137\n"),
        255 => assert!(done.stderr.contains("podgate: the container shell ran out of memory"), "{}", done.stderr),
        status => panic!("{status}: {done:?}"),
    }
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn person_whose_pod_fills_its_volume_reads_of_the_eviction_at_once() {
    let volume = json!({"spec": {"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]}});
    let mount = json!({"volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]});
    let Some(world) = world(volume, mount).await else { return };
    let mut client = person(&world).launch();
    answers(&mut client).await;
    let mut observer = world.cluster.real().observe(world.namespace()).await;
    client.write("head -c 5000000 /dev/zero >/scratch/full; sleep 1000\n").await;
    let reason = "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\".";
    client.until_stderr(&format!("podgate: the pod was evicted from its node: {reason}")).await;
    let read = Instant::now();
    // A pod that ends well by itself meanwhile shows it in its events alone.
    let took = read.saturating_duration_since(observer.first_seen(Observable::Event("Evicted")).await);
    assert!(took < AT_ONCE, "{took:?}\n{}", world.gateway.log());
    let done = client.ended().await.expect(255);
    assert_eq!(done.stderr.matches("podgate: ").count(), 1, "{}", done.stderr);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn pod_that_fills_its_disk_is_evicted_and_told() {
    let limit = json!({"resources": {"limits": {"ephemeral-storage": "1Mi"}}});
    let Some(world) = world(json!({}), limit).await else { return };
    let reason = told(&world, "head -c 5000000 /dev/zero >/tmp/full; sleep 1000").await;
    assert!(reason.starts_with("the pod was evicted from its node: ") && reason.contains("ephemeral"), "{reason}");
    world.wait_for_nothing().await;
}
