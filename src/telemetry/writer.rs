//! The one writer of the log: a thread that takes lines from the queue and hands them to the destination. It tries a
//! failing destination again until the log is closed, and then says what went wrong in between.

use super::line::{Line, Shape};
use super::queue::{Queue, Rested, Work};
use crate::config::Level;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long a failing destination is left alone.
const PAUSE: Duration = Duration::from_millis(200);

/// Where lines go.
pub(super) trait Sink: Write + Send {
    /// Opens the destination again, where it has a name to open.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for io::Stdout {}

/// A sink that cannot be opened again.
pub(super) struct Plain<W>(pub(super) W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send> Sink for Plain<W> {}

/// A file that is appended to.
pub(super) struct FileSink {
    path: PathBuf,
    file: File,
}

impl FileSink {
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let file = append(&path)?;
        Ok(Self { path, file })
    }
}

fn append(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl Write for FileSink {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Sink for FileSink {
    fn reopen(&mut self) -> io::Result<()> {
        self.file = append(&self.path)?;
        Ok(())
    }
}

/// Starts the writer. It ends when the queue was closed and is empty; [`Queue::ended`] tells.
pub(super) fn spawn(queue: Arc<Queue>, sink: Box<dyn Sink>, shape: Shape) -> io::Result<()> {
    let writer = Writer { queue, sink, shape };
    thread::Builder::new().name("log".into()).spawn(move || writer.run()).map(drop)
}

struct Writer {
    queue: Arc<Queue>,
    sink: Box<dyn Sink>,
    shape: Shape,
}

impl Writer {
    fn run(mut self) {
        loop {
            match self.queue.take() {
                Work::Lines { lines, dropped } => {
                    let count = lines.len() as u64;
                    let mut text: String = lines.into_iter().collect();
                    if dropped > 0 {
                        text.push_str(&self.note(&format!("the log could not keep up, lines were dropped: {dropped}")));
                    }
                    if !self.write(text.as_bytes()) {
                        break;
                    }
                    self.queue.wrote(count);
                }
                Work::Reopen => self.reopen(),
                Work::End => break,
            }
        }
        self.queue.end();
    }

    /// Writes all of `text`, however often that takes; false when the log was closed before.
    fn write(&mut self, text: &[u8]) -> bool {
        let mut left = text;
        let mut failure = None;
        while let Err(error) = self.push(&mut left) {
            failure = Some(error);
            match self.queue.rest(PAUSE) {
                Rested::Again => {}
                // Where that fails, the next try says so.
                Rested::Reopen => drop(self.sink.reopen()),
                Rested::Closed => return false,
            }
        }
        let Some(error) = failure else { return true };
        let note = self.note(&format!("the log could not be written for a while: {error}"));
        // The lines themselves are written; a note that fails is not worth a loop of its own.
        let _ = self.push(&mut note.as_bytes());
        true
    }

    fn push(&mut self, left: &mut &[u8]) -> io::Result<()> {
        while !left.is_empty() {
            match self.sink.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.sink.flush()
    }

    fn reopen(&mut self) {
        if let Err(error) = self.sink.reopen() {
            let line = Line {
                level: Level::Error,
                code: "LOG_ROTATE_FAILED",
                message: "the log cannot be reopened, the old one stays in use",
                details: &[("reason", &error.to_string())],
            };
            let text = line.render(&self.shape);
            self.write(text.as_bytes());
        }
    }

    fn note(&self, message: &str) -> String {
        Line { level: Level::Warning, code: "LOG_WRITE_FAILED", message, details: &[] }.render(&self.shape)
    }
}
