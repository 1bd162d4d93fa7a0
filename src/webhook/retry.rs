//! Repeats failed tries that may be repeated, with jittered exponential pauses, until a deadline that nothing outlasts.
//!
//! Ours and not `backon`'s: it would replace [`pause`] alone, by another jitter, and the kinds of failures stay.

use super::error::{AttemptFailure, WebhookError};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Longest pause after the first failure; doubled after each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause after any failure.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A try that failed.
#[derive(Debug)]
pub(super) struct FailedAttempt {
    pub(super) failure: AttemptFailure,
    /// True if the question has no side effect or did not arrive.
    pub(super) repeatable: bool,
}

/// Calls `attempt` until it succeeds, fails for good, or `deadline` has passed. `failed` is called with each failure that is
/// not final, and the number of the try.
pub(super) async fn retry<T, F>(
    deadline: Instant,
    failed: impl Fn(u32, &AttemptFailure),
    mut attempt: impl FnMut() -> F,
) -> Result<T, WebhookError>
where
    F: Future<Output = Result<T, FailedAttempt>>,
{
    let mut tries = 0;
    let mut last = AttemptFailure::TimedOut;
    while Instant::now() < deadline {
        tries += 1;
        // The failure of an earlier try says more than a try that the deadline cut off.
        let Ok(outcome) = timeout_at(deadline, attempt()).await else { break };
        match outcome {
            Ok(value) => return Ok(value),
            Err(FailedAttempt { failure, .. }) if failure.is_final() => return Err(WebhookError::Final(failure)),
            Err(FailedAttempt { failure, repeatable: false }) => return Err(WebhookError::NotRepeated(failure)),
            Err(FailedAttempt { failure, repeatable: true }) => last = failure,
        }
        failed(tries, &last);
        if timeout_at(deadline, sleep(pause(tries))).await.is_err() {
            break;
        }
    }
    Err(WebhookError::GaveUp { tries, last })
}

/// Random pause between half and the whole of 100 ms · 2^(tries − 1), which is at most 5 s.
fn pause(tries: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1 << (tries - 1).min(10)).min(LAST_PAUSE);
    whole.mul_f64(rand::random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn pauses_grow_to_five_seconds_and_differ() {
        for (tries, most) in [(1, 100), (2, 200), (3, 400), (7, 5_000), (1_000_000, 5_000)] {
            let most = Duration::from_millis(most);
            for _ in 0..50 {
                let pause = pause(tries);
                assert!(pause >= most / 2 && pause <= most, "try {tries}: {pause:?}");
            }
        }
        assert!((0..50).map(|_| pause(7)).collect::<std::collections::HashSet<_>>().len() > 1);
    }

    /// The failure of one call after another that fail so, and how many calls there were.
    async fn outcome(status: u16, repeatable: bool) -> (WebhookError, u32) {
        let calls = AtomicU32::new(0);
        let deadline = Instant::now() + Duration::from_secs(60);
        let outcome: Result<(), _> = retry(
            deadline,
            |_, _| {},
            || async {
                calls.fetch_add(1, Ordering::Relaxed);
                Err(FailedAttempt { failure: AttemptFailure::Status(status), repeatable })
            },
        )
        .await;
        (outcome.expect_err("always fails"), calls.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn final_failure_is_not_tried_again() {
        let (error, calls) = outcome(403, true).await;
        assert!(matches!(error, WebhookError::Final(AttemptFailure::Status(403))), "{error}");
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn failure_that_may_heal_is_not_tried_again_where_the_question_may_not_be_repeated() {
        let (error, calls) = outcome(500, false).await;
        assert!(matches!(error, WebhookError::NotRepeated(AttemptFailure::Status(500))), "{error}");
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn deadline_ends_a_hanging_try_and_the_failure_before_it_is_kept() {
        let calls = AtomicU32::new(0);
        let deadline = Instant::now() + Duration::from_millis(400);
        let outcome: Result<(), _> = retry(
            deadline,
            |_, _| {},
            || async {
                if calls.fetch_add(1, Ordering::Relaxed) > 0 {
                    std::future::pending::<()>().await;
                }
                Err(FailedAttempt { failure: AttemptFailure::Status(502), repeatable: true })
            },
        )
        .await;
        assert!(matches!(outcome, Err(WebhookError::GaveUp { tries: 2, last: AttemptFailure::Status(502) })));
    }
}
