//! `limits`: connections that end by themselves, and the number of a user's connections.

use crate::support::flow::{MIB, drain, ended, feed, sum};
use crate::support::peer::{answered, to_the_end};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, accept_all};
use crate::support::world::merge;
use crate::support::{Setup, World, agent};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

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

#[podgate_test::multi_thread]
async fn config_server_limits_what_one_connection_may_have() {
    let forwarding = json!({"forwardingMode": "enable", "reverseForwardingMode": "enable"});
    let limits = json!({
        "maxSessions": 2, "maxForwards": 1, "maxListeners": 1, "maxChannels": 3, "maxEnv": 2, "maxEnvSize": "8B"
    });
    let hooks = ScriptedWebhook::start(move |asked| match asked.path.as_str() {
        "/config" => Reply::Json(json!({"config": {"limits": limits, "security": {"forwarding": forwarding}}})),
        _ => accept_all(asked),
    })
    .await;
    let mut config = hooks.config();
    merge(&mut config, json!({"kubernetes": {"pod": agent::by_default()}}));
    let world = Setup::config(config).start().await;
    let mut peer = world.peer("alice").await;
    let mut session = peer.session().await;
    let mut env = Vec::new();
    for (name, value) in [("LC_A", "12345"), ("LC_A", "1234"), ("LC_B", ""), ("B", "")] {
        session.set_env(true, name, value).await.expect("a request");
        env.push(answered(&mut session).await);
    }
    assert_eq!(env, [false, true, false, false], "9 bytes, 8 bytes, 12 bytes, and 9 bytes");
    session.exec(true, "cat; env | grep ^LC_").await.expect("a request");
    // A listener waits no more than 10 s for a pod that starts.
    assert!(answered(&mut session).await);
    let listened = peer.handle.tcpip_forward("127.0.0.1", 0).await.expect("a port");
    assert!(peer.handle.tcpip_forward("127.0.0.1", 0).await.is_err(), "one listener beside another");
    let port = u16::try_from(listened).expect("a port");
    let forwarded = peer.handle.channel_open_direct_tcpip("127.0.0.1", listened, "127.0.0.1", 1).await;
    // The listener's own connection is the one that is one too many.
    forwarded.expect("a connection to the listener, which the gateway ends");
    assert!(port > 0 && peer.forwarded.try_recv().is_err());
    let second = peer.session().await;
    assert!(peer.handle.channel_open_session().await.is_err(), "two sessions are open");
    drop(second);
    for limit in ["limits.maxListeners", "limits.maxForwards", "limits.maxSessions"] {
        world.gateway.wait_for(|line| line["code"] == "SSH_LIMIT" && line["details"]["limit"] == limit).await;
    }
    session.eof().await.expect("the end");
    assert_eq!(to_the_end(&mut session).await.stdout, "LC_A=1234\n");
}

#[podgate_test::multi_thread]
async fn limit_of_bandwidth_holds_in_each_direction_and_loses_no_byte() {
    let size = 3 * MIB;
    for (direction, script) in [("in", "sha256sum"), ("out", "cat")] {
        let world = limited(json!({"bandwidth": {direction: "1MiB"}})).await;
        let begun = Instant::now();
        let mut child = world.ssh().arg("127.0.0.1").arg(script).spawn();
        let feeding = tokio::spawn(feed(child.stdin.take().expect("a pipe"), size, watch::Sender::new(0)));
        let mut output = child.stdout.take().expect("a pipe");
        let hash = if script == "cat" {
            drain(output).await.1
        } else {
            let mut printed = String::new();
            output.read_to_string(&mut printed).await.expect("the output");
            sum(&printed)
        };
        let took = begun.elapsed();
        ended(child).await.expect(0);
        let sent = feeding.await.expect("the hash");
        assert_eq!(hash, sent, "{direction}");
        // No machine is too fast for a limit: a quarter of a second comes at once, and two windows of the client's.
        assert!(took >= Duration::from_secs(2), "{direction}: {took:?}");
    }
}
