//! Every event in both forms; in OCSF with the attributes that the schema requires.

use super::ocsf::VERSION;
use super::*;
use crate::audit::sftp_trail::{FileAction, FileOperation, FileOutcome, FileUse, LostThread, NewAttributes};
use crate::audit::{ProgramRun, Traffic};
use crate::guest::{Exit, Refusal, RefusalKind};
use crate::policy::{Denied, Dial, ProgramRequest};
use crate::telemetry::LogSubject;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

const TRAFFIC: Traffic = Traffic { received: 7, sent: 9 };
const DURATION: Duration = Duration::from_millis(1_500);

/// The path of an object, and the sets of attributes of which one must be there.
type Needs = (&'static str, &'static [&'static [&'static str]]);

/// The attributes that OCSF 1.3.0 requires, by class. A path that is absent needs nothing.
const REQUIRED: &[(u64, &[Needs])] = &[
    (
        1007,
        &[
            ("", &[&["actor"], &["device"], &["process"]]),
            ("/process", &[&["pid", "uid"]]),
            ("/process/user", &[&["account", "name", "uid"]]),
            ("/actor", &[&["process", "user", "invoked_by", "session", "app_name", "app_uid"]]),
            ("/actor/user", &[&["account", "name", "uid"]]),
            ("/device", &[&["type_id"], &["ip", "uid", "name", "hostname", "instance_uid", "interface_uid"]]),
        ],
    ),
    (
        1001,
        &[
            ("", &[&["actor"], &["device"], &["file"]]),
            ("/actor", &[&["process", "user", "invoked_by", "session", "app_name", "app_uid"]]),
            ("/actor/user", &[&["account", "name", "uid"]]),
            ("/device", &[&["type_id"], &["ip", "uid", "name", "hostname", "instance_uid", "interface_uid"]]),
            ("/file", &[&["name"], &["type_id"]]),
            ("/file/hashes/0", &[&["algorithm_id"], &["value"]]),
            ("/file_result", &[&["name"], &["type_id"]]),
        ],
    ),
    (
        4007,
        &[
            ("", &[&["src_endpoint", "dst_endpoint"]]),
            ("/src_endpoint", &[&["ip", "uid", "name", "hostname", "svc_name", "instance_uid"]]),
            ("/dst_endpoint", &[&["ip", "uid", "name", "hostname", "svc_name", "instance_uid"]]),
            ("/connection_info", &[&["direction_id"]]),
        ],
    ),
];

/// Attributes that every class requires.
const REQUIRED_OF_ALL: &[&str] =
    &["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"];

fn origin() -> Origin {
    let subject = LogSubject {
        connection: "c1".to_owned(),
        remote: "192.0.2.7:4000".to_owned(),
        name: Some("alice".to_owned()),
        authenticated: Some("alice@example.org".to_owned()),
        country: None,
    };
    let now = Timestamp::from_millisecond(1_700_000_000_000).unwrap();
    Origin { subject, channel: Some(2), pod: Some("guests/podgate-x".to_owned()), now }
}

fn config(format: EventFormat, commands: bool) -> EventsConfig {
    EventsConfig { file: PathBuf::new(), format, commands, sftp_hash: false }
}

fn object(event: &Event<'_>, format: EventFormat) -> Value {
    let line = line(event, &origin(), &config(format, true)).unwrap();
    assert!(!line.contains('\n'), "{line}");
    serde_json::from_str(&line).unwrap()
}

fn run(request: &ProgramRequest) -> ProgramRun<'_> {
    ProgramRun { request, terminal: false, duration: DURATION, traffic: TRAFFIC }
}

