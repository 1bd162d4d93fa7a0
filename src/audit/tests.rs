//! Every event as its line: code, level, details, and nothing secret.

use super::capture::refusing;
use super::*;
use crate::auth::AuthMethod;
use crate::guest::{Exit, ListenerAddress};
use crate::policy::{Denied, Dial, Listen, ProgramRequest, Terminal, X11Forwarding};
use crate::telemetry::{Country, LogFormat, capture};
use crate::types::{ConnectionId, EnvName, Modes, Size};
use podgate_webhooks::wire::Certificate;
use serde_json::{Value, json};
use std::time::Duration;

/// The line that an event makes, without time and connection.
fn line(event: Event<'_>) -> (String, String, Value) {
    let (log, captured) = capture::log(LogFormat::Ljson);
    let connection = log.connection(ConnectionId::random(), "192.0.2.7:1".parse().unwrap());
    Recorder::new(connection).record(event).unwrap();
    let text = captured.text(&log);
    assert_eq!(text.lines().count(), 1, "{text}");
    let mut line: Value = serde_json::from_str(&text).unwrap();
    let details = line["details"].as_object_mut().unwrap();
    assert!(details.remove("connectionId").is_some() && details.remove("remoteAddr").is_some());
    let part = |name: &str| line[name].as_str().unwrap().to_owned();
    (part("level"), part("code"), line["details"].clone())
}

/// A shell that ran for so long, and carried 7 bytes in and 9 out.
fn ran(duration: Duration) -> ProgramRun<'static> {
    let traffic = Traffic { received: 7, sent: 9 };
    ProgramRun { request: &ProgramRequest::Shell, terminal: false, duration, traffic }
}

/// The details of a line with those of [`ran`].
fn told(mut details: Value, duration: &str) -> Value {
    for (key, value) in [("duration", duration), ("bytesReceived", "7"), ("bytesSent", "9")] {
        details[key] = json!(value);
    }
    details
}

fn assert_line(event: Event<'_>, level: &str, code: &str, details: Value) {
    assert_eq!(line(event), (level.to_owned(), code.to_owned(), details), "{event:?}");
}

#[test]
fn failures_of_a_login_say_why() {
    let method = AuthMethod::PublicKey;
    let reason = "the key was refused";
    let why = json!({"method": "publickey", "reason": reason});
    let key = PresentedKey::default();
    assert_line(Event::AuthFailed { method, reason, message: None, key }, "info", "SSH_AUTH_FAILED", why.clone());
    let said = json!({"method": "publickey", "reason": reason, "message": "it expired"});
    let failed = Event::AuthFailed { method, reason, message: Some("it expired"), key };
    assert_line(failed, "info", "SSH_AUTH_FAILED", said);
    assert_line(Event::ConfigDenied { message: None }, "info", "CONFIG_DENIED", json!({}));
    let denied = Event::ConfigDenied { message: Some("no pod for you") };
    assert_line(denied, "info", "CONFIG_DENIED", json!({"message": "no pod for you"}));
    assert_line(Event::AuthUnavailable { method, reason, logged: false }, "info", "SSH_AUTH_UNAVAILABLE", why);
    assert_line(Event::BadUsername { reason: "is empty" }, "info", "SSH_AUTH_FAILED", json!({"reason": "is empty"}));
    let offer = Event::NoCommonAlgorithm { kind: "cipher", offered: "a,b", remedy: "ssh.ciphers: [a]" };
    let details = json!({"algorithm": "cipher", "offered": "a,b", "remedy": "ssh.ciphers: [a]"});
    assert_line(offer, "info", "SSH_HANDSHAKE_FAILED", details);
    assert_line(Event::NotUtf8 { what: "a name" }, "info", "SSH_DECODE_FAILED", json!({"what": "a name"}));
    let method = "certificate";
    assert_line(Event::NotOffered { method }, "info", "SSH_AUTH_UNAVAILABLE", json!({"method": method}));
    assert_line(Event::LoginTimeout, "info", "SSH_HANDSHAKE_FAILED", json!({}));
    let failed = Event::AdmissionFailed { reason: "no pod", logged: false };
    assert_line(failed, "error", "SSH_BACKEND_REJECTED_HANDSHAKE", json!({"reason": "no pod"}));
    let abandoned = Event::Abandoned { reason: "the image is being pulled" };
    assert_line(abandoned, "info", "SSH_LOGIN_ABANDONED", json!({"reason": "the image is being pulled"}));
}

