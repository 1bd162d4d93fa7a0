//! The limits of a connection's bandwidth, one for each direction: token buckets that hold a part of a second. Data above the
//! limit goes on, and what comes next waits: no byte is lost, and nobody asks again and again.

use bytes::Bytes;
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The part of a second whose bytes may pass at once.
const BURST: Duration = Duration::from_millis(250);
/// The longest time that one piece takes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The least piece that waits for its turn, in bytes.
const LEAST_PIECE: usize = 1024;

/// The bucket of one direction. Its clock is the caller's.
#[derive(Debug)]
struct TokenBucket {
    /// Bytes a second, at least 1.
    rate: u64,
    /// The moment at which the bucket is full again.
    full: Instant,
}

impl TokenBucket {
    /// Takes bytes, more than there are if need be.
    fn take(&mut self, bytes: usize, now: Instant) {
        let time = Duration::try_from_secs_f64(bytes as f64 / self.rate as f64).unwrap_or(LONGEST).min(LONGEST);
        self.full = self.full.max(now) + time;
    }

    /// The time until the bucket is not overdrawn any more.
    fn debt(&self, now: Instant) -> Duration {
        self.full.saturating_duration_since(now).saturating_sub(BURST)
    }
}

/// The limit of one direction; none by default.
#[derive(Debug, Default)]
pub(super) struct Bandwidth(Option<Mutex<TokenBucket>>);

impl Bandwidth {
    /// A limit in bytes a second.
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self(rate.map(|rate| Mutex::new(TokenBucket { rate: rate.max(1), full: Instant::now() })))
    }

    /// Counts bytes that have passed.
    pub(super) fn count(&self, bytes: usize) {
        if let Some(bucket) = &self.0 {
            bucket.lock().take(bytes, Instant::now());
        }
    }

    /// The time for which nothing more may pass.
    pub(super) fn debt(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |bucket| bucket.lock().debt(Instant::now()))
    }

    /// The bytes that pass in the time of a burst; `None` is no limit.
    pub(super) fn burst(&self) -> Option<usize> {
        let rate = self.0.as_ref()?.lock().rate;
        let bytes = u128::from(rate) * BURST.as_millis() / 1000;
        Some(usize::try_from(bytes).unwrap_or(usize::MAX).max(LEAST_PIECE))
    }

    /// Waits until something may pass, and takes it from `data`: `most` bytes at most, and without a limit at once.
    pub(super) async fn next_piece(&self, data: &mut Bytes, most: usize) -> Bytes {
        self.ready().await;
        let most = self.burst().unwrap_or(most).min(most);
        let piece = data.split_to(most.min(data.len()));
        self.count(piece.len());
        piece
    }

    /// Waits until something may pass again. Cancel-safe.
    async fn ready(&self) {
        // Others that share the limit may have been first.
        loop {
            let debt = self.debt();
            if debt.is_zero() {
                return;
            }
            sleep(debt).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::PIECE;
    use std::sync::Arc;

    #[test]
    fn bucket_is_in_debt_from_what_is_above_a_burst_until_its_rate_has_paid_for_it() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        // The bytes a second; then each time in milliseconds, the bytes taken then, and the debt after that.
        for (rate, steps) in [
            (1000, &[(0, 250, 0), (0, 1, 1), (1, 0, 0), (1, 1000, 1000), (501, 0, 500), (1001, 0, 0)][..]),
            (1000, &[(0, 100, 0), (100, 100, 0), (200, 100, 0), (10_000, 250, 0), (10_000, 250, 250)]),
            (1, &[(0, 10, 9750)]),
            (u64::MAX, &[(0, usize::MAX, 750)]),
        ] {
            let mut bucket = TokenBucket { rate, full: start };
            for (time, bytes, debt) in steps {
                bucket.take(*bytes, at(*time));
                assert_eq!(bucket.debt(at(*time)).as_millis(), *debt, "{rate} a second, {bytes} at {time}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_share_a_limit_pass_together_what_it_allows() {
        let (limit, start) = (Arc::new(Bandwidth::new(Some(10_000))), Instant::now());
        let streams = [2500, 1000, 100].map(|piece| {
            let limit = limit.clone();
            tokio::spawn(async move {
                let mut passed = 0;
                while start.elapsed() < Duration::from_secs(60) {
                    limit.ready().await;
                    limit.count(piece);
                    passed += piece;
                }
                passed
            })
        });
        let mut passed = 0;
        for stream in streams {
            let of_stream = stream.await.unwrap();
            assert!(of_stream > 0);
            passed += of_stream;
        }
        // Ten thousand a second, the first burst, and the last pieces.
        assert!((600_000..=600_000 + 2500 + 3 * 3600).contains(&passed), "{passed}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_data_is_sent_in_order_in_the_time_that_its_limit_takes() {
        for (rate, seconds) in [(None, 0), (Some(100_000), 9), (Some(1_000_000), 0), (Some(10_000), 99)] {
            let (limit, start, mut written) = (Bandwidth::new(rate), Instant::now(), Vec::new());
            let data: Vec<u8> = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
            for piece in [data[..5].to_vec(), data[5..].to_vec()] {
                let mut left = Bytes::from(piece);
                while !left.is_empty() {
                    written.extend_from_slice(&limit.next_piece(&mut left, PIECE).await);
                }
            }
            assert_eq!((start.elapsed().as_secs(), written == data), (seconds, true), "{rate:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_never_waits() {
        let (limit, start) = (Bandwidth::new(None), Instant::now());
        limit.count(usize::MAX);
        let mut data = Bytes::from(vec![0; PIECE + 1]);
        let pieces = [limit.next_piece(&mut data, PIECE).await.len(), limit.next_piece(&mut data, PIECE).await.len()];
        assert_eq!(pieces, [PIECE, 1]);
        assert_eq!((start.elapsed(), limit.debt(), limit.burst()), (Duration::ZERO, Duration::ZERO, None));
        assert_eq!(Bandwidth::new(Some(1)).burst(), Some(LEAST_PIECE));
        assert_eq!(Bandwidth::new(Some(1 << 20)).burst(), Some(1 << 18));
    }
}
