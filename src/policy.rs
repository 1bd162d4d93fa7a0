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
