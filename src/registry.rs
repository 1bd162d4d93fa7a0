//! The registry of live connections, which the shutdown, the reaper and the operator read. The guard [`RegistryEntry`] removes its
//! connection when the connection's task ends for any reason.

mod facts;

pub(crate) use facts::{ConnectionFacts, LiveFacts, OpenChannel, RunningProgram};

use crate::locks::{Locks, UserLock};
use crate::types::{ConnectionId, Notices};
use facts::{LiveSource, OpenChannels};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// A connection as others reach it. Nothing that is asked of it can be lost, whatever it waits for.
#[derive(Debug, Clone)]
pub(crate) struct RegisteredConnection {
    /// The `authenticatedUsername`, once it is known.
    pub identity: Option<String>,
    /// Each `authenticatedUsername` that it had: the config webhook may change the name.
    names: Vec<String>,
    /// The login name, once the client has logged in.
    username: Option<String>,
    accepted: Instant,
    channels: OpenChannels,
    live: Option<LiveSource>,
    /// Set once the connection has its settings and counts among those of its identity.
    is_served: bool,
    /// Set to the reason once the connection is to end.
    end: watch::Sender<Option<String>>,
    /// The lines for the connection's terminals.
    notice: watch::Sender<Notices>,
}

impl RegisteredConnection {
    /// Has the connection send the reason, one line, to its sessions and the client, and disconnect. The first reason stays.
    pub(crate) fn disconnect(&self, reason: &str) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    /// Shows a line at the connection's terminals.
    pub(crate) fn tell(&self, line: &str) {
        self.notice.send_modify(|notices| notices.add(line.to_owned()));
    }

    /// True if the `authenticatedUsername` is this, or was.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        self.names.iter().any(|had| had == name)
    }

    /// The connection as it is now.
    pub(crate) fn facts(&self, id: ConnectionId) -> ConnectionFacts {
        ConnectionFacts {
            id,
            username: self.username.clone(),
            identity: self.identity.clone(),
            age: self.accepted.elapsed(),
            programs: self.channels.programs(),
            live: self.live.as_ref().map(|live| (live.0)()),
        }
    }
}

/// The connections by their ids; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Connections>);

#[derive(Debug, Default)]
struct Connections {
    /// The line for the terminals of connections that come later, too.
    notice: Mutex<Option<String>>,
    open: Mutex<HashMap<ConnectionId, RegisteredConnection>>,
    /// Notified when the last connection is removed.
    emptied: Notify,
    locks: Locks,
}

/// The reason why a connection of an identity is not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotServed {
    /// An operator has locked the user.
    Locked(UserLock),
    /// As many connections of the user as may be are served.
    TooMany,
}

impl Registry {
    /// Makes an empty registry that serves no locked user.
    pub(crate) fn new(locks: Locks) -> Self {
        Self(Arc::new(Connections { locks, ..Connections::default() }))
    }

    /// The locked users.
    pub(crate) fn locks(&self) -> &Locks {
        &self.0.locks
    }

    /// Adds a connection, and returns its guard.
    #[must_use]
    pub(crate) fn add(&self, id: ConnectionId) -> RegistryEntry {
        let (end, ended) = watch::channel(None);
        let (notice, notices) = watch::channel(Notices::default());
        let channels = OpenChannels::default();
        let connection = RegisteredConnection {
            identity: None,
            names: Vec::new(),
            username: None,
            accepted: Instant::now(),
            channels: channels.clone(),
            live: None,
            is_served: false,
            end,
            notice: notice.clone(),
        };
        let mut open = self.0.open.lock();
        if let Some(line) = &*self.0.notice.lock() {
            notice.send_modify(|notices| notices.add(line.clone()));
        }
        open.insert(id, connection);
        drop(open);
        RegistryEntry { registry: self.clone(), id, channels, end: ended, notice, notices }
    }

    pub(crate) fn lives(&self, id: ConnectionId) -> bool {
        self.0.open.lock().contains_key(&id)
    }

    pub(crate) fn all(&self) -> Vec<(ConnectionId, RegisteredConnection)> {
        self.0.open.lock().iter().map(|(id, connection)| (*id, connection.clone())).collect()
    }

    /// The number of connections.
    pub(crate) fn count(&self) -> usize {
        self.0.open.lock().len()
    }

    /// Shows a line at the terminals of every connection, also of those that come later.
    pub(crate) fn tell_all(&self, line: &str) {
        let open = self.0.open.lock();
        *self.0.notice.lock() = Some(line.to_owned());
        for connection in open.values() {
            connection.notice.send_modify(|notices| notices.add(line.to_owned()));
        }
    }

