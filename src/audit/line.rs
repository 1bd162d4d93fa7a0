//! How an event looks in the log: its level, ContainerSSH's code, one sentence, and labels.

use super::{Event, Request, Traffic};
use crate::auth::Method;
use crate::config::Level;
use crate::guest::{Exit, Refusal};
use crate::policy::What;
use std::borrow::Cow;
use std::time::Duration;

type Details<'a> = Vec<(&'static str, Cow<'a, str>)>;

impl Event<'_> {
    pub(super) fn head(&self) -> (Level, &'static str, &'static str) {
        use Level::{Debug, Error, Info, Warning};
        match self {
            Self::Connected => (Debug, "SSH_CONNECTED", "a client connected"),
            Self::Disconnected { .. } => (Info, "SSH_DISCONNECTED", "the connection is over"),
            Self::Abandoned { .. } => (Info, "SSH_LOGIN_ABANDONED", "the client left while it waited"),
            Self::LoginTimeout => (Info, "SSH_HANDSHAKE_FAILED", "the client did not log in in time"),
            Self::BadUsername { .. } => (Info, "SSH_AUTH_FAILED", "the client's user name is not valid"),
            Self::NotOffered { .. } => {
                (Info, "SSH_AUTH_UNAVAILABLE", "the client tries to log in by a method that is not offered")
            }
            Self::AuthAttempt { .. } => (Debug, "SSH_AUTH_ATTEMPT", "the client tries to log in"),
            Self::AuthSucceeded { .. } => (Info, "SSH_AUTH_SUCCESSFUL", "the client logged in"),
            Self::AuthFailed { .. } => (Info, "SSH_AUTH_FAILED", "the login was refused"),
            Self::AuthUnavailable { logged, .. } => {
                (unless(*logged, Info), "SSH_AUTH_UNAVAILABLE", "the login could not be checked")
            }
            Self::Admitted => (Debug, "SSH_HANDSHAKE_SUCCESSFUL", "the connection has its settings"),
            Self::ConfigDenied { .. } => (Info, "CONFIG_DENIED", "the configuration server refused the login"),
            Self::AdmissionFailed { logged, .. } => {
                let level = unless(*logged, Error);
                (level, "SSH_BACKEND_REJECTED_HANDSHAKE", "the connection cannot be served")
            }
            Self::ChannelOpened { .. } => (Debug, "SSH_NEW_CHANNEL", "a session channel opens"),
            Self::Denied { denied, .. } => (Info, denied.code(), "the rules deny a request"),
            Self::Unsupported { .. } => (Info, "SSH_NOT_IMPLEMENTED", "a request cannot be served"),
            Self::EnvSet { .. } => (Debug, "SSH_CHANNEL_REQUEST", "the client sets a variable"),
            Self::TerminalOpened { .. } => (Debug, "SSH_CHANNEL_REQUEST", "the channel gets a terminal"),
            Self::ProgramStarting { .. } => (Debug, "SSH_CHANNEL_REQUEST", "a program is to be started"),
            Self::ProgramStarted { .. } => (Info, "SSH_CHANNEL_REQUEST_SUCCESSFUL", "the program runs"),
            Self::ProgramRefused { refusal } => {
                (unless(refusal.logged, Info), "SSH_CHANNEL_REQUEST_FAILED", "the program could not be started")
            }
            Self::ProgramEnded { exit: Exit::Status(_), .. } => (Info, "SSH_EXIT", "the program ended"),
            Self::ProgramEnded { exit: Exit::Signal { .. }, .. } => {
                (Info, "SSH_EXIT_SIGNAL", "a signal ended the program")
            }
            Self::ProgramEnded { exit: Exit::Lost(refusal), .. } => {
                (unless(refusal.logged, Info), "SSH_EXIT_CODE_FAILED", "it is not known how the program ended")
            }
            Self::ProgramLeft { .. } => (Info, "SSH_PROGRAM_LEFT", "the client left while the program ran"),
            Self::Resized { .. } => (Debug, "SSH_CHANNEL_REQUEST", "the terminal gets another size"),
            Self::Signalled { .. } => (Debug, "SSH_CHANNEL_REQUEST", "a signal goes to the program"),
            Self::SignalRefused { .. } => (Debug, "SSH_CHANNEL_REQUEST_FAILED", "a signal did not reach the program"),
            Self::WindowIgnored => (Warning, "SSH_WINDOW_IGNORED", "the client sent beyond its channel's window"),
            Self::NoCommonAlgorithm { .. } => {
                (Info, "SSH_HANDSHAKE_FAILED", "the client and the gateway have no algorithm in common")
            }
            Self::NotUtf8 { .. } => {
                (Info, "SSH_DECODE_FAILED", "the connection ends: the client sent a string that is not UTF-8")
            }
            Self::ProtocolBroken { .. } => (Info, "SSH_PROTOCOL_BROKEN", "the client broke the protocol"),
            Self::ExtendedDataIgnored => {
                (Info, "SSH_NOT_IMPLEMENTED", "the client sent extended data, which is ignored")
            }
            Self::LimitHit { .. } => (Info, "SSH_LIMIT", "the client reached a limit"),
        }
    }

    pub(super) fn details(&self) -> Details<'_> {
        match *self {
            Self::Connected | Self::LoginTimeout | Self::Admitted | Self::WindowIgnored | Self::ExtendedDataIgnored => {
                Vec::new()
            }
            Self::Disconnected { reason, duration, traffic } => disconnected(reason, duration, traffic),
            Self::BadUsername { reason } | Self::Abandoned { reason } | Self::AdmissionFailed { reason, .. } => {
                vec![("reason", reason.into())]
            }
            Self::AuthAttempt { method } | Self::AuthSucceeded { method } => vec![("method", method.name().into())],
            Self::AuthUnavailable { method, reason, .. } => refused_by(method, reason, None),
            Self::AuthFailed { method, reason, message } => refused_by(method, reason, message),
            Self::ConfigDenied { message } => message.map(|text| ("message", text.into())).into_iter().collect(),
            Self::NotOffered { method } => vec![("method", method.into())],
            Self::ChannelOpened { channel } => vec![("channelId", channel.to_string().into())],
            Self::Denied { request, denied } => {
                vec![("request", request.name().into()), ("reason", denied.to_string().into())]
            }
            Self::Unsupported { request, what } => vec![("request", request.name().into()), ("what", what.into())],
            Self::EnvSet { name } => vec![("request", "env".into()), ("name", name.as_str().into())],
            Self::TerminalOpened { terminal } => {
                vec![("request", "pty-req".into()), ("term", terminal.term.as_str().into())]
            }
            Self::ProgramStarting { what, terminal } => {
                let mut details = program(what, terminal);
                if let What::Command(command) = what {
                    details.insert(1, ("command", command.as_str().into()));
                }
                details
            }
            // A command may hold a secret: it is in the line before, at debug.
            Self::ProgramStarted { what, terminal } => program(what, terminal),
            Self::ProgramRefused { refusal } => refused(refusal),
            Self::SignalRefused { refusal } => refused(refusal),
            Self::ProgramEnded { exit, duration } => {
                let mut details = ended(exit);
                details.push(("duration", seconds(duration)));
                details
            }
            Self::ProgramLeft { duration } => vec![("duration", seconds(duration))],
            Self::Resized { size } => {
                vec![("width", size.columns.to_string().into()), ("height", size.rows.to_string().into())]
            }
            Self::Signalled { name } => vec![("signal", name.into())],
            Self::NoCommonAlgorithm { kind, offered, remedy } => {
                vec![("algorithm", kind.into()), ("offered", offered.into()), ("remedy", remedy.into())]
            }
            Self::NotUtf8 { what } => vec![("what", what.into())],
            Self::ProtocolBroken { how } => vec![("reason", how.into())],
            Self::LimitHit { limit } => vec![("limit", limit.into())],
        }
    }
}

