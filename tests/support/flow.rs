//! Streams of many bytes to and from clients, hashed on the way so that a test holds none of them.

use super::client::{Done, PATIENCE, WAITING};
use super::cluster::kubeconfig;
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::timeout;

/// The text that a user reads when a stream broke and the program's end is unknown.
const LOST: &str = "podgate: the connection to the container was lost";
/// The number of times that a real node may lose the end of a transfer before the test fails.
const LOSSES: usize = 5;

/// A mebibyte.
pub const MIB: usize = 1 << 20;
/// Not a multiple of any buffer's length, so that a piece in the wrong place is noticed.
const BLOCK: usize = 1_000_003;

/// Writes so many random bytes and closes; tells their hash. `progress` counts them on the way.
pub async fn feed(mut into: impl AsyncWrite + Unpin, bytes: usize, progress: watch::Sender<usize>) -> String {
    let mut block = vec![0; BLOCK];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut block);
    let mut hash = Sha256::new();
    let mut left = bytes;
    while left > 0 {
        let piece = &block[..left.min(BLOCK)];
        hash.update(piece);
        for part in piece.chunks(64 * 1024) {
            into.write_all(part).await.expect("the client takes its input");
            progress.send_modify(|count| *count += part.len());
        }
        left -= piece.len();
    }
    hex(hash)
}

/// Reads to the end; tells how much there was, and its hash.
pub async fn drain(mut from: impl AsyncRead + Unpin) -> (usize, String) {
    let mut piece = vec![0; 64 * 1024];
    let mut hash = Sha256::new();
    let mut total = 0;
    loop {
        match from.read(&mut piece).await.expect("the client's output") {
            0 => return (total, hex(hash)),
            read => {
                hash.update(&piece[..read]);
                total += read;
            }
        }
    }
}

/// A hash as `sha256sum` prints it.
fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The hash in the output of `sha256sum`, behind whatever a slow machine's client was told to wait for.
pub fn sum(printed: &str) -> String {
    let said = printed.lines().find(|line| !line.starts_with(WAITING));
    said.and_then(|line| line.split_whitespace().next()).unwrap_or_default().to_owned()
}

/// Waits for a client's end, and reads what was left unread of it.
pub async fn ended(child: Child) -> Done {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("the client ends in time");
    Done::of(output.expect("the client's output"))
}

/// Waits until a stream that had begun stands still.
pub async fn stalled(progress: &mut watch::Receiver<usize>) {
    timeout(PATIENCE, progress.wait_for(|count| *count > 0)).await.expect("a beginning").expect("the stream lives");
    while timeout(Duration::from_millis(700), progress.changed()).await.is_ok_and(|changed| changed.is_ok()) {}
}

/// Runs a transfer to its end, which arrives whole. A real node closes its connection behind the last byte of a program's
/// output: the kubelet's next ping (one every 5 s) then resets it, what the kubelet had not read is gone, and the API server
/// makes a success of it. The user must be told that, and may try again.
pub async fn whole<T>(transfer: impl AsyncFn() -> (Done, T)) -> (Done, T) {
    let mut losses = 0;
    loop {
        let (done, result) = transfer().await;
        let lost = done.status == 255 && done.stderr.contains(LOST);
        if !lost || kubeconfig().is_none() || losses == LOSSES {
            return (done, result);
        }
        losses += 1;
        eprintln!("the node lost the end of a transfer, and the user was told");
    }
}