#[test]
fn key_of_a_login_can_be_traced_and_no_value_makes_a_long_line() {
    let certificate = Certificate {
        key_id: "i".repeat(20_000),
        serial: "7".to_owned(),
        principals: vec![],
        valid_after: 0,
        valid_before: None,
        ca_public_key: String::new(),
        ca_fingerprint: "SHA256:ca".to_owned(),
        critical_options: Default::default(),
        extensions: Default::default(),
    };
    let key = PresentedKey { fingerprint: Some("SHA256:key"), certificate: Some(&certificate) };
    let method = AuthMethod::PublicKey;
    let shown = "i".repeat(255) + "…";
    let of_key = json!({"fingerprint": "SHA256:key", "keyId": shown, "serial": "7", "ca": "SHA256:ca"});
    for event in
        [Event::AuthSucceeded { method, key }, Event::AuthFailed { method, reason: "expired", message: None, key }]
    {
        let (_, _, mut details) = line(event);
        let details_map = details.as_object_mut().unwrap();
        details_map.remove("method");
        details_map.remove("reason");
        assert_eq!(details, of_key, "{event:?}");
    }
    let long = "a".repeat(60_000);
    let (_, _, details) = line(Event::BadUsername { reason: &long });
    assert_eq!(details["reason"].as_str().map(|told| told.chars().count()), Some(4097));
}

#[test]
fn failure_that_has_its_line_is_told_again_at_debug_alone() {
    let (method, reason, duration) = (AuthMethod::Password, "no answer", Duration::ZERO);
    let refusal = Refusal { logged: true, ..Refusal::new("the image cannot be pulled") };
    let lost = Exit::Lost(refusal.clone());
    for event in [
        Event::AuthUnavailable { method, reason, logged: true },
        Event::AdmissionFailed { reason, logged: true },
        Event::ProgramRefused { request: &ProgramRequest::Shell, refusal: &refusal },
        Event::ProgramEnded { exit: &lost, run: ran(duration) },
    ] {
        assert_eq!(line(event).0, "debug", "{event:?}");
    }
}

#[test]
fn denials_carry_the_code_of_their_kind() {
    let secret = ProgramRequest::Exec("login --password=s3cret".into());
    let tcp = Dial::Tcp { host: "db".into(), port: 80 };
    let unix = Dial::Unix { path: "/s".into() };
    let listen = Listen::Tcp { host: "db".into(), port: 80 };
    let listen_unix = Listen::Unix { path: "/s".into() };
    let x11 = Listen::X11(X11Forwarding::default());
    for (request, denied, name, code) in [
        (RequestKind::Session, Denied::Sessions, "session", "SECURITY_MAX_SESSIONS"),
        (RequestKind::Program(&ProgramRequest::Shell), Denied::Shell, "shell", "SECURITY_SHELL_REJECTED"),
        (RequestKind::Program(&secret), Denied::CommandFiltered, "exec", "SECURITY_EXEC_REJECTED"),
        (RequestKind::Terminal, Denied::Tty, "pty-req", "SECURITY_TTY_REJECTED"),
        (RequestKind::Environment, Denied::EnvProtected, "env", "SECURITY_ENV_REJECTED"),
        (RequestKind::Signal, Denied::Signal, "signal", "SECURITY_SIGNAL_REJECTED"),
        (RequestKind::Dial(&tcp), Denied::Direct, "direct-tcpip", "SECURITY_FORWARDING_REJECTED"),
        (RequestKind::Dial(&unix), Denied::Socket, "direct-streamlocal@openssh.com", "SECURITY_FORWARDING_REJECTED"),
        (RequestKind::Listen(&listen), Denied::Reverse, "tcpip-forward", "SECURITY_REVERSE_FORWARDING_REJECTED"),
        (
            RequestKind::Listen(&listen_unix),
            Denied::SocketListen,
            "streamlocal-forward@openssh.com",
            "SECURITY_REVERSE_FORWARDING_REJECTED",
        ),
        (
            RequestKind::Listen(&Listen::Agent),
            Denied::Agent,
            "auth-agent-req@openssh.com",
            "SECURITY_AGENT_FORWARDING_REJECTED",
        ),
        (RequestKind::Listen(&x11), Denied::X11, "x11-req", "SECURITY_X11_FORWARDING_REJECTED"),
    ] {
        let details = json!({"request": name, "reason": denied.to_string()});
        assert_line(Event::Denied { request, denied: &denied }, "info", code, details);
    }
    let (sftp, denied) = (ProgramRequest::Subsystem("sftp".into()), Denied::Subsystem);
    let details = json!({"request": "subsystem", "subsystem": "sftp", "reason": denied.to_string()});
    let request = RequestKind::Program(&sftp);
    assert_line(Event::Denied { request, denied: &denied }, "info", "SECURITY_SUBSYSTEM_REJECTED", details);
}

