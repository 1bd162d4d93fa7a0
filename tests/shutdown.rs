//! The end of the gateway: sessions are told, pods are removed, nothing keeps it from ending.

use crate::support::gateway::{Gateway, SOON};
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, accept_all};
use crate::support::world::PASSWORD;
use crate::support::{Setup, World};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The time limit for an end with nothing in its way: the time after which a gateway gives up connections that do not end.
const AT_ONCE: Duration = Duration::from_secs(20);

/// Ends the gateway by a signal; says how long that took.
async fn stop(world: &mut World, signal: &str) -> Duration {
    let start = Instant::now();
    world.gateway.signal(signal);
    let status = world.gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{}", world.gateway.log());
    assert_eq!(world.gateway.lines("SERVICE_STOPPED").len(), 1, "{}", world.gateway.log());
    start.elapsed()
}

#[podgate_test::multi_thread]
async fn sessions_are_told_and_their_pods_removed_before_the_process_ends() {
    let mut world = World::start().await;
    let clients: Vec<_> = (0..5).map(|_| world.ssh().start("trap '' TERM HUP; echo up; sleep 1000")).collect();
    for client in &clients {
        client.until_stdout("up").await;
    }
    assert_eq!(world.pods().len(), 5);
    let taken = stop(&mut world, "TERM").await;
    assert!(taken < AT_ONCE, "{taken:?}\n{}", world.gateway.log());
    for client in clients {
        let done = client.ended().await.expect(255);
        assert!(done.stderr.starts_with("podgate: the server is shutting down\n"), "{}", done.stderr);
    }
    let mut left = world.cluster.pods(world.namespace());
    left.retain(|pod| !pod["metadata"]["deletionTimestamp"].is_string());
    assert!(left.is_empty(), "a pod was not removed: {left:?}");
    world.wait_for_nothing().await;
    let line = &world.gateway.lines("SERVICE_STOPPED")[0];
    assert_eq!(line["level"], "info", "{line}");
}

#[podgate_test::multi_thread]
async fn half_open_logins_do_not_hold_up_the_end() {
    let mut world = World::start().await;
    let silent = TcpStream::connect(world.gateway.address).await.expect("a connection");
    let mut greeted = TcpStream::connect(world.gateway.address).await.expect("a connection");
    greeted.write_all(b"SSH-2.0-halfway\r\n").await.expect("a greeting");
    let mut banner = [0; 8];
    greeted.read_exact(&mut banner).await.expect("the server's greeting");
    assert_eq!(&banner, b"SSH-2.0-");
    let taken = stop(&mut world, "TERM").await;
    assert!(taken < AT_ONCE, "{taken:?}\n{}", world.gateway.log());
    drop((silent, greeted));
    assert_ended_by_the_gateway(&world, 2);
}

#[podgate_test::multi_thread]
async fn login_that_waits_for_a_webhook_is_ended_by_the_gateway_and_not_called_abandoned() {
    for slow in ["/password", "/config"] {
        let script = ScriptedWebhook::start(
            move |asked: &WebhookRequest| if asked.path == slow { Reply::Hang } else { accept_all(asked) },
        )
        .await;
        let mut world = Setup::config(script.config()).start().await;
        let client = world.ssh_with_password("alice", PASSWORD).start("true");
        script.wait_for_requests(if slow == "/password" { 1 } else { 2 }).await;
        stop(&mut world, "TERM").await;
        client.ended().await.expect(255);
        assert_ended_by_the_gateway(&world, 1);
    }
}

/// Asserts that the log calls no client the one that closed its connection.
fn assert_ended_by_the_gateway(world: &World, connections: usize) {
    let ends = world.gateway.lines("SSH_DISCONNECTED");
    assert_eq!(ends.len(), connections, "{ends:?}");
    assert!(ends.iter().all(|end| end["details"]["reason"] == "the gateway closed the connection"), "{ends:?}");
    assert!(world.gateway.lines("SSH_LOGIN_ABANDONED").is_empty(), "{}", world.gateway.log());
}

