//! The operator's log: one line an event, with a code, and with connection and user where there are any. Lines go
//! through one bounded queue to one writer thread; [`Log::write`] never waits for it. When the queue is full, lines are
//! dropped and counted, and the log says how many. A writer that fails tries again, it never ends the process.
//!
//! A line holds what its caller gave it and nothing else; a [`crate::types::Secret`] has no text that could slip in.
//! Whoever has the log has the [`metrics`], too.

mod line;
pub mod metrics;
mod queue;
mod syslog;
mod writer;

use crate::config::{self, Level, LogDestination, LogFormat};
use crate::types::ConnectionId;
use line::{Line, Shape};
use metrics::Metrics;
use queue::Queue;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use syslog::{Envelope, SyslogSink};
use writer::{FileSink, Sink};

/// How long the last lines may take.
const CLOSING: Duration = Duration::from_secs(5);

/// A handle to the log; cheap to clone. When the last handle is dropped, what is queued is still written.
#[derive(Debug, Clone)]
pub struct Log {
    queue: Arc<QueueHandle>,
    shape: Shape,
    level: Level,
    metrics: Metrics,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("log.file: {} cannot be opened: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody takes lines there.
    #[error("log.syslog.destination: {destination} cannot be written to: {source}")]
    Syslog {
        /// The socket or address.
        destination: String,
        /// Why.
        source: io::Error,
    },
    /// There is no thread for the writer.
    #[error("the log's writer cannot be started")]
    Thread(#[source] io::Error),
}

impl Log {
    /// Opens the log that the configuration describes, and starts its writer.
    ///
    /// # Errors
    /// A file that cannot be opened for appending, no syslog daemon, or no thread for the writer.
    pub fn open(config: &config::Log) -> Result<Self, LogError> {
        let sink: Box<dyn Sink> = match &config.destination {
            LogDestination::Stdout => Box::new(io::stdout()),
            LogDestination::Syslog(syslog) => {
                let failed = |source| LogError::Syslog { destination: syslog.destination.to_string(), source };
                let sink = Box::new(SyslogSink::open(syslog.destination.clone()).map_err(failed)?);
                let shape = Shape::Syslog(Arc::new(Envelope::new(syslog)), config.format);
                return Self::start(config.level, shape, sink);
            }
            LogDestination::File(path) => {
                Box::new(FileSink::open(path.clone()).map_err(|source| LogError::Open { path: path.clone(), source })?)
            }
        };
        Self::start(config.level, Shape::Lines(config.format), sink)
    }

    /// A log that writes to `sink`, for whoever embeds the gateway.
    ///
    /// # Errors
    /// No thread for the writer.
    pub fn to_sink(level: Level, format: LogFormat, sink: impl Write + Send + 'static) -> Result<Self, LogError> {
        Self::start(level, Shape::Lines(format), Box::new(writer::Plain(sink)))
    }

    fn start(level: Level, shape: Shape, sink: Box<dyn Sink>) -> Result<Self, LogError> {
        let queue = Arc::new(Queue::new());
        writer::spawn(Arc::clone(&queue), sink, shape.clone()).map_err(LogError::Thread)?;
        Ok(Self { queue: Arc::new(QueueHandle(queue)), shape, level, metrics: Metrics::default() })
    }

    /// Writes one line if `level` is at least the configured one. `code` is ContainerSSH's where it means the same.
    pub fn write(&self, level: Level, code: &'static str, message: &str, details: &[(&str, &str)]) {
        self.metrics.event(level, code);
        if level <= self.level {
            self.put(&Line { level, code, message, details });
        }
    }

    /// A log whose lines carry `connectionId` and `remoteAddr`, and `username` once it is known.
    #[must_use]
    pub fn connection(&self, id: ConnectionId, remote: SocketAddr) -> ConnectionLog {
        ConnectionLog {
            log: self.clone(),
            shared: Arc::new(Shared {
                id: id.to_string(),
                remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()).to_string(),
                user: Mutex::new(User::default()),
                level: AtomicU8::new(self.level as u8),
            }),
        }
    }

    /// Opens a file or syslog's socket again (SIGHUP, after a rotation moved it); stdout has nothing to open. Where that
    /// fails, the log goes on in the old one and says so.
    pub fn reopen(&self) {
        self.queue.0.reopen();
    }

    /// Waits until everything that was queued before has been written, at most `limit`; whether it was. Blocks the
    /// thread: not for async tasks.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        self.queue.0.flush(limit)
    }

    /// Writes what is queued and takes no more lines. Gives up after 5 s, when nobody reads what is written.
    pub async fn close(&self) {
        self.queue.0.close();
        let queue = Arc::clone(&self.queue.0);
        // The wait itself cannot fail, and what it returns nobody could be told: the log is over.
        let _ = tokio::task::spawn_blocking(move || queue.ended(CLOSING)).await;
    }

    /// What is counted: every event of the log, and what others count.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn put(&self, line: &Line<'_>) {
        if !self.queue.0.push(line.render(&self.shape)) {
            self.metrics.line_dropped();
        }
    }
}

/// The line of an event for a process that has no log, or none that a person looks at.
#[must_use]
pub fn line(format: LogFormat, level: Level, code: &'static str, message: &str) -> String {
    Line { level, code, message, details: &[] }.render(&Shape::Lines(format))
}

/// The queue as the handles share it; ends the writer when the last of them is gone.
#[derive(Debug)]
struct QueueHandle(Arc<Queue>);

impl Drop for QueueHandle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// One connection's log; cheap to clone, clones share the user name and the level.
#[derive(Debug, Clone)]
pub struct ConnectionLog {
    log: Log,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: String,
    remote: String,
    user: Mutex<User>,
    level: AtomicU8,
}

#[derive(Debug, Clone, Default)]
struct User {
    name: Option<String>,
    authenticated: Option<String>,
}

impl ConnectionLog {
    /// Writes one line with the connection's details first.
    pub fn write(&self, level: Level, code: &'static str, message: &str, details: &[(&str, &str)]) {
        self.log.metrics.event(level, code);
        if level as u8 > self.shared.level.load(Ordering::Relaxed) {
            return;
        }
        let user = self.shared.user.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all = vec![("connectionId", self.shared.id.as_str()), ("remoteAddr", self.shared.remote.as_str())];
        all.extend(user.name.as_deref().map(|name| ("username", name)));
        all.extend(user.authenticated.as_deref().map(|name| ("authenticatedUsername", name)));
        all.extend_from_slice(details);
        self.log.put(&Line { level, code, message, details: &all });
    }

    /// What is counted, over all connections.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        self.log.metrics()
    }

    /// Names the user from now on (`username`, and `authenticatedUsername` when it is known).
    pub fn name_user(&self, username: &str, authenticated: Option<&str>) {
        let user = User { name: Some(username.to_owned()), authenticated: authenticated.map(str::to_owned) };
        *self.shared.user.lock().unwrap_or_else(PoisonError::into_inner) = user;
    }

    /// Sets the level of this connection's lines (`log.level` of its settings).
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod capture;
#[cfg(test)]
mod tests;
