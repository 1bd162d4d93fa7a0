//! Events in the classes of the Open Cybersecurity Schema Framework (OCSF): process activity, SSH activity and file system
//! activity. What the schema has no attribute for is in `unmapped`.

use super::origin::{Origin, begun, insert, words};
use crate::audit::details::cut;
use crate::audit::event::{Event, ProgramRun, RequestKind};
use crate::audit::forward_event::ForwardEvent;
use crate::audit::sftp_trail::{FileAction, FileOperation, FileOutcome, FileUse};
use crate::audit::traffic::Traffic;
use crate::guest::{Exit, Refusal, RefusalKind};
use crate::policy::ProgramRequest;
use crate::telemetry::Country;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The version of the schema.
pub(super) const VERSION: &str = "1.3.0";

/// A class of the schema with its category.
#[derive(Debug, Clone, Copy)]
struct Class {
    uid: u32,
    category: u32,
}

const PROCESS_ACTIVITY: Class = Class { uid: 1007, category: 1 };
const FILE_ACTIVITY: Class = Class { uid: 1001, category: 1 };
const SSH_ACTIVITY: Class = Class { uid: 4007, category: 4 };

/// Numbers of activities.
mod activity {
    pub(super) const LAUNCH: u32 = 1;
    pub(super) const TERMINATE: u32 = 2;
    pub(super) const CLOSE: u32 = 2;
    pub(super) const FAIL: u32 = 4;
    // Of files.
    pub(super) const CREATE: u32 = 1;
    pub(super) const READ: u32 = 2;
    pub(super) const UPDATE: u32 = 3;
    pub(super) const DELETE: u32 = 4;
    pub(super) const RENAME: u32 = 5;
    pub(super) const SET_ATTRIBUTES: u32 = 6;
    pub(super) const OTHER: u32 = 99;
}

/// `status_id`.
const SUCCESS: u32 = 1;
const FAILURE: u32 = 2;
/// Of a request whose answer was lost.
const UNKNOWN: u32 = 0;
/// `severity_id`: informational.
const SEVERITY: u32 = 1;
/// `type_id` of a device that is none of the listed ones.
const OTHER_DEVICE: u32 = 99;
/// `type_id` of a file.
const UNKNOWN_FILE: u32 = 0;
const REGULAR_FILE: u32 = 1;
const FOLDER: u32 = 2;
const SYMBOLIC_LINK: u32 = 7;
/// `algorithm_id` of a fingerprint.
const SHA_256: u32 = 3;
/// `connection_info.direction_id`.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// The object of an event.
pub(super) fn object(event: &Event<'_>, origin: &Origin, commands: bool) -> Option<Value> {
    Some(match *event {
        Event::ProgramEnded { exit, run } => {
            let mut object = ran(origin, &run, commands);
            ended(&mut object, exit);
            object
        }
        Event::ProgramLeft { run } => {
            let mut object = ran(origin, &run, commands);
            insert(&mut object, "status_detail", "the client left while the program ran");
            object
        }
        Event::ProgramRefused { request, refusal } => {
            let mut object = program(origin, activity::LAUNCH, (request, commands));
            insert(&mut object, "status_id", refused(refusal));
            insert(&mut object, "status_detail", cut(&refusal.reason));
            object
        }
        Event::Forward(ForwardEvent::ForwardEnded { target, channel_type, is_lost, duration, traffic }) => {
            let mut object = forward(origin, activity::CLOSE, (channel_type, target));
            insert(&mut object, "status_id", if is_lost { FAILURE } else { SUCCESS });
            insert(&mut object, "traffic", carried(traffic));
            over(&mut object, origin, duration);
            object
        }
        Event::Forward(ForwardEvent::DialRefused { target, channel_type, refusal }) => {
            let mut object = forward(origin, activity::FAIL, (channel_type, target));
            insert(&mut object, "status_id", refused(refusal));
            insert(&mut object, "status_detail", cut(&refusal.reason));
            object
        }
        Event::Denied { request: RequestKind::Dial(dial), denied } => {
            let mut object = forward(origin, activity::FAIL, (dial.channel_type(), &dial.to_string()));
            insert(&mut object, "status_id", FAILURE);
            insert(&mut object, "status_detail", denied.to_string());
            object
        }
        Event::Denied { request: RequestKind::Program(request), denied } => {
            let mut object = program(origin, activity::LAUNCH, (request, commands));
            insert(&mut object, "status_id", FAILURE);
            insert(&mut object, "status_detail", denied.to_string());
            object
        }
        Event::File(operation) => file(origin, operation),
        Event::FilesNotFollowed { reason } => {
            let mut object = system(origin, FILE_ACTIVITY, activity::OTHER);
            insert(&mut object, "activity_name", "Not Followed");
            insert(&mut object, "file", json!({"name": "unknown", "type_id": UNKNOWN_FILE}));
            insert(&mut object, "status_id", FAILURE);
            insert(&mut object, "status_detail", reason.to_string());
            object
        }
        _ => return None,
    })
}

