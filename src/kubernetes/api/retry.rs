//! How often and how fast the API is asked: the jittered waits between tries, and one connection's `qps` and `burst`.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Waits that double up to a limit, each a random part (half to whole) of its step, so that many who failed at once do
/// not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    next: Duration,
    most: Duration,
}

impl Backoff {
    /// Waits from `first` up to `most`.
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, next: first, most }
    }

    /// The next wait; not shorter than what the server asked for, as far as `most` allows.
    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.most);
        let jittered = step.mul_f64(rand::random_range(0.5..=1.0));
        jittered.max(asked.unwrap_or_default().min(self.most))
    }

    /// Something worked: the next failure waits shortly again.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// `qps` and `burst` as a token bucket, in its form that only remembers when the bucket will be full again.
#[derive(Debug)]
pub(crate) struct Throttle {
    each: Duration,
    burst: Duration,
    full_at: Mutex<Instant>,
}

impl Throttle {
    /// `qps_milli` thousandths of a request a second; 0 is no limit.
    pub(crate) fn new(qps_milli: u64, burst: u32) -> Self {
        let each = 1_000_000_000_000_u64.checked_div(qps_milli).map_or(Duration::ZERO, Duration::from_nanos);
        Self { each, burst: each.saturating_mul(burst.max(1)), full_at: Mutex::new(Instant::now()) }
    }

    /// Waits until one more request may be made.
    pub(crate) async fn take(&self) {
        let at = self.next(Instant::now());
        tokio::time::sleep_until(at).await;
    }

    /// Counts a request made at `now`, and returns the time at which it may be sent.
    fn next(&self, now: Instant) -> Instant {
        let mut full_at = self.full_at.lock();
        *full_at = (*full_at).max(now) + self.each;
        full_at.checked_sub(self.burst).map_or(now, |earliest| earliest.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_obey_the_server_up_to_it() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        for step in [200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = backoff.wait(None);
            assert!(wait >= Duration::from_millis(step / 2) && wait <= Duration::from_millis(step), "{step}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait(None) <= Duration::from_millis(200));
        assert_eq!(backoff.wait(Some(Duration::from_secs(600))), Duration::from_secs(5));
        assert!(backoff.wait(Some(Duration::from_secs(3))) >= Duration::from_secs(3));
    }

    #[test]
    fn requests_beyond_the_burst_wait_their_turn() {
        let (throttle, unlimited) = (Throttle::new(5_000, 3), Throttle::new(0, 0));
        let start = Instant::now();
        let waits: Vec<_> = (0..5).map(|_| throttle.next(start) - start).collect();
        let expected = [0, 0, 0, 200, 400].map(Duration::from_millis);
        for (wait, expected) in waits.iter().zip(expected) {
            assert!(wait.abs_diff(expected) < Duration::from_millis(50), "{waits:?}");
        }
        let later = start + Duration::from_secs(10);
        assert_eq!(throttle.next(later), later, "a bucket fills again");
        assert_eq!(unlimited.next(start), start, "no rate is no limit");
    }
}