#[test]
fn lost_program_is_not_told_as_an_exit() {
    let lost = Exit::Lost(Refusal::new("the pod is gone").detail("evicted"));
    let run = ran(Duration::from_millis(1_234));
    for (exit, code, details) in [
        (lost, "SSH_EXIT_CODE_FAILED", json!({"reason": "the pod is gone", "status": "255", "detail": "evicted"})),
        (Exit::Status(7), "SSH_EXIT", json!({"status": "7"})),
        (
            Exit::Signal { name: "KILL".into(), core: false },
            "SSH_EXIT_SIGNAL",
            json!({"signal": "KILL", "core": "false"}),
        ),
    ] {
        assert_line(Event::ProgramEnded { exit: &exit, run }, "info", code, told(details, "1.234s"));
    }
}

#[test]
fn program_is_named_before_it_starts() {
    for (request, details) in [
        (ProgramRequest::Shell, json!({"request": "shell", "terminal": "true"})),
        (ProgramRequest::Exec("ls -l".into()), json!({"request": "exec", "command": "ls -l", "terminal": "true"})),
        (
            ProgramRequest::Subsystem("sftp".into()),
            json!({"request": "subsystem", "subsystem": "sftp", "terminal": "true"}),
        ),
    ] {
        let event = Event::ProgramStarting { request: &request, terminal: true };
        assert_line(event, "debug", "SSH_CHANNEL_REQUEST", details.clone());
        let started = Event::ProgramStarted { request: &request, terminal: true };
        let mut without_command = details;
        without_command.as_object_mut().unwrap().remove("command");
        assert_line(started, "info", "SSH_CHANNEL_REQUEST_SUCCESSFUL", without_command);
    }
    let refusal = Refusal::new("not found");
    let details = json!({"reason": "not found", "status": "255"});
    let refused = Event::ProgramRefused { request: &ProgramRequest::Shell, refusal: &refusal };
    assert_line(refused, "info", "SSH_CHANNEL_REQUEST_FAILED", details.clone());
    assert_line(Event::SignalRefused { refusal: &refusal }, "debug", "SSH_CHANNEL_REQUEST_FAILED", details);
}

#[test]
fn the_rest_has_its_codes_too() {
    let name = EnvName::parse("LANG").unwrap();
    let size = Size { columns: 80, rows: 24 };
    let terminal = Terminal { term: "xterm".into(), size, modes: Modes::default() };
    let method = AuthMethod::Password;
    let (duration, traffic) = (Duration::from_millis(61_500), Traffic { received: 7, sent: 9 });
    for (event, level, code, details) in [
        (Event::Connected { proxy: None, country: None }, "debug", "SSH_CONNECTED", json!({})),
        (
            Event::Connected { proxy: Some(([192, 0, 2, 9], 40_000).into()), country: Some(Country::UNKNOWN) },
            "debug",
            "SSH_CONNECTED",
            json!({"proxyAddr": "192.0.2.9:40000", "country": "XX"}),
        ),
        (
            Event::Disconnected { reason: None, duration, traffic, health_check: false },
            "info",
            "SSH_DISCONNECTED",
            json!({"duration": "61.500s", "bytesReceived": "7", "bytesSent": "9"}),
        ),
        (
            Event::Disconnected { reason: Some("cut"), duration, traffic, health_check: false },
            "info",
            "SSH_DISCONNECTED",
            json!({"reason": "cut", "duration": "61.500s", "bytesReceived": "7", "bytesSent": "9"}),
        ),
        (Event::AuthAttempt { method }, "debug", "SSH_AUTH_ATTEMPT", json!({"method": "password"})),
        (
            Event::AuthSucceeded { method, key: PresentedKey::default() },
            "info",
            "SSH_AUTH_SUCCESSFUL",
            json!({"method": "password"}),
        ),
        (Event::Admitted, "debug", "SSH_HANDSHAKE_SUCCESSFUL", json!({})),
        (Event::ChannelOpened { channel: 3 }, "debug", "SSH_NEW_CHANNEL", json!({"channelId": "3"})),
        (Event::EnvSet { name: &name }, "debug", "SSH_CHANNEL_REQUEST", json!({"request": "env", "name": "LANG"})),
        (
            Event::Disconnected { reason: Some("cut"), duration, traffic, health_check: true },
            "debug",
            "SSH_DISCONNECTED",
            json!({"reason": "cut", "duration": "61.500s", "bytesReceived": "7", "bytesSent": "9"}),
        ),
        (
            Event::TerminalOpened { terminal: &terminal },
            "debug",
            "SSH_CHANNEL_REQUEST",
            json!({"request": "pty-req", "term": "xterm"}),
        ),
        (Event::ProgramLeft { run: ran(duration) }, "info", "SSH_PROGRAM_LEFT", told(json!({}), "61.500s")),
        (Event::Resized { size }, "debug", "SSH_CHANNEL_REQUEST", json!({"width": "80", "height": "24"})),
        (Event::Signalled { name: "INT" }, "debug", "SSH_CHANNEL_REQUEST", json!({"signal": "INT"})),
        (Event::WindowIgnored, "warning", "SSH_WINDOW_IGNORED", json!({})),
        (Event::ProtocolBroken { how: "so" }, "info", "SSH_PROTOCOL_BROKEN", json!({"reason": "so"})),
        (Event::ExtendedDataIgnored, "info", "SSH_NOT_IMPLEMENTED", json!({})),
        (Event::LimitHit { limit: "channels" }, "info", "SSH_LIMIT", json!({"limit": "channels"})),
    ] {
        assert_line(event, level, code, details);
    }
}

