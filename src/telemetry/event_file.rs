//! The file of events, beside the log: a queue bounded in bytes, and one thread that appends whole lines. Who writes never
//! waits. What does not come into the file is counted and told in the log, never silent.

use super::codes;
use super::line::LineForm;
use super::queue::{Queue, RestEnd, WriterTask};
use super::sink::{FileContent, FileSink, LogSink};
use super::{EventsConfig, Level, Log, LogError, LogFormat, QueueHandle};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The time between two tries of a file that takes nothing.
const PAUSE: Duration = Duration::from_millis(200);

/// An open file of events, with the settings of what comes into it.
#[derive(Debug)]
pub(crate) struct EventFile {
    config: EventsConfig,
    queue: Arc<QueueHandle>,
    log: Log,
}

/// A file of events with other settings, or in another's place.
pub(crate) struct EventsChange {
    file: EventFile,
    /// The file that takes the place of the queue's; `None` where it stays.
    sink: Option<Box<dyn LogSink>>,
}

impl EventsChange {
    /// Has the queue's writer take the other file.
    pub(super) fn apply(self) -> EventFile {
        if let Some(sink) = self.sink {
            // The form is the log's matter.
            self.file.queue.0.replace(Some(sink), LineForm::Lines(LogFormat::Ljson));
        }
        self.file
    }
}

/// Opens the file of a configuration.
fn sink(config: &EventsConfig) -> Result<Box<dyn LogSink>, LogError> {
    let failed = |source| LogError::Events { path: config.file.clone(), source };
    Ok(Box::new(FileSink::open(config.file.clone(), FileContent::Events).map_err(failed)?))
}

impl EventFile {
    /// Opens the file and starts its writer, which reports to `log`.
    pub(super) fn open(config: &EventsConfig, log: Log) -> Result<EventsChange, LogError> {
        let file = Self::start(config, log, sink(config)?)?;
        Ok(EventsChange { file, sink: None })
    }

    pub(super) fn start(config: &EventsConfig, log: Log, sink: Box<dyn LogSink>) -> Result<Self, LogError> {
        let queue = Arc::new(Queue::new());
        let path = config.file.display().to_string();
        let writer = EventWriter { queue: Arc::clone(&queue), sink, log: log.clone(), path, failing: false };
        thread::Builder::new().name("events".into()).spawn(move || writer.run()).map_err(LogError::Thread)?;
        Ok(Self { config: config.clone(), queue: Arc::new(QueueHandle(queue)), log })
    }

    /// Prepares other settings for the same queue, and opens the file that they name if it is another one.
    pub(super) fn change(&self, config: &EventsConfig) -> Result<EventsChange, LogError> {
        let sink = if self.config.file == config.file { None } else { Some(sink(config)?) };
        let file = Self { config: config.clone(), queue: self.queue.clone(), log: self.log.clone() };
        Ok(EventsChange { file, sink })
    }

    pub(crate) fn config(&self) -> &EventsConfig {
        &self.config
    }

    /// Queues an event, or counts it as lost.
    pub(crate) fn write(&self, mut line: String) {
        line.push('\n');
        if !self.queue.0.push(line) {
            self.log.metrics().count_lost_events(1);
        }
    }

    pub(super) fn reopen(&self) {
        self.queue.0.reopen();
    }

    /// Accepts no more events, and waits at most `limit` for those that are queued; counts and tells those that its file has
    /// not taken then. Blocks the thread.
    pub(super) fn close(&self, limit: Duration) {
        self.queue.0.close();
        if self.queue.0.ended(limit) {
            return;
        }
        let left = self.queue.0.given_up();
        if left > 0 {
            self.log.metrics().count_lost_events(left);
            tell_unwritten(&self.log, &self.config.file.display().to_string(), left);
        }
    }
}

/// Tells of events that came into no file.
fn tell_unwritten(log: &Log, path: &str, events: u64) {
    let details = [("path", path), ("events", &events.to_string())];
    let text = "events are lost: their file took them neither before the end nor before it was switched off";
    log.write(codes::EVENTS_WRITE_FAILED.at(Level::Error), text, &details);
}

struct EventWriter {
    queue: Arc<Queue>,
    sink: Box<dyn LogSink>,
    log: Log,
    path: String,
    /// Set from a failure until something is written.
    failing: bool,
}

