//! The signs of life of the loops that accept connections. A loop that stands still, because it waits for ever or has
//! failed, gives none; a runtime that stands still does not even answer the question.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The time between two signs of a loop that has nothing to do.
pub(crate) const BEAT: Duration = Duration::from_secs(5);
/// The time without a sign after which a loop stands still.
const STILL: Duration = Duration::from_secs(30);

/// The loops of the process; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heartbeats(Arc<Mutex<Vec<Arc<Mutex<Life>>>>>);

/// The life of one loop.
#[derive(Debug)]
struct Life {
    last: Instant,
    /// The last failure, if nothing succeeded since.
    failure: Option<String>,
}

impl Heartbeats {
    /// Adds a loop, which gives its first sign.
    pub(crate) fn add(&self) -> Heartbeat {
        let life = Arc::new(Mutex::new(Life { last: Instant::now(), failure: None }));
        self.0.lock().push(Arc::clone(&life));
        Heartbeat { life, all: self.clone() }
    }

    /// True if every loop has given a sign lately.
    pub(crate) fn all_move(&self) -> bool {
        self.0.lock().iter().all(|life| life.lock().last.elapsed() < STILL)
    }

    /// The failure of a loop that moves and gets nothing done.
    pub(crate) fn failure(&self) -> Option<String> {
        self.0.lock().iter().find_map(|life| life.lock().failure.clone())
    }
}

/// The sign of one loop. It stays after the loop's end, so that a loop that has failed is seen.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    life: Arc<Mutex<Life>>,
    all: Heartbeats,
}

impl Heartbeat {
    /// Gives a sign of life.
    pub(crate) fn beat(&self) {
        self.life.lock().last = Instant::now();
    }

    /// Notes that the loop fails at its work again and again, or that it does not any more.
    pub(crate) fn fails(&self, failure: Option<String>) {
        self.life.lock().failure = failure;
    }

    /// Takes the sign of a loop away that was to end.
    pub(crate) fn retire(self) {
        self.all.0.lock().retain(|life| !Arc::ptr_eq(life, &self.life));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn one_loop_that_stands_still_is_seen_among_others_and_after_its_end() {
        let loops = Heartbeats::default();
        assert!(loops.all_move());
        let (moving, failed) = (loops.add(), loops.add());
        advance(STILL - Duration::from_millis(1)).await;
        moving.beat();
        assert!(loops.all_move());
        drop(failed);
        advance(Duration::from_millis(1)).await;
        assert!(!loops.all_move());
    }

    #[test]
    fn loop_that_fails_is_seen_among_others_until_it_succeeds() {
        let loops = Heartbeats::default();
        let (_good, failing) = (loops.add(), loops.add());
        assert_eq!(loops.failure(), None);
        failing.fails(Some("full".to_owned()));
        assert!(loops.all_move());
        assert_eq!(loops.failure().as_deref(), Some("full"));
        failing.fails(None);
        assert_eq!(loops.failure(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn loop_that_was_to_end_is_not_missed() {
        let loops = Heartbeats::default();
        let (stays, ends) = (loops.add(), loops.add());
        ends.fails(Some("full".to_owned()));
        ends.retire();
        advance(STILL).await;
        stays.beat();
        assert!(loops.all_move() && loops.failure().is_none());
    }

    #[test]
    fn loop_that_is_late_by_some_beats_does_not_stand_still() {
        assert!(BEAT * 4 < STILL);
    }
}
