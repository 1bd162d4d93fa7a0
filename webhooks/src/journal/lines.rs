//! Lines on their way to a writer that may be slow: a queue, and a thread that empties it.

use serde_json::{Value, json};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// How many lines wait at most. A line's texts are cut, so that it has a few kB at most.
const WAITING: usize = 4096;

/// How long the end waits for lines that nobody takes.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Takes lines; never waits.
#[derive(Debug, Clone)]
pub struct Lines {
    sender: SyncSender<String>,
    lost: Arc<AtomicU64>,
}

/// The thread that writes. It ends when every [`Lines`] of it is gone.
#[derive(Debug)]
pub struct Writing(Receiver<()>);

impl Lines {
    /// Starts a thread that writes the lines, one write each.
    ///
    /// # Errors
    /// No thread to be had.
    pub fn start(writer: impl Write + Send + 'static) -> io::Result<(Self, Writing)> {
        Self::with_room(writer, WAITING)
    }

    fn with_room(mut writer: impl Write + Send + 'static, room: usize) -> io::Result<(Self, Writing)> {
        let (sender, lines) = sync_channel::<String>(room);
        let lost = Arc::new(AtomicU64::new(0));
        let (ends, ended) = sync_channel(1);
        let counted = Arc::clone(&lost);
        thread::Builder::new().name("lines".into()).spawn(move || {
            let mut write = |line: String| {
                // There is nowhere to tell that lines cannot be written, and logins go on without them.
                drop(writer.write_all(line.as_bytes()).and_then(|()| writer.flush()));
            };
            for line in lines {
                write(line);
                match counted.swap(0, Ordering::Relaxed) {
                    0 => {}
                    count => write(dated(json!({"event": "lines lost", "level": "error", "count": count}))),
                }
            }
            drop(ends);
        })?;
        Ok((Self { sender, lost }, Writing(ended)))
    }

    /// Queues `fields` and the time as one line.
    pub fn write(&self, fields: Value) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(dated(fields)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn dated(mut fields: Value) -> String {
    fields["time"] = json!(jiff::Timestamp::now().to_string());
    format!("{fields}\n")
}

impl Writing {
    /// Waits until what was queued is written, for 2 s at most, and says whether it is. Every [`Lines`] must be gone.
    #[must_use]
    pub fn finish(self) -> bool {
        self.0.recv_timeout(LAST_LINES) == Err(RecvTimeoutError::Disconnected)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    pub(in crate::journal) struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Sink {
        pub(in crate::journal) fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic before").clone()).expect("UTF-8")
        }
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic before").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes nothing until it is told to.
    struct Stuck {
        reached: SyncSender<()>,
        go: Receiver<()>,
        sink: Sink,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.reached.try_send(());
            let _ = self.go.recv();
            self.sink.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_takes_are_lost_and_counted_and_nobody_waits() {
        let (reached, is_reached) = sync_channel(1);
        let (go, goes) = sync_channel(0);
        let sink = Sink::default();
        let stuck = Stuck { reached, go: goes, sink: sink.clone() };
        let (lines, writing) = Lines::with_room(stuck, 2).expect("a writer");
        lines.write(json!({"n": 0}));
        is_reached.recv().expect("the writer is in its first line");
        for n in 1..=5 {
            lines.write(json!({ "n": n }));
        }
        drop(go);
        drop(lines);
        assert!(writing.finish());
        let text = sink.text();
        let kept: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(kept.iter().filter_map(|line| line["n"].as_i64()).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(kept.iter().filter_map(|line| line["count"].as_i64()).collect::<Vec<_>>(), [3], "{text}");
    }

    #[test]
    fn end_does_not_wait_for_ever() {
        let (reached, _is_reached) = sync_channel(1);
        let (_go, goes) = sync_channel(0);
        let (lines, writing) = Lines::start(Stuck { reached, go: goes, sink: Sink::default() }).expect("a writer");
        lines.write(json!({}));
        drop(lines);
        assert!(!writing.finish());
    }
}
