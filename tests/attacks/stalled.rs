//! Clients that have logged in and take nothing.

use crate::support::Setup;
use crate::support::minimal_client::{PacketReader, PacketWriter, field};
use serde_json::json;

/// A window that no program fills.
const WINDOW: u32 = u32::MAX >> 1;

/// Answers keep-alive requests until the first data comes: a pod may start for as long as it likes.
async fn until_data(writer: &mut PacketWriter, reader: &mut PacketReader) {
    const GLOBAL_REQUEST: u8 = 80;
    const REQUEST_FAILURE: u8 = 82;
    const CHANNEL_DATA: u8 = 94;
    loop {
        let packet = reader.receive().await.expect("a packet");
        match packet[0] {
            CHANNEL_DATA => return,
            // Behind the name stands whether an answer is wanted.
            GLOBAL_REQUEST if field(&packet[1..]).1[0] != 0 => writer.send(&[REQUEST_FAILURE]).await.expect("a packet"),
            _ => {}
        }
    }
}

#[podgate_test::multi_thread]
async fn client_that_never_reads_is_given_up_and_its_pod_goes() {
    let alive = json!({"ssh": {"clientAliveInterval": "10s", "clientAliveCountMax": 2}});
    let world = Setup::config(alive).start().await;
    let (mut writer, mut reader) = world.minimal_client("alice", "exec cat /dev/zero").await;
    // The client's window lets all of it through; only TCP holds it back, since nobody reads from the first piece on.
    writer.adjust_window(WINDOW).await.expect("a packet");
    until_data(&mut writer, &mut reader).await;
    let line = world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    assert_eq!(line["details"]["reason"], "the client took no data in time, or is gone");
    world.wait_for_nothing().await;
    drop((writer, reader));
    let done = world.ssh_as("bob").run("echo in").await.expect(0);
    assert_eq!(done.text(), "in\n");
}
