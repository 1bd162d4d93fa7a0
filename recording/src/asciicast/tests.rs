//! The lines of casts, from the messages of a channel.

use super::*;
use bytes::Bytes;
use serde_json::Value;

const START: i64 = 1_700_000_000_500_000_000;

fn message(millis: i64, payload: Payload) -> Message {
    Message { connection: String::new(), timestamp: START + millis * 1_000_000, channel: Some(0), payload }
}

fn exec(program: &str) -> Payload {
    Payload::Exec { request_id: 9, program: program.to_owned() }
}

fn io(stream: u8, data: &[u8]) -> Payload {
    Payload::Io { stream, data: Bytes::copy_from_slice(data) }
}

fn pty(request_id: u64, columns: u32, rows: u32) -> Payload {
    let (term, modes) = ("xterm".to_owned(), Bytes::new());
    Payload::Pty { request_id, term, columns, rows, width: 0, height: 0, modes }
}

fn window(columns: u32, rows: u32) -> Payload {
    Payload::Window { request_id: 7, columns, rows, width: 0, height: 0 }
}

fn set(request_id: u64, name: &str, value: &str) -> Payload {
    Payload::SetEnv { request_id, name: name.to_owned(), value: value.to_owned() }
}

/// The lines of a cast of these messages, which come with a second between them.
fn cast(payloads: Vec<Payload>) -> Vec<Value> {
    let mut cast = Cast::default();
    let mut lines: String =
        (0..).zip(payloads).map(|(second, payload)| cast.lines(&message(second * 1000, payload))).collect();
    lines.push_str(&cast.end());
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_are_those_of_version_2() {
    let lines = cast(vec![
        pty(1, 100, 40),
        set(2, "LANG", "C"),
        exec("top"),
        io(1, b"a\r\n\x1b[1m\""),
        io(0, b"q"),
        window(90, 30),
        Payload::Signal { request_id: 9, signal: "INT".to_owned() },
        Payload::Exit { exit_status: 3 },
    ]);
    let header = json!({"version": 2, "width": 100, "height": 40, "timestamp": 1_700_000_002, "command": "top",
        "title": "", "env": {"TERM": "xterm", "LANG": "C"}});
    assert_eq!(lines[0], header);
    let events = json!([
        [1.0, "o", "a\r\n\u{1b}[1m\""],
        [2.0, "i", "q"],
        [3.0, "r", "90x30"],
        [4.0, "m", "signal: INT"],
        [5.0, "m", "exit status 3"]
    ]);
    assert_eq!(Value::from(lines[1..].to_vec()), events);
}

#[test]
fn channel_without_a_program_has_no_line() {
    assert_eq!(
        cast(vec![pty(1, 100, 40), set(2, "LANG", "C"), window(10, 10), Payload::Close {}]),
        Vec::<Value>::new()
    );
}

#[test]
fn words_of_the_client_are_no_words_of_the_gateway() {
    let failed = |request_id, reason: &str| Payload::RequestFailed { request_id, reason: reason.to_owned() };
    let second = Payload::Exec { request_id: 12, program: "exit status 0".to_owned() };
    let signal = Payload::Signal { request_id: 13, signal: "exit status 0".to_owned() };
    let subsystem = Payload::Subsystem { request_id: 14, subsystem: "exit status 0".to_owned() };
    let lines = cast(vec![
        exec("true"),
        second,
        failed(12, "busy"),
        signal,
        failed(13, "no"),
        subsystem,
        pty(15, 9, 9),
        failed(14, "busy"),
        failed(15, "late"),
        set(16, "A", "b"),
        failed(16, "late"),
        failed(1, "unknown"),
        Payload::Exit { exit_status: 0 },
    ]);
    let marks: Vec<_> = lines[1..].iter().map(|line| (line[1].as_str().unwrap(), line[2].as_str().unwrap())).collect();
    let texts = [
        "exec: exit status 0",
        "exec refused: busy",
        "signal: exit status 0",
        "signal refused: no",
        "subsystem: exit status 0",
        "subsystem refused: busy",
        "pty-req refused: late",
        "env refused: late",
        "request refused: unknown",
        "exit status 0",
    ];
    assert_eq!(marks, texts.map(|text| ("m", text)));
}

#[test]
fn kinds_of_requests_take_no_more_memory_than_their_limit() {
    let mut setting = CastSetting::default();
    (0..1000).for_each(|number| setting.note(&set(number, "A", "b")));
    assert_eq!((setting.requests.len(), setting.kind_of(999), setting.kind_of(1)), (REQUESTS, "env", "request"));
}

#[test]
fn no_line_acts_on_the_terminal_of_its_reader() {
    let text = "\u{1b}[2J\u{9b}31m\u{202e}evil\u{7f}\u{200b}\u{e0001}<ü🦀";
    let mut cast = Cast::default();
    let payloads = [set(1, text, text), exec(text), io(1, text.as_bytes()), io(0, text.as_bytes())];
    let lines: String = payloads.into_iter().map(|payload| cast.lines(&message(0, payload))).collect();
    let raw = |c: char| c != '\n' && c.is_control() || "\u{202e}\u{200b}\u{e0001}<".contains(c);
    assert!(!lines.contains(raw), "{lines:?}");
    let read: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&read[0]["command"], &read[0]["env"][text]), (&json!(text), &json!(text)));
    assert_eq!([&read[1][2], &read[2][2]], [text, text]);
    assert!(lines.contains("ü🦀"));
}

