//! The deadline of a login. Its clock stands still while a webhook is asked, and at no other time.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Longest login with everything that a webhook takes.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Deadline of one login; clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LoginDeadline {
    clock: Arc<watch::Sender<LoginClock>>,
    begun: Instant,
}

#[derive(Debug, Clone, Copy)]
struct LoginClock {
    deadline: Instant,
    /// The webhooks that are asked, and the moment when the first of them was.
    asked: usize,
    since: Instant,
}

impl LoginDeadline {
    /// A deadline in `time` from now, at most a quarter of an hour.
    pub(crate) fn new(time: Duration) -> Self {
        let begun = Instant::now();
        let clock = LoginClock { deadline: begun + time.min(LONGEST), asked: 0, since: begun };
        Self { clock: Arc::new(watch::Sender::new(clock)), begun }
    }

    /// Extends the deadline to `time` after the login's begin. Never shortens it.
    pub(crate) fn extend_to(&self, time: Duration) {
        self.extend(self.begun + time.min(LONGEST));
    }

    /// Extends the deadline to at least `time` from now. Never shortens it.
    pub(crate) fn allow(&self, time: Duration) {
        self.extend(Instant::now() + time.min(LONGEST));
    }

    fn extend(&self, until: Instant) {
        self.clock.send_modify(|clock| clock.deadline = clock.deadline.max(until));
    }

    /// Stops the clock until the guard is dropped.
    pub(crate) fn pause(&self) -> DeadlinePause<'_> {
        self.clock.send_modify(|clock| {
            if clock.asked == 0 {
                clock.since = Instant::now();
            }
            clock.asked += 1;
        });
        DeadlinePause(self)
    }

    /// Waits for the deadline, pauses included; a quarter of an hour after the login's begin it has passed in any case.
    /// Cancel-safe.
    pub(crate) async fn passed(&self) {
        let mut clock = self.clock.subscribe();
        let latest = self.begun + LONGEST;
        loop {
            let LoginClock { deadline, asked, .. } = *clock.borrow_and_update();
            let until = if asked > 0 { latest } else { deadline.min(latest) };
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                // An error means that the sender is gone, but `self` holds it.
                _ = clock.changed() => {}
            }
        }
    }
}

/// Lets the clock of a login go on when dropped.
#[derive(Debug)]
#[must_use = "dropping it lets the clock go on"]
pub(crate) struct DeadlinePause<'a>(&'a LoginDeadline);

impl Drop for DeadlinePause<'_> {
    fn drop(&mut self) {
        self.0.clock.send_modify(|clock| {
            clock.asked -= 1;
            if clock.asked == 0 {
                clock.deadline += clock.since.elapsed();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{sleep, timeout};

    /// Waits for the deadline beside some work. Returns the seconds after which it had passed.
    async fn passed_after(deadline: &LoginDeadline, work: impl Future<Output = ()>) -> u64 {
        let begun = Instant::now();
        let work = async {
            work.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = deadline.passed() => begun.elapsed().as_secs(),
            () = work => unreachable!("pending"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_of_a_webhook_is_added_and_no_other() {
        let deadline = LoginDeadline::new(Duration::from_secs(60));
        let attempts = async {
            for _ in 0..5 {
                sleep(Duration::from_secs(9)).await;
                let pause = deadline.pause();
                sleep(Duration::from_secs(40)).await;
                drop(pause);
            }
        };
        assert_eq!(passed_after(&deadline, attempts).await, 260);
    }

    #[tokio::test(start_paused = true)]
    async fn webhooks_that_are_asked_at_once_count_once() {
        let deadline = LoginDeadline::new(Duration::from_secs(10));
        let pauses = async {
            let first = deadline.pause();
            sleep(Duration::from_secs(5)).await;
            let second = deadline.pause();
            sleep(Duration::from_secs(5)).await;
            drop(first);
            sleep(Duration::from_secs(5)).await;
            drop(second);
        };
        assert_eq!(passed_after(&deadline, pauses).await, 25);
    }

    #[tokio::test(start_paused = true)]
    async fn webhook_that_never_answers_has_an_end() {
        let deadline = LoginDeadline::new(Duration::from_secs(1));
        let _pause = deadline.pause();
        assert_eq!(passed_after(&deadline, std::future::pending()).await, LONGEST.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn extensions_have_an_end() {
        let deadline = LoginDeadline::new(Duration::from_secs(1));
        let extended = async {
            for _ in 0..100 {
                deadline.allow(Duration::from_secs(65));
                sleep(Duration::from_secs(60)).await;
            }
        };
        assert_eq!(passed_after(&deadline, extended).await, LONGEST.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn second_stage_counts_from_the_begin() {
        let deadline = LoginDeadline::new(Duration::from_secs(10));
        let exchanged = async {
            sleep(Duration::from_secs(8)).await;
            deadline.extend_to(Duration::from_secs(60));
            deadline.extend_to(Duration::from_secs(5));
        };
        assert_eq!(passed_after(&deadline, exchanged).await, 60);
    }

    #[tokio::test]
    async fn login_without_time_is_over_at_once() {
        timeout(Duration::from_secs(10), LoginDeadline::new(Duration::ZERO).passed()).await.unwrap();
    }
}
