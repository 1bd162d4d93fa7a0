//! The registry of live connections, which the shutdown and the reaper read. The guard [`RegistryEntry`] removes its
//! connection when the connection's task ends for any reason.

use crate::types::ConnectionId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// A command to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ConnectionCommand {
    /// Sends the reason to the sessions and the client, then disconnects.
    Disconnect {
        /// The reason for the client, one line.
        reason: String,
    },
}

#[derive(Debug, Clone)]
pub(crate) struct RegisteredConnection {
    /// The `authenticatedUsername`, once it is known.
    pub identity: Option<String>,
    /// Set once the connection has its settings and counts among those of its identity.
    is_served: bool,
    commands: mpsc::Sender<ConnectionCommand>,
}

impl RegisteredConnection {
    /// Sends a command, unless the queue is full: the connection is then ending already.
    pub(crate) fn send(&self, command: ConnectionCommand) {
        if self.commands.try_send(command).is_err() {
            // The connection is ending, or has ended, as the command wants.
        }
    }
}

/// The connections by their ids; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<ConnectionId, RegisteredConnection>>>);

impl Registry {
    /// Adds a connection, and returns its guard and the receiver of its commands.
    #[must_use]
    pub(crate) fn add(&self, id: ConnectionId) -> (RegistryEntry, mpsc::Receiver<ConnectionCommand>) {
        let (commands, received) = mpsc::channel(4);
        let channels = Arc::new(AtomicUsize::new(0));
        let connection = RegisteredConnection { identity: None, is_served: false, commands };
        self.0.lock().insert(id, connection);
        (RegistryEntry { registry: self.clone(), id, channels }, received)
    }

    pub(crate) fn lives(&self, id: ConnectionId) -> bool {
        self.0.lock().contains_key(&id)
    }

    pub(crate) fn all(&self) -> Vec<(ConnectionId, RegisteredConnection)> {
        self.0.lock().iter().map(|(id, connection)| (*id, connection.clone())).collect()
    }
}

/// Removes the connection from the registry when dropped.
#[derive(Debug)]
pub(crate) struct RegistryEntry {
    registry: Registry,
    id: ConnectionId,
    channels: Arc<AtomicUsize>,
}

impl RegistryEntry {
    /// Sets the `authenticatedUsername`.
    pub(crate) fn identify(&self, identity: &str) {
        if let Some(connection) = self.registry.0.lock().get_mut(&self.id) {
            connection.identity = Some(identity.to_owned());
        }
    }

    /// Counts the connection among those of its identity, whose name the config webhook may have changed; false if `most` of
    /// them are served already.
    #[must_use]
    pub(crate) fn serve(&self, identity: &str, most: Option<u32>) -> bool {
        let mut connections = self.registry.0.lock();
        let served =
            connections.values().filter(|other| other.is_served && other.identity.as_deref() == Some(identity));
        let has_room = most.is_none_or(|most| served.count() < most as usize);
        if let Some(connection) = connections.get_mut(&self.id) {
            connection.identity = Some(identity.to_owned());
            connection.is_served = has_room;
        }
        has_room
    }

    /// Counts a channel as open until the returned guard is dropped.
    #[must_use]
    pub(crate) fn open_channel(&self) -> OpenChannel {
        self.channels.fetch_add(1, Ordering::Relaxed);
        OpenChannel(self.channels.clone())
    }

    pub(crate) fn open_channels(&self) -> usize {
        self.channels.load(Ordering::Relaxed)
    }
}

impl Drop for RegistryEntry {
    fn drop(&mut self) {
        self.registry.0.lock().remove(&self.id);
    }
}

/// Counts its channel as closed when dropped.
#[derive(Debug)]
pub(crate) struct OpenChannel(Arc<AtomicUsize>);

impl Drop for OpenChannel {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_beyond_those_of_its_identity_is_not_served_until_one_ends() {
        let registry = Registry::default();
        let connect = || registry.add(ConnectionId::random()).0;
        let (first, second, third, other) = (connect(), connect(), connect(), connect());
        first.identify("login name");
        assert!(first.serve("alice", Some(2)) && second.serve("alice", Some(2)));
        assert!(!third.serve("alice", Some(2)) && !connect().serve("mallory", Some(0)));
        assert!(other.serve("bob", Some(1)) && connect().serve("bob", None));
        drop(first);
        assert!(third.serve("alice", Some(2)));
    }

    #[tokio::test]
    async fn dropped_entry_is_no_connection_and_dropped_channel_is_not_open() {
        let registry = Registry::default();
        let id = ConnectionId::random();
        let (entry, mut commands) = registry.add(id);
        let channel = entry.open_channel();
        assert_eq!(entry.open_channels(), 1);
        drop(channel);
        assert_eq!(entry.open_channels(), 0);
        let reason = "x".to_owned();
        registry.all()[0].1.send(ConnectionCommand::Disconnect { reason: reason.clone() });
        assert_eq!(commands.recv().await, Some(ConnectionCommand::Disconnect { reason }));
        drop(entry);
        assert!(!registry.lives(id));
    }
}
