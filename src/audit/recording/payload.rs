//! The message of each event and each wire message: ContainerSSH's types. What has no type there is in the log alone.

use super::requests::{Late, Presented, Requests};
use crate::audit::event::{Event, RequestKind};
use crate::audit::forward_event::ForwardEvent;
use crate::audit::wire_message::{WireMessage, WireSize};
use crate::auth::AuthMethod;
use crate::guest::Exit;
use crate::policy::{Denied, Listen, ProgramRequest};
use crate::types::Intercept;
use bytes::Bytes;
use podgate_recording::Payload;
use std::net::IpAddr;

/// The facts from which messages are made beside their events.
pub(super) struct Facts<'a> {
    pub(super) remote: IpAddr,
    pub(super) channel: Option<u32>,
    pub(super) presented: &'a Presented,
    pub(super) requests: &'a mut Requests,
    pub(super) intercept: Intercept,
}

/// The payload of an event; `None` if recordings have none.
pub(super) fn of_event(event: &Event<'_>, facts: &mut Facts<'_>) -> Option<Payload> {
    Some(match event {
        Event::Connected { country, .. } => Payload::Connect {
            remote_addr: facts.remote.to_string(),
            country: country.unwrap_or_default().code().to_owned(),
        },
        Event::Disconnected { .. } => Payload::Disconnect {},
        Event::AuthAttempt { .. }
        | Event::AuthSucceeded { .. }
        | Event::AuthFailed { .. }
        | Event::AuthUnavailable { .. } => of_login(event, facts)?,
        Event::Admitted => Payload::HandshakeSuccessful { username: facts.presented.username.clone() },
        Event::LoginTimeout => handshake_failed("the client did not log in in time"),
        Event::BadUsername { reason } | Event::AdmissionFailed { reason, .. } => handshake_failed(reason),
        Event::ConfigDenied { message } => {
            handshake_failed(message.unwrap_or("the configuration server refused the login"))
        }
        Event::Locked => handshake_failed("the user is locked"),
        Event::NoCommonAlgorithm { kind, .. } => handshake_failed(&format!("no {kind} in common")),
        Event::ChannelOpened { .. } => {
            facts.requests.open(facts.channel);
            Payload::NewChannelSuccessful { channel_type: "session".to_owned() }
        }
        Event::LimitHit { limit } if facts.channel.is_some() => channel_failed("", limit),
        Event::Denied { request, denied } => of_denial(*request, denied, facts),
        Event::ProgramRefused { refusal, .. } => failed_late(facts, Late::Program, &refusal.reason),
        Event::Signalled { .. } => {
            facts.requests.signalled(facts.channel);
            return None;
        }
        Event::SignalRefused { refusal } => failed_late(facts, Late::Signal, &refusal.reason),
        Event::ProgramEnded { exit, .. } => of_exit(exit),
        Event::Forward(event) => of_forward(event, facts)?,
        _ => return None,
    })
}

fn of_login(event: &Event<'_>, facts: &Facts<'_>) -> Option<Payload> {
    let presented = facts.presented;
    let (username, key) = (presented.username.clone(), presented.key.clone());
    let password = presented.password.as_ref().filter(|_| facts.intercept.passwords);
    let password = password.map_or_else(Bytes::new, |password| Bytes::copy_from_slice(password.expose().as_bytes()));
    Some(match *event {
        Event::AuthAttempt { method: AuthMethod::Password } => Payload::Password { username, password },
        Event::AuthAttempt { method: AuthMethod::PublicKey } => Payload::PublicKey { username, key },
        Event::AuthSucceeded { method: AuthMethod::Password, .. } => Payload::PasswordSuccessful { username, password },
        Event::AuthSucceeded { method: AuthMethod::PublicKey, .. } => Payload::PublicKeySuccessful { username, key },
        Event::AuthFailed { method: AuthMethod::Password, .. } => Payload::PasswordFailed { username, password },
        Event::AuthFailed { method: AuthMethod::PublicKey, .. } => Payload::PublicKeyFailed { username, key },
        Event::AuthUnavailable { method: AuthMethod::Password, reason, .. } => {
            Payload::PasswordBackendError { username, password, reason: reason.to_owned() }
        }
        Event::AuthUnavailable { method: AuthMethod::PublicKey, reason, .. } => {
            Payload::PublicKeyBackendError { username, key, reason: reason.to_owned() }
        }
        _ => return None,
    })
}

