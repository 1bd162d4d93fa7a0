//! The log's lines, levels, queue and files.

mod syslog;

use super::capture;
use super::*;
use serde_json::Value;
use std::sync::mpsc;

const SOON: Duration = Duration::from_secs(10);

fn remote() -> SocketAddr {
    "[::ffff:192.0.2.7]:52311".parse().unwrap()
}

#[test]
fn line_above_the_level_is_not_written() {
    let sink = capture::Captured::default();
    let log = Log::to_sink(Level::Notice, LogFormat::Text, sink.clone()).unwrap();
    log.write(Level::Info, "TEST", "info", &[]);
    log.write(Level::Notice, "TEST", "notice", &[]);
    let text = sink.text(&log);
    assert!(!text.contains("info") && text.contains("notice"), "{text}");
}

#[test]
fn hostile_values_stay_one_line_in_both_formats() {
    let evil = "a\nb\r\x1b[31m\u{85}\u{9b}2J\u{2028}\u{202e}\x7f\0";
    for format in [LogFormat::Text, LogFormat::Ljson] {
        let (log, captured) = capture::log(format);
        log.write(Level::Error, "TEST", evil, &[("reason", evil)]);
        let text = captured.text(&log);
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        let body = text.trim_end_matches('\n');
        let allowed = |c: char| c == '\t' || !(c.is_control() || matches!(c, '\u{2028}' | '\u{202e}'));
        assert!(body.chars().all(allowed), "{text:?}");
    }
}

#[test]
fn json_line_keeps_the_order_of_labels_and_loses_nothing() {
    let (log, captured) = capture::log(LogFormat::Ljson);
    log.write(
        Level::Warning,
        "TEST",
        "it \"broke\"\u{9b}",
        &[("z", "1"), ("a", "\u{202e}x\n\u{e0041}"), ("z", "again")],
    );
    let text = captured.text(&log);
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "warning");
    assert_eq!(line["code"], "TEST");
    assert_eq!(line["message"], "it \"broke\"\u{9b}");
    assert_eq!(line["details"]["a"], "\u{202e}x\n\u{e0041}");
    assert_eq!(line["details"]["z"], "1");
    assert!(text.find("\"z\"").unwrap() < text.find("\"a\"").unwrap(), "{text}");
    let stamp = line["timestamp"].as_str().unwrap();
    assert!(stamp.parse::<jiff::Timestamp>().is_ok(), "{stamp}");
    let fraction = stamp.split_once('.').unwrap().1;
    assert_eq!(fraction.find(|c: char| !c.is_ascii_digit()), Some(3), "milliseconds: {stamp}");
}

