//! The log line of each event: its level, ContainerSSH's code, one sentence, and labels.

use super::details::{LineDetails, seconds, unless};
use super::event::{Event, PresentedKey, ProgramRun, RequestKind};
use super::sftp_trail::{FileAction, FileOperation, FileOutcome};
use super::traffic::Traffic;
use crate::auth::AuthMethod;
use crate::guest::{Exit, Refusal, RefusalKind};
use crate::policy::{Denied, Dial, Listen, ProgramRequest};
use crate::telemetry::{Code, Country, Level, codes};
use crate::types::printable;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

/// Limit of a certificate's key ID in a line, in characters. Its authority may have let the user choose it.
const SHOWN_KEY_ID: usize = 256;
/// Limit of a denied subsystem's name in a line, in characters.
const SHOWN_SUBSYSTEM: usize = 64;

impl Event<'_> {
    pub(super) fn head(&self) -> (Code, &'static str) {
        match self {
            Self::Connected { .. } => (codes::SSH_CONNECTED, "a client connected"),
            Self::Disconnected { health_check: true, .. } => {
                (codes::SSH_DISCONNECTED.at(Level::Debug), "a proxy's own connection is over")
            }
            Self::Disconnected { .. } => (codes::SSH_DISCONNECTED, "the connection is over"),
            Self::Abandoned { .. } => (codes::SSH_LOGIN_ABANDONED, "the client left while it waited"),
            Self::LoginTimeout => (codes::SSH_HANDSHAKE_FAILED, "the client did not log in in time"),
            Self::BadUsername { .. } => (codes::SSH_AUTH_FAILED, "the client's user name is not valid"),
            Self::NotOffered { .. } => {
                (codes::SSH_AUTH_UNAVAILABLE, "the client tries to log in by a method that is not offered")
            }
            Self::AuthAttempt { .. } => (codes::SSH_AUTH_ATTEMPT, "the client tries to log in"),
            Self::AuthSucceeded { .. } => (codes::SSH_AUTH_SUCCESSFUL, "the client logged in"),
            Self::AuthFailed { .. } => (codes::SSH_AUTH_FAILED, "the login was refused"),
            Self::AuthUnavailable { logged, .. } => {
                (unless(*logged, codes::SSH_AUTH_UNAVAILABLE), "the login could not be checked")
            }
            Self::Admitted => (codes::SSH_HANDSHAKE_SUCCESSFUL, "the connection has its settings"),
            Self::Locked => (codes::SSH_LOCKED, "the user is locked"),
            Self::ConfigDenied { .. } => (codes::CONFIG_DENIED, "the configuration server refused the login"),
            Self::AdmissionFailed { logged, .. } => {
                (unless(*logged, codes::SSH_BACKEND_REJECTED_HANDSHAKE), "the connection cannot be served")
            }
            Self::ChannelOpened { .. } => (codes::SSH_NEW_CHANNEL, "a session channel opens"),
            Self::Denied { denied, .. } => (denied_code(**denied), "the rules deny a request"),
            Self::Forward(event) => event.head(),
            Self::EnvSet { .. } => (codes::SSH_CHANNEL_REQUEST, "the client sets a variable"),
            Self::TerminalOpened { .. } => (codes::SSH_CHANNEL_REQUEST, "the channel gets a terminal"),
            Self::ProgramStarting { .. } => (codes::SSH_CHANNEL_REQUEST, "a program is to be started"),
            Self::ProgramStarted { .. } => (codes::SSH_CHANNEL_REQUEST_SUCCESSFUL, "the program runs"),
            Self::ProgramRefused { refusal, .. } => not_started(refusal),
            Self::ProgramEnded { exit: Exit::Status(_), .. } => (codes::SSH_EXIT, "the program ended"),
            Self::ProgramEnded { exit: Exit::Signal { .. }, .. } => {
                (codes::SSH_EXIT_SIGNAL, "a signal ended the program")
            }
            Self::ProgramEnded { exit: Exit::Lost(refusal), .. } => {
                (unless(refusal.logged, codes::SSH_EXIT_CODE_FAILED), "it is not known how the program ended")
            }
            Self::ProgramLeft { .. } => (codes::SSH_PROGRAM_LEFT, "the client left while the program ran"),
            Self::File(_) => (codes::SSH_SFTP, "an operation on a file is over"),
            Self::FilesNotFollowed { .. } => (codes::SSH_SFTP_NOT_FOLLOWED, "SFTP is not followed any more"),
            Self::Resized { .. } => (codes::SSH_CHANNEL_REQUEST, "the terminal gets another size"),
            Self::Signalled { .. } => (codes::SSH_CHANNEL_REQUEST, "a signal goes to the program"),
            Self::SignalRefused { .. } => {
                (codes::SSH_CHANNEL_REQUEST_FAILED.at(Level::Debug), "a signal did not reach the program")
            }
            Self::WindowIgnored => (codes::SSH_WINDOW_IGNORED, "the client sent beyond its channel's window"),
            Self::NoCommonAlgorithm { .. } => {
                (codes::SSH_HANDSHAKE_FAILED, "the client and the gateway have no algorithm in common")
            }
            Self::NotUtf8 { .. } => {
                (codes::SSH_DECODE_FAILED, "the connection ends: the client sent a string that is not UTF-8")
            }
            Self::ProtocolBroken { .. } => (codes::SSH_PROTOCOL_BROKEN, "the client broke the protocol"),
            Self::ExtendedDataIgnored => (codes::SSH_NOT_IMPLEMENTED, "the client's extended data is ignored"),
            Self::LimitHit { .. } => (codes::SSH_LIMIT, "the client reached a limit"),
        }
    }

    pub(super) fn details(&self) -> LineDetails<'_> {
        match *self {
            Self::LoginTimeout | Self::Admitted | Self::Locked | Self::WindowIgnored | Self::ExtendedDataIgnored => {
                Vec::new()
            }
            Self::Connected { proxy, country } => connected(proxy, country),
            Self::Disconnected { reason, duration, traffic, .. } => disconnected(reason, duration, traffic),
            Self::BadUsername { reason } | Self::Abandoned { reason } | Self::AdmissionFailed { reason, .. } => {
                vec![("reason", reason.into())]
            }
            Self::AuthAttempt { method } => vec![("method", method.name().into())],
            Self::AuthSucceeded { method, key } => {
                let mut details = vec![("method", method.name().into())];
                details.extend(presented(key));
                details
            }
            Self::AuthUnavailable { method, reason, .. } => refused_by(method, reason, None),
            Self::AuthFailed { method, reason, message, key } => {
                let mut details = refused_by(method, reason, message);
                details.extend(presented(key));
                details
            }
            Self::ConfigDenied { message } => message.map(|text| ("message", text.into())).into_iter().collect(),
            Self::NotOffered { method } => vec![("method", method.into())],
            Self::ChannelOpened { channel } => vec![("channelId", channel.to_string().into())],
            Self::Denied { request, denied } => refused_request(request, *denied),
            Self::Forward(event) => event.details(),
            Self::EnvSet { name } => vec![("request", "env".into()), ("name", name.as_str().into())],
            Self::TerminalOpened { terminal } => {
                vec![("request", "pty-req".into()), ("term", terminal.term.as_str().into())]
            }
            Self::ProgramStarting { request, terminal } => {
                let mut details = program(request, terminal);
                if let Some(command) = request.command() {
                    details.insert(1, ("command", command));
                }
                details
            }
            // A command may hold a secret: it is in the line before, at debug.
            Self::ProgramStarted { request, terminal } => program(request, terminal),
            Self::ProgramRefused { refusal, .. } | Self::SignalRefused { refusal } => refused(refusal),
            Self::ProgramEnded { exit, run } => {
                let mut details = ended(exit);
                details.extend(ran(run));
                details
            }
            Self::ProgramLeft { run } => ran(run).into(),
            Self::File(operation) => file(operation),
            Self::FilesNotFollowed { reason } => vec![("reason", reason.to_string().into())],
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

/// Returns the code of a denial's line.
pub(crate) fn denied_code(denied: Denied) -> Code {
    use Denied::{
        Agent, Command, CommandFiltered, CommandNul, Destination, DialTarget, Direct, Env, EnvName, EnvProtected,
        EnvRestricted, EnvSize, EnvValue, ListenDestination, ListenTarget, Reverse, Sessions, Shell, Signal,
        SignalName, Socket, SocketListen, Subsystem, TermName, Tty, X11, X11Cookie,
    };
    match denied {
        Sessions => codes::SECURITY_MAX_SESSIONS,
        EnvName | EnvValue | EnvProtected | Env | EnvRestricted | EnvSize => codes::SECURITY_ENV_REJECTED,
        Tty | TermName => codes::SECURITY_TTY_REJECTED,
        Shell => codes::SECURITY_SHELL_REJECTED,
        Command | CommandFiltered | CommandNul => codes::SECURITY_EXEC_REJECTED,
        Subsystem => codes::SECURITY_SUBSYSTEM_REJECTED,
        Signal | SignalName => codes::SECURITY_SIGNAL_REJECTED,
        Direct | Socket | Destination | DialTarget => codes::SECURITY_FORWARDING_REJECTED,
        Reverse | SocketListen | ListenDestination | ListenTarget => codes::SECURITY_REVERSE_FORWARDING_REJECTED,
        Agent => codes::SECURITY_AGENT_FORWARDING_REJECTED,
        X11 | X11Cookie => codes::SECURITY_X11_FORWARDING_REJECTED,
    }
}

fn connected(proxy: Option<SocketAddr>, country: Option<Country>) -> LineDetails<'static> {
    let proxy = proxy.map(|proxy| ("proxyAddr", proxy.to_string().into()));
    let country = country.map(|country| ("country", country.code().into()));
    proxy.into_iter().chain(country).collect()
}