fn of_denial(request: RequestKind<'_>, denied: &Denied, facts: &mut Facts<'_>) -> Payload {
    let reason = denied.to_string();
    match request {
        RequestKind::Session => channel_failed("session", &reason),
        RequestKind::Dial(dial) => channel_failed(dial.channel_type(), &reason),
        _ => request_failed(facts, &reason),
    }
}

/// Tells whether a program that was asked for does not run: its channel may get another.
pub(super) fn refuses_program(event: &Event<'_>) -> bool {
    match event {
        Event::ProgramRefused { .. } => true,
        Event::Denied { request, .. } => matches!(request, RequestKind::Program(_)),
        _ => false,
    }
}

/// The payload of a request for a program that is to be started.
pub(super) fn of_program(request: &ProgramRequest, request_id: u64) -> Payload {
    match request {
        ProgramRequest::Shell => Payload::Shell { request_id },
        ProgramRequest::Subsystem(name) => Payload::Subsystem { request_id, subsystem: name.clone() },
        ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_) => {
            Payload::Exec { request_id, program: request.command().unwrap_or_default().into_owned() }
        }
    }
}

fn of_exit(exit: &Exit) -> Payload {
    match exit {
        Exit::Status(status) => Payload::Exit { exit_status: u32::from(*status) },
        Exit::Signal { name, core } => Payload::ExitSignal {
            signal: name.clone(),
            core_dumped: *core,
            error_message: String::new(),
            language_tag: String::new(),
        },
        // What the client is told of a program whose end is not known.
        Exit::Lost(refusal) => Payload::Exit { exit_status: u32::from(refusal.status().max(1)) },
    }
}

fn of_forward(event: &ForwardEvent<'_>, facts: &mut Facts<'_>) -> Option<Payload> {
    Some(match event {
        ForwardEvent::DialRefused { channel_type, refusal, .. } => channel_failed(channel_type, &refusal.reason),
        ForwardEvent::ForwardDeclined { reason, .. } => channel_failed("", reason),
        ForwardEvent::ListenerRefused { request, refusal, .. } => match request {
            Listen::X11(_) => failed_late(facts, Late::X11, &refusal.reason),
            Listen::Agent => failed_late(facts, Late::Agent, &refusal.reason),
            Listen::Tcp { .. } | Listen::Unix { .. } => request_failed(facts, &refusal.reason),
        },
        _ => return None,
    })
}

fn handshake_failed(reason: &str) -> Payload {
    Payload::HandshakeFailed { reason: reason.to_owned() }
}

fn channel_failed(channel_type: &str, reason: &str) -> Payload {
    Payload::NewChannelFailed { channel_type: channel_type.to_owned(), reason: reason.to_owned() }
}

/// Tells that the last request has failed.
fn request_failed(facts: &mut Facts<'_>, reason: &str) -> Payload {
    Payload::RequestFailed { request_id: facts.requests.fail_last(facts.channel), reason: reason.to_owned() }
}

/// Tells that a request has failed which need not be the last.
fn failed_late(facts: &mut Facts<'_>, kind: Late, reason: &str) -> Payload {
    Payload::RequestFailed { request_id: facts.requests.fail_late(facts.channel, kind), reason: reason.to_owned() }
}