/// The `status_id` of what was not started, as far as that is known.
fn refused(refusal: &Refusal) -> u32 {
    if refusal.kind == RefusalKind::Unanswered { UNKNOWN } else { FAILURE }
}

/// The part that every event has.
fn base(origin: &Origin, class: Class, activity: u32) -> Value {
    json!({
        "metadata": {
            "version": VERSION,
            "product": {"name": "Podgate", "vendor_name": "Podgate", "version": env!("CARGO_PKG_VERSION")},
        },
        "time": origin.now.as_millisecond(),
        "category_uid": class.category,
        "class_uid": class.uid,
        "activity_id": activity,
        "type_uid": class.uid * 100 + activity,
        "severity_id": SEVERITY,
        "unmapped": {"connection_id": origin.subject.connection},
    })
}

/// The part of the classes of the system category: who acts, and where.
fn system(origin: &Origin, class: Class, activity: u32) -> Value {
    let mut object = base(origin, class, activity);
    insert(&mut object, "actor", json!({"user": user(origin), "session": {"uid": origin.subject.connection}}));
    insert(&mut object, "device", place(origin));
    insert(&mut object["unmapped"], "remote_addr", origin.subject.remote.as_str());
    insert(&mut object["unmapped"], "country", origin.subject.country.map(Country::code));
    insert(&mut object["unmapped"], "channel_id", origin.channel);
    object
}

fn user(origin: &Origin) -> Value {
    let subject = &origin.subject;
    let name = subject.authenticated.as_deref().or(subject.name.as_deref()).unwrap_or_default();
    let mut user = json!({"name": name, "type_id": 1});
    insert(&mut user, "display_name", subject.name.as_deref());
    user
}

/// The pod; where each program has its own, what is known of them is the connection.
fn place(origin: &Origin) -> Value {
    let name = origin.pod.clone().unwrap_or_else(|| format!("pod of connection {}", origin.subject.connection));
    json!({"type_id": OTHER_DEVICE, "type": "Pod", "name": name})
}

fn program(origin: &Origin, activity: u32, (request, commands): (&ProgramRequest, bool)) -> Value {
    let mut object = system(origin, PROCESS_ACTIVITY, activity);
    let (word, text) = words(request, commands);
    let channel = origin.channel.map_or_else(String::new, |number| format!("/{number}"));
    let mut process = json!({
        "uid": format!("{}{channel}", origin.subject.connection),
        "user": user(origin),
    });
    match request {
        ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_) => insert(&mut process, "cmd_line", text),
        ProgramRequest::Subsystem(_) => insert(&mut process, "name", text),
        ProgramRequest::Shell => insert(&mut process, "name", word),
    }
    insert(&mut object, "process", process);
    insert(&mut object["unmapped"], "request", word);
    object
}

fn ran(origin: &Origin, run: &ProgramRun<'_>, commands: bool) -> Value {
    let mut object = program(origin, activity::TERMINATE, (run.request, commands));
    insert(&mut object["process"], "created_time", begun(origin.now, run.duration).as_millisecond());
    insert(&mut object["process"], "terminated_time", origin.now.as_millisecond());
    insert(&mut object["unmapped"], "terminal", run.terminal);
    insert(&mut object["unmapped"], "traffic", carried(run.traffic));
    over(&mut object, origin, run.duration);
    object
}

fn ended(object: &mut Value, exit: &Exit) {
    match exit {
        Exit::Status(status) => {
            insert(object, "exit_code", *status);
            insert(object, "status_id", if *status == 0 { SUCCESS } else { FAILURE });
        }
        Exit::Signal { name, .. } => {
            insert(object, "status_id", FAILURE);
            insert(object, "status_detail", format!("ended by signal {}", cut(name)));
            insert(&mut object["unmapped"], "exit_signal", cut(name));
        }
        Exit::Lost(refusal) => {
            insert(object, "status_id", FAILURE);
            insert(object, "status_detail", cut(&refusal.reason));
        }
    }
}

