//! What is asked to run, and what was allowed to: the client's request with `forceCommand` and the environment's rules
//! applied.

use super::Permit;
use crate::types::{EnvVar, Modes, Size};
use std::net::SocketAddr;

/// What the client asked for on a session channel (RFC 4254 section 6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// `shell`.
    Shell,
    /// `exec`, the string as it came.
    Command(String),
    /// `subsystem`, its name.
    Subsystem(String),
}

/// A terminal (RFC 4254 section 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// `TERM`.
    pub term: String,
    /// The size at the start.
    pub size: Size,
    /// The modes at the start.
    pub modes: Modes,
}

/// Both ends of the SSH connection, for `SSH_CONNECTION` and `SSH_CLIENT`.
#[derive(Debug, Clone, Copy)]
pub struct Endpoints {
    /// The client's address.
    pub client: SocketAddr,
    /// Ours.
    pub server: SocketAddr,
}

/// The request to start a program, with what was allowed on the channel before it.
#[derive(Debug)]
pub struct Start {
    /// What to run.
    pub asked: Asked,
    /// The client's variables.
    pub env: Vec<Permit<EnvVar>>,
    /// The terminal, when one was allowed.
    pub terminal: Option<Permit<Terminal>>,
    /// The connection's ends.
    pub endpoints: Endpoints,
}

/// What may run, to the last variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// What to run: the forced command where there is one.
    pub what: What,
    /// The whole environment that is set for it beside the image's own; names are unique.
    pub env: Vec<EnvVar>,
    /// The terminal.
    pub terminal: Option<Terminal>,
}

/// What runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// `pod.shellCommand`, verbatim.
    Shell,
    /// A string for `pod.execCommand`.
    Command(String),
    /// The program that `pod.subsystems` names.
    Subsystem(String),
}
