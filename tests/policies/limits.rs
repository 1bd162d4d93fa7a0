//! `limits`: connections that end by themselves, and the number of a user's connections.

use crate::support::scripted_webhook::{Reply, ScriptedWebhook, accept_all};
use crate::support::{Setup, World};
use serde_json::{Value, json};

async fn limited(limits: Value) -> World {
    Setup::config(json!({"limits": limits})).start().await
}

#[podgate_test::multi_thread]
async fn idle_terminal_is_warned_and_then_ended_and_its_pod_goes() {
    let world = limited(json!({"idleTimeout": "3s", "warning": "2s"})).await;
    let done = world.ssh().arg("-tt").run("sleep 1000").await.expect(255);
    let (warned, ended) =
        ("podgate: this connection is idle and ends in ", "podgate: this connection was idle for too long");
    assert!(done.stderr.find(warned).is_some_and(|at| done.stderr[at..].contains(ended)), "{}", done.stderr);
    let line = world.gateway.wait_for_line("SSH_LIMIT").await;
    assert_eq!(line["details"]["limit"], "limits.idleTimeout");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn output_is_no_traffic_where_only_the_client_s_counts_and_a_pipe_reads_no_warning() {
    let world = limited(json!({"idleTimeout": "3s", "idleTraffic": "client", "warning": "2s"})).await;
    let done = world.ssh().run("while :; do echo busy; sleep 0.1; done").await.expect(255);
    assert_eq!(done.stderr.lines().next(), Some("podgate: this connection was idle for too long"), "{}", done.stderr);
}

#[podgate_test::multi_thread]
async fn connection_without_a_channel_and_one_that_is_old_end_with_their_reasons() {
    let world = limited(json!({"unusedConnectionTimeout": "1s"})).await;
    let unused = world.ssh().arg("-N").arg("127.0.0.1").finish().await.expect(255);
    assert!(unused.stderr.contains("this connection had no open session for too long"), "{}", unused.stderr);
    let world = limited(json!({"maxDuration": "2s"})).await;
    let old = world.ssh().run("while :; do echo busy; sleep 0.1; done").await.expect(255);
    assert!(old.stderr.contains("podgate: this connection has reached its longest duration"), "{}", old.stderr);
}

#[podgate_test::multi_thread]
async fn connection_beyond_those_of_its_user_is_refused_whatever_its_login_name() {
    // The server says who it is: two login names of one user.
    let hooks = ScriptedWebhook::start(|asked| match asked.path.as_str() {
        "/config" => Reply::Json(json!({"config": {"limits": {"maxConnections": 1}}})),
        _ if asked.body["username"] == "bob" => accept_all(asked),
        _ => Reply::Json(json!({"success": true, "authenticatedUsername": "alice"})),
    })
    .await;
    let world = Setup::config(hooks.config()).start().await;
    let mut first = world.ssh_as("alice").start("echo up; cat");
    first.until_stdout("up\n").await;
    let second = world.ssh_as("alice@home").run("echo ran").await.expect(255);
    assert_eq!(second.text(), "");
    assert!(second.stderr.starts_with("podgate: too many connections of this user are open\n"), "{}", second.stderr);
    let other = world.ssh_as("bob").run("echo ran").await.expect(0);
    assert_eq!(other.text(), "ran\n");
    first.end_input();
    first.ended().await.expect(0);
    // Its place is free once the gateway is done with it.
    world.gateway.wait_for_lines(3, |line| line["code"] == "SSH_DISCONNECTED").await;
    assert_eq!(world.ssh_as("alice").run("echo ran").await.expect(0).text(), "ran\n");
}
