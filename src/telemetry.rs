//! The operator's log and the [`metrics`]. An event is one line with a code and, if known, the connection and the user.
//! Lines pass through one bounded queue to one writer thread; [`Log::write`] never waits for it. When the queue is full,
//! lines are dropped and counted, and the log reports their number. A writer that fails tries again and never ends the
//! process.
//!
//! A line holds only what its caller passed. A [`crate::types::Secret`] cannot get into it, having no `Display`.

pub(crate) mod codes;
mod config;
mod countries;
mod event_file;
mod libraries;
mod line;
pub(crate) mod metrics;
mod panics;
mod queue;
mod sink;
mod step_timer;
mod syslog;
mod traces;
mod writer;

use crate::shutdown::LOG_CLOSE;
use crate::types::ConnectionId;
use arc_swap::{ArcSwap, ArcSwapOption};
pub use codes::Code;
pub(crate) use config::{EventFormat, EventsConfig, Syslog, SyslogDestination};
pub use config::{Level, LogConfig, LogDestination, LogFormat};
pub(crate) use countries::{Countries, CountriesError, Country, FileVersion};
pub(crate) use event_file::{EventFile, EventsChange};
pub use libraries::follow_libraries;
use line::{LineForm, LogLine, SyslogHeader};
use metrics::{MeasuredStep, Metrics};
pub use panics::{PanicLines, log_panics};
use parking_lot::{Mutex, RwLock};
use queue::Queue;
use rustix::fs::{Access, access};
use rustix::io::Errno;
use sink::{FileContent, FileSink, LogSink, WriteSink};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
pub(crate) use step_timer::StepTimer;
use syslog::SyslogSink;
use traces::ConnectionTrace;
pub(crate) use traces::{SpanQueue, TracedEnd, TracedProgram, Traces};

/// A handle to the log; clones share it. Lines that are queued when the last handle is dropped are still written.
#[derive(Debug, Clone)]
pub struct Log {
    queue: Arc<QueueHandle>,
    shape: Arc<ArcSwap<LogShape>>,
    /// Held by writers from the shape of a line to its place in the queue, and alone by who changes both.
    changing: Arc<RwLock<()>>,
    metrics: Metrics,
    /// The file of events, where it is switched on.
    events: Arc<ArcSwapOption<EventFile>>,
    /// The maker of traces, where they are switched on.
    traces: Arc<ArcSwapOption<Traces>>,
    /// The database of countries, where there is one.
    countries: Arc<ArcSwapOption<Countries>>,
}

/// The part of the log that a reload can change, for lines to come.
#[derive(Debug)]
struct LogShape {
    form: LineForm,
    level: Level,
}

/// Another shape of a log, with its destination open.
pub(crate) struct LogChange {
    shape: LogShape,
    /// `None` where the destination stays.
    sink: Option<Box<dyn LogSink>>,
}

/// An error that prevents the start of the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.file: {} cannot be opened: {source}{}", path.display(), remedy(path, source))]
    Open { path: PathBuf, source: io::Error },
    #[error("events.file: {} cannot be opened: {source}{}", path.display(), remedy(path, source))]
    Events { path: PathBuf, source: io::Error },
    /// No syslog daemon takes lines at the destination.
    #[error("log.syslog.destination: {destination} cannot be written to: {source}")]
    Syslog {
        /// The path of a socket, or an address.
        destination: String,
        source: io::Error,
    },
    /// The writer's thread cannot be started.
    #[error("the log's writer cannot be started")]
    Thread(#[source] io::Error),
}

/// Advice about a file that cannot be opened for writing.
fn remedy(path: &Path, error: &io::Error) -> String {
    let folder = folder(path).display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            format!("; is the directory {folder} there? The gateway does not make it (mkdir -p)")
        }
        io::ErrorKind::PermissionDenied => format!("; let the gateway's user write to it, or to {folder}"),
        _ if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => "; a pipe needs a reader before".to_owned(),
        _ => String::new(),
    }
}

/// The directory of a file; the current one for a plain name.
fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl LogConfig {
    /// Finds the fault for which the log's file could not be opened. Makes nothing.
    pub(crate) fn fault(&self) -> Option<LogError> {
        let LogDestination::File(path) = &self.destination else { return None };
        check_file(path).err().map(|source| LogError::Open { path: path.clone(), source })
    }
}

