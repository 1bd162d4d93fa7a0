//! A user whose programs print without end and whose clients read nothing. Others are served meanwhile.

use super::memory::resident;
use super::queued::gives_back;
use crate::support::client::PATIENCE;
use crate::support::minimal_client::{PacketReader, PacketWriter, text};
use crate::support::peer::{Peer, to_the_end};
use crate::support::{Setup, World};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Connections of the attacker.
const CONNECTIONS: usize = 12;
/// Programs of each that print.
const PROGRAMS: u32 = 8;
/// The window of each channel, and the longest packet: more than anybody sends.
const WINDOW: u32 = 1 << 31;
/// The time without a change after which the gateway has taken what it takes.
const STILL: Duration = Duration::from_secs(1);

/// Opens a connection whose programs print, and reads nothing of it.
async fn print(world: &World) -> (PacketWriter, PacketReader) {
    let (mut writer, mut reader) = world.minimal_client("mallory", "cat").await;
    let mut channels = Vec::new();
    for number in 1..=PROGRAMS {
        let sizes = [number, WINDOW, WINDOW].map(u32::to_be_bytes).concat();
        writer.send(&[&[90][..], &text(b"session"), &sizes].concat()).await.expect("a packet");
        let opened = reader.expect(91).await;
        channels.push(u32::from_be_bytes(opened[5..9].try_into().expect("4 bytes")));
    }
    for channel in channels {
        let exec = [&[98][..], &channel.to_be_bytes(), &text(b"exec"), &[0], &text(b"exec yes")].concat();
        writer.send(&exec).await.expect("a packet");
    }
    (writer, reader)
}

/// Waits until the gateway's memory, in KiB, has grown by as much as `least` and then changes no more.
async fn stands_still(world: &World, least: u64) {
    let (mut last, mut since) = (0, Instant::now());
    // The system shows no event for it. A machine that needs longer has less waiting.
    while last < least || since.elapsed() < STILL {
        let now = resident(&world.gateway);
        if now.abs_diff(last) > 256 {
            (last, since) = (now, Instant::now());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[podgate_test::multi_thread]
async fn output_that_one_identity_leaves_unread_is_bounded_over_all_its_connections_and_others_are_served() {
    let mut setup = Setup::default();
    setup.users.push(("mallory", json!({})));
    let world = setup.start().await;
    let mut bob = world.peer("bob").await;
    let served = async |bob: &mut Peer| {
        assert_eq!(world.ssh().run("echo ran").await.expect(0).text(), "ran\n");
        let mut session = bob.session().await;
        session.exec(true, "head -c 3000000 /dev/zero | tr '\\0' x").await.expect("a request");
        assert_eq!(to_the_end(&mut session).await.stdout.len(), 3_000_000);
    };
    served(&mut bob).await;
    let before = resident(&world.gateway);
    let clients = join_all((0..CONNECTIONS).map(|_| print(&world))).await;
    timeout(PATIENCE, stands_still(&world, before + 4 * 1024)).await.expect("in time");
    served(&mut bob).await;
    let peak = world.gateway.peak_memory() - before;
    eprintln!("{CONNECTIONS} connections that read nothing: {peak} KiB at the most");
    // A session of an unoptimized gateway takes up to 100 KiB.
    let sessions = CONNECTIONS as u64 * u64::from(PROGRAMS + 1) * 100;
    assert!(peak <= 48 * 1024 + sessions, "{peak} KiB");
    drop(clients);
    let ended = |line: &Value| line["code"] == "SSH_DISCONNECTED" && line["details"]["username"] == "mallory";
    world.gateway.wait_for_lines(CONNECTIONS, ended).await;
    gives_back(&world, before + 16 * 1024).await;
}
