//! What a user sees and can do while a pod starts.

use crate::support::cluster::on_development;
use crate::support::peer::{answered, to_the_end};
use crate::support::{Setup, World};
use podgate_devcluster::ImageFault;
use russh::client;
use serde_json::json;

/// A world whose pods no node takes.
async fn unschedulable() -> World {
    Setup::unschedulable(json!({})).start().await
}

#[podgate_test::multi_thread]
async fn what_may_heal_is_waited_for_to_the_end_and_then_told() {
    let timeouts = json!({"kubernetes": {"timeouts": {"podStart": "3s"}}});
    let world = Setup::unschedulable(timeouts).start().await;
    let done = world.ssh().run("true").await.expect(255);
    let told = "podgate: the pod was not ready within 3s: no node takes the pod yet: 0/1 nodes are available: ";
    assert!(done.stderr.starts_with(told), "{}", done.stderr);
    assert_eq!((done.stderr.lines().count(), done.text().as_str()), (1, ""));
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn program_is_told_on_standard_error_alone_what_it_waits_for() {
    let world = unschedulable().await;
    let client = world.ssh().start("echo in");
    client.until_stderr("podgate: waiting: no node takes the pod yet").await;
    world.schedule().await;
    let done = client.ended().await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("in\n", ""));
    assert!(done.waited.iter().any(|line| line.contains("no node takes the pod yet")), "{:?}", done.waited);
}

#[podgate_test::multi_thread]
async fn person_sees_what_is_waited_for_and_then_the_shell() {
    let world = unschedulable().await;
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.until_stderr("podgate: waiting: no node takes the pod yet: 0/1 nodes are available").await;
    world.schedule().await;
    client.write("echo in-$((40 + 2))\nexit 3\n").await;
    client.until_stdout("in-42").await;
    client.ended().await.expect(3);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn person_sees_every_reason_as_it_comes() {
    if !on_development("a registry is away at a word") {
        return;
    }
    let world = unschedulable().await;
    world.cluster.faults().image("local/", ImageFault::Unreachable);
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.until_stderr("podgate: waiting: no node takes the pod yet").await;
    world.schedule().await;
    client.until_stderr("podgate: waiting: the image local/guest:1 cannot be pulled yet: ").await;
    world.cluster.faults().heal_image("local/");
    client.write("exit 0\n").await;
    let done = client.ended().await.expect(0);
    assert!(done.waited.len() >= 2, "{:?}", done.waited);
    let mut once = done.waited.clone();
    once.dedup();
    assert_eq!(done.waited, once, "the same line twice");
}

#[podgate_test::multi_thread]
async fn client_without_a_session_that_leaves_while_the_pod_starts_is_logged_as_well() {
    let world = unschedulable().await;
    let client = world.ssh().arg("-N").arg("127.0.0.1").launch();
    world.pod().await;
    world.gateway.wait_for_line("SSH_AUTH_SUCCESSFUL").await;
    client.kill().await;
    let line = world.gateway.wait_for_line("SSH_LOGIN_ABANDONED").await;
    assert!(line["details"]["reason"].is_string(), "{line}");
    world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(world.gateway.lines("SSH_LOGIN_ABANDONED").len(), 1);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn interrupt_while_the_pod_starts_ends_the_wait() {
    let world = unschedulable().await;
    let mut client = world.ssh().arg("-tt").arg("127.0.0.1").launch();
    client.until_stderr("no node takes the pod yet").await;
    client.write("\x03").await;
    client.ended().await.expect(130);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn program_of_a_client_that_does_not_read_starts_and_ends_all_the_same() {
    let world = unschedulable().await;
    let config = client::Config { window_size: 0, ..client::Config::default() };
    let peer = world.peer_with("alice", config).await;
    let mut channel = peer.session().await;
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.exec(true, "exit 5").await.expect("a request");
    assert!(answered(&mut channel).await);
    world.wait_for_event("FailedScheduling").await;
    world.schedule().await;
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.status, ended.stderr.as_str(), ended.stdout.as_str()), (Some(5), "", ""));
    drop((channel, peer));
    world.wait_for_nothing().await;
}
