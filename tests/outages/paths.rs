//! Paths to the API server that cut what they take for idle.

use super::answers;
use crate::support::idle_proxy::IdleProxy;
use crate::support::{Setup, World, available};
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The time for which a connection may be idle on these paths, as in kubeadm's guide.
const CUT: Duration = Duration::from_secs(20);
/// The time by which every idle connection must have been closed.
const LONG: Duration = Duration::from_secs(30);
/// The time limit for a login whose pod the watch shows. One that was cut unnoticed shows nothing until its request is
/// over, a minute after it began and thus [`CUT`] less than that after the cut.
const AT_ONCE: Duration = Duration::from_secs(40);

async fn world() -> World {
    let session = json!({"kubernetes": {"pod": {"mode": "session"}}});
    Setup { users: vec![("alice", json!({})), ("bob", session), ("carol", json!({}))], ..Setup::default() }
        .start()
        .await
}

async fn idle_streams_live(world: &World, proxy: &IdleProxy) {
    let gateway = world.gateway_with(proxy.config()).await;
    let held = "echo up; read -r line; echo \"got $line\"; exit 5";
    let mut programs = Vec::new();
    for (user, flag) in [("alice", "-T"), ("alice", "-tt"), ("bob", "-T"), ("bob", "-tt")] {
        programs.push((user, flag, world.ssh_to(&gateway, user).arg(flag).start(held)));
    }
    let mut last = world.ssh_to(&gateway, "carol").arg("-tt").arg("127.0.0.1").launch();
    answers(&mut last).await;
    for (.., client) in &programs {
        client.until_stdout("up").await;
    }
    proxy.wait_for_cut(Instant::now() + LONG, 4 * CUT).await;
    for (user, flag, mut client) in programs {
        client.write("line\n").await;
        client.until_stdout("got line").await;
        let done = client.ended().await.expect(5);
        assert!(!done.stderr.contains("lost"), "{user} {flag}: {}", done.stderr);
    }
    let begun = Instant::now();
    world.ssh_to(&gateway, "alice").run("true").await.expect(0);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    answers(&mut last).await;
    world.wait_for_pods(1).await;
    assert!(world.cluster.delete_pod(world.namespace(), &world.pod().await, Duration::from_secs(1)));
    let done = last.ended().await.expect(255);
    assert!(done.stderr.contains("podgate: the pod was deleted"), "{}", done.stderr);
    for code in ["KUBERNETES_WATCH_FAILED", "KUBERNETES_LEASE_FAILED"] {
        assert!(gateway.lines(code).is_empty(), "{}", gateway.log());
    }
}

#[podgate_test::multi_thread]
async fn idle_streams_live_behind_a_path_that_cuts_at_20_s_and_nothing_is_missed_or_logged() {
    let world = world().await;
    let proxy = IdleProxy::built_in(&world.connection, CUT).await;
    idle_streams_live(&world, &proxy).await;
}

#[podgate_test::multi_thread]
async fn idle_streams_live_behind_haproxy_as_kubeadm_sets_it_up() {
    if !available("haproxy", "haproxy") {
        return;
    }
    let world = world().await;
    let proxy = IdleProxy::haproxy(&world.connection, CUT, world.folder()).await;
    idle_streams_live(&world, &proxy).await;
}