/// The level of an event that another line has told already at its own.
fn unless(logged: bool, level: Level) -> Level {
    if logged { Level::Debug } else { level }
}

/// A duration as ContainerSSH's configuration writes one, in milliseconds' steps.
fn seconds(duration: Duration) -> Cow<'static, str> {
    format!("{:.3}s", duration.as_secs_f64()).into()
}

fn disconnected(reason: Option<&str>, duration: Duration, traffic: Traffic) -> Details<'_> {
    let mut details: Details<'_> = reason.into_iter().map(|reason| ("reason", reason.into())).collect();
    details.push(("duration", seconds(duration)));
    details.push(("bytesReceived", traffic.received.to_string().into()));
    details.push(("bytesSent", traffic.sent.to_string().into()));
    details
}

fn program(what: &What, terminal: bool) -> Details<'_> {
    let mut details: Details<'_> = match what {
        What::Shell => vec![("request", "shell".into())],
        What::Command(_) => vec![("request", "exec".into())],
        What::Subsystem(name) => vec![("request", "subsystem".into()), ("subsystem", name.as_str().into())],
    };
    details.push(("terminal", if terminal { "true" } else { "false" }.into()));
    details
}

fn refused_by<'a>(method: Method, reason: &'a str, message: Option<&'a str>) -> Details<'a> {
    let mut details: Details<'a> = vec![("method", method.name().into()), ("reason", reason.into())];
    details.extend(message.map(|text| ("message", text.into())));
    details
}

fn refused(refusal: &Refusal) -> Details<'_> {
    let mut details: Details<'_> =
        vec![("reason", refusal.reason.as_str().into()), ("status", refusal.status.to_string().into())];
    details.extend(refusal.detail.as_deref().map(|detail| ("detail", detail.into())));
    details
}

fn ended(exit: &Exit) -> Details<'_> {
    match exit {
        Exit::Status(status) => vec![("status", status.to_string().into())],
        Exit::Signal { name, core } => {
            vec![("signal", name.as_str().into()), ("core", if *core { "true" } else { "false" }.into())]
        }
        Exit::Lost(refusal) => refused(refusal),
    }
}

impl Request {
    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Program => "program",
            Self::Terminal => "pty-req",
            Self::Environment => "env",
            Self::Signal => "signal",
            Self::Dial => "dial",
            Self::Listen => "listen",
        }
    }
}