fn disconnected(reason: Option<&str>, duration: Duration, traffic: Traffic) -> LineDetails<'_> {
    let mut details: LineDetails<'_> = reason.into_iter().map(|reason| ("reason", reason.into())).collect();
    details.push(("duration", seconds(duration)));
    details.push(("bytesReceived", traffic.received.to_string().into()));
    details.push(("bytesSent", traffic.sent.to_string().into()));
    details
}

/// The head of the line about a program that does not run, as far as that is known.
fn not_started(refusal: &Refusal) -> (Code, &'static str) {
    let text = match refusal.kind {
        RefusalKind::Unanswered => "it is not known whether the program ran",
        _ => "the program could not be started",
    };
    (unless(refusal.logged, codes::SSH_CHANNEL_REQUEST_FAILED), text)
}

fn refused_request(request: RequestKind<'_>, denied: Denied) -> LineDetails<'static> {
    let mut details: LineDetails<'static> = vec![("request", request.name().into())];
    if let RequestKind::Program(ProgramRequest::Subsystem(name)) = request {
        details.push(("subsystem", printable(name, SHOWN_SUBSYSTEM).into()));
    }
    details.push(("reason", denied.to_string().into()));
    details
}

fn program(request: &ProgramRequest, terminal: bool) -> LineDetails<'_> {
    let mut details: LineDetails<'_> = match request {
        ProgramRequest::Shell => vec![("request", "shell".into())],
        ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_) => vec![("request", "exec".into())],
        ProgramRequest::Subsystem(name) => vec![("request", "subsystem".into()), ("subsystem", name.as_str().into())],
    };
    details.push(("terminal", if terminal { "true" } else { "false" }.into()));
    details
}

