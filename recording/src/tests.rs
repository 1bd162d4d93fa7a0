//! The binary format: documented bytes, every message there and back, and recordings that end anywhere.

use super::binary::{compress, encode, header};
use super::decode::{DecodeError, End, Messages, decode};
use super::message::{Answer, Message, Payload, Question};
use super::value::Value;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value as Json, json};
use std::io::{self, Read, Write};

const ID: &str = "0123456789abcdef0123456789abcdef";

fn message(channel: Option<u64>, payload: Payload) -> Message {
    Message { connection: ID.to_owned(), timestamp: 1_700_000_000_123_456_789, channel, payload }
}

fn connect() -> Message {
    message(None, Payload::Connect { remote_addr: "192.0.2.7".to_owned(), country: "XX".to_owned() })
}

/// A recording of version 2 whose parts have these messages.
fn recording(parts: &[&[Message]]) -> Vec<u8> {
    let mut whole = header().to_vec();
    for part in parts {
        let mut raw = Vec::new();
        part.iter().for_each(|message| encode(message, &mut raw).unwrap());
        whole.extend(compress(&raw).unwrap());
    }
    whole
}

fn messages(recording: &[u8]) -> Vec<Result<Message, String>> {
    Messages::open(recording).unwrap().map(|message| message.map_err(|error| error.to_string())).collect()
}

/// The lines that the decoder prints, and whether it found no fault.
fn lines(recording: &[u8]) -> (Vec<Json>, bool) {
    let mut out = Vec::new();
    let sound = decode(recording, &mut out).is_ok();
    (String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect(), sound)
}

#[test]
fn message_is_the_documented_bytes() {
    let mut bytes = Vec::new();
    encode(&connect(), &mut bytes).unwrap();
    let text = |text: &str| {
        let head = if text.len() < 24 { vec![0x60 + text.len() as u8] } else { vec![0x78, text.len() as u8] };
        [head, text.as_bytes().to_vec()].concat()
    };
    let documented = [
        vec![0xa5],
        text("connectionId"),
        text(ID),
        text("timestamp"),
        [vec![0x1b], 1_700_000_000_123_456_789_u64.to_be_bytes().to_vec()].concat(),
        text("type"),
        vec![0],
        text("payload"),
        vec![0xa2],
        text("remoteAddr"),
        text("192.0.2.7"),
        text("country"),
        text("XX"),
        text("channelId"),
        vec![0xf6],
    ];
    assert_eq!(bytes, documented.concat());
}

