//! The log's single writer: a thread that passes lines from the queue to the destination. It tries a failing destination
//! again until the log is closed, and reports the failure once a write succeeds.

use super::codes;
use super::line::{LineForm, LogLine};
use super::queue::{Queue, RestEnd, WriterTask};
use super::sink::LogSink;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The time between two tries of a failing destination.
const PAUSE: Duration = Duration::from_millis(200);

/// Starts the writer, which ends when the queue is closed and empty; [`Queue::ended`] waits for that.
pub(super) fn spawn(queue: Arc<Queue>, sink: Box<dyn LogSink>, form: LineForm) -> io::Result<()> {
    let writer = LogWriter { queue, sink, form };
    thread::Builder::new().name("log".into()).spawn(move || writer.run()).map(drop)
}

struct LogWriter {
    queue: Arc<Queue>,
    sink: Box<dyn LogSink>,
    form: LineForm,
}

impl LogWriter {
    fn run(mut self) {
        loop {
            match self.queue.take() {
                WriterTask::Lines { lines, dropped } => {
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
                WriterTask::Reopen => self.reopen(),
                WriterTask::Replace => self.replace(),
                WriterTask::End => break,
            }
        }
        self.queue.end();
    }

    /// Writes all of `text`, in as many tries as necessary; returns false if the log was closed before.
    fn write(&mut self, text: &[u8]) -> bool {
        let mut left = text;
        let mut failure = None;
        while let Err(error) = self.push(&mut left) {
            failure = Some(error);
            match self.queue.rest(PAUSE) {
                RestEnd::Again => {}
                // If that fails, the next try reports it.
                RestEnd::Reopen => drop(self.sink.reopen()),
                RestEnd::Replace => self.replace(),
                RestEnd::Closed => return false,
            }
        }
        let Some(error) = failure else { return true };
        let note = self.note(&format!("the log could not be written for a while: {error}"));
        // The lines themselves are written; a note that cannot be written is not tried again.
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
            let line = LogLine {
                code: codes::LOG_ROTATE_FAILED,
                message: "the log cannot be reopened, the old one stays in use",
                details: &[("reason", &error.to_string())],
            };
            let text = line.render(&self.form);
            self.write(text.as_bytes());
        }
    }

    fn replace(&mut self) {
        let Some((sink, form)) = self.queue.take_replacement() else { return };
        self.form = form;
        if let Some(sink) = sink {
            self.sink = sink;
        }
    }

    fn note(&self, message: &str) -> String {
        LogLine { code: codes::LOG_WRITE_FAILED, message, details: &[] }.render(&self.form)
    }
}
