//! The gateway's own form of events, which docs/events.md describes.

use super::origin::{Origin, begun, insert, words};
use crate::audit::details::cut;
use crate::audit::event::{Event, ProgramRun, RequestKind};
use crate::audit::forward_event::ForwardEvent;
use crate::audit::sftp_trail::{FileAction, FileOperation, FileOutcome};
use crate::audit::traffic::Traffic;
use crate::guest::{Exit, RefusalKind};
use crate::policy::ProgramRequest;
use crate::telemetry::Country;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

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
            insert(&mut object, "outcome", "left");
            object
        }
        Event::ProgramRefused { request, refusal } => {
            let mut object = program(origin, request, commands);
            let is_unanswered = refusal.kind == RefusalKind::Unanswered;
            insert(&mut object, "outcome", if is_unanswered { "lost" } else { "notStarted" });
            insert(&mut object, "reason", cut(&refusal.reason));
            object
        }
        Event::Forward(ForwardEvent::ForwardEnded { target, channel_type, is_lost, duration, traffic }) => {
            let mut object = forward(origin, channel_type, target);
            insert(&mut object, "outcome", if is_lost { "lost" } else { "ended" });
            over(&mut object, origin.now, duration, traffic);
            object
        }
        Event::Forward(ForwardEvent::DialRefused { target, channel_type, refusal }) => {
            let mut object = forward(origin, channel_type, target);
            let is_unanswered = refusal.kind == RefusalKind::Unanswered;
            insert(&mut object, "outcome", if is_unanswered { "lost" } else { "refused" });
            insert(&mut object, "reason", cut(&refusal.reason));
            object
        }
        Event::Denied { request: RequestKind::Dial(dial), denied } => {
            let mut object = forward(origin, dial.channel_type(), &dial.to_string());
            insert(&mut object, "outcome", "refused");
            insert(&mut object, "reason", denied.to_string());
            object
        }
        Event::Denied { request: RequestKind::Program(request), denied } => {
            let mut object = program(origin, request, commands);
            insert(&mut object, "outcome", "notStarted");
            insert(&mut object, "reason", denied.to_string());
            object
        }
        Event::File(operation) => file(origin, operation),
        Event::FilesNotFollowed { reason } => {
            let mut object = base(origin, "file");
            insert(&mut object, "outcome", "notFollowed");
            insert(&mut object, "reason", reason.to_string());
            object
        }
        _ => return None,
    })
}

/// The part that every event has.
fn base(origin: &Origin, event: &str) -> Value {
    let Origin { subject, channel, pod, now } = origin;
    let mut object = json!({
        "version": 1,
        "event": event,
        "time": time(*now),
        "connectionId": subject.connection,
        "remoteAddr": subject.remote,
    });
    insert(&mut object, "country", subject.country.map(Country::code));
    insert(&mut object, "username", subject.name.clone());
    insert(&mut object, "authenticatedUsername", subject.authenticated.clone());
    insert(&mut object, "pod", pod.clone());
    insert(&mut object, "channelId", *channel);
    object
}

fn program(origin: &Origin, request: &ProgramRequest, commands: bool) -> Value {
    let mut object = base(origin, "program");
    let (word, text) = words(request, commands);
    insert(&mut object, "request", word);
    let key = if word == "exec" { "command" } else { "subsystem" };
    insert(&mut object, key, text);
    object
}

fn ran(origin: &Origin, run: &ProgramRun<'_>, commands: bool) -> Value {
    let mut object = program(origin, run.request, commands);
    insert(&mut object, "terminal", run.terminal);
    over(&mut object, origin.now, run.duration, run.traffic);
    object
}

fn ended(object: &mut Value, exit: &Exit) {
    match exit {
        Exit::Status(status) => {
            insert(object, "outcome", "exited");
            insert(object, "exitStatus", *status);
        }
        Exit::Signal { name, core } => {
            insert(object, "outcome", "signalled");
            insert(object, "exitSignal", cut(name));
            insert(object, "coreDumped", *core);
        }
        Exit::Lost(refusal) => {
            insert(object, "outcome", "lost");
            insert(object, "reason", cut(&refusal.reason));
        }
    }
}

fn forward(origin: &Origin, channel_type: &str, target: &str) -> Value {
    let mut object = base(origin, "forward");
    insert(&mut object, "channelType", channel_type);
    insert(&mut object, "target", cut(target));
    object
}

fn file(origin: &Origin, FileOperation { action, path, other, outcome }: &FileOperation) -> Value {
    let mut object = base(origin, "file");
    insert(&mut object, "operation", action.name());
    insert(&mut object, "path", cut(path));
    insert(&mut object, "otherPath", other.as_deref().map(cut));
    match outcome {
        FileOutcome::Done => insert(&mut object, "outcome", "done"),
        FileOutcome::Unanswered => insert(&mut object, "outcome", "unanswered"),
        FileOutcome::Failed(code) => {
            insert(&mut object, "outcome", "failed");
            insert(&mut object, "sftpStatus", *code);
        }
    }
    match action {
        FileAction::Open(used) => {
            insert(&mut object, "flags", used.flag_words());
            insert(&mut object, "bytesRead", used.read);
            insert(&mut object, "bytesWritten", used.written);
            insert(&mut object, "durationMillis", u64::try_from(used.duration.as_millis()).unwrap_or(u64::MAX));
            insert(&mut object, "sha256", used.sha256.as_deref());
        }
        FileAction::SetAttributes(set) => {
            insert(&mut object, "size", set.size);
            insert(&mut object, "uid", set.owner.map(|(user, _)| user));
            insert(&mut object, "gid", set.owner.map(|(_, group)| group));
            insert(&mut object, "permissions", set.permissions.map(|bits| format!("{bits:04o}")));
            insert(&mut object, "accessTime", set.times.map(|(access, _)| access));
            insert(&mut object, "modificationTime", set.times.map(|(_, modification)| modification));
        }
        _ => {}
    }
    object
}

/// The times and the bytes of what is over now.
fn over(object: &mut Value, now: Timestamp, duration: Duration, traffic: Traffic) {
    insert(object, "start", time(begun(now, duration)));
    insert(object, "end", time(now));
    insert(object, "durationMillis", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    insert(object, "bytesReceived", traffic.received);
    insert(object, "bytesSent", traffic.sent);
}

/// RFC 3339 with milliseconds, in UTC.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