fn with_every_operation(judge: &impl Fn(&Event<'_>)) {
    let used = FileUse { flags: 26, read: 0, written: 3, duration: DURATION, sha256: Some("abc".to_owned()) };
    let set = NewAttributes { size: Some(0), owner: Some((1, 2)), permissions: Some(0o644), times: Some((3, 4)) };
    for action in [
        FileAction::Open(used),
        FileAction::Open(FileUse { flags: FileUse::READ, ..FileUse::default() }),
        FileAction::Remove,
        FileAction::Rename,
        FileAction::MakeDirectory,
        FileAction::RemoveDirectory,
        FileAction::SetAttributes(set),
        FileAction::SymbolicLink,
        FileAction::HardLink,
        FileAction::Copy,
    ] {
        for outcome in [FileOutcome::Done, FileOutcome::Failed(4), FileOutcome::Unanswered] {
            for (path, other) in [("a/b", Some("c")), ("/", None), ("", None)] {
                let (path, other) = (path.to_owned(), other.map(str::to_owned));
                judge(&Event::File(&FileOperation { action: action.clone(), path, other, outcome }));
            }
        }
    }
}

fn with_every_event(judge: impl Fn(&Event<'_>)) {
    let refusal = Refusal::new("it is gone");
    let exec = ProgramRequest::Exec("echo \"a\nb\"".to_owned());
    let sftp = ProgramRequest::Subsystem("sftp".to_owned());
    let exits = [
        Exit::Status(0),
        Exit::Status(3),
        Exit::Signal { name: "TERM".to_owned(), core: false },
        Exit::Lost(refusal.clone()),
    ];
    for exit in &exits {
        judge(&Event::ProgramEnded { exit, run: run(&exec) });
    }
    for request in [&exec, &sftp, &ProgramRequest::Shell] {
        judge(&Event::ProgramLeft { run: run(request) });
        judge(&Event::ProgramRefused { request, refusal: &refusal });
    }
    with_every_operation(&judge);
    judge(&Event::FilesNotFollowed { reason: LostThread::TooMany });
    let dial = Dial::Tcp { host: "db".into(), port: 80 };
    for (request, denied) in [
        (RequestKind::Program(&ProgramRequest::Shell), Denied::Shell),
        (RequestKind::Program(&exec), Denied::CommandFiltered),
        (RequestKind::Program(&sftp), Denied::Subsystem),
        (RequestKind::Dial(&dial), Denied::Direct),
    ] {
        judge(&Event::Denied { request, denied: &denied });
    }
    for (channel_type, target) in [
        ("direct-tcpip", "db:5432"),
        ("direct-tcpip", "[::1]:80"),
        ("forwarded-tcpip", "localhost:8080"),
        ("direct-streamlocal@openssh.com", "/run/x.sock"),
        ("x11", "X11"),
    ] {
        for is_lost in [false, true] {
            let ended =
                ForwardEvent::ForwardEnded { target, channel_type, is_lost, duration: DURATION, traffic: TRAFFIC };
            judge(&Event::Forward(ended));
        }
        judge(&Event::Forward(ForwardEvent::DialRefused { target, channel_type, refusal: &refusal }));
    }
}

#[test]
fn every_event_has_what_its_class_of_ocsf_requires() {
    with_every_event(|event| {
        assert!(has_line(event), "{event:?}");
        let object = object(event, EventFormat::Ocsf);
        for key in REQUIRED_OF_ALL {
            assert!(!object[key].is_null(), "{key}: {object}");
        }
        let (class, activity) = (object["class_uid"].as_u64().unwrap(), object["activity_id"].as_u64().unwrap());
        assert_eq!(object["type_uid"], class * 100 + activity, "{object}");
        assert_eq!(object["category_uid"], class / 1000, "{object}");
        assert_eq!((&object["metadata"]["version"], &object["time"]), (&json!(VERSION), &json!(1_700_000_000_000_i64)));
        assert!(object["metadata"]["product"]["vendor_name"].is_string(), "{object}");
        let (_, rows) = REQUIRED.iter().find(|(uid, _)| *uid == class).unwrap_or_else(|| panic!("{object}"));
        for (path, sets) in *rows {
            let Some(part) = object.pointer(path) else { continue };
            for any in *sets {
                assert!(any.iter().any(|key| !part[key].is_null()), "{path} has none of {any:?}: {object}");
            }
        }
    });
}

#[test]
fn every_event_of_the_own_form_names_its_connection_user_pod_and_channel() {
    with_every_event(|event| {
        let object = object(event, EventFormat::Json);
        for (key, value) in [
            ("version", json!(1)),
            ("time", json!("2023-11-14T22:13:20.000Z")),
            ("connectionId", json!("c1")),
            ("remoteAddr", json!("192.0.2.7:4000")),
            ("username", json!("alice")),
            ("authenticatedUsername", json!("alice@example.org")),
            ("pod", json!("guests/podgate-x")),
            ("channelId", json!(2)),
        ] {
            assert_eq!(object[key], value, "{key}: {object}");
        }
        assert!(object["outcome"].is_string(), "{object}");
    });
}

#[test]
fn program_is_told_with_its_command_times_exit_and_bytes() {
    let request = ProgramRequest::Exec("echo \"a\nb\"".to_owned());
    let event = Event::ProgramEnded { exit: &Exit::Status(3), run: run(&request) };
    let told = object(&event, EventFormat::Json);
    for (key, value) in [
        ("event", json!("program")),
        ("request", json!("exec")),
        ("command", json!("echo \"a\nb\"")),
        ("start", json!("2023-11-14T22:13:18.500Z")),
        ("end", json!("2023-11-14T22:13:20.000Z")),
        ("durationMillis", json!(1500)),
        ("outcome", json!("exited")),
        ("exitStatus", json!(3)),
        ("bytesReceived", json!(7)),
        ("bytesSent", json!(9)),
    ] {
        assert_eq!(told[key], value, "{key}: {told}");
    }
    let told = object(&event, EventFormat::Ocsf);
    assert_eq!((&told["exit_code"], &told["status_id"], &told["duration"]), (&json!(3), &json!(2), &json!(1500)));
    assert_eq!(told["process"]["cmd_line"], "echo \"a\nb\"");
    assert_eq!(told["unmapped"]["traffic"]["bytes_in"], 7);
}

#[test]
fn command_is_in_no_line_where_commands_are_not_wanted() {
    let request = ProgramRequest::Exec("mysql --password=s3cret".to_owned());
    let refusal = Refusal::new("not found");
    for format in [EventFormat::Json, EventFormat::Ocsf] {
        for event in [
            Event::ProgramEnded { exit: &Exit::Status(0), run: run(&request) },
            Event::ProgramRefused { request: &request, refusal: &refusal },
            Event::Denied { request: RequestKind::Program(&request), denied: &Denied::CommandFiltered },
        ] {
            let line = line(&event, &origin(), &config(format, false)).unwrap();
            assert!(!line.contains("mysql") && line.contains("exec"), "{line}");
        }
    }
}

#[test]
fn request_whose_answer_was_lost_is_told_as_lost_and_a_refused_one_as_not_started() {
    let request = ProgramRequest::Shell;
    for (kind, outcome, refused, status) in [
        (RefusalKind::Unanswered, "lost", "lost", 0),
        (RefusalKind::NotFound, "notStarted", "refused", 2),
        (RefusalKind::Other, "notStarted", "refused", 2),
    ] {
        let refusal = Refusal::new("no").kind(kind);
        let program = Event::ProgramRefused { request: &request, refusal: &refusal };
        let dial = ForwardEvent::DialRefused { target: "db:1", channel_type: "direct-tcpip", refusal: &refusal };
        for (event, outcome) in [(program, outcome), (Event::Forward(dial), refused)] {
            let told = object(&event, EventFormat::Json);
            assert_eq!((&told["outcome"], &told["reason"]), (&json!(outcome), &json!("no")), "{told}");
            assert_eq!(object(&event, EventFormat::Ocsf)["status_id"], status, "{told}");
        }
    }
}

#[test]
fn long_command_is_cut() {
    let request = ProgramRequest::Exec("a".repeat(100_000));
    let event = Event::ProgramLeft { run: run(&request) };
    for format in [EventFormat::Json, EventFormat::Ocsf] {
        assert!(line(&event, &origin(), &config(format, true)).unwrap().len() < 6_000);
    }
}

#[test]
fn other_events_have_no_line() {
    for event in [
        Event::Admitted,
        Event::WindowIgnored,
        Event::ProgramStarted { request: &ProgramRequest::Shell, terminal: true },
    ] {
        assert!(!has_line(&event));
        for format in [EventFormat::Json, EventFormat::Ocsf] {
            assert_eq!(line(&event, &origin(), &config(format, true)), None);
        }
    }
}
