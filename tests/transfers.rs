//! Many bytes: exact, bounded in the gateway's memory, and none in another's way.

mod shared;

use crate::support::World;
use crate::support::client::PATIENCE;
use crate::support::flow::{MIB, drain, ended, feed, stalled, sum};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// What a transfer is to move.
const LARGE: usize = 200 * MIB;
/// What the gateway may take for it, in KiB.
const MEMORY: u64 = 62_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_upload_is_exact_in_little_memory() {
    let world = World::start().await;
    let mut child = world.ssh().arg("127.0.0.1").arg("sha256sum").spawn();
    let sent = feed(child.stdin.take().expect("a pipe"), LARGE, watch::Sender::new(0)).await;
    let mut printed = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut printed).await.expect("the output");
    ended(child).await.expect(0);
    assert_eq!(sum(&printed), sent);
    assert!(world.gateway.peak_memory() < MEMORY, "{} KiB", world.gateway.peak_memory());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_download_is_exact_in_little_memory() {
    let world = World::start().await;
    let script = format!("head -c {LARGE} /dev/urandom | tee copy; sha256sum copy >&2; rm copy");
    let mut child = world.ssh().arg("127.0.0.1").arg(script).spawn();
    let (total, received) = drain(child.stdout.take().expect("a pipe")).await;
    let mut printed = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut printed).await.expect("the hash");
    ended(child).await.expect(0);
    assert_eq!((total, received), (LARGE, sum(&printed)));
    assert!(world.gateway.peak_memory() < MEMORY, "{} KiB", world.gateway.peak_memory());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_transfer_both_ways_to_a_late_reader_is_exact_in_little_memory() {
    let world = World::start().await;
    let mut child = world.ssh().arg("127.0.0.1").arg("cat").spawn();
    let (sender, mut progress) = watch::channel(0);
    let feeding = tokio::spawn(feed(child.stdin.take().expect("a pipe"), LARGE, sender));
    stalled(&mut progress).await;
    let (total, received) = drain(child.stdout.take().expect("a pipe")).await;
    ended(child).await.expect(0);
    assert_eq!((total, received), (LARGE, feeding.await.expect("the hash")));
    assert!(world.gateway.peak_memory() < MEMORY, "{} KiB", world.gateway.peak_memory());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_byte_reaches_a_slow_reader() {
    let world = World::start().await;
    let script = "head -c 40000000 /dev/zero; printf END; exit 3";
    let mut child = world.ssh().arg("127.0.0.1").arg(script).spawn();
    let mut output = child.stdout.take().expect("a pipe");
    let mut piece = vec![0; MIB];
    let (mut total, mut tail) = (0, Vec::new());
    loop {
        let read = output.read(&mut piece).await.expect("the output");
        if read == 0 {
            break;
        }
        total += read;
        tail.extend_from_slice(&piece[..read]);
        tail.drain(..tail.len().saturating_sub(3));
        // The reader is slow: about 40 MB in 3 s, long after the program has ended.
        sleep(Duration::from_secs(3).mul_f64(read as f64 / 40e6)).await;
    }
    ended(child).await.expect(3);
    assert_eq!((total, tail.as_slice()), (40_000_003, b"END".as_slice()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_writes_arrive_in_order() {
    let world = World::start().await;
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let up = world.ssh().stdin(lines.clone()).run("cat").await.expect(0);
    assert!(up.text() == lines, "the echo differs");
    let count = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done";
    let down = world.ssh().run(count).await.expect(0);
    assert!(down.text() == lines, "the output differs");
    let both = world.ssh().stdin(lines.clone()).run("while read -r line; do echo $line; done").await.expect(0);
    assert!(both.text() == lines, "the answers differ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_keys_in_the_middle_of_a_transfer_harm_nothing() {
    let world = World::start().await;
    let size = 40 * MIB;
    let mut child = world.ssh().option("RekeyLimit=1M").arg("127.0.0.1").arg("cat").spawn();
    let feeding = tokio::spawn(feed(child.stdin.take().expect("a pipe"), size, watch::Sender::new(0)));
    let (total, received) = drain(child.stdout.take().expect("a pipe")).await;
    ended(child).await.expect(0);
    assert_eq!((total, received), (size, feeding.await.expect("the hash")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_that_ignores_its_window_is_cut_off() {
    let world = World::start().await;
    let (mut mouth, ear) = world.rude("bob", "sleep 600").await;
    let hearing = tokio::spawn(ear.until_hung_up());
    let piece = vec![b'x'; 32_000];
    let sending = async { while mouth.data(&piece).await.is_ok() {} };
    timeout(PATIENCE, sending).await.expect("the gateway hangs up");
    hearing.await.expect("the end");
    let line = world.gateway.wait_for_line("SSH_WINDOW_IGNORED").await;
    assert_eq!(line["details"]["username"], "bob", "{line}");
    assert!(world.gateway.peak_memory() < MEMORY, "{} KiB", world.gateway.peak_memory());
    world.wait_for_pods(0).await;
    world.ssh().run("true").await.expect(0);
}