#[podgate_test::multi_thread]
async fn pod_that_is_starting_is_removed_and_its_client_told() {
    let mut world = Setup::unschedulable(json!({})).start().await;
    let client = world.ssh().start("true");
    world.pod().await;
    world.gateway.wait_for_line("SSH_NEW_CHANNEL").await;
    let taken = stop(&mut world, "TERM").await;
    assert!(taken < AT_ONCE, "{taken:?}\n{}", world.gateway.log());
    let done = client.ended().await.expect(255);
    assert!(done.stderr.contains("podgate: the server is shutting down"), "{}", done.stderr);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn interrupt_ends_it_as_well_and_the_port_can_be_had_again() {
    let mut world = World::start().await;
    world.ssh().run("true").await.expect(0);
    stop(&mut world, "INT").await;
    world.wait_for_nothing().await;
    let file = world.folder().join("podgate.json");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config["ssh"]["listen"] = json!(world.gateway.address.to_string());
    std::fs::write(&file, config.to_string()).expect("the configuration");
    world.gateway = Gateway::start(&file).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
}

#[podgate_test::multi_thread]
async fn unreachable_api_does_not_keep_the_process_from_ending() {
    let mut world = Setup::default().alone().start().await;
    let client = world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    world.cluster.api_down().await;
    client.ended().await.expect(255);
    let taken = stop(&mut world, "TERM").await;
    assert!(taken < SOON, "{taken:?}");
}

/// Waits until nobody listens at the gateway's address. A program that another test starts has a copy of the listener until
/// its exec.
async fn until_refused(world: &World) {
    let refused = async { while TcpStream::connect(world.gateway.address).await.is_ok() {} };
    tokio::time::timeout(SOON, refused).await.expect("nothing listens there any more");
}

/// The world of a drain of this length.
async fn draining(accept_delay: &str, drain_timeout: &str) -> World {
    let shutdown = json!({"acceptDelay": accept_delay, "drainTimeout": drain_timeout});
    Setup::config(json!({"shutdown": shutdown})).start().await
}

#[podgate_test::multi_thread]
async fn drain_refuses_what_comes_tells_terminals_and_lets_open_sessions_end_by_themselves() {
    let mut world = draining("0s", "1h").await;
    let program = "echo up; read word; echo got $word";
    let mut terminal = world.ssh().arg("-tt").start(program);
    let mut plain = world.ssh().start(program);
    for client in [&terminal, &plain] {
        client.until_stdout("up").await;
    }
    world.gateway.signal("TERM");
    world.gateway.wait_for_line("SERVICE_STOPPING").await;
    until_refused(&world).await;
    terminal.until_stderr("podgate: the server is shutting down; this connection ends in 60 min").await;
    terminal.write("one\n").await;
    plain.write("two\n").await;
    let done = terminal.ended().await.expect(0);
    assert!(done.text().contains("got one"), "{}", done.text());
    assert_eq!(done.stderr.matches("podgate: ").count(), 1, "{}", done.stderr);
    let done = plain.ended().await.expect(0);
    assert_eq!((done.text().as_str(), done.stderr.as_str()), ("up\ngot two\n", ""));
    assert_eq!(world.gateway.ended().await.code(), Some(0), "{}", world.gateway.log());
    let line = &world.gateway.lines("SERVICE_DRAINED")[0];
    assert_eq!(line["details"]["connections"], "0", "{line}");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn session_that_stays_ends_with_the_time_of_the_drain_or_at_the_second_signal() {
    for (time, signals) in [("300ms", 1), ("1h", 2)] {
        let mut world = draining("0s", time).await;
        let client = world.ssh().start("echo up; sleep 1000");
        client.until_stdout("up").await;
        world.gateway.signal("TERM");
        world.gateway.wait_for_line("SERVICE_STOPPING").await;
        for _ in 1..signals {
            assert!(world.gateway.lines("SERVICE_DRAINED").is_empty());
            world.gateway.signal("TERM");
        }
        let done = client.ended().await.expect(255);
        assert!(done.stderr.starts_with("podgate: the server is shutting down\n"), "{}", done.stderr);
        assert_eq!(world.gateway.ended().await.code(), Some(0), "{}", world.gateway.log());
        let line = &world.gateway.lines("SERVICE_DRAINED")[0];
        assert_eq!(line["details"]["connections"], "1", "{line}");
        world.wait_for_nothing().await;
    }
}

#[podgate_test::multi_thread]
async fn connection_that_comes_before_load_balancers_have_noticed_is_served_and_told() {
    let mut world = draining("1h", "0s").await;
    world.gateway.signal("TERM");
    world.gateway.wait_for_line("SERVICE_STOPPING").await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    let terminal = world.ssh().arg("-tt").start("echo up; sleep 1000");
    terminal.until_stderr("podgate: the server is shutting down; this connection ends in 60 min").await;
    world.gateway.signal("INT");
    terminal.ended().await.expect(255);
    assert_eq!(world.gateway.ended().await.code(), Some(0), "{}", world.gateway.log());
}
