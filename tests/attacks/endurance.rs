//! A mixed load for a long time: what the gateway holds at its end is what it held soon after its beginning, and nothing is
//! left of it when it is over.

use super::memory::resident;
use super::queued::gives_back;
use crate::support::World;
use crate::support::minimal_client::{connect, text};
use crate::support::peer::{to_the_end, until};
use futures_util::future::join_all;
use serde_json::Value;
use std::env;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep_until;

/// Users of each kind at a time.
const OF_EACH: usize = 3;
/// The parts of the time: the memory of each is its largest value. The plateau is what the first half has after the first part.
const PARTS: u32 = 10;
/// The part of the plateau that the last part may have more.
const MORE: u64 = 10;
/// The most that may be left of all after a minute, in KiB: pools, and the allocator's own.
const LEFT: u64 = 16 * 1024;
/// Bytes of a transfer.
const TRANSFER: usize = 2_000_000;

/// One use of the gateway, by its kind.
async fn use_once(world: &World, kind: usize) {
    match kind {
        // A command in a connection of its own.
        0 => assert_eq!(world.ssh().run("echo ran").await.expect(0).text(), "ran\n"),
        // Sessions beside each other, with output and input.
        1 => {
            let peer = world.peer("alice").await;
            let sessions = join_all((0..4).map(|_| peer.session())).await;
            let outputs = sessions.into_iter().map(|mut session| async move {
                let print = format!("head -c {TRANSFER} /dev/zero | tr '\\0' x");
                session.exec(false, print).await.expect("a request");
                assert_eq!(to_the_end(&mut session).await.stdout.len(), TRANSFER);
            });
            join_all(outputs).await;
            let mut session = peer.session().await;
            session.exec(false, "wc -c").await.expect("a request");
            session.data(&vec![b'x'; TRANSFER][..]).await.expect("data");
            session.eof().await.expect("an end");
            assert_eq!(to_the_end(&mut session).await.stdout.trim(), TRANSFER.to_string());
        }
        // A client that leaves in the middle of its program's output.
        2 => {
            let peer = world.peer("bob").await;
            let mut session = peer.session().await;
            session.exec(false, "exec yes").await.expect("a request");
            until(&mut session, "y\ny\n").await;
        }
        // A stranger who says nothing valid.
        3 => {
            let mut stream = TcpStream::connect(world.gateway.address).await.expect("a connection");
            stream.write_all(b"SSH-2.0-x\r\n\0\0\0\x01\0").await.expect("a connection");
            // Whether it is reset or closed is a matter of time.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        // A wrong password.
        _ => {
            let (mut writer, mut reader, _) = connect(world.gateway.address).await;
            writer.send(&[&[5][..], &text(b"ssh-userauth")].concat()).await.expect("a packet");
            reader.expect(6).await;
            let names = ["alice", "ssh-connection", "password"].map(|name| text(name.as_bytes())).concat();
            writer.send(&[&[50][..], &names, &[0], &text(b"wrong")].concat()).await.expect("a packet");
            reader.expect(51).await;
        }
    }
}

/// Uses the gateway in every way until the time is over.
async fn use_until(world: &World, end: Instant) -> usize {
    let users = (0..5 * OF_EACH).map(|user| async move {
        let mut uses = 0;
        while Instant::now() < end {
            use_once(world, user % 5).await;
            uses += 1;
        }
        uses
    });
    join_all(users).await.into_iter().sum()
}

/// The largest memory of each part of the time, in KiB.
async fn watch(world: &World, begun: Instant, part: Duration) -> Vec<u64> {
    let mut largest = Vec::new();
    for number in 1..=PARTS {
        let (end, mut most) = (begun + part * number, 0);
        while Instant::now() < end {
            most = most.max(resident(&world.gateway));
            // The system shows no event for it.
            sleep_until((Instant::now() + Duration::from_millis(100)).into()).await;
        }
        largest.push(most);
    }
    largest
}

/// Uses the gateway for so long. `noise` is no growth, in KiB, however small the plateau is.
async fn endures(time: Duration, noise: u64) {
    let world = World::start().await;
    // Everything is warm, and nothing is left of it.
    use_until(&world, Instant::now() + time / PARTS).await;
    world.wait_for_pods(0).await;
    let before = resident(&world.gateway);
    let begun = Instant::now();
    let (uses, largest) = tokio::join!(use_until(&world, begun + time), watch(&world, begun, time / PARTS));
    let (plateau, last) = (largest[1..5].iter().max().expect("parts"), largest[9]);
    let connected = world.gateway.lines("SSH_CONNECTED").len();
    world.gateway.wait_for_lines(connected, |line: &Value| line["code"] == "SSH_DISCONNECTED").await;
    gives_back(&world, before + LEFT).await;
    let after = resident(&world.gateway);
    eprintln!("{uses} uses in {time:.0?}: {before} KiB before, {largest:?} KiB in each part, {after} KiB after");
    assert!(last <= plateau + (plateau / MORE).max(noise), "{largest:?}");
}

#[podgate_test::multi_thread]
async fn mixed_load_leaves_nothing() {
    // What the machine does beside it shows in so short a time.
    endures(Duration::from_secs(3), 32 * 1024).await;
}

/// `PODGATE_TEST_MINUTES` says for how long.
#[podgate_test::multi_thread]
#[ignore = "takes half an hour; .ci/long runs it"]
async fn mixed_load_of_half_an_hour_takes_no_more_memory_at_its_end() {
    let minutes = env::var("PODGATE_TEST_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(30);
    endures(Duration::from_secs(60 * minutes), 4 * 1024).await;
}
