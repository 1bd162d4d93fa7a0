//! The gateway's own form of events, which docs/events.md describes.

use super::{Origin, begun, insert, words};
use crate::audit::Traffic;
use crate::audit::cut;
use crate::audit::event::{Event, ProgramRun};
use crate::audit::forward_event::ForwardEvent;
use crate::guest::Exit;
use crate::policy::ProgramRequest;
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
            insert(&mut object, "outcome", "notStarted");
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
            insert(&mut object, "outcome", "refused");
            insert(&mut object, "reason", cut(&refusal.reason));
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