#[test]
fn details_are_there_without_labels() {
    let (log, captured) = capture::log(LogFormat::Ljson);
    log.write(Level::Debug, "TEST", "m", &[]);
    assert!(captured.text(&log).contains(r#""details":{}"#));
}

#[test]
fn text_line_is_stamp_level_message_labels() {
    let (log, captured) = capture::log(LogFormat::Text);
    log.write(Level::Critical, "TEST", "it broke", &[("a", "1"), ("b", "two words"), ("c", ""), ("d", "q\"=")]);
    let text = captured.text(&log);
    let columns: Vec<_> = text.trim_end().split('\t').collect();
    assert_eq!(columns[1..], ["crit", r#"it broke (code=TEST a=1 b="two words" c="" d="q\"=")"#]);
}

#[test]
fn long_value_is_cut() {
    let (log, captured) = capture::log(LogFormat::Text);
    log.write(Level::Debug, "TEST", "m", &[("a", &"ä".repeat(100_000))]);
    assert!(captured.text(&log).len() < 9_000);
}

#[test]
fn connection_lines_name_connection_and_user() {
    let (log, captured) = capture::log(LogFormat::Ljson);
    let id = ConnectionId::random();
    let connection = log.connection(id, remote());
    connection.write(Level::Debug, "TEST", "before", &[]);
    connection.clone().name_user("jo", Some("jo@example.com"));
    connection.write(Level::Debug, "TEST", "after", &[("connectionId", "forged")]);
    let text = captured.text(&log);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines[0]["details"],
        serde_json::json!({"connectionId": id.to_string(), "remoteAddr": "192.0.2.7:52311"})
    );
    assert_eq!(lines[1]["details"]["connectionId"], id.to_string());
    assert_eq!(lines[1]["details"]["username"], "jo");
    assert_eq!(lines[1]["details"]["authenticatedUsername"], "jo@example.com");
}

#[test]
fn level_of_one_connection_is_its_own() {
    let (log, captured) = capture::log(LogFormat::Text);
    let (quiet, loud) =
        (log.connection(ConnectionId::random(), remote()), log.connection(ConnectionId::random(), remote()));
    quiet.clone().set_level(Level::Error);
    quiet.write(Level::Info, "TEST", "quiet", &[]);
    loud.write(Level::Info, "TEST", "loud", &[]);
    let text = captured.text(&log);
    assert!(!text.contains("quiet") && text.contains("loud"), "{text}");
}

/// A sink that says when it is written to and then waits until it may go on.
struct Gate {
    entered: mpsc::Sender<()>,
    open: mpsc::Receiver<()>,
    inner: capture::Captured,
}

impl Write for Gate {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        // An error is the test having opened the gate for good.
        let _ = self.open.recv();
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn full_queue_drops_lines_and_says_how_many() {
    let (entered, entries) = mpsc::channel();
    let (opener, open) = mpsc::channel();
    let inner = capture::Captured::default();
    let log = Log::to_sink(Level::Debug, LogFormat::Text, Gate { entered, open, inner: inner.clone() }).unwrap();
    log.write(Level::Info, "TEST", "first", &[]);
    entries.recv_timeout(SOON).unwrap();
    let value = "x".repeat(8_000);
    let fit = queue::CAPACITY / (value.len() + 80) + 10;
    for _ in 0..fit + 5 {
        log.write(Level::Info, "TEST", "filler", &[("value", &value)]);
    }
    assert!(!log.flush(Duration::from_millis(1)), "the writer is held");
    drop(opener);
    let text = inner.text(&log);
    let kept = text.matches("filler").count();
    assert!(kept * value.len() < queue::CAPACITY);
    let note = format!("lines were dropped: {}", fit + 5 - kept);
    assert!(text.contains(&note), "{note}");
    let counted = format!("podgate_log_lines_dropped_total {}\n", fit + 5 - kept);
    assert!(log.metrics().text().unwrap().contains(&counted), "{counted}");
}

/// A sink that fails as often as it is told to, after a piece of the line.
struct Flaky {
    failures: usize,
    inner: capture::Captured,
}

impl Write for Flaky {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.failures > 0 {
            self.failures -= 1;
            if self.failures.is_multiple_of(2) {
                return Err(io::Error::other("no space"));
            }
            return self.inner.write(&data[..1]);
        }
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn failing_sink_is_tried_again_without_loss() {
    let inner = capture::Captured::default();
    let log = Log::to_sink(Level::Debug, LogFormat::Text, Flaky { failures: 4, inner: inner.clone() }).unwrap();
    log.write(Level::Info, "TEST", "whole", &[]);
    let text = inner.text(&log);
    assert!(text.lines().next().unwrap().ends_with("\tinfo\twhole (code=TEST)"), "{text}");
    log.write(Level::Info, "TEST", "next", &[]);
    assert!(inner.text(&log).contains("could not be written for a while: no space"));
}

/// A sink that is broken until it is opened again.
struct Broken {
    failed: mpsc::Sender<()>,
    broken: bool,
    inner: capture::Captured,
}

impl Write for Broken {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.broken {
            let _ = self.failed.send(());
            return Err(io::Error::other("stale"));
        }
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Broken {
    fn reopen(&mut self) -> io::Result<()> {
        self.broken = false;
        Ok(())
    }
}

#[test]
fn reopening_mends_a_broken_sink_without_loss() {
    let (failed, failures) = mpsc::channel();
    let inner = capture::Captured::default();
    let sink = Broken { failed, broken: true, inner: inner.clone() };
    let log = Log::start(Level::Debug, Shape::Lines(LogFormat::Text), Box::new(sink)).unwrap();
    log.write(Level::Info, "TEST", "kept", &[]);
    failures.recv_timeout(SOON).unwrap();
    log.reopen();
    assert!(inner.text(&log).contains("kept"));
}

#[tokio::test]
async fn closed_log_has_written_everything_and_takes_no_more() {
    let (log, captured) = capture::log(LogFormat::Text);
    log.write(Level::Info, "TEST", "last words", &[]);
    log.close().await;
    log.write(Level::Info, "TEST", "too late", &[]);
    let text = captured.text(&log);
    assert!(text.contains("last words") && !text.contains("too late"), "{text}");
}

#[test]
fn reopened_file_is_the_one_with_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let config =
        config::Log { level: Level::Debug, format: LogFormat::Text, destination: LogDestination::File(path.clone()) };
    let log = Log::open(&config).unwrap();
    log.write(Level::Info, "TEST", "before", &[]);
    assert!(log.flush(SOON));
    std::fs::rename(&path, &old).unwrap();
    log.reopen();
    log.write(Level::Info, "TEST", "after", &[]);
    assert!(log.flush(SOON));
    assert!(std::fs::read_to_string(&old).unwrap().contains("before"));
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now.contains("after") && !now.contains("before"), "{now}");
}

#[test]
fn file_that_cannot_be_opened_is_a_named_error() {
    let path = PathBuf::from("/nonexistent/podgate.log");
    let config = config::Log { level: Level::Info, format: LogFormat::Text, destination: LogDestination::File(path) };
    assert!(matches!(Log::open(&config), Err(LogError::Open { .. })));
}
