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
    let sink = capture::CapturedLog::default();
    let log = Log::to_sink(Level::Notice, LogFormat::Text, sink.clone()).unwrap();
    log.write(Code::external("TEST", Level::Info), "info", &[]);
    log.write(Code::external("TEST", Level::Notice), "notice", &[]);
    let text = sink.text(&log);
    assert!(!text.contains("info") && text.contains("notice"), "{text}");
}

#[test]
fn hostile_values_stay_one_line_in_both_formats() {
    let evil = "a\nb\r\x1b[31m\u{85}\u{9b}2J\u{2028}\u{202e}\x7f\0";
    for format in [LogFormat::Text, LogFormat::Ljson] {
        let (log, captured) = capture::log(format);
        log.write(Code::external("TEST", Level::Error), evil, &[("reason", evil)]);
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
        Code::external("TEST", Level::Warning),
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
    log.write(Code::external("TEST", Level::Debug), "m", &[]);
    assert!(captured.text(&log).contains(r#""details":{}"#));
}

#[test]
fn text_line_is_stamp_level_message_labels() {
    let (log, captured) = capture::log(LogFormat::Text);
    log.write(
        Code::external("TEST", Level::Critical),
        "it broke",
        &[("a", "1"), ("b", "two words"), ("c", ""), ("d", "q\"=")],
    );
    let text = captured.text(&log);
    let columns: Vec<_> = text.trim_end().split('\t').collect();
    assert_eq!(columns[1..], ["crit", r#"it broke (code=TEST a=1 b="two words" c="" d="q\"=")"#]);
}

#[test]
fn long_value_is_cut() {
    let (log, captured) = capture::log(LogFormat::Text);
    log.write(Code::external("TEST", Level::Debug), "m", &[("a", &"ä".repeat(100_000))]);
    assert!(captured.text(&log).len() < 9_000);
}

#[test]
fn connection_lines_name_connection_and_user() {
    let (log, captured) = capture::log(LogFormat::Ljson);
    let id = ConnectionId::random();
    let connection = log.connection(id, remote());
    connection.write(Code::external("TEST", Level::Debug), "before", &[]);
    connection.clone().name_user("jo", Some("jo@example.com"));
    connection.write(Code::external("TEST", Level::Debug), "after", &[("connectionId", "forged")]);
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
    quiet.write(Code::external("TEST", Level::Info), "quiet", &[]);
    loud.write(Code::external("TEST", Level::Info), "loud", &[]);
    let text = captured.text(&log);
    assert!(!text.contains("quiet") && text.contains("loud"), "{text}");
}

#[test]
fn level_that_changes_holds_for_connections_without_a_level_of_their_own() {
    let (log, captured) = capture::log(LogFormat::Text);
    let (own, other) =
        (log.connection(ConnectionId::random(), remote()), log.connection(ConnectionId::random(), remote()));
    own.set_level(Level::Info);
    let before = LogConfig { level: Level::Debug, format: LogFormat::Text, destination: LogDestination::Stdout };
    let config = LogConfig { level: Level::Error, ..before.clone() };
    log.change(Log::prepare(&config, &before).unwrap());
    own.write(Code::external("TEST", Level::Info), "own level", &[]);
    other.write(Code::external("TEST", Level::Info), "followed", &[]);
    log.write(Code::external("TEST", Level::Info), "followed", &[]);
    let text = captured.text(&log);
    assert!(text.contains("own level") && !text.contains("followed"), "{text}");
}

#[test]
fn lines_before_another_destination_go_to_the_old_one_and_all_later_ones_to_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, format| LogConfig {
        level: Level::Debug,
        format,
        destination: LogDestination::File(folder.path().join(name)),
    };
    let (first, second) = (file("first", LogFormat::Text), file("second", LogFormat::Ljson));
    let log = Log::open(&first).unwrap();
    for number in 0..2000 {
        log.write(Code::external("TEST", Level::Info), &format!("before {number}"), &[]);
    }
    log.change(Log::prepare(&second, &first).unwrap());
    for number in 0..2000 {
        log.write(Code::external("TEST", Level::Info), &format!("after {number}"), &[]);
    }
    assert!(log.flush(SOON));
    let lines = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let (first, second) = (lines("first"), lines("second"));
    assert_eq!((first.matches("before").count(), first.matches("after").count()), (2000, 0));
    assert_eq!(second.lines().count(), 2000);
    assert!(second.lines().all(|line| line.starts_with('{') && line.contains("after")));
}

#[test]
fn destination_that_fails_is_left_for_another_without_a_lost_line() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Flaky { failures: usize::MAX, inner: capture::CapturedLog::default() };
    let log = Log::to_sink(Level::Debug, LogFormat::Text, failing).unwrap();
    log.write(Code::external("TEST", Level::Info), "first", &[]);
    assert!(!log.flush(Duration::from_millis(1)));
    let before = LogConfig { level: Level::Debug, format: LogFormat::Text, destination: LogDestination::Stdout };
    let path = folder.path().join("log");
    let config = LogConfig { destination: LogDestination::File(path.clone()), ..before.clone() };
    log.change(Log::prepare(&config, &before).unwrap());
    log.write(Code::external("TEST", Level::Info), "second", &[]);
    assert!(log.flush(SOON));
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains("irst") && text.contains("second"), "{text}");
    let missing = LogConfig { destination: LogDestination::File("/nowhere/log".into()), ..before.clone() };
    assert!(Log::prepare(&missing, &before).is_err());
}

/// A sink that reports each write and waits for permission to continue.
struct Gate {
    entered: mpsc::Sender<()>,
    open: mpsc::Receiver<()>,
    inner: capture::CapturedLog,
}

impl Write for Gate {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let _ = self.entered.send(());
        // An error means that the test has opened the gate for good.
        let _ = self.open.recv();
        self.inner.write(data)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn full_queue_drops_lines_and_reports_their_number() {
    let (entered, entries) = mpsc::channel();
    let (opener, open) = mpsc::channel();
    let inner = capture::CapturedLog::default();
    let log = Log::to_sink(Level::Debug, LogFormat::Text, Gate { entered, open, inner: inner.clone() }).unwrap();
    log.write(Code::external("TEST", Level::Info), "first", &[]);
    entries.recv_timeout(SOON).unwrap();
    let value = "x".repeat(8_000);
    let fit = queue::CAPACITY / (value.len() + 80) + 10;
    for _ in 0..fit + 5 {
        log.write(Code::external("TEST", Level::Info), "filler", &[("value", &value)]);
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

/// A sink that alternately takes one byte and fails, `failures` times in all.
struct Flaky {
    failures: usize,
    inner: capture::CapturedLog,
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
    let inner = capture::CapturedLog::default();
    let log = Log::to_sink(Level::Debug, LogFormat::Text, Flaky { failures: 4, inner: inner.clone() }).unwrap();
    log.write(Code::external("TEST", Level::Info), "whole", &[]);
    let text = inner.text(&log);
    assert!(text.lines().next().unwrap().ends_with("\tinfo\twhole (code=TEST)"), "{text}");
    log.write(Code::external("TEST", Level::Info), "next", &[]);
    assert!(inner.text(&log).contains("could not be written for a while: no space"));
}

/// A sink that fails until it is reopened.
struct Broken {
    failed: mpsc::Sender<()>,
    broken: bool,
    inner: capture::CapturedLog,
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

impl LogSink for Broken {
    fn reopen(&mut self) -> io::Result<()> {
        self.broken = false;
        Ok(())
    }
}

#[test]
fn reopening_repairs_a_broken_sink_without_loss() {
    let (failed, failures) = mpsc::channel();
    let inner = capture::CapturedLog::default();
    let sink = Broken { failed, broken: true, inner: inner.clone() };
    let log = Log::start(Level::Debug, LineForm::Lines(LogFormat::Text), Box::new(sink)).unwrap();
    log.write(Code::external("TEST", Level::Info), "kept", &[]);
    failures.recv_timeout(SOON).unwrap();
    log.reopen();
    assert!(inner.text(&log).contains("kept"));
}

#[tokio::test]
async fn closed_log_has_written_everything_and_takes_no_more() {
    let (log, captured) = capture::log(LogFormat::Text);
    log.write(Code::external("TEST", Level::Info), "last words", &[]);
    log.close().await;
    log.write(Code::external("TEST", Level::Info), "too late", &[]);
    let text = captured.text(&log);
    assert!(text.contains("last words") && !text.contains("too late"), "{text}");
}

#[test]
fn reopened_file_is_the_one_with_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let config =
        LogConfig { level: Level::Debug, format: LogFormat::Text, destination: LogDestination::File(path.clone()) };
    let log = Log::open(&config).unwrap();
    log.write(Code::external("TEST", Level::Info), "before", &[]);
    assert!(log.flush(SOON));
    std::fs::rename(&path, &old).unwrap();
    log.reopen();
    log.write(Code::external("TEST", Level::Info), "after", &[]);
    assert!(log.flush(SOON));
    assert!(std::fs::read_to_string(&old).unwrap().contains("before"));
    let now = std::fs::read_to_string(&path).unwrap();
    assert!(now.contains("after") && !now.contains("before"), "{now}");
}

#[test]
fn file_that_cannot_be_opened_is_a_named_error() {
    let path = PathBuf::from("/nonexistent/podgate.log");
    let config = LogConfig { level: Level::Info, format: LogFormat::Text, destination: LogDestination::File(path) };
    assert!(matches!(Log::open(&config), Err(LogError::Open { .. })));
}
