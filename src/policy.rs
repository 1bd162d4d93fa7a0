//! The security rules: whether an identity may make a request. Pure: no I/O, no clock, names nothing but
//! [`crate::types`].
//!
//! [`Rules::decide`] is the only way to a [`Permit`], and a [`Permit`] is the only way to an effect. An unset `security.*`
//! key means what ContainerSSH documents (own mode, else `defaultMode`, else enable; forwarding: disable). The parser has
//! refused unknown values.

mod certificate;
mod command_bytes;
mod decide;
mod denied;
mod destination;
mod rules;

pub(crate) use certificate::CertificateLimits;
pub(crate) use command_bytes::CommandBytes;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use decide::PolicyRequest;
pub(crate) use decide::is_signal;
pub(crate) use denied::Denied;
pub(crate) use destination::{DestinationEntry, DestinationKind, Destinations};
pub(crate) use rules::{EnvLimit, Forwarding, ListRule, RuleMode, Rules};

use crate::types::{EnvVar, Modes, Size, printable};
use std::fmt;
use std::net::SocketAddr;

/// Proof that the rules allowed `R`. It is spent where the request is carried out, is not `Clone`, and is made by
/// [`Rules::decide`] alone.
#[must_use]
#[derive(Debug)]
pub(crate) struct Permit<R> {
    request: R,
}

impl<R> Permit<R> {
    /// Borrows the allowed request.
    pub(crate) fn request(&self) -> &R {
        &self.request
    }

    /// Turns the permit into the request, which can be carried out once.
    pub(crate) fn spend(self) -> R {
        self.request
    }
}

impl Permit<Terminal> {
    /// Sets the size, about which no rule is.
    pub(crate) fn resize(&mut self, size: Size) {
        self.request.size = size;
    }
}

/// A `shell`, `exec` or `subsystem` request on a session channel (RFC 4254 section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramRequest {
    /// `shell`: runs `pod.shellCommand`, verbatim.
    Shell,
    /// `exec`: the client's string as it came, or `forceCommand`; an argument of `pod.execCommand`.
    Exec(String),
    /// `exec` with a command that is no text, which the guest agent alone can pass on.
    ExecBytes(CommandBytes),
    /// `subsystem`: a name that `pod.subsystems` maps to a program.
    Subsystem(String),
}

/// A request to start a program, with everything that was allowed on its channel before.
#[derive(Debug)]
pub(crate) struct StartProgram {
    /// The client's request.
    pub request: ProgramRequest,
    /// The client's variables, at most one channel's worth.
    pub env: Vec<Permit<EnvVar>>,
    /// The terminal; `None` runs the program without one.
    pub terminal: Option<Permit<Terminal>>,
    /// Addresses for `SSH_CONNECTION` and `SSH_CLIENT`.
    pub endpoints: ConnectionEndpoints,
}

/// A program that may run: the request with `forceCommand` and the rules on variables applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProgramSpec {
    /// The program; [`ProgramRequest::Exec`] with `forceCommand` if that is set.
    pub request: ProgramRequest,
    /// The environment beside the image's own; names are unique.
    pub env: Vec<EnvVar>,
    /// The value of `SSH_ORIGINAL_COMMAND` where it is no text: what was asked for in the place of `forceCommand`.
    pub original: Option<CommandBytes>,
    /// The terminal; `None` runs the program without one.
    pub terminal: Option<Terminal>,
}

impl ProgramSpec {
    /// Tells whether a part of the program is no text, so that the Kubernetes API cannot carry it.
    pub(crate) fn has_bytes(&self) -> bool {
        self.original.is_some() || matches!(self.request, ProgramRequest::ExecBytes(_))
    }
}

/// A pseudo-terminal (RFC 4254 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terminal {
    /// The value of `TERM`; may be empty.
    pub term: String,
    /// The size at the start.
    pub size: Size,
    /// The modes at the start.
    pub modes: Modes,
}

/// The two addresses of an SSH connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionEndpoints {
    /// The client's address and port.
    pub client: SocketAddr,
    /// The gateway's address and port.
    pub server: SocketAddr,
}

/// A request for another session channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OpenSession {
    /// The number of session channels that the connection has open.
    pub open: usize,
}

/// An `env` request, unparsed.
#[derive(Debug)]
pub(crate) struct SetEnv {
    /// The name as the client sent it.
    pub name: String,
    /// The value as the client sent it.
    pub value: String,
    /// The number of variables that the channel has.
    pub held: usize,
    /// Their length in bytes, names and values together.
    pub held_bytes: usize,
}

/// A `pty-req` request.
#[derive(Debug)]
pub(crate) struct OpenTerminal {
    /// The terminal as requested.
    pub terminal: Terminal,
}

/// A `signal` request for the running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendSignal {
    /// The signal's name without SIG (RFC 4254 section 6.10).
    pub name: String,
}

/// A request for a connection out of the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dial {
    /// `direct-tcpip` (RFC 4254 section 7.2).
    Tcp {
        /// The host to connect to.
        host: String,
        /// The port to connect to.
        port: u16,
    },
    /// `direct-streamlocal@openssh.com`.
    Unix {
        /// The path of the socket in the guest.
        path: String,
    },
}

/// A request for a listener in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Listen {
    /// `tcpip-forward` (RFC 4254 section 7.1).
    Tcp {
        /// The address to bind.
        host: String,
        /// The port to bind, 0 for any.
        port: u16,
    },
    /// `streamlocal-forward@openssh.com`.
    Unix {
        /// The path of the socket in the guest.
        path: String,
    },
    /// `auth-agent-req@openssh.com` and `agent-req` (RFC 9987 section 3.1).
    Agent,
    /// `x11-req`.
    X11(X11Forwarding),
}

/// The request `x11-req` (RFC 4254 section 6.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct X11Forwarding {
    /// Set if the listener ends after one connection.
    pub single_connection: bool,
    /// The name of the authentication protocol.
    pub auth_protocol: String,
    /// The cookie in hexadecimal digits, a secret.
    pub auth_cookie: String,
    /// The number of the screen.
    pub screen: u32,
}

impl Dial {
    /// The type of the channel that asks for it.
    pub(crate) fn channel_type(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "direct-tcpip",
            Self::Unix { .. } => "direct-streamlocal@openssh.com",
        }
    }
}

/// Writes `host:port` or the socket's path, for the log.
impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => tcp(f, host, *port),
            Self::Unix { path } => f.write_str(&printable(path, 255)),
        }
    }
}

/// Writes `host:port`, the socket's path, `agent` or `X11`, for the log.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => tcp(f, host, *port),
            Self::Unix { path } => f.write_str(&printable(path, 255)),
            Self::Agent => f.write_str("agent"),
            Self::X11(_) => f.write_str("X11"),
        }
    }
}

fn tcp(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    let host = printable(host, 255);
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_as_people_write_them() {
        let tcp = |host: &str| Dial::Tcp { host: host.to_owned(), port: 80 }.to_string();
        assert_eq!(tcp("db.example"), "db.example:80");
        assert_eq!(tcp("::1"), "[::1]:80");
        assert_eq!(tcp("\x1b[31m\n"), "[31m:80");
        assert_eq!(Dial::Unix { path: "/run/a".into() }.to_string(), "/run/a");
        assert_eq!(Listen::Tcp { host: String::new(), port: 0 }.to_string(), ":0");
        assert_eq!(Listen::Unix { path: "/run/a".into() }.to_string(), "/run/a");
        assert_eq!(Listen::Agent.to_string(), "agent");
    }
}