#[test]
fn size_that_no_player_draws_is_cut_or_left_out() {
    for (asked, shown) in [((0, 0), (80, 25)), ((80, 0), (80, 25)), ((u32::MAX, 5), (1000, 5)), ((132, 50), (132, 50))]
    {
        let lines = cast(vec![pty(1, asked.0, asked.1), exec("true")]);
        assert_eq!((&lines[0]["width"], &lines[0]["height"]), (&json!(shown.0), &json!(shown.1)));
    }
    let lines = cast(vec![pty(1, 80, 24), exec("true"), window(0, 5), window(70_000, 5)]);
    assert_eq!(lines[1..], [json!([2.0, "r", "1000x5"])]);
}

#[test]
fn variables_beyond_a_limit_are_left_out() {
    let many = (0..2000).map(|n| set(n, &format!("V{n}"), &"x".repeat(1000))).chain([exec("true")]).collect();
    let lines = cast(many);
    assert_eq!(lines[0]["env"].as_object().unwrap().len(), 65);
}

#[test]
fn text_is_the_same_however_its_bytes_are_cut() {
    let bytes = "grün €uro 🦀\r\n".as_bytes();
    for cut in 0..=bytes.len() {
        for second in cut..=bytes.len() {
            let pieces = [&bytes[..cut], &bytes[cut..second], &bytes[second..]];
            let lines = cast([exec("true")].into_iter().chain(pieces.map(|piece| io(1, piece))).collect());
            let text: String = lines[1..].iter().map(|line| line[2].as_str().unwrap()).collect();
            assert_eq!(text, "grün €uro 🦀\r\n");
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced() {
    let lines = cast(vec![exec("true"), io(1, b"a\xffb\xc3("), io(2, b"\xf0\x9f"), io(0, b"\xf0"), Payload::Close {}]);
    let events = json!([[1.0, "o", "a\u{fffd}b\u{fffd}("], [4.0, "i", "\u{fffd}"], [4.0, "o", "\u{fffd}"]]);
    assert_eq!(Value::from(lines[1..].to_vec()), events);
}

#[test]
fn output_without_a_terminal_begins_each_line_at_its_start() {
    let program = |terminal: Option<Payload>| {
        let pieces = [exec("true"), io(1, b"a\nb\r"), io(1, b"\nc\n"), io(0, b"typed\n")];
        let lines = cast(terminal.into_iter().chain(pieces).collect());
        lines[1..].iter().map(|line| line[2].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(program(None), ["a\r\nb\r", "\nc\r\n", "typed\n"]);
    assert_eq!(program(Some(pty(1, 80, 24))), ["a\nb\r", "\nc\n", "typed\n"]);
}

#[test]
fn clock_that_is_set_back_puts_no_event_before_another() {
    let mut cast = Cast::default();
    let times = [0, 5000, -3000, 6000];
    let payloads = [exec("true"), io(1, b"a"), io(1, b"b"), io(1, b"c")];
    let lines: String =
        times.into_iter().zip(payloads).map(|(at, payload)| cast.lines(&message(at, payload))).collect();
    let at: Vec<f64> =
        lines.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap()[0].as_f64().unwrap()).collect();
    assert_eq!(at, [5.0, 5.0, 6.0]);
}
