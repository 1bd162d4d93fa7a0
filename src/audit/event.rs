//! The events that are recorded. An event holds no credential, no variable's value and nothing that was typed or shown.

use super::forward_event::ForwardEvent;
use super::sftp_trail::{FileOperation, LostThread};
use super::traffic::Traffic;
use crate::auth::AuthMethod;
use crate::guest::{Exit, Refusal};
use crate::policy::{Denied, Dial, Listen, ProgramRequest, Terminal};
use crate::telemetry::{Country, TracedEnd, TracedProgram};
use crate::types::{EnvName, Size};
use podgate_webhooks::wire::Certificate;
use std::net::SocketAddr;
use std::time::Duration;

/// The key that a client offered or proved, by which it can be traced; empty for other credentials.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PresentedKey<'a> {
    /// As `ssh-keygen -l` writes it.
    pub fingerprint: Option<&'a str>,
    pub certificate: Option<&'a Certificate>,
}

/// A program that ran.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProgramRun<'a> {
    pub request: &'a ProgramRequest,
    pub terminal: bool,
    /// The time since its start.
    pub duration: Duration,
    /// The bytes of its input, and of its output.
    pub traffic: Traffic,
}

impl ProgramRun<'_> {
    /// The same for a trace, which names no command.
    pub(super) fn traced(&self, end: TracedEnd) -> TracedProgram {
        let kind = match self.request {
            ProgramRequest::Shell => "shell",
            ProgramRequest::Exec(_) | ProgramRequest::ExecBytes(_) => "exec",
            ProgramRequest::Subsystem(name) => name,
        };
        TracedProgram {
            kind: kind.to_owned(),
            terminal: self.terminal,
            duration: self.duration,
            bytes: (self.traffic.received, self.traffic.sent),
            end,
        }
    }
}

impl From<&Exit> for TracedEnd {
    fn from(exit: &Exit) -> Self {
        match exit {
            Exit::Status(status) => Self::Status(*status),
            Exit::Signal { name, .. } => Self::Signal(name.clone()),
            Exit::Lost(refusal) => Self::Lost(refusal.reason.clone()),
        }
    }
}

/// An event on a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// The client's TCP connection was accepted.
    Connected {
        /// The proxy that the client came through.
        proxy: Option<SocketAddr>,
        /// The country of the client's address, where there is a database.
        country: Option<Country>,
    },
    /// The connection is over.
    Disconnected {
        /// The reason; `None` if the client wished it.
        reason: Option<&'a str>,
        /// The time since the connection was accepted.
        duration: Duration,
        /// The bytes that TCP carried.
        traffic: Traffic,
        /// Set for a proxy that spoke for itself and did not log in.
        health_check: bool,
    },
    /// The client left while it waited for its login or its pod.
    Abandoned {
        /// The last progress that was known.
        reason: &'a str,
    },
    /// The client did not log in in time.
    LoginTimeout,
    /// The client's user name is not a valid login name.
    BadUsername {
        /// The rule that the name breaks.
        reason: &'a str,
    },
    /// The client tried to log in by a method that is not offered.
    NotOffered { method: &'static str },
    /// The client sent a credential.
    AuthAttempt { method: AuthMethod },
    /// The client's identity is proved.
    AuthSucceeded { method: AuthMethod, key: PresentedKey<'a> },
    /// The credential was refused.
    AuthFailed {
        method: AuthMethod,
        /// The text for the log: the party that refused it.
        reason: &'a str,
        /// The webhook's own reason, which the user reads, too.
        message: Option<&'a str>,
        key: PresentedKey<'a>,
    },
    /// The credential could not be checked.
    AuthUnavailable {
        method: AuthMethod,
        reason: &'a str,
        /// Set if the webhook's own line in the log has the reason already.
        logged: bool,
    },
    /// The connection has its settings and its guest is being made.
    Admitted,
    /// The config webhook refused a connection that had logged in.
    ConfigDenied {
        /// The webhook's own reason, which the user reads, too.
        message: Option<&'a str>,
    },
    /// An operator has locked the user of a connection that had logged in.
    Locked,
    /// A connection that had logged in cannot be served.
    AdmissionFailed {
        reason: &'a str,
        /// Set if the webhook's own line in the log has the reason already.
        logged: bool,
    },
    /// A session channel opens.
    ChannelOpened {
        /// The channel's number on the wire.
        channel: u32,
    },
    /// The rules deny a request.
    Denied { request: RequestKind<'a>, denied: &'a Denied },
    /// Something about a forwarded connection or a listener.
    Forward(ForwardEvent<'a>),
    /// The client sets a variable, whose value is not recorded.
    EnvSet { name: &'a EnvName },
    /// The channel gets a terminal.
    TerminalOpened { terminal: &'a Terminal },
    /// A program is to be started.
    ProgramStarting { request: &'a ProgramRequest, terminal: bool },
    /// The program has been started.
    ProgramStarted { request: &'a ProgramRequest, terminal: bool },
    /// The program could not be started.
    ProgramRefused { request: &'a ProgramRequest, refusal: &'a Refusal },
    /// The program is over.
    ProgramEnded { exit: &'a Exit, run: ProgramRun<'a> },
    /// The client left while the program ran.
    ProgramLeft { run: ProgramRun<'a> },
    /// An operation on a file over SFTP is over.
    File(&'a FileOperation),
    /// The operations of an SFTP session cannot be told any more; the session goes on.
    FilesNotFollowed { reason: LostThread },
    /// The terminal gets another size.
    Resized { size: Size },
    /// A signal goes to the program.
    Signalled {
        /// The signal's name without SIG.
        name: &'a str,
    },
    /// A signal did not reach the program.
    SignalRefused { refusal: &'a Refusal },
    /// The client sent more than it was allowed to; the connection ends.
    WindowIgnored,
    /// Client and gateway have no algorithm of a kind in common; the connection ends.
    NoCommonAlgorithm {
        /// The kind of algorithm, in words.
        kind: &'a str,
        /// The client's list of names.
        offered: &'a str,
        /// The change to the configuration that would let the client in.
        remedy: &'a str,
    },
    /// The client sent a text that is not UTF-8; the connection ends.
    NotUtf8 {
        /// The texts that it may have been.
        what: &'a str,
    },
    /// The client sent a message that it must not send; the connection ends.
    ProtocolBroken {
        /// The fault, in words.
        how: &'a str,
    },
    /// The client sent extended data, which no program takes. Recorded once for each connection.
    ExtendedDataIgnored,
    /// The client reached a limit of the gateway's.
    LimitHit {
        /// The limit in words.
        limit: &'a str,
    },
}

/// The kind of a request that a client makes after its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind<'a> {
    /// The opening of a session channel.
    Session,
    /// A `shell`, `exec` or `subsystem` request.
    Program(&'a ProgramRequest),
    /// A `pty-req` request for a terminal.
    Terminal,
    /// An `env` request for a variable.
    Environment,
    /// A `signal` request for the program.
    Signal,
    /// A connection out of the guest.
    Dial(&'a Dial),
    /// A listener in the guest.
    Listen(&'a Listen),
}