#[test]
fn forward_is_told_with_its_target_and_whoever_refused_it() {
    let dial = Dial::Tcp { host: "db".into(), port: 5432 };
    let refusal = Refusal::new("Connection refused");
    let (duration, traffic) = (Duration::from_millis(61_500), Traffic { received: 7, sent: 9 });
    let (target, listener, origin) = ("db:5432", "localhost:0", "127.0.0.1:40000");
    let display = ListenerAddress::Display { display: "localhost:10.0".into(), authority: "/tmp/x".into() };
    for (event, level, code, details) in [
        (ForwardEvent::Dialing { target: &dial }, "debug", "SSH_FORWARD", json!({"target": target})),
        (
            ForwardEvent::DialRefused { target, channel_type: "direct-tcpip", refusal: &refusal },
            "info",
            "SSH_FORWARD_FAILED",
            json!({"target": target, "reason": "Connection refused"}),
        ),
        (
            ForwardEvent::ForwardOffered { listener, origin },
            "debug",
            "SSH_FORWARD",
            json!({"listener": listener, "origin": origin}),
        ),
        (
            ForwardEvent::ForwardDeclined { listener, reason: "Connect failed" },
            "debug",
            "SSH_FORWARD_FAILED",
            json!({"listener": listener, "reason": "Connect failed"}),
        ),
        (
            ForwardEvent::ForwardEnded { target, channel_type: "direct-tcpip", is_lost: false, duration, traffic },
            "debug",
            "SSH_FORWARD",
            json!({"target": target, "duration": "61.500s", "bytesReceived": "7", "bytesSent": "9"}),
        ),
        (
            ForwardEvent::ForwardLost { target, refusal: &refusal },
            "info",
            "SSH_FORWARD_FAILED",
            json!({"target": target, "reason": "Connection refused"}),
        ),
        (ForwardEvent::ListenerOpening { listener }, "debug", "SSH_LISTENER", json!({"listener": listener})),
        (
            ForwardEvent::ListenerOpened { listener, address: &ListenerAddress::Port(8080) },
            "info",
            "SSH_LISTENER",
            json!({"listener": listener, "address": "8080"}),
        ),
        (
            ForwardEvent::ListenerOpened { listener: "X11", address: &display },
            "info",
            "SSH_LISTENER",
            json!({"listener": "X11", "address": "localhost:10.0"}),
        ),
        (
            ForwardEvent::ListenerRefused { request: &Listen::Agent, listener, refusal: &refusal },
            "info",
            "SSH_LISTENER_FAILED",
            json!({"listener": listener, "reason": "Connection refused"}),
        ),
        (ForwardEvent::ListenerClosed { listener }, "debug", "SSH_LISTENER", json!({"listener": listener})),
    ] {
        assert_line(Event::Forward(event), level, code, details);
    }
}

#[tokio::test]
async fn effect_that_a_sink_refuses_is_an_error_and_ends_the_connection() {
    let (recorder, recorded) = refusing(|event| matches!(event, Event::Signalled { .. }));
    let channel = recorder.channel(3);
    assert_eq!(recorder.record(Event::Connected { proxy: None, country: None }), Ok(()));
    assert_eq!(channel.record(Event::WindowIgnored), Ok(()));
    assert!(futures_util::FutureExt::now_or_never(recorder.failed()).is_none());
    assert_eq!(channel.record(Event::Signalled { name: "INT" }), Err(Unrecorded));
    recorder.failed().await;
    assert_eq!(recorded.events(), ["None Connected { proxy: None, country: None }", "Some(3) WindowIgnored"]);
}

#[tokio::test]
async fn fact_that_a_sink_refuses_ends_the_connection() {
    let (recorder, _) = refusing(|event| matches!(event, Event::ProgramLeft { .. }));
    recorder.channel(0).note(Event::ProgramLeft { run: ran(Duration::ZERO) });
    recorder.failed().await;
}