impl EventWriter {
    fn run(mut self) {
        loop {
            match self.queue.take() {
                WriterTask::Lines { lines, dropped } => {
                    let count = lines.len() as u64;
                    if dropped > 0 {
                        let details = [("path", &*self.path), ("events", &dropped.to_string())];
                        let text = "events were dropped: they came faster than they can be written";
                        self.log.write(codes::EVENTS_WRITE_FAILED.at(Level::Error), text, &details);
                    }
                    let text: String = lines.into_iter().collect();
                    if let Err(left) = self.write(text.as_bytes()) {
                        let left = left + self.left_in_queue();
                        self.log.metrics().count_lost_events(left);
                        tell_unwritten(&self.log, &self.path, left);
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

    /// Writes all of `text`, in as many tries as necessary; the error is the number of lines that are left when the queue is
    /// closed.
    fn write(&mut self, text: &[u8]) -> Result<(), u64> {
        let mut written = 0;
        while written < text.len() {
            match self.sink.write(&text[written..]) {
                Ok(count) if count > 0 => {
                    written += count;
                    if std::mem::take(&mut self.failing) {
                        self.log.write(
                            codes::EVENTS_WRITE_FAILED.at(Level::Notice),
                            "events are written again",
                            &[("path", &self.path)],
                        );
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                result => {
                    self.fail(&result.map_or_else(|error| error.to_string(), |_| "it takes nothing".to_owned()));
                    // Another file begins with a whole line.
                    let begun = || text[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                    match self.queue.rest(PAUSE) {
                        RestEnd::Again => {}
                        RestEnd::Replace => {
                            written = begun();
                            self.replace();
                        }
                        RestEnd::Reopen => {
                            // If that fails, the next try reports it.
                            if self.sink.reopen().is_ok() {
                                written = begun();
                            }
                        }
                        RestEnd::Closed => {
                            return Err(text[written..].iter().filter(|byte| **byte == b'\n').count() as u64);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The number of events that are behind those that could not be written. The queue is closed.
    fn left_in_queue(&self) -> u64 {
        let mut left = 0;
        loop {
            match self.queue.take() {
                WriterTask::Lines { lines, .. } => left += lines.len() as u64,
                WriterTask::Reopen => {}
                WriterTask::Replace => drop(self.queue.take_replacement()),
                WriterTask::End => return left,
            }
        }
    }

    /// Tells of a failure once until something is written.
    fn fail(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.failing, true) {
            self.log.metrics().count_failed_event_file();
            let details = [("path", &*self.path), ("reason", reason)];
            self.log.write(codes::EVENTS_WRITE_FAILED, "events cannot be written; they wait", &details);
        }
    }

    fn reopen(&mut self) {
        if let Err(error) = self.sink.reopen() {
            let details = [("path", &*self.path), ("reason", &error.to_string())];
            self.log.write(
                codes::LOG_ROTATE_FAILED,
                "the file of events cannot be reopened, the old one stays in use",
                &details,
            );
        }
    }

    fn replace(&mut self) {
        let Some((Some(sink), _)) = self.queue.take_replacement() else { return };
        if let Some(path) = sink.path() {
            self.path = path.display().to_string();
        }
        self.sink = sink;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{EventFormat, LogFormat, capture};
    use parking_lot::Mutex;
    use std::io::{self, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::sync::mpsc;

    fn config(file: &str) -> EventsConfig {
        EventsConfig { file: file.into(), format: EventFormat::Json, commands: true, sftp_hash: false }
    }

    /// A disk that takes three bytes and is then full, until it is opened again.
    struct FullDisk {
        room: usize,
        files: Arc<Mutex<Vec<Vec<u8>>>>,
    }

    impl Write for FullDisk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let count = data.len().min(self.room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.files.lock().last_mut().unwrap().extend_from_slice(&data[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LogSink for FullDisk {
        fn reopen(&mut self) -> io::Result<()> {
            self.room = usize::MAX;
            self.files.lock().push(Vec::new());
            Ok(())
        }
    }

    #[test]
    fn full_disk_is_counted_and_told_once_and_the_next_file_begins_with_a_whole_line() {
        let (log, captured) = capture::log(LogFormat::Text);
        let files = Arc::new(Mutex::new(vec![Vec::new()]));
        let disk = FullDisk { room: 3, files: files.clone() };
        let events = EventFile::start(&config("/full"), log.clone(), Box::new(disk)).unwrap();
        events.write("1".to_owned());
        events.write("234".to_owned());
        let failed = || log.metrics().text().unwrap().contains("podgate_event_file_failures_total 1");
        while !failed() {
            thread::yield_now();
        }
        events.reopen();
        assert!(events.queue.0.flush(Duration::from_secs(60)));
        assert_eq!(*files.lock(), [b"1\n2".to_vec(), b"234\n".to_vec()]);
        events.close(Duration::from_secs(60));
        let told = captured.text(&log);
        assert_eq!(told.matches("EVENTS_WRITE_FAILED").count(), 2, "{told}");
        assert!(told.contains("they wait") && told.contains("written again"), "{told}");
    }

    #[test]
    fn events_that_no_file_took_before_the_end_are_counted_and_told() {
        let (log, captured) = capture::log(LogFormat::Text);
        let disk = FullDisk { room: 0, files: Arc::default() };
        let events = EventFile::start(&config("/full"), log.clone(), Box::new(disk)).unwrap();
        events.write("1".to_owned());
        events.write("2".to_owned());
        events.close(Duration::from_secs(60));
        let page = log.metrics().text().unwrap();
        assert!(page.contains("podgate_events_lost_total 2"), "{page}");
        assert!(captured.text(&log).contains("events are lost"));
    }

    /// A file whose write does not come back before its other end is dropped, as one on a network that is gone.
    struct Hanging(mpsc::Receiver<()>);

    impl Write for Hanging {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(data.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LogSink for Hanging {}

    #[test]
    fn events_that_a_file_holds_up_beyond_the_end_are_counted_and_told() {
        let (log, captured) = capture::log(LogFormat::Text);
        let (hold, held) = mpsc::channel();
        let events = EventFile::start(&config("/hangs"), log.clone(), Box::new(Hanging(held))).unwrap();
        events.write("1".to_owned());
        events.write("2".to_owned());
        events.close(Duration::from_millis(20));
        let page = log.metrics().text().unwrap();
        assert!(page.contains("podgate_events_lost_total 2"), "{page}");
        let told = captured.text(&log);
        assert!(told.contains("events are lost") && told.contains("path=/hangs events=2"), "{told}");
        drop(hold);
    }

    #[test]
    fn pipe_that_nobody_reads_loses_no_event_in_silence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (log, captured) = capture::log(LogFormat::Text);
        let events = EventFile::open(&config(path.to_str().unwrap()), log.clone()).unwrap().apply();
        (0..8).for_each(|_| events.write("x".repeat(100_000)));
        events.close(Duration::from_secs(60));
        let page = log.metrics().text().unwrap();
        assert!(page.contains("podgate_events_lost_total") && !page.contains("podgate_events_lost_total 0"), "{page}");
        assert!(captured.text(&log).contains("events are lost"));
    }

    #[test]
    fn events_that_wait_for_a_full_disk_go_to_the_file_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let (log, captured) = capture::log(LogFormat::Text);
        let files = Arc::new(Mutex::new(vec![Vec::new()]));
        let disk = FullDisk { room: 3, files: files.clone() };
        let full = EventFile::start(&config("/full"), log.clone(), Box::new(disk)).unwrap();
        full.write("1".to_owned());
        full.write("234".to_owned());
        while !log.metrics().text().unwrap().contains("podgate_event_file_failures_total 1") {
            thread::yield_now();
        }
        let other = full.change(&config(path.to_str().unwrap())).unwrap().apply();
        drop(full);
        other.write("5".to_owned());
        other.close(Duration::from_secs(60));
        let all = [files.lock().concat(), std::fs::read(&path).unwrap()].map(|text| String::from_utf8(text).unwrap());
        assert!(all[1].ends_with("234\n5\n") && all.concat().contains("1\n"), "{all:?}");
        let told = captured.text(&log);
        assert!(told.contains("written again") && !told.contains("events are lost"), "{told}");
    }

    #[test]
    fn file_is_for_its_owner_and_group_and_a_torn_last_line_swallows_no_event() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let (log, _) = capture::log(LogFormat::Text);
        let write = |line: &str| {
            let events = EventFile::open(&config(path.to_str().unwrap()), log.clone()).unwrap().apply();
            events.write(line.to_owned());
            events.close(Duration::from_secs(60));
        };
        write("1");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o137, 0);
        std::fs::write(&path, "1\n{\"torn").unwrap();
        write("2");
        write("3");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n{\"torn\n2\n3\n");
    }

    #[test]
    fn other_settings_of_the_same_file_do_not_open_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events");
        let (log, _) = capture::log(LogFormat::Text);
        let config = config(path.to_str().unwrap());
        log.change_events(log.prepare_events(Some(&config)).unwrap());
        std::fs::remove_file(&path).unwrap();
        let other = EventsConfig { format: EventFormat::Ocsf, ..config.clone() };
        let same = log.prepare_events(Some(&other)).unwrap().unwrap();
        assert!(!path.exists() && same.file.config().format == EventFormat::Ocsf);
        let elsewhere = EventsConfig { file: folder.path().join("none/events"), ..config };
        assert!(log.prepare_events(Some(&elsewhere)).err().unwrap().to_string().starts_with("events.file: "));
    }
}