/// The payload of a wire message.
pub(super) fn of_wire(message: &WireMessage<'_>, facts: &mut Facts<'_>) -> Payload {
    let channel = facts.channel;
    let mut id = || facts.requests.next(channel);
    match *message {
        WireMessage::Environment { name, value } => {
            Payload::SetEnv { request_id: id(), name: name.to_owned(), value: value.to_owned() }
        }
        WireMessage::Terminal { term, size: WireSize { columns, rows, width, height }, modes } => {
            let (request_id, term, modes) = (id(), term.to_owned(), encoded(modes));
            Payload::Pty { request_id, term, columns, rows, width, height, modes }
        }
        WireMessage::Window(WireSize { columns, rows, width, height }) => {
            Payload::Window { request_id: id(), columns, rows, width, height }
        }
        WireMessage::Signal(signal) => {
            let request_id = facts.requests.next_late(channel, Late::Signal);
            Payload::Signal { request_id, signal: signal.to_owned() }
        }
        WireMessage::X11(x11) => {
            // The cookie opens the client's display.
            let cookie = if facts.intercept.passwords { x11.auth_cookie.clone() } else { String::new() };
            Payload::X11Request {
                request_id: facts.requests.next_late(channel, Late::X11),
                single_connection: x11.single_connection,
                auth_protocol: x11.auth_protocol.clone(),
                cookie,
                screen: x11.screen,
            }
        }
        WireMessage::Agent => Payload::AgentRequest { request_id: facts.requests.next_late(channel, Late::Agent) },
        WireMessage::Shell | WireMessage::Exec(_) | WireMessage::Subsystem(_) => {
            let request_id = facts.requests.next_late(channel, Late::Program);
            match *message {
                WireMessage::Exec(program) => Payload::Exec { request_id, program: program.to_owned() },
                WireMessage::Subsystem(subsystem) => Payload::Subsystem { request_id, subsystem: subsystem.to_owned() },
                _ => Payload::Shell { request_id },
            }
        }
        WireMessage::Failed(reason) => request_failed(facts, reason),
        WireMessage::Opened(channel_type) => {
            facts.requests.open(channel);
            Payload::NewChannelSuccessful { channel_type: channel_type.to_owned() }
        }
        WireMessage::CloseWrite => Payload::CloseWrite {},
        WireMessage::Ending(reason) => Payload::ConnectionEnded { reason: reason.to_owned() },
        WireMessage::Close => {
            facts.requests.close(channel);
            Payload::Close {}
        }
        _ => of_wire_forward(message, facts),
    }
}

fn of_wire_forward(message: &WireMessage<'_>, facts: &mut Facts<'_>) -> Payload {
    let is_request = matches!(
        message,
        WireMessage::ForwardTcp { .. }
            | WireMessage::CancelForwardTcp { .. }
            | WireMessage::ForwardUnix { .. }
            | WireMessage::CancelForwardUnix { .. }
    );
    if is_request {
        // A refusal of the listener is one of this request.
        let _ = facts.requests.next(facts.channel);
    }
    let text = str::to_owned;
    match *message {
        WireMessage::ForwardTcp { host, port } | WireMessage::BoundTcp { host, port } => {
            Payload::ForwardTcp { bind_host: text(host), bind_port: port }
        }
        WireMessage::CancelForwardTcp { host, port } => {
            Payload::CancelForwardTcp { bind_host: text(host), bind_port: port }
        }
        WireMessage::ForwardUnix { path } => Payload::ForwardUnix { path: text(path) },
        WireMessage::CancelForwardUnix { path } => Payload::CancelForwardUnix { path: text(path) },
        WireMessage::DirectTcp { host, port, origin: (originator, originator_port) } => {
            Payload::DirectTcp { host: text(host), port, originator_host: text(originator), originator_port }
        }
        WireMessage::DirectUnix { path } => Payload::DirectUnix { path: text(path) },
        WireMessage::OfferedTcp { host, port, origin: (originator, originator_port) } => {
            Payload::ForwardedTcp { host: text(host), port, originator_host: text(originator), originator_port }
        }
        WireMessage::OfferedUnix { path } => Payload::ForwardedUnix { path: text(path) },
        WireMessage::OfferedX11 { origin: (originator, originator_port) } => {
            Payload::X11Channel { originator_host: text(originator), originator_port }
        }
        _ => Payload::AgentChannel {},
    }
}

/// The modes as RFC 4254 section 8 encodes them.
fn encoded(modes: &[(u8, u32)]) -> Bytes {
    let mut bytes = Vec::with_capacity(modes.len() * 5 + 1);
    for (opcode, argument) in modes {
        bytes.push(*opcode);
        bytes.extend(argument.to_be_bytes());
    }
    bytes.push(0);
    bytes.into()
}
