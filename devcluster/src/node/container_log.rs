//! The output of a container for the log endpoint: the newest part, bounded in bytes, with positions so that a follower
//! never reads a byte twice. A follower that is too slow loses the oldest bytes; the container never waits for it.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::watch;

/// Bytes kept of one container's output.
const CAPACITY: usize = 1 << 20;

#[derive(Debug, Default)]
struct LogContents {
    /// Position of the first byte kept.
    start: u64,
    kept: usize,
    chunks: VecDeque<Bytes>,
    ended: bool,
}

/// The output of one run of a container.
#[derive(Debug)]
pub(crate) struct ContainerLog {
    inner: Mutex<LogContents>,
    changed: watch::Sender<u64>,
}

impl ContainerLog {
    pub(crate) fn new() -> Self {
        Self { inner: Mutex::default(), changed: watch::Sender::new(0) }
    }

    pub(crate) fn append(&self, chunk: Bytes) {
        let mut inner = self.inner.lock();
        inner.kept += chunk.len();
        // A few bytes would otherwise keep the whole block alive that they were read into.
        inner.chunks.push_back(if chunk.len() < 4096 { Bytes::copy_from_slice(&chunk) } else { chunk });
        while inner.kept > CAPACITY
            && let Some(oldest) = inner.chunks.pop_front()
        {
            inner.kept -= oldest.len();
            inner.start += oldest.len() as u64;
        }
        drop(inner);
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// Nothing will be appended any more.
    pub(crate) fn finish(&self) {
        self.inner.lock().ended = true;
        self.changed.send_modify(|changes| *changes += 1);
    }

    /// The chunks from a position on, the position after them, and whether the log has ended.
    pub(crate) fn read(&self, from: u64) -> (Vec<Bytes>, u64, bool) {
        let inner = self.inner.lock();
        let mut at = inner.start;
        let mut found = Vec::new();
        for chunk in &inner.chunks {
            let end = at + chunk.len() as u64;
            if end > from {
                let skip = usize::try_from(from.saturating_sub(at)).unwrap_or(0);
                found.push(chunk.slice(skip..));
            }
            at = end;
        }
        (found, at.max(from), inner.ended)
    }

    /// The position where the last `lines` lines begin.
    pub(crate) fn tail(&self, lines: u64) -> u64 {
        let inner = self.inner.lock();
        let end = inner.start + inner.kept as u64;
        let mut at = end;
        let mut newlines = 0;
        for byte in inner.chunks.iter().rev().flat_map(|chunk| chunk.iter().rev()) {
            // The newline that ends the last line does not begin another.
            if *byte == b'\n' && at != end {
                newlines += 1;
            }
            if newlines == lines {
                return at;
            }
            at -= 1;
        }
        if lines == 0 { end } else { inner.start }
    }

    /// A receiver that is told of every change.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(log: &ContainerLog, from: u64) -> String {
        log.read(from).0.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()
    }

    #[test]
    fn tail_counts_whole_lines() {
        let log = ContainerLog::new();
        log.append(Bytes::from_static(b"one\ntwo\nth"));
        log.append(Bytes::from_static(b"ree\n"));
        for (lines, expected) in [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (9, "one\ntwo\nthree\n")] {
            assert_eq!(text(&log, log.tail(lines)), expected, "{lines}");
        }
    }

    #[test]
    fn the_oldest_bytes_go_first_and_positions_stay() {
        let log = ContainerLog::new();
        for _ in 0..20 {
            log.append(Bytes::from(vec![b'x'; 100_000]));
        }
        log.append(Bytes::from_static(b"end"));
        log.finish();
        let (chunks, next, ended) = log.read(2_000_000);
        assert_eq!((chunks.concat().as_slice(), next, ended), (&b"end"[..], 2_000_003, true));
        assert!(log.read(0).0.iter().map(Bytes::len).sum::<usize>() <= CAPACITY);
    }
}
