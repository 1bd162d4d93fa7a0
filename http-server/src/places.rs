//! The places of a server's connections. Where all are taken, a new connection gets that of another which is not being
//! answered: of those that have not sent a whole request, the oldest, as long as they hold half of the places or more;
//! otherwise the one that has been idle for longest. So neither silent clients, nor those whose requests do not end, nor
//! those that were answered once and stay keep anybody out, however many they are.
//!
//! Always true: no more places are taken than there are, and a connection whose place was taken begins no answer.

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
    /// Notified when a place is free, or its connection is not being answered any more.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    connections: HashMap<u64, Occupant>,
}

#[derive(Debug)]
struct Occupant {
    stage: Stage,
    since: Instant,
    evicted: CancellationToken,
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has sent no request yet, or only a part of one.
    Unfinished,
    /// Its last request was answered, and no other has begun.
    Idle,
    /// A whole request is being answered.
    Answering,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(PlaceTable { limit: limit.max(1), taken: Mutex::default(), changed: Notify::new() }))
    }

    /// Waits until a place can be taken. It may be gone again at the next moment. Cancel-safe.
    pub(crate) async fn ready(&self) {
        loop {
            let changed = self.0.changed.notified();
            {
                let taken = self.0.taken();
                if taken.connections.len() < self.0.limit || taken.evictable(self.0.limit).is_some() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Takes a place; if none is free, that of another connection, which ends. `None` if all are being answered.
    pub(crate) fn take(&self) -> Option<Place> {
        let mut taken = self.0.taken();
        if taken.connections.len() >= self.0.limit {
            let chosen = taken.evictable(self.0.limit)?;
            taken.connections.remove(&chosen)?.evicted.cancel();
        }
        Some(self.occupy(&mut taken))
    }

    fn occupy(&self, taken: &mut Taken) -> Place {
        let (evicted, number) = (CancellationToken::new(), taken.next);
        taken.next += 1;
        let occupant = Occupant { stage: Stage::Unfinished, since: Instant::now(), evicted: evicted.clone() };
        taken.connections.insert(number, occupant);
        Place { table: Arc::clone(&self.0), number, evicted, first: CancellationToken::new() }
    }
}

impl PlaceTable {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The connection whose place the next one gets.
    fn evictable(&self, limit: usize) -> Option<u64> {
        let oldest = |stage| {
            let connections = self.connections.iter().filter(move |(_, occupant)| occupant.stage == stage);
            connections.map(|(number, occupant)| (occupant.since, *number)).min().map(|(_, number)| number)
        };
        let unfinished = self.connections.values().filter(|occupant| occupant.stage == Stage::Unfinished).count();
        if unfinished.saturating_mul(2) >= limit {
            return oldest(Stage::Unfinished);
        }
        oldest(Stage::Idle).or_else(|| oldest(Stage::Unfinished))
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
        let places = Places::new(1);
        places.occupy(&mut places.0.taken())
    }

    /// Notes the header of a request. False if the place belongs to another connection by now.
    pub(crate) fn receiving(&self) -> bool {
        self.first.cancel();
        self.set(|_| Some(Stage::Unfinished))
    }

    /// Notes that the request which is being received has ended. False if the place belongs to another connection by now.
    pub(crate) fn answering(&self) -> bool {
        self.set(|stage| (stage == Stage::Unfinished).then_some(Stage::Answering))
    }

    /// Notes that the connection waits for a request, or for the client to read. False if the place belongs to another
    /// connection by now.
    pub(crate) fn idle(&self) -> bool {
        self.set(|_| Some(Stage::Idle))
    }

    fn set(&self, next: impl FnOnce(Stage) -> Option<Stage>) -> bool {
        let mut taken = self.table.taken();
        let Some(occupant) = taken.connections.get_mut(&self.number) else { return false };
        if let Some(stage) = next(occupant.stage) {
            (occupant.stage, occupant.since) = (stage, Instant::now());
            self.table.changed.notify_one();
        }
        true
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
    use futures_util::FutureExt;

    /// A connection that was answered once.
    fn answered(places: &Places) -> Place {
        let place = places.take().expect("a place");
        assert!(place.receiving() && place.answering() && place.idle());
        place
    }

    #[test]
    fn connection_that_has_sent_no_whole_request_goes_before_one_that_is_idle() {
        let places = Places::new(4);
        let idle = [answered(&places), answered(&places)];
        let (silent, half) = (places.take().expect("a place"), places.take().expect("a place"));
        assert!(half.receiving());
        let _third = places.take().expect("the silent one's place");
        assert!(silent.evicted.is_cancelled() && !half.evicted.is_cancelled());
        assert!(!silent.receiving() && !silent.answering() && !silent.idle(), "it has no place any more");
        let _fourth = places.take().expect("the half request's place");
        assert!(half.evicted.is_cancelled() && idle.iter().all(|idle| !idle.evicted.is_cancelled()));
        assert_eq!(places.0.taken().connections.len(), 4);
    }

    #[test]
    fn few_connections_without_a_request_are_not_ended_for_each_other_while_others_are_idle() {
        let places = Places::new(4);
        let idle = [answered(&places), answered(&places), answered(&places)];
        let newcomer = places.take().expect("a place");
        let _another = places.take().expect("the place of the one that has been idle for longest");
        assert!(idle[0].evicted.is_cancelled() && !idle[1].evicted.is_cancelled());
        assert!(!newcomer.evicted.is_cancelled());
    }

    #[test]
    fn places_are_never_more_than_there_are_and_are_waited_for() {
        let places = Places::new(2);
        let (first, second) = (places.take().expect("a place"), places.take().expect("a place"));
        for busy in [&first, &second] {
            assert!(busy.receiving() && busy.answering());
        }
        assert!(places.take().is_none());
        assert!(places.ready().now_or_never().is_none());
        assert!(first.idle());
        assert!(places.ready().now_or_never().is_some());
        // What was ready is gone when it is to be taken.
        assert!(first.receiving() && first.answering());
        assert!(places.take().is_none() && places.ready().now_or_never().is_none());
        drop(second);
        assert!(places.ready().now_or_never().is_some());
        assert!(places.take().is_some() && !first.evicted.is_cancelled());
    }

    #[test]
    fn request_that_ended_late_makes_no_idle_connection_busy() {
        let places = Places::new(1);
        let place = answered(&places);
        assert!(place.answering(), "the connection has its place");
        assert!(places.take().is_some(), "and is idle");
    }
}