#[test]
fn header_is_the_documented_bytes() {
    let header = header();
    assert_eq!(&header[..21], b"ContainerSSH-Auditlog");
    assert_eq!(header[21..32], [0; 11]);
    assert_eq!(header[32..], [2, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn fields_have_the_keys_of_containerssh() {
    let keys = |payload: Payload| match payload.to_value() {
        Value::Map(fields) => fields.into_iter().map(|(key, _)| key).collect::<Vec<_>>().join(" "),
        _ => String::new(),
    };
    let all: Vec<String> =
        Payload::every().into_iter().map(|payload| format!("{} {}", payload.number(), keys(payload))).collect();
    let expected = "0 remoteAddr country|1 |2 reason|100 username password|101 username password|102 username password|\
        103 username password reason|104 username key|105 username key|106 username key|107 username key reason|\
        108 username instruction questions|109 username answers|110 Username|111 username reason|198 reason|199 username|\
        200 requestType|201 requestId requestType payload reason|202 BindHost BindPort|203 BindHost BindPort|204 Path|\
        205 Path|300 channelType|301 channelType|302 channelType reason|\
        303 HostToConnect PortToConnect OriginatorHost OriginatorPort|\
        304 ConnectedHost ConnectedPort OriginatorHost OriginatorPort|305 OriginatorHost OriginatorPort|306 Path|307 Path|\
        308 |400 requestId requestType payload|401 requestId requestType payload reason|402 requestId name value|\
        403 requestId program|404 requestId term columns rows width height modelist|405 requestId|406 requestId signal|\
        407 requestId subsystem|408 requestId columns rows width height|\
        409 requestId singleConnection authProtocol cookie screen|410 requestId|496 |497 |\
        498 signal coreDumped errorMessage languageTag|499 exitStatus|500 stream data|501 requestId reason";
    assert_eq!(all.join("|"), expected);
}

#[test]
fn decoder_prints_what_containerssh_s_prints() {
    let io = message(Some(3), Payload::Io { stream: 1, data: Bytes::from_static(b"hi\xff") });
    let asked = Question { question: "Code:".to_owned(), echo: true };
    let answered = Answer { question: "Code:".to_owned(), answer: "123".to_owned() };
    let challenge =
        Payload::Challenge { username: "me".to_owned(), instruction: String::new(), questions: vec![asked] };
    let answer = Payload::ChallengeAnswer { username: "me".to_owned(), answers: vec![answered] };
    let ended = message(None, Payload::Disconnect {});
    let parts = [connect(), message(None, challenge), message(None, answer), io, ended];
    let (lines, sound) = lines(&recording(&[&parts[..2], &parts[2..]]));
    assert!(sound);
    let line = |number: u64, id: &str, name: &str, payload: Json, channel: Json| {
        json!({"connectionId": ID, "timestamp": 1_700_000_000_123_456_789_i64, "type": number, "typeId": id,
            "typeName": name, "payload": payload, "channelId": channel})
    };
    let asked = json!({"username": "me", "instruction": "", "questions": [{"question": "Code:", "echo": true}]});
    let answered = json!({"username": "me", "answers": [{"question": "Code:", "answer": "123"}]});
    assert_eq!(
        lines,
        [
            line(0, "connect", "Connect", json!({"remoteAddr": "192.0.2.7", "country": "XX"}), Json::Null),
            line(
                108,
                "auth_keyboard_interactive_challenge",
                "Keyboard-interactive authentication challenge",
                asked,
                Json::Null
            ),
            line(
                109,
                "auth_keyboard_interactive_answer",
                "Keyboard-interactive authentication answer",
                answered,
                Json::Null
            ),
            line(500, "io", "I/O", json!({"stream": 1, "data": "aGn/"}), json!(3)),
            line(1, "disconnect", "Disconnect", Json::Null, Json::Null),
        ]
    );
}

#[test]
fn what_the_user_chose_does_not_act_on_the_reader_s_terminal() {
    let program = "a\u{1b}]0;x\u{7}\u{9b}31m\u{202e}b\u{61c}\u{e0041}\u{7f}ü\n🦀".to_owned();
    let mut out = Vec::new();
    let exec = message(Some(0), Payload::Exec { request_id: 1, program: program.clone() });
    decode(&recording(&[&[exec]])[..], &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let acts = |c: char| c.is_control() || "\u{202e}\u{61c}\u{e0041}".contains(c);
    assert!(!text.trim_end().chars().any(acts), "{text:?}");
    assert!(text.contains("ü") && text.contains("🦀"));
    assert_eq!(serde_json::from_str::<Json>(&text).unwrap()["payload"]["program"], program);
}

#[test]
fn cut_recording_decodes_up_to_its_last_whole_message() {
    let io = |n: u8| message(Some(0), Payload::Io { stream: 1, data: vec![n; 1000].into() });
    let parts: Vec<Vec<Message>> = (0..3).map(|n| vec![io(n), io(n + 100)]).collect();
    let whole = recording(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let all: Vec<_> = parts.concat().into_iter().map(Ok).collect();
    assert_eq!(messages(&whole), all);
    let mut seen = 0;
    for end in 40..whole.len() {
        let read = messages(&whole[..end]);
        assert!(read.len() <= all.len() && read == all[..read.len()], "cut at {end}");
        assert!(read.len() >= seen, "a longer recording has fewer messages");
        seen = read.len();
    }
    assert_eq!(seen, all.len(), "nothing of a part is lost with its checksum");
    for end in 0..40 {
        assert!(matches!(Messages::open(&whole[..end]), Err(DecodeError::NotARecording)));
    }
}

#[test]
fn recording_that_ends_inside_a_message_is_told_from_one_that_does_not() {
    let content = b"\xa1\x64type\x01\xa1\x64type\x01";
    for (end, is_cut) in [(0, false), (1, true), (3, true), (7, false), (8, true), (14, false)] {
        let read = decode(&raw(2, &content[..end])[..], &mut Vec::new()).unwrap();
        assert_eq!(read, if is_cut { End::Cut } else { End::Whole }, "cut at {end}");
    }
    let whole = include_bytes!("../../tests/fuzz/seeds/recording/version-2");
    assert_eq!(decode(&whole[..whole.len() / 2], &mut Vec::new()).unwrap(), End::Cut);
}

#[test]
fn file_that_fails_is_told_from_a_damaged_one() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk failed"))
        }
    }
    let mut whole = recording(&[&[connect()], &[connect()]]);
    let failed = decode(whole[..60].chain(Failing), &mut Vec::new());
    assert!(matches!(failed, Err(DecodeError::Read(_))), "{failed:?}");
    let mid = 40 + (whole.len() - 40) / 2;
    whole[mid..mid + 4].fill(0xff);
    let damaged = decode(&whole[..], &mut Vec::new());
    assert!(matches!(damaged, Err(DecodeError::Damaged(_))), "{damaged:?}");
}

#[test]
fn recording_as_containerssh_writes_it_is_read() {
    // One gzip stream, flushed behind each message and never finished.
    let flushed = |raw: &[Vec<u8>]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        for message in raw {
            encoder.write_all(message).unwrap();
            encoder.flush().unwrap();
        }
        encoder.get_ref().clone()
    };
    let mut raw = [Vec::new(), Vec::new()];
    encode(&connect(), &mut raw[0]).unwrap();
    encode(&message(None, Payload::Disconnect {}), &mut raw[1]).unwrap();
    let second = [&header()[..], &flushed(&raw)].concat();
    let expected = vec![Ok(connect()), Ok(message(None, Payload::Disconnect {}))];
    assert_eq!(messages(&second), expected);
    // Version 1 has the messages in a list without a length.
    let mut first = header();
    first[32] = 1;
    let list = [vec![vec![0x9f]], raw.to_vec()].concat();
    assert_eq!(messages(&[&first[..], &flushed(&list)].concat()), expected);
    let ended = [list, vec![vec![0xff]]].concat();
    assert_eq!(messages(&[&first[..], &flushed(&ended)].concat()), expected);
    first[32] = 3;
    assert!(matches!(Messages::open(&first[..]), Err(DecodeError::Version(3))));
}

#[test]
fn id_of_containerssh_0_3_becomes_hexadecimal_digits() {
    let value = Value::Map(vec![
        ("connectionId".to_owned(), Value::Bytes(vec![0x01, 0xab].into())),
        ("type".to_owned(), Value::Integer(1)),
    ]);
    assert_eq!(Message::of_value(value).unwrap().connection, "01ab");
}

#[test]
fn message_of_a_strange_shape_hides_none_behind_it() {
    let strange = Payload::Other { number: 499, payload: Value::Text("no map".to_owned()) };
    let unknown = Payload::Other { number: 4711, payload: Value::List(vec![Value::Bool(true)]) };
    let all = [message(None, strange), message(None, unknown.clone()), message(None, Payload::Disconnect {})];
    let read = messages(&recording(&[&all]));
    assert_eq!(read[0], Err("a message of type 499 has a value of a wrong type".to_owned()));
    assert_eq!(read[1].as_ref().unwrap().payload, unknown);
    assert_eq!(read.len(), 3);
    let (lines, sound) = lines(&recording(&[&all]));
    assert!(!sound && lines[0]["error"].is_string() && lines[2]["typeId"] == "disconnect");
}

#[test]
fn length_that_a_stranger_claims_takes_no_memory() {
    for head in [&b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"[..], b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff\x00", &[0x81; 64]]
    {
        let recording = [&header()[..], &compress(head).unwrap()].concat();
        let read = messages(&recording);
        assert!(read.iter().all(Result::is_err), "{read:?}");
    }
    // A list of small items is a message, too, and has the same limit.
    let endless = [vec![0x9f], vec![0xf6; 2 << 20]].concat();
    let read = messages(&[&header()[..], &compress(&endless).unwrap()].concat());
    assert!(read[0].as_ref().is_err_and(|error| error.contains("longer than")), "{read:?}");
}

/// A recording whose content is these bytes.
fn raw(version: u8, content: &[u8]) -> Vec<u8> {
    let mut header = header();
    header[32] = version;
    [&header[..], &compress(content).unwrap()].concat()
}

#[test]
fn text_that_is_not_utf_8_hides_nothing() {
    let mut content = Vec::new();
    let exec = Payload::Exec { request_id: 1, program: "a?b".to_owned() };
    encode(&message(Some(0), exec), &mut content).unwrap();
    let place = content.iter().position(|byte| *byte == b'?').unwrap();
    content[place] = 0xff;
    encode(&message(None, Payload::Disconnect {}), &mut content).unwrap();
    let read = messages(&raw(2, &content));
    let exec = Payload::Exec { request_id: 1, program: "a\u{fffd}b".to_owned() };
    assert_eq!(read, [Ok(message(Some(0), exec)), Ok(message(None, Payload::Disconnect {}))]);
}

#[test]
fn text_may_come_in_parts_that_divide_a_character() {
    // {"type": 403, "payload": {"program": (_ h'c3', h'bc')}}
    let content = b"\xa2\x64type\x19\x01\x93\x67payload\xa1\x67program\x7f\x61\xc3\x61\xbc\xff";
    let read = messages(&raw(2, content));
    let payload = Payload::Exec { request_id: 0, program: "ü".to_owned() };
    assert_eq!(read, [Ok(Message { connection: String::new(), timestamp: 0, channel: None, payload })]);
}

#[test]
fn key_that_comes_twice_is_a_fault() {
    let content = b"\xa3\x64type\x01\x64type\x00\x69timestamp\x05\xa1\x64type\x01";
    let read = messages(&raw(2, content));
    assert_eq!(read.len(), 2);
    assert!(read[0].is_err() && read[1].is_ok(), "{read:?}");
}

#[test]
fn what_follows_the_list_of_version_1_is_told() {
    let list = [&b"\x9f\xa1\x64type\x01\xff"[..]].concat();
    assert!(messages(&raw(1, &list)).iter().all(Result::is_ok));
    for behind in [&b"\xa1\x64type\x01"[..], b"\xff", b"\x1c"] {
        let read = messages(&raw(1, &[&list[..], behind].concat()));
        assert!(read.len() == 2 && read[0].is_ok() && read[1].is_err(), "{read:?}");
    }
}

#[test]
fn line_is_the_text_that_go_prints() {
    let mut out = Vec::new();
    let exec = Payload::Exec { request_id: 7, program: "<a> & b".to_owned() };
    decode(&recording(&[&[message(Some(3), exec), message(None, Payload::Disconnect {})]])[..], &mut out).unwrap();
    let expected = concat!(
        r#"{"connectionId":"0123456789abcdef0123456789abcdef","timestamp":1700000000123456789,"type":403,"#,
        r#""typeId":"exec","typeName":"Execute program","#,
        r#""payload":{"requestId":7,"program":"\u003ca\u003e \u0026 b"},"channelId":3}"#,
        "\n",
        r#"{"connectionId":"0123456789abcdef0123456789abcdef","timestamp":1700000000123456789,"type":1,"#,
        r#""typeId":"disconnect","typeName":"Disconnect","payload":null,"channelId":null}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

fn payloads() -> impl Strategy<Value = Payload> {
    let texts = (any::<String>(), any::<String>(), any::<Vec<u8>>(), any::<u32>(), 0..Payload::every().len());
    texts.prop_map(|(one, two, bytes, number, which)| {
        let payload = Payload::every().swap_remove(which);
        let Value::Map(fields) = payload.to_value() else {
            return payload;
        };
        let filled = fields.into_iter().map(|(key, value)| {
            let value = match value {
                Value::Text(_) => Value::Text(if key.len() % 2 == 0 { one.clone() } else { two.clone() }),
                Value::Bytes(_) => Value::Bytes(bytes.clone().into()),
                Value::Integer(_) => Value::Integer((number % 256).into()),
                Value::Bool(_) => Value::Bool(number % 2 == 0),
                other => other,
            };
            (key, value)
        });
        Payload::of_value(payload.number(), Value::Map(filled.collect())).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_decoded(
        payloads in prop::collection::vec((payloads(), prop::option::of(any::<u32>()), any::<i64>()), 1..8),
        parts in 1_usize..4,
    ) {
        let all: Vec<Message> = payloads
            .into_iter()
            .map(|(payload, channel, timestamp)| Message {
                timestamp,
                ..message(channel.map(u64::from), payload)
            })
            .collect();
        let whole = recording(&all.chunks(parts).collect::<Vec<_>>());
        let read: Vec<Message> = messages(&whole).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(read, all);
    }

    #[test]
    fn foreign_bytes_break_no_decoder(data in prop::collection::vec(any::<u8>(), 0..512)) {
        super::fuzz(&data);
    }
}