impl EventsConfig {
    /// Finds the fault for which the file could not be opened. Makes nothing.
    pub(crate) fn fault(&self) -> Option<LogError> {
        check_file(&self.file).err().map(|source| LogError::Events { path: self.file.clone(), source })
    }
}

/// Tells whether a file could be opened for appending.
fn check_file(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => Ok(access(path, Access::WRITE_OK)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(access(folder(path), Access::WRITE_OK | Access::EXEC_OK)?)
        }
        Err(error) => Err(error),
    }
}

impl Log {
    /// Opens the log that the configuration describes, and starts its writer.
    ///
    /// # Errors
    /// A file that cannot be opened for appending, no syslog daemon, or no thread for the writer.
    pub fn open(config: &LogConfig) -> Result<Self, LogError> {
        Self::start(config.level, form_of(config), sink_of(&config.destination)?)
    }

    /// Opens what a configuration needs that replaces `before`.
    ///
    /// # Errors
    /// As [`Log::open`].
    pub(crate) fn prepare(config: &LogConfig, before: &LogConfig) -> Result<LogChange, LogError> {
        let is_other = config.destination != before.destination;
        let sink = is_other.then(|| sink_of(&config.destination)).transpose()?;
        Ok(LogChange { shape: LogShape { form: form_of(config), level: config.level }, sink })
    }

    /// Writes lines in another shape from now on. Those queued before go where they were to go.
    pub(crate) fn change(&self, LogChange { shape, sink }: LogChange) {
        libraries::change_level(shape.level);
        let _alone = self.changing.write();
        self.queue.0.replace(sink, shape.form.clone());
        self.shape.store(Arc::new(shape));
    }

    /// The level up to which lines are written.
    pub(crate) fn level(&self) -> Level {
        self.shape.load().level
    }

    /// Starts a log that writes to `sink`, for tests and programs that embed the gateway.
    ///
    /// # Errors
    /// The writer's thread cannot be started.
    pub fn to_sink(level: Level, format: LogFormat, sink: impl Write + Send + 'static) -> Result<Self, LogError> {
        Self::start(level, LineForm::Lines(format), Box::new(WriteSink(sink)))
    }

