//! The rule by which a program's output gathers before it is sent, so that many small writes become few frames.
//!
//! Output goes out at once. Only behind a little piece that came a short time after another piece, what follows waits a
//! moment for more; but not once the program was given keys, whose answer is never held back.

use std::time::{Duration, Instant};

/// Output of fewer bytes, taken at once, is little.
const LITTLE: usize = 32 * 1024;
/// The longest time that output waits for more of it.
const GATHER: Duration = Duration::from_micros(500);
/// Input of at most so many bytes is keys or a line, whose answer somebody waits for.
const KEYS: usize = 1024;
/// The time after a piece in which a little one lets more gather. Longer than [`GATHER`], so that what has gathered does.
const SHORT: Duration = Duration::from_millis(2);

/// The state of one program's output.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// The time of the last piece, unless the program was given keys since.
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Gathering {
    /// The time until which no output is taken, if that is later than now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// Notes that so many bytes were taken at once.
    pub(super) fn taken(&mut self, bytes: usize, now: Instant) {
        if bytes == 0 {
            return;
        }
        let little = bytes < LITTLE;
        let several = self.last.is_some_and(|last| now.saturating_duration_since(last) <= SHORT);
        self.until = (little && several).then(|| now + GATHER);
        self.last = Some(now);
    }

    /// Notes that the program was given so many bytes to read: what comes next may be the answer.
    pub(super) fn given(&mut self, bytes: usize) {
        if bytes <= KEYS {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    #[test]
    fn first_little_output_after_a_silence_holds_nothing_back() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        gathering.taken(1, start);
        assert_eq!(gathering.until(start), None);
        let later = start + SHORT + MICRO;
        gathering.taken(1, later);
        assert_eq!(gathering.until(later), None);
    }

    #[test]
    fn second_little_output_within_a_short_time_lets_more_gather_and_so_does_each_that_has_gathered() {
        let (mut gathering, mut now) = (Gathering::default(), Instant::now());
        gathering.taken(1, now);
        for bytes in [1, LITTLE - 1, 1] {
            now += SHORT;
            gathering.taken(bytes, now);
            assert_eq!(gathering.until(now), Some(now + GATHER));
            assert_eq!(gathering.until(now + GATHER), None);
        }
        // Nothing that comes is nothing that ends it.
        gathering.taken(0, now + MICRO);
        assert_eq!(gathering.until(now + MICRO), Some(now + GATHER));
    }

    #[test]
    fn much_output_holds_nothing_back() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        gathering.taken(1, start);
        gathering.taken(1, start);
        gathering.taken(LITTLE, start);
        assert_eq!(gathering.until(start), None);
        gathering.taken(1, start);
        assert_eq!(gathering.until(start), Some(start + GATHER), "its rest is little");
    }

    #[test]
    fn answers_to_keys_are_never_held_back() {
        let (mut gathering, start) = (Gathering::default(), Instant::now());
        for key in 0..100 {
            let now = start + key * MICRO;
            gathering.given(1);
            assert_eq!(gathering.until(now), None);
            gathering.taken(1, now);
            assert_eq!(gathering.until(now), None);
        }
        gathering.taken(1, start);
        gathering.given(KEYS + 1);
        assert_eq!(gathering.until(start), Some(start + GATHER), "much input has no answer of its own");
        gathering.given(KEYS);
        assert_eq!(gathering.until(start), None, "also where output gathered when the key came");
    }
}
