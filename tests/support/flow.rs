//! Streams of many bytes to and from clients, hashed on the way so that a test holds none of them.

use super::client::{Done, PATIENCE, WAITING};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::time::timeout;

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

/// What `sha256sum` prints of the bytes.
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