    /// Waits until there is no connection.
    pub(crate) async fn emptied(&self) {
        loop {
            let notified = self.0.emptied.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// Removes the connection from the registry when dropped.
#[derive(Debug)]
pub(crate) struct RegistryEntry {
    registry: Registry,
    id: ConnectionId,
    channels: OpenChannels,
    end: watch::Receiver<Option<String>>,
    notice: watch::Sender<Notices>,
    /// Has not seen a notice.
    notices: watch::Receiver<Notices>,
}

impl RegistryEntry {
    /// The request to end the connection: its reason, once there is one.
    pub(crate) fn end(&self) -> EndRequest {
        EndRequest(self.end.clone())
    }

    /// The lines for the connection's terminals.
    pub(crate) fn notice(&self) -> &watch::Sender<Notices> {
        &self.notice
    }

    /// The same for a terminal, which sees the last line even if it was there before.
    pub(crate) fn notices(&self) -> watch::Receiver<Notices> {
        self.notices.clone()
    }

    /// Sets the login name and every `authenticatedUsername` that the user had up to now, of which the last one holds; the
    /// error is the lock of a user who is locked.
    pub(crate) fn identify<'a>(
        &self,
        username: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), NotServed> {
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        if let Some(connection) = self.registry.0.open.lock().get_mut(&self.id) {
            connection.username = Some(username.to_owned());
            connection.identity = names.last().cloned();
            connection.names = names;
        }
        self.unless_locked()
    }

    /// Counts the connection among those of its identity, whose name the config webhook may have changed. The error says
    /// why it is not served: the user is locked, or `most` connections are served already.
    pub(crate) fn serve(&self, identity: &str, most: Option<u32>) -> Result<(), NotServed> {
        let mut connections = self.registry.0.open.lock();
        let served =
            connections.values().filter(|other| other.is_served && other.identity.as_deref() == Some(identity));
        let has_room = most.is_none_or(|most| served.count() < most as usize);
        if let Some(connection) = connections.get_mut(&self.id) {
            connection.identity = Some(identity.to_owned());
            connection.names.push(identity.to_owned());
            connection.is_served = has_room;
        }
        drop(connections);
        // Only now: who locks the user from here on finds the connection among the user's.
        self.unless_locked()?;
        if has_room { Ok(()) } else { Err(NotServed::TooMany) }
    }

    /// A lock of any name that the connection has had counts.
    fn unless_locked(&self) -> Result<(), NotServed> {
        let names = self.registry.0.open.lock().get(&self.id).map(|connection| connection.names.clone());
        let lock = names.unwrap_or_default().iter().find_map(|name| self.registry.0.locks.find(name));
        lock.map_or(Ok(()), |lock| Err(NotServed::Locked(lock)))
    }

    /// Sets the way to the connection's live facts.
    pub(crate) fn describe(&self, live: impl Fn() -> LiveFacts + Send + Sync + 'static) {
        if let Some(connection) = self.registry.0.open.lock().get_mut(&self.id) {
            connection.live = Some(LiveSource(Arc::new(live)));
        }
    }

    /// Counts a session channel as open until the returned guard is dropped.
    #[must_use]
    pub(crate) fn open_channel(&self, number: u32) -> OpenChannel {
        self.channels.open(number)
    }

    pub(crate) fn open_channels(&self) -> usize {
        self.channels.count()
    }

    /// Sets the program of an open channel.
    pub(crate) fn run_program(&self, number: u32, program: RunningProgram) {
        self.channels.set_program(number, program);
    }
}

impl Drop for RegistryEntry {
    fn drop(&mut self) {
        let is_empty = {
            let mut open = self.registry.0.open.lock();
            open.remove(&self.id);
            open.is_empty()
        };
        if is_empty {
            self.registry.0.emptied.notify_waiters();
        }
    }
}

/// The request that a connection ends.
#[derive(Debug, Clone)]
pub(crate) struct EndRequest(watch::Receiver<Option<String>>);

impl EndRequest {
    /// Waits for the request, and returns its reason. Cancel-safe.
    pub(crate) async fn reason(&mut self) -> String {
        if let Ok(Some(reason)) = self.0.wait_for(Option::is_some).await.as_deref() {
            return reason.clone();
        }
        // The registry has the sender as long as the entry lives, which is longer than the connection's task.
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn connection_beyond_those_of_its_identity_is_not_served_until_one_ends() {
        let registry = Registry::default();
        let connect = || registry.add(ConnectionId::random());
        let (first, second, third, other) = (connect(), connect(), connect(), connect());
        assert_eq!(first.identify("login name", ["login name"]), Ok(()));
        let too_many = Err(NotServed::TooMany);
        assert!(first.serve("alice", Some(2)).is_ok() && second.serve("alice", Some(2)).is_ok());
        assert_eq!((third.serve("alice", Some(2)), connect().serve("mallory", Some(0))), (too_many.clone(), too_many));
        assert!(other.serve("bob", Some(1)).is_ok() && connect().serve("bob", None).is_ok());
        drop(first);
        assert_eq!(third.serve("alice", Some(2)), Ok(()));
    }

    #[test]
    fn lock_holds_for_every_name_that_a_connection_has_had() {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::new(Locks::open(Some(folder.path())).unwrap());
        let entry = registry.add(ConnectionId::random());
        assert_eq!(entry.identify("alice", ["alice"]), Ok(()));
        let lock = UserLock { reason: None, since: "2030-01-01T00:00:00Z".to_owned() };
        registry.locks().lock("alice", lock.clone()).unwrap();
        assert_eq!(entry.serve("dev-7", None), Err(NotServed::Locked(lock.clone())));
        // `/authz` may have replaced the name of `/password`.
        let replaced = registry.add(ConnectionId::random());
        assert_eq!(replaced.identify("al", ["alice", "a"]), Err(NotServed::Locked(lock)));
        assert_eq!(replaced.identify("al", ["a"]), Ok(()));
        drop(replaced);
        let (_, connection) = registry.all().remove(0);
        assert_eq!(["alice", "dev-7", "bob"].map(|name| connection.has_name(name)), [true, true, false]);
    }

    #[test]
    fn facts_name_the_programs_of_open_channels_alone_even_if_a_number_is_used_again() {
        let registry = Registry::default();
        let entry = registry.add(ConnectionId::random());
        let program =
            |text: &str| RunningProgram { program: text.to_owned(), terminal: false, started: Instant::now() };
        let programs = || {
            let (id, connection) = registry.all().remove(0);
            connection.facts(id).programs.into_iter().map(|running| running.program).collect::<Vec<_>>()
        };
        let old = entry.open_channel(0);
        entry.run_program(0, program("old"));
        let new = entry.open_channel(0);
        entry.run_program(0, program("new"));
        assert_eq!(programs(), ["old", "new"]);
        drop(old);
        assert_eq!((programs(), entry.open_channels()), (vec!["new".to_owned()], 1));
        drop(new);
        entry.run_program(0, program("late"));
        assert!(programs().is_empty());
    }

    #[tokio::test]
    async fn dropped_entry_is_no_connection_and_dropped_channel_is_not_open() {
        let registry = Registry::default();
        let id = ConnectionId::random();
        let entry = registry.add(id);
        let channel = entry.open_channel(0);
        assert_eq!(entry.open_channels(), 1);
        drop(channel);
        assert_eq!(entry.open_channels(), 0);
        drop(entry);
        assert!(!registry.lives(id));
    }

    #[tokio::test]
    async fn connection_ends_for_the_first_reason_even_if_it_did_not_wait_for_one() {
        let registry = Registry::default();
        let entry = registry.add(ConnectionId::random());
        let (_, connection) = registry.all().remove(0);
        for reason in ["first", "second"] {
            connection.disconnect(reason);
        }
        assert_eq!(entry.end().reason().await, "first");
    }

    #[test]
    fn line_for_all_terminals_is_seen_by_later_connections_and_sessions() {
        let registry = Registry::default();
        let before = registry.add(ConnectionId::random());
        assert!(!before.notices().has_changed().unwrap());
        registry.tell_all("soon");
        for entry in [&before, &registry.add(ConnectionId::random())] {
            let mut notices = entry.notices();
            assert!(notices.has_changed().unwrap());
            assert_eq!(notices.borrow_and_update().after(0).collect::<Vec<_>>(), ["soon"]);
        }
    }

    #[tokio::test]
    async fn registry_is_empty_when_the_last_connection_is_gone() {
        let registry = Registry::default();
        registry.emptied().await;
        let (first, second) = (registry.add(ConnectionId::random()), registry.add(ConnectionId::random()));
        drop(first);
        let mut emptied = std::pin::pin!(registry.emptied());
        assert!(emptied.as_mut().now_or_never().is_none());
        drop(second);
        emptied.await;
    }
}
