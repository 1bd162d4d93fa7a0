//! May this identity do this request? Pure: no I/O, no clock, names nothing but [`crate::types`].
//!
//! [`Rules::decide`] is the only way to a [`Permit`], and a [`Permit`] is the only way to an effect. Unset `security.*`
//! means what ContainerSSH documents (own mode, else `defaultMode`, else enable; forwarding: disable); anything unknown
//! was refused by the parser.

mod decide;
mod denied;
mod launch;
mod rules;

pub use decide::{Request, is_signal};
pub use denied::Denied;
pub use launch::{Asked, Endpoints, Launch, Start, Terminal, What};
pub use rules::{Forwarding, ListRule, Mode, Rules};

use crate::types::printable;
use std::fmt;

/// Proof that the rules allowed `R`. Spent by whatever performs it; not `Clone`, made by [`Rules::decide`] alone.
#[must_use]
#[derive(Debug)]
pub struct Permit<R> {
    request: R,
}

impl<R> Permit<R> {
    /// What was allowed.
    pub fn request(&self) -> &R {
        &self.request
    }

    /// Spends the permit.
    pub fn spend(self) -> R {
        self.request
    }
}

/// Opening one more session channel beside `open` ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenSession {
    /// How many session channels of the connection are open now.
    pub open: usize,
}

/// A variable that the client wants to set, as it came.
#[derive(Debug)]
pub struct SetEnv {
    /// The name, unparsed.
    pub name: String,
    /// The value.
    pub value: String,
    /// How many variables the channel holds already.
    pub held: usize,
    /// How many bytes these are, names and values together.
    pub held_bytes: usize,
}

/// A terminal that the client wants.
#[derive(Debug)]
pub struct OpenTerminal {
    /// What it asked for.
    pub terminal: Terminal,
}

/// A signal (name without SIG, RFC 4254 section 6.10) for the running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendSignal {
    /// The name, for example `TERM`.
    pub name: String,
}

/// A connection out of the guest, asked for by the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dial {
    /// `direct-tcpip` (RFC 4254 section 7.2).
    Tcp {
        /// The host to connect to.
        host: String,
        /// The port to connect to.
        port: u16,
    },
    /// `direct-streamlocal@openssh.com`.
    Unix {
        /// The socket's path.
        path: String,
    },
}

/// A listener in the guest, asked for by the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `tcpip-forward` (RFC 4254 section 7.1).
    Tcp {
        /// The address to bind.
        host: String,
        /// The port to bind, 0 for any.
        port: u16,
    },
    /// `streamlocal-forward@openssh.com`.
    Unix {
        /// The socket's path.
        path: String,
    },
    /// `x11-req` (RFC 4254 section 6.3).
    X11,
}

/// `host:port`, the socket's path, for the log.
impl fmt::Display for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => tcp(f, host, *port),
            Self::Unix { path } => f.write_str(&printable(path, 255)),
        }
    }
}

/// `host:port`, the socket's path, or `X11`, for the log.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => tcp(f, host, *port),
            Self::Unix { path } => f.write_str(&printable(path, 255)),
            Self::X11 => f.write_str("X11"),
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
        assert_eq!(Listen::X11.to_string(), "X11");
    }
}