fn file(operation: &FileOperation) -> LineDetails<'_> {
    let FileOperation { action, path, other, outcome } = operation;
    let mut details: LineDetails<'_> = vec![("operation", action.name().into()), ("path", path.as_str().into())];
    details.extend(other.as_deref().map(|other| ("other", other.into())));
    if let FileAction::Open(used) = action {
        details.push(("bytesRead", used.read.to_string().into()));
        details.push(("bytesWritten", used.written.to_string().into()));
    }
    let word = match outcome {
        FileOutcome::Done => "done".into(),
        FileOutcome::Failed(code) => format!("failed with SFTP status {code}").into(),
        FileOutcome::Unanswered => "unanswered".into(),
    };
    details.push(("outcome", word));
    details
}

fn ran(run: ProgramRun<'_>) -> [(&'static str, Cow<'static, str>); 3] {
    let Traffic { received, sent } = run.traffic;
    [
        ("duration", seconds(run.duration)),
        ("bytesReceived", received.to_string().into()),
        ("bytesSent", sent.to_string().into()),
    ]
}

fn presented<'a>(key: PresentedKey<'a>) -> LineDetails<'a> {
    let mut details: LineDetails<'a> = key.fingerprint.map(|text| ("fingerprint", text.into())).into_iter().collect();
    if let Some(certificate) = key.certificate {
        details.push(("keyId", printable(&certificate.key_id, SHOWN_KEY_ID).into()));
        details.push(("serial", certificate.serial.as_str().into()));
        details.push(("ca", certificate.ca_fingerprint.as_str().into()));
    }
    details
}

fn refused_by<'a>(method: AuthMethod, reason: &'a str, message: Option<&'a str>) -> LineDetails<'a> {
    let mut details: LineDetails<'a> = vec![("method", method.name().into()), ("reason", reason.into())];
    details.extend(message.map(|text| ("message", text.into())));
    details
}

fn refused(refusal: &Refusal) -> LineDetails<'_> {
    let mut details: LineDetails<'_> =
        vec![("reason", refusal.reason.as_str().into()), ("status", refusal.status().to_string().into())];
    details.extend(refusal.detail.as_deref().map(|detail| ("detail", detail.into())));
    details
}

fn ended(exit: &Exit) -> LineDetails<'_> {
    match exit {
        Exit::Status(status) => vec![("status", status.to_string().into())],
        Exit::Signal { name, core } => {
            vec![("signal", name.as_str().into()), ("core", if *core { "true" } else { "false" }.into())]
        }
        Exit::Lost(refusal) => refused(refusal),
    }
}

impl RequestKind<'_> {
    /// The request's type in SSH: RFC 4254, and OpenSSH's PROTOCOL.
    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Program(ProgramRequest::Shell) => "shell",
            Self::Program(ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_)) => "exec",
            Self::Program(ProgramRequest::Subsystem(_)) => "subsystem",
            Self::Terminal => "pty-req",
            Self::Environment => "env",
            Self::Signal => "signal",
            Self::Dial(Dial::Tcp { .. }) => "direct-tcpip",
            Self::Dial(Dial::Unix { .. }) => "direct-streamlocal@openssh.com",
            Self::Listen(Listen::Tcp { .. }) => "tcpip-forward",
            Self::Listen(Listen::Unix { .. }) => "streamlocal-forward@openssh.com",
            Self::Listen(Listen::Agent) => "auth-agent-req@openssh.com",
            Self::Listen(Listen::X11(_)) => "x11-req",
        }
    }
}