/// A forwarded connection. The client is the source of those that it asked for, and the destination of those that came to a
/// listener.
fn forward(origin: &Origin, activity: u32, (channel_type, target): (&str, &str)) -> Value {
    let mut object = base(origin, SSH_ACTIVITY, activity);
    let is_asked_for = channel_type.starts_with("direct-");
    let (client, guest) = (endpoint(&origin.subject.remote), endpoint(&cut(target)));
    let (source, destination) = if is_asked_for { (client, guest) } else { (guest, client) };
    insert(&mut object, "src_endpoint", source);
    insert(&mut object, "dst_endpoint", destination);
    insert(&mut object, "protocol_ver", "2.0");
    let direction = if is_asked_for { INBOUND } else { OUTBOUND };
    insert(&mut object, "connection_info", json!({"direction_id": direction, "uid": origin.subject.connection}));
    insert(&mut object["unmapped"], "channel_id", origin.channel);
    insert(&mut object["unmapped"], "channel_type", channel_type);
    insert(&mut object["unmapped"], "user", user(origin));
    insert(&mut object["unmapped"], "pod", origin.pod.clone());
    object
}

/// The activity of an operation, and the type of its file.
fn file_activity(action: &FileAction) -> (u32, u32) {
    match action {
        FileAction::Open(used) if used.flags & FileUse::WRITE == 0 => (activity::READ, REGULAR_FILE),
        FileAction::Open(used) if used.flags & FileUse::TRUNCATE != 0 => (activity::CREATE, REGULAR_FILE),
        FileAction::Open(_) | FileAction::Copy => (activity::UPDATE, REGULAR_FILE),
        FileAction::Remove => (activity::DELETE, UNKNOWN_FILE),
        FileAction::RemoveDirectory => (activity::DELETE, FOLDER),
        FileAction::Rename => (activity::RENAME, UNKNOWN_FILE),
        FileAction::MakeDirectory => (activity::CREATE, FOLDER),
        FileAction::SetAttributes(_) => (activity::SET_ATTRIBUTES, UNKNOWN_FILE),
        FileAction::SymbolicLink => (activity::CREATE, SYMBOLIC_LINK),
        FileAction::HardLink => (activity::CREATE, UNKNOWN_FILE),
    }
}

fn file(origin: &Origin, FileOperation { action, path, other, outcome }: &FileOperation) -> Value {
    let (activity, kind) = file_activity(action);
    let mut object = system(origin, FILE_ACTIVITY, activity);
    let named = |path: &str| {
        let path = cut(path);
        let name = path.trim_end_matches('/').rsplit('/').next().filter(|name| !name.is_empty());
        json!({"name": name.unwrap_or(&path), "path": path, "type_id": kind})
    };
    let mut file = named(path);
    insert(&mut object["unmapped"], "operation", action.name());
    match action {
        FileAction::Open(used) => {
            if let Some(hash) = &used.sha256 {
                insert(&mut file, "hashes", json!([{"algorithm_id": SHA_256, "algorithm": "SHA-256", "value": hash}]));
            }
            insert(&mut object["unmapped"], "flags", used.flag_words());
            insert(&mut object["unmapped"], "bytes_read", used.read);
            insert(&mut object["unmapped"], "bytes_written", used.written);
            over(&mut object, origin, used.duration);
        }
        FileAction::SetAttributes(set) => {
            insert(&mut object["unmapped"], "size", set.size);
            insert(&mut object["unmapped"], "uid", set.owner.map(|(user, _)| user));
            insert(&mut object["unmapped"], "gid", set.owner.map(|(_, group)| group));
            insert(&mut object["unmapped"], "permissions", set.permissions.map(|bits| format!("{bits:04o}")));
        }
        _ => {}
    }
    insert(&mut object, "file", file);
    match (action, other) {
        (FileAction::Rename, Some(other)) => insert(&mut object, "file_result", named(other)),
        (_, other) => insert(&mut object["unmapped"], "other_path", other.as_deref().map(cut)),
    }
    match outcome {
        FileOutcome::Done => insert(&mut object, "status_id", SUCCESS),
        FileOutcome::Unanswered => insert(&mut object, "status_detail", "the server did not answer"),
        FileOutcome::Failed(code) => {
            insert(&mut object, "status_id", FAILURE);
            insert(&mut object, "status_code", code.to_string());
        }
    }
    object
}

/// An address as people write it: `host:port`, or the path of a socket or another name.
fn endpoint(text: &str) -> Value {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return json!({"ip": address.ip(), "port": address.port()});
    }
    match text.rsplit_once(':') {
        Some((host, port)) if let Ok(port) = port.parse::<u16>() => match host.parse::<IpAddr>() {
            Ok(ip) => json!({"ip": ip, "port": port}),
            Err(_) => json!({"hostname": host, "port": port}),
        },
        _ => json!({"name": text}),
    }
}

/// Bytes from the client come in.
fn carried(Traffic { received, sent }: Traffic) -> Value {
    json!({"bytes_in": received, "bytes_out": sent, "bytes": received.saturating_add(sent)})
}

fn over(object: &mut Value, origin: &Origin, duration: Duration) {
    insert(object, "start_time", begun(origin.now, duration).as_millisecond());
    insert(object, "end_time", origin.now.as_millisecond());
    insert(object, "duration", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
}
