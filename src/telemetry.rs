//! The operator's log: one line an event, with a code, and with connection and user where there are any. Lines go
//! through one bounded queue to one writer; a writer that fails is counted and tried again, it never ends the process.

use crate::config::Level;
use crate::types::ConnectionId;
use std::net::SocketAddr;

/// A handle to the log; cheap to clone.
#[derive(Debug, Clone)]
pub struct Log {}

impl Log {
    /// Writes one line if `level` is at least the configured one. `code` is ContainerSSH's where it means the same.
    pub fn write(&self, _level: Level, _code: &'static str, _message: &str, _details: &[(&str, &str)]) {}

    /// A log whose lines carry `connectionId` and `remoteAddr`, and `username` once it is known.
    #[must_use]
    pub fn connection(&self, _id: ConnectionId, _remote: SocketAddr) -> ConnectionLog {
        ConnectionLog {}
    }
}

/// One connection's log; cheap to clone, clones share the user name and the level.
#[derive(Debug, Clone)]
pub struct ConnectionLog {}

impl ConnectionLog {
    /// Writes one line with the connection's details first.
    pub fn write(&self, _level: Level, _code: &'static str, _message: &str, _details: &[(&str, &str)]) {}

    /// Names the user from now on (`username`, and `authenticatedUsername` when it is known).
    pub fn name_user(&self, _username: &str, _authenticated: Option<&str>) {}

    /// Sets the level of this connection's lines (`log.level` of its settings).
    pub fn set_level(&self, _level: Level) {}
}
