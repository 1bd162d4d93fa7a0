//! Facts about a connection, as an operator sees it. Text of a user is here as it came.

use crate::types::ConnectionId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A connection at one moment.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionFacts {
    pub id: ConnectionId,
    /// The login name, once the client has logged in.
    pub username: Option<String>,
    /// The `authenticatedUsername`, once it is known.
    pub identity: Option<String>,
    /// The time since the accept.
    pub age: Duration,
    /// The open session channels that run a program.
    pub programs: Vec<RunningProgram>,
    /// The rest, once the client's address is known.
    pub live: Option<LiveFacts>,
}

/// The part of a connection's facts that is asked for when it is needed.
#[derive(Debug, Clone)]
pub(crate) struct LiveFacts {
    pub remote: SocketAddr,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// The time since data last passed.
    pub idle: Duration,
    /// The pod as `namespace/name`, once there is one for the whole connection.
    pub pod: Option<String>,
}

/// A program of a session channel.
#[derive(Debug, Clone)]
pub(crate) struct RunningProgram {
    /// The command, or which program it is.
    pub program: String,
    /// Set if it has a terminal.
    pub terminal: bool,
    pub started: Instant,
}

/// The way to the live facts of a connection.
#[derive(Clone)]
pub(super) struct LiveSource(pub(super) Arc<dyn Fn() -> LiveFacts + Send + Sync>);

impl fmt::Debug for LiveSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveSource")
    }
}

/// The open session channels of a connection; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenChannels(Arc<Mutex<ChannelsByOpening>>);

#[derive(Debug, Default)]
struct ChannelsByOpening {
    opened: u64,
    /// The channel's number and its program. A number is used again, perhaps before the last task has ended.
    open: BTreeMap<u64, (u32, Option<RunningProgram>)>,
}

impl OpenChannels {
    pub(super) fn open(&self, number: u32) -> OpenChannel {
        let mut channels = self.0.lock();
        channels.opened += 1;
        let opening = channels.opened;
        channels.open.insert(opening, (number, None));
        OpenChannel { channels: self.clone(), opening }
    }

    pub(super) fn count(&self) -> usize {
        self.0.lock().open.len()
    }

    pub(super) fn set_program(&self, number: u32, program: RunningProgram) {
        let mut channels = self.0.lock();
        if let Some((_, running)) = channels.open.values_mut().rev().find(|(open, _)| *open == number) {
            *running = Some(program);
        }
    }

    pub(super) fn programs(&self) -> Vec<RunningProgram> {
        self.0.lock().open.values().filter_map(|(_, program)| program.clone()).collect()
    }
}

/// Counts its channel as closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenChannel {
    channels: OpenChannels,
    opening: u64,
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.channels.0.lock().open.remove(&self.opening);
    }
}