    fn start(level: Level, form: LineForm, sink: Box<dyn LogSink>) -> Result<Self, LogError> {
        let queue = Arc::new(Queue::new());
        writer::spawn(Arc::clone(&queue), sink, form.clone()).map_err(LogError::Thread)?;
        let shape = Arc::new(ArcSwap::from_pointee(LogShape { form, level }));
        let (changing, metrics) = (Arc::default(), Metrics::default());
        let (events, traces, countries) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { queue: Arc::new(QueueHandle(queue)), shape, changing, metrics, events, traces, countries })
    }

    /// Opens the file of events, unless it is the one that is open. A file that takes another's place gets what waits for that.
    ///
    /// # Errors
    /// A file that cannot be opened for appending, or no thread for its writer.
    pub(crate) fn prepare_events(&self, config: Option<&EventsConfig>) -> Result<Option<EventsChange>, LogError> {
        let Some(config) = config else { return Ok(None) };
        let change = match self.events.load().as_deref() {
            Some(open) => open.change(config),
            // Its writer reports to a log without events, so that neither keeps the other.
            None => EventFile::open(config, Self { events: Arc::default(), ..self.clone() }),
        };
        change.map(Some)
    }

    /// Writes events to this file from now on, for open connections, too. Those queued before go where they were to go, or to
    /// this file where that takes nothing.
    pub(crate) fn change_events(&self, events: Option<EventsChange>) {
        self.events.store(events.map(|change| Arc::new(change.apply())));
    }

    /// Has connections that are accepted from now on make traces, or none.
    pub(crate) fn change_traces(&self, traces: Option<Traces>) {
        self.traces.store(traces.map(Arc::new));
    }

    /// Reads a database of countries, unless it is the one that is there. Blocks the thread.
    ///
    /// # Errors
    /// A file that is no database of countries.
    pub(crate) fn prepare_countries(&self, path: Option<&Path>) -> Result<Option<Arc<Countries>>, CountriesError> {
        let Some(path) = path else { return Ok(None) };
        let present = self
            .countries
            .load_full()
            .filter(|present| present.path() == path && present.present_version() == Some(present.version()));
        Ok(Some(match present {
            Some(present) => present,
            None => Arc::new(Countries::open(path)?),
        }))
    }

    /// Finds the countries of connections from now on by this database, or none.
    pub(crate) fn change_countries(&self, countries: Option<Arc<Countries>>) {
        self.countries.store(countries);
    }

    /// Puts a database of countries in the place of one. False if that is not in force any more.
    pub(crate) fn replace_countries(&self, before: Arc<Countries>, countries: Countries) -> bool {
        let before = Some(before);
        let found = self.countries.compare_and_swap(&before, Some(Arc::new(countries)));
        found.as_ref().map(Arc::as_ptr) == before.as_ref().map(Arc::as_ptr)
    }

    /// The database of countries.
    pub(crate) fn countries(&self) -> Option<Arc<Countries>> {
        self.countries.load_full()
    }

    /// Counts the event, and writes its line if the code's level is at least as important as the configured one.
    pub fn write(&self, code: Code, message: &str, details: &[(&str, &str)]) {
        self.metrics.count_event(code);
        if code.level() <= self.level() {
            self.put(&LogLine { code, message, details });
        }
    }

    /// Begins the trace of a connection, where traces are on, and returns a log whose lines have `connectionId` and `remoteAddr`, and `username` once it is known.
    pub fn connection(&self, id: ConnectionId, remote: SocketAddr) -> ConnectionLog {
        let country = self.countries.load().as_ref().map(|countries| countries.country(remote.ip()));
        ConnectionLog {
            log: self.clone(),
            shared: Arc::new(ConnectionLogState {
                id: id.to_string(),
                remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()).to_string(),
                user: Mutex::new(ConnectionUser::default()),
                level: AtomicU8::new(FOLLOWS),
                country,
                trace: self.traces.load().as_ref().map(|traces| traces.begin(id, remote, country)),
            }),
        }
    }

    /// Opens the file or syslog's socket again (on SIGHUP, after a rotation), and the file of events. If that fails, the log continues in the old one
    /// and reports it. Does nothing for stdout.
    pub fn reopen(&self) {
        self.queue.0.reopen();
        if let Some(events) = self.events.load().as_deref() {
            events.reopen();
        }
    }

    /// Waits at most `limit` for the lines queued before, and returns true if they are written. Blocks the thread: not for
    /// async tasks.
    #[must_use]
    pub fn flush(&self, limit: Duration) -> bool {
        self.queue.0.flush(limit)
    }

    /// Writes the queued lines and accepts no more. Gives up after 5 s, if the destination does not take them.
    pub async fn close(&self) {
        let (queue, events) = (Arc::clone(&self.queue.0), self.events.swap(None));
        let closing = move || {
            let begun = Instant::now();
            // Before the log, which tells how it ended.
            if let Some(events) = events {
                events.close(LOG_CLOSE / 2);
            }
            queue.close();
            queue.ended(LOG_CLOSE.saturating_sub(begun.elapsed()))
        };
        // The wait cannot fail, and its result cannot be logged any more.
        let _ = tokio::task::spawn_blocking(closing).await;
    }

    /// The process's counters, which include every event of the log.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn put(&self, line: &LogLine<'_>) {
        let _same = self.changing.read();
        if !self.queue.0.push(line.render(&self.shape.load().form)) {
            self.metrics.count_dropped_line();
        }
    }
}

fn form_of(config: &LogConfig) -> LineForm {
    match &config.destination {
        LogDestination::Stdout | LogDestination::File(_) => LineForm::Lines(config.format),
        LogDestination::Syslog(syslog) => LineForm::Syslog(Arc::new(SyslogHeader::new(syslog)), config.format),
    }
}

fn sink_of(destination: &LogDestination) -> Result<Box<dyn LogSink>, LogError> {
    Ok(match destination {
        LogDestination::Stdout => Box::new(io::stdout()),
        LogDestination::Syslog(syslog) => {
            let failed = |source| LogError::Syslog { destination: syslog.destination.to_string(), source };
            Box::new(SyslogSink::open(syslog.destination.clone()).map_err(failed)?)
        }
        LogDestination::File(path) => {
            let failed = |source| LogError::Open { path: path.clone(), source };
            Box::new(FileSink::open(path.clone(), FileContent::Log).map_err(failed)?)
        }
    })
}

/// Formats the line of an event for standard error, without a log.
pub fn log_line(format: LogFormat, code: Code, message: &str) -> String {
    LogLine { code, message, details: &[] }.render(&LineForm::Lines(format))
}

/// Returns the line of a failed start for standard error, and also writes it to `log` unless that is standard output.
pub fn failed_start(config: &LogConfig, log: Option<&Log>, message: &str) -> String {
    if let Some(log) = log.filter(|_| config.destination != LogDestination::Stdout) {
        log.write(codes::CORE_START_FAILED, message, &[]);
    }
    log_line(config.format, codes::CORE_START_FAILED, message)
}

