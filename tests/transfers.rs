//! Many bytes: exact, bounded in the gateway's memory, and none in another's way.

mod shared;

use crate::support::World;
use crate::support::client::{Done, PATIENCE};
use crate::support::flow::{MIB, drain, ended, feed, stalled, sum, whole};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// The number of bytes of a transfer.
const LARGE: usize = 200 * MIB;
/// The memory that the gateway may use for it, in KiB.
const MEMORY: u64 = 62_500;

#[podgate_test::multi_thread]
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

#[podgate_test::multi_thread]
async fn large_download_is_exact_in_little_memory() {
    let world = World::start().await;
    let script = format!("head -c {LARGE} /dev/urandom | tee copy; sha256sum copy >&2; rm copy");
    let (done, came) = whole(async || {
        let mut child = world.ssh().arg("127.0.0.1").arg(&script).spawn();
        let came = drain(child.stdout.take().expect("a pipe")).await;
        let mut printed = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut printed).await.expect("the hash");
        (Done { stderr: printed, ..ended(child).await }, came)
    })
    .await;
    let done = done.expect(0);
    assert_eq!(came, (LARGE, sum(&done.stderr)));
    assert!(world.gateway.peak_memory() < MEMORY, "{} KiB", world.gateway.peak_memory());
}

#[podgate_test::multi_thread]
async fn large_transfer_both_ways_to_a_late_reader_is_exact_in_little_memory() {
    let world = World::start().await;
    let (done, (came, sent)) = whole(async || {
        let mut child = world.ssh().arg("127.0.0.1").arg("cat").spawn();
        let (sender, mut progress) = watch::channel(0);
        let feeding = tokio::spawn(feed(child.stdin.take().expect("a pipe"), LARGE, sender));
        stalled(&mut progress).await;
        let came = drain(child.stdout.take().expect("a pipe")).await;
        (ended(child).await, (came, feeding.await.expect("the hash")))
    })
    .await;
    done.expect(0);
    assert_eq!(came, (LARGE, sent));
    assert!(world.gateway.peak_memory() < MEMORY, "{} KiB", world.gateway.peak_memory());
}

#[podgate_test::multi_thread]
async fn last_byte_reaches_a_slow_reader() {
    let world = World::start().await;
    let script = "head -c 40000000 /dev/zero; printf END; exit 3";
    let (done, came) = whole(async || {
        let mut child = world.ssh().arg("127.0.0.1").arg(script).spawn();
        let mut output = child.stdout.take().expect("a pipe");
        let mut piece = vec![0; MIB];
        let (mut total, mut tail) = (0, Vec::new());
        loop {
            let read = output.read(&mut piece).await.expect("the output");
            if read == 0 {
                return (ended(child).await, (total, tail));
            }
            total += read;
            tail.extend_from_slice(&piece[..read]);
            tail.drain(..tail.len().saturating_sub(3));
            // The reader is slow: about 40 MB in 3 s, long after the program has ended.
            sleep(Duration::from_secs(3).mul_f64(read as f64 / 40e6)).await;
        }
    })
    .await;
    done.expect(3);
    assert_eq!(came, (40_000_003, b"END".to_vec()));
}

#[podgate_test::multi_thread]
async fn many_small_writes_arrive_in_order() {
    let world = World::start().await;
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let count = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done";
    for (command, input) in [("cat", &*lines), (count, ""), ("while read -r line; do echo $line; done", &*lines)] {
        let (done, ()) = whole(async || (world.ssh().stdin(input).run(command).await, ())).await;
        assert!(done.expect(0).text() == lines, "{command}: the output differs");
    }
}

#[podgate_test::multi_thread]
async fn new_keys_in_the_middle_of_a_transfer_harm_nothing() {
    let world = World::start().await;
    let size = 40 * MIB;
    let (done, (came, sent)) = whole(async || {
        let mut child = world.ssh().option("RekeyLimit=1M").arg("127.0.0.1").arg("cat").spawn();
        let feeding = tokio::spawn(feed(child.stdin.take().expect("a pipe"), size, watch::Sender::new(0)));
        let came = drain(child.stdout.take().expect("a pipe")).await;
        (ended(child).await, (came, feeding.await.expect("the hash")))
    })
    .await;
    done.expect(0);
    assert_eq!(came, (size, sent));
}

#[podgate_test::multi_thread]
async fn client_that_ignores_its_window_is_cut_off() {
    let world = World::start().await;
    let (mut writer, reader) = world.minimal_client("bob", "sleep 600").await;
    let hearing = tokio::spawn(reader.until_closed());
    let piece = vec![b'x'; 32_000];
    let sending = async { while writer.data(&piece).await.is_ok() {} };
    timeout(PATIENCE, sending).await.expect("the gateway hangs up");
    hearing.await.expect("the end");
    let line = world.gateway.wait_for_line("SSH_WINDOW_IGNORED").await;
    assert_eq!(line["details"]["username"], "bob", "{line}");
    assert!(world.gateway.peak_memory() < MEMORY, "{} KiB", world.gateway.peak_memory());
    world.wait_for_pods(0).await;
    world.ssh().run("true").await.expect(0);
}
