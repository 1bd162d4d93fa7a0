//! The syslog destination against real sockets.

use super::*;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;

fn config(destination: SyslogDestination, format: LogFormat, pid: bool) -> LogConfig {
    let syslog = Syslog { destination, facility: 16, tag: "podgate".into(), pid };
    LogConfig { level: Level::Debug, format, destination: LogDestination::Syslog(syslog) }
}

fn to_socket(path: &Path) -> LogConfig {
    config(SyslogDestination::Socket(path.to_owned()), LogFormat::Text, false)
}

fn daemon(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

fn received(socket: &UnixDatagram) -> String {
    let mut data = vec![0; 70_000];
    let length = socket.recv(&mut data).unwrap();
    String::from_utf8(data[..length].to_vec()).unwrap()
}

#[test]
fn syslog_that_is_not_there_is_a_named_error() {
    let error = Log::open(&to_socket(Path::new("/nonexistent/log"))).unwrap_err().to_string();
    assert!(error.starts_with("log.syslog.destination: /nonexistent/log cannot be written to: "), "{error}");
    let nowhere = SyslogDestination::Udp("nowhere.invalid:514".into());
    assert!(matches!(Log::open(&config(nowhere, LogFormat::Text, false)), Err(LogError::Syslog { .. })));
}

#[test]
fn local_line_is_as_syslog_3_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let daemon = daemon(&path);
    let log = Log::open(&to_socket(&path)).unwrap();
    log.write(Code::external("TEST", Level::Warning), "it\nbroke", &[("a", "1")]);
    log.write(Code::external("TEST", Level::Debug), "twice", &[]);
    let line = received(&daemon);
    let (head, message) = line.split_once(" podgate: ").unwrap();
    // local0 (16) times 8, and warning (4).
    let date = head.strip_prefix("<132>").unwrap();
    assert_eq!((date.len(), date.as_bytes()[3], date.as_bytes()[9]), (15, b' ', b':'), "{line}");
    let now = jiff::Zoned::now().strftime("%b %e").to_string();
    assert!(date.starts_with(&now) || date.ends_with("23:59:59"), "{line}");
    assert_eq!(message, "it\\nbroke (code=TEST a=1)");
    assert!(received(&daemon).starts_with("<135>"), "each line is a datagram of its own");
}

#[test]
fn json_line_leaves_date_and_level_to_the_header_and_names_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let daemon = daemon(&path);
    let config = config(SyslogDestination::Socket(path), LogFormat::Ljson, true);
    Log::open(&config).unwrap().write(Code::external("TEST", Level::Emergency), "m", &[("a", "1")]);
    let line = received(&daemon);
    let (head, body) = line.split_once(": ").unwrap();
    assert!(head.starts_with("<128>") && head.ends_with(&format!(" podgate[{}]", std::process::id())), "{line}");
    assert_eq!(body, r#"{"code":"TEST","message":"m","details":{"a":"1"}}"#);
}

#[test]
fn udp_line_is_rfc_5424() {
    let daemon = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.set_read_timeout(Some(SOON)).unwrap();
    let destination = SyslogDestination::Udp(daemon.local_addr().unwrap().to_string());
    let log = Log::open(&config(destination, LogFormat::Text, true)).unwrap();
    log.write(Code::external("TEST", Level::Error), "it broke", &[]);
    let mut data = [0; 2000];
    let length = daemon.recv(&mut data).unwrap();
    let line = std::str::from_utf8(&data[..length]).unwrap();
    let fields: Vec<&str> = line.splitn(8, ' ').collect();
    let pid = std::process::id().to_string();
    assert_eq!(fields[0], "<131>1");
    let stamp = fields[1].parse::<jiff::Timestamp>().unwrap();
    assert!(stamp.duration_until(jiff::Timestamp::now()).as_secs().abs() < 60, "{line}");
    assert!(!fields[2].is_empty(), "{line}");
    assert_eq!(fields[3..], ["podgate", pid.as_str(), "TEST", "-", "it broke (code=TEST)"]);
}

#[test]
fn daemon_that_listens_for_a_stream_gets_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let listener = UnixListener::bind(&path).unwrap();
    let log = Log::open(&to_socket(&path)).unwrap();
    log.write(Code::external("TEST", Level::Info), "first", &[]);
    log.write(Code::external("TEST", Level::Info), "second", &[]);
    let lines = BufReader::new(listener.accept().unwrap().0).lines();
    let lines: Vec<_> = lines.take(2).map(Result::unwrap).collect();
    assert!(lines[0].ends_with("first (code=TEST)") && lines[1].ends_with("second (code=TEST)"), "{lines:?}");
}

#[test]
fn restarted_daemon_gets_the_lines_written_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let first = daemon(&path);
    let log = Log::open(&to_socket(&path)).unwrap();
    log.write(Code::external("TEST", Level::Info), "before", &[]);
    assert!(received(&first).contains("before"));
    drop(first);
    std::fs::remove_file(&path).unwrap();
    log.write(Code::external("TEST", Level::Info), "meanwhile", &[]);
    assert!(!log.flush(Duration::from_millis(50)), "nobody took it");
    // A SIGHUP while no daemon listens changes nothing.
    log.reopen();
    let second = daemon(&path);
    assert!(received(&second).contains("meanwhile"));
    assert!(received(&second).contains("could not be written for a while"));
}

#[test]
fn line_longer_than_a_datagram_is_cut_and_the_next_one_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let daemon = daemon(&path);
    let log = Log::open(&to_socket(&path)).unwrap();
    let value = "ä".repeat(4_000);
    let labels: Vec<String> = (0..10).map(|n| format!("l{n}")).collect();
    let details: Vec<(&str, &str)> = labels.iter().map(|label| (label.as_str(), value.as_str())).collect();
    log.write(Code::external("TEST", Level::Info), "long", &details);
    log.write(Code::external("TEST", Level::Info), "short", &[]);
    let long = received(&daemon).len();
    assert!((59_990..=60_000).contains(&long), "{long}");
    assert!(received(&daemon).contains("short"));
}