/// The queue that all handles share; dropped with the last one, it ends the writer.
#[derive(Debug)]
struct QueueHandle(Arc<Queue>);

impl Drop for QueueHandle {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A connection's log; clones share the user name and the level.
#[derive(Debug, Clone)]
pub struct ConnectionLog {
    log: Log,
    shared: Arc<ConnectionLogState>,
}

#[derive(Debug)]
struct ConnectionLogState {
    id: String,
    remote: String,
    user: Mutex<ConnectionUser>,
    /// A [`Level`], or [`FOLLOWS`].
    level: AtomicU8,
    /// `None` where no database says it.
    country: Option<Country>,
    trace: Option<ConnectionTrace>,
}

/// The details that every line of a connection has.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogSubject {
    pub(crate) connection: String,
    /// The address with its port.
    pub(crate) remote: String,
    pub(crate) name: Option<String>,
    pub(crate) authenticated: Option<String>,
    /// Of its address, where there is a database.
    pub(crate) country: Option<Country>,
}

/// Stands for the level of the process, whatever that is.
const FOLLOWS: u8 = u8::MAX;

#[derive(Debug, Clone, Default)]
struct ConnectionUser {
    name: Option<String>,
    authenticated: Option<String>,
}

impl ConnectionLog {
    /// Writes a line like [`Log::write`], by this connection's level and with its details first.
    pub fn write(&self, code: Code, message: &str, details: &[(&str, &str)]) {
        self.log.metrics.count_event(code);
        let level = self.shared.level.load(Ordering::Relaxed);
        if code.level() as u8 > if level == FOLLOWS { self.log.level() as u8 } else { level } {
            return;
        }
        let user = self.shared.user.lock().clone();
        let mut all = vec![("connectionId", self.shared.id.as_str()), ("remoteAddr", self.shared.remote.as_str())];
        all.extend(user.name.as_deref().map(|name| ("username", name)));
        all.extend(user.authenticated.as_deref().map(|name| ("authenticatedUsername", name)));
        all.extend_from_slice(details);
        self.log.put(&LogLine { code, message, details: &all });
    }

    /// The process's counters, for all connections.
    pub fn metrics(&self) -> &Metrics {
        self.log.metrics()
    }

    /// Starts the measurement of a step of this connection, and its span.
    pub(crate) fn step(&self, step: MeasuredStep) -> StepTimer {
        let span = self.shared.trace.as_ref().map(|trace| trace.step(step.name(), step.asks()));
        StepTimer::start(self.metrics().clone(), step, span)
    }

    /// Adds a program that is over to the trace. Where there is no trace, `program` is not called.
    pub(crate) fn trace_program(&self, program: impl FnOnce() -> TracedProgram) {
        if let Some(trace) = &self.shared.trace {
            trace.program(&program());
        }
    }

    /// Ends the span of the connection, with the reason if that was not the client's wish.
    pub(crate) fn end_trace(&self, reason: Option<&str>) {
        if let Some(trace) = &self.shared.trace {
            let ConnectionUser { name, authenticated } = self.shared.user.lock().clone();
            trace.end((name.as_deref(), authenticated.as_deref()), reason);
        }
    }

    /// The file of events, where it is switched on.
    pub(crate) fn events(&self) -> Option<Arc<EventFile>> {
        self.log.events.load_full()
    }

    /// The connection and its user, as far as it is known.
    pub(crate) fn subject(&self) -> LogSubject {
        let ConnectionUser { name, authenticated } = self.shared.user.lock().clone();
        let (connection, remote) = (self.shared.id.clone(), self.shared.remote.clone());
        LogSubject { connection, remote, name, authenticated, country: self.shared.country }
    }

    /// The country of the client's address, where there is a database.
    pub(crate) fn country(&self) -> Option<Country> {
        self.shared.country
    }

    /// Sets `username` and, if known, `authenticatedUsername` for the following lines.
    pub fn name_user(&self, username: &str, authenticated: Option<&str>) {
        let user = ConnectionUser { name: Some(username.to_owned()), authenticated: authenticated.map(str::to_owned) };
        *self.shared.user.lock() = user;
    }

    /// Sets a level of this connection's own (`log.level` of a config webhook's answer).
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod capture;
#[cfg(test)]
mod tests;
