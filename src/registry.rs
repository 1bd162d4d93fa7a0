//! One map of the connections that live. Whoever wants something of a connection (shutdown, the reaper) finds it here.
//! An entry is a guard: it leaves the map when the connection's task ends, however it ends.

use crate::types::ConnectionId;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;

/// What can be asked of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Tell its sessions and the client why, then disconnect.
    Disconnect {
        /// For the client, one line.
        reason: String,
    },
}

/// A connection as others see it.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The client's address.
    pub remote: SocketAddr,
    /// Who it is, once that is known: `authenticatedUsername`.
    pub identity: Option<String>,
    /// Open channels.
    pub channels: Arc<AtomicUsize>,
    commands: mpsc::Sender<Command>,
}

impl Connection {
    /// Asks it for something. A connection that has as much to do as it can remember is told nothing more: it is
    /// ending already.
    pub fn ask(&self, command: Command) {
        if self.commands.try_send(command).is_err() {
            // It is ending, or ended: what was asked is happening.
        }
    }
}

/// All connections; clones are the same registry.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<HashMap<ConnectionId, Connection>>>);

impl Registry {
    /// Adds a connection; what it is asked arrives at the receiver.
    #[must_use]
    pub fn add(&self, id: ConnectionId, remote: SocketAddr) -> (Entry, mpsc::Receiver<Command>) {
        let (commands, asked) = mpsc::channel(4);
        let channels = Arc::new(AtomicUsize::new(0));
        let connection = Connection { remote, identity: None, channels: channels.clone(), commands };
        self.map().insert(id, connection);
        (Entry { registry: self.clone(), id, channels }, asked)
    }

    /// Whether a connection lives.
    #[must_use]
    pub fn lives(&self, id: ConnectionId) -> bool {
        self.map().contains_key(&id)
    }

    /// Every connection that lives now.
    #[must_use]
    pub fn all(&self) -> Vec<(ConnectionId, Connection)> {
        self.map().iter().map(|(id, connection)| (*id, connection.clone())).collect()
    }

    /// The map stays whole whatever panicked beside it: every change is one step.
    fn map(&self) -> MutexGuard<'_, HashMap<ConnectionId, Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place in the registry.
#[derive(Debug)]
pub struct Entry {
    registry: Registry,
    id: ConnectionId,
    channels: Arc<AtomicUsize>,
}

impl Entry {
    /// Names who it is.
    pub fn identify(&self, identity: &str) {
        if let Some(connection) = self.registry.map().get_mut(&self.id) {
            connection.identity = Some(identity.to_owned());
        }
    }

    /// Counts a channel as open until the guard is dropped.
    #[must_use]
    pub fn open_channel(&self) -> OpenChannel {
        self.channels.fetch_add(1, Ordering::Relaxed);
        OpenChannel(self.channels.clone())
    }

    /// Channels open now.
    #[must_use]
    pub fn open_channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.map().remove(&self.id);
    }
}

/// An open channel, counted.
#[derive(Debug)]
pub struct OpenChannel(Arc<AtomicUsize>);

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropped_entry_is_no_connection_and_dropped_channel_is_not_open() {
        let registry = Registry::default();
        let id = ConnectionId::random();
        let (entry, mut asked) = registry.add(id, ([127, 0, 0, 1], 1).into());
        let channel = entry.open_channel();
        assert_eq!(entry.open_channels(), 1);
        drop(channel);
        assert_eq!(entry.open_channels(), 0);
        let reason = "x".to_owned();
        registry.all()[0].1.ask(Command::Disconnect { reason: reason.clone() });
        assert_eq!(asked.recv().await, Some(Command::Disconnect { reason }));
        drop(entry);
        assert!(!registry.lives(id));
    }
}
