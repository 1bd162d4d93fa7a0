//! The places of a server's connections. Where all are taken, a new connection gets that of the one that has been idle for
//! longest: silent clients, however many, keep nobody out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The places of one listener; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<PlaceTable>);

#[derive(Debug)]
struct PlaceTable {
    limit: usize,
    taken: Mutex<Taken>,
    /// Notified when a place is free, or its connection idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Occupant>,
}

#[derive(Debug)]
struct Occupant {
    /// The beginning of the idle time; absent while a request is answered.
    idle: Option<Instant>,
    evicted: CancellationToken,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(PlaceTable { limit: limit.max(1), taken: Mutex::default(), changed: Notify::new() }))
    }

    /// Waits until a place is free, or a connection is idle. Cancel-safe.
    pub(crate) async fn ready(&self) {
        loop {
            let changed = self.0.changed.notified();
            {
                let taken = self.0.taken();
                if taken.connections.len() < self.0.limit || taken.longest_idle().is_some() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Takes a place; if none is free, that of the connection that has been idle for longest, which ends.
    pub(crate) fn take(&self) -> Place {
        let evicted = CancellationToken::new();
        let mut taken = self.0.taken();
        if taken.connections.len() >= self.0.limit
            && let Some(oldest) = taken.longest_idle().and_then(|number| taken.connections.remove(&number))
        {
            oldest.evicted.cancel();
        }
        let number = taken.next;
        taken.next += 1;
        // A connection without a request is idle from its beginning.
        taken.connections.insert(number, Occupant { idle: Some(Instant::now()), evicted: evicted.clone() });
        Place { table: Arc::clone(&self.0), number, evicted, first: CancellationToken::new() }
    }
}

impl PlaceTable {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn longest_idle(&self) -> Option<u64> {
        let idle = self.connections.iter().filter_map(|(number, occupant)| Some((occupant.idle?, *number)));
        idle.min().map(|(_, number)| number)
    }
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub struct Place {
    table: Arc<PlaceTable>,
    number: u64,
    evicted: CancellationToken,
    first: CancellationToken,
}

impl Place {
    /// The only place of a connection that no listener accepted.
    #[must_use]
    pub fn single() -> Self {
        Places::new(1).take()
    }

    /// Notes that a request is being answered.
    pub(crate) fn busy(&self) {
        self.first.cancel();
        self.set(None);
    }

    /// Notes that the connection waits for a request, or for the client to read.
    pub(crate) fn idle(&self) {
        self.set(Some(Instant::now()));
        self.table.changed.notify_one();
    }

    fn set(&self, idle: Option<Instant>) {
        if let Some(occupant) = self.table.taken().connections.get_mut(&self.number) {
            occupant.idle = idle;
        }
    }

    /// Waits until the connection has to end for another. Cancel-safe.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Waits for the connection's first request. Cancel-safe.
    pub(crate) async fn requested(&self) {
        self.first.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.table.taken().connections.remove(&self.number);
        self.table.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn new_connection_gets_the_place_of_the_one_that_is_idle_for_longest() {
        let places = Places::new(2);
        let (busy, idle) = (places.take(), places.take());
        busy.busy();
        let newcomer = places.take();
        assert!(idle.evicted.is_cancelled() && !busy.evicted.is_cancelled() && !newcomer.evicted.is_cancelled());
        busy.idle();
        let another = places.take();
        assert!(newcomer.evicted.is_cancelled(), "it has been idle for longer");
        assert!(!busy.evicted.is_cancelled() && !another.evicted.is_cancelled());
        drop((idle, newcomer));
        assert_eq!(places.0.taken().connections.len(), 2);
    }

    #[tokio::test]
    async fn server_whose_connections_are_all_busy_waits_for_one() {
        let places = Places::new(2);
        let (first, second) = (places.take(), places.take());
        first.busy();
        second.busy();
        let soon = Duration::from_millis(50);
        assert!(timeout(soon, places.ready()).await.is_err());
        first.idle();
        places.ready().await;
        first.busy();
        assert!(timeout(soon, places.ready()).await.is_err());
        drop(second);
        places.ready().await;
    }
}
