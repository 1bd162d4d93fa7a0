//! Clients that have logged in and take nothing.

use crate::support::Setup;
use serde_json::json;

/// A window that no program fills.
const WINDOW: u32 = u32::MAX >> 1;

#[podgate_test::multi_thread]
async fn client_that_never_reads_is_given_up_and_its_pod_goes() {
    let alive = json!({"ssh": {"clientAliveInterval": "2s", "clientAliveCountMax": 2}});
    let world = Setup::config(alive).start().await;
    let (mut writer, reader) = world.minimal_client("alice", "exec cat /dev/zero").await;
    // The client's window lets all of it through; only TCP holds it back, since nobody reads.
    writer.adjust_window(WINDOW).await.expect("a packet");
    world.wait_for_pods(1).await;
    let line = world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(line["details"]["reason"], "the client took no data in time, or is gone");
    world.wait_for_nothing().await;
    drop((writer, reader));
    let done = world.ssh_as("bob").run("echo in").await.expect(0);
    assert_eq!(done.text(), "in\n");
}
