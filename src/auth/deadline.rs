//! When a login is over, however far it got. A step that needs longer moves it.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Longer than any login waits; keeps the sum with the present instant in range.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The end of the login's time; clones share it.
#[derive(Debug, Clone)]
pub struct LoginDeadline(Arc<watch::Sender<Instant>>);

impl LoginDeadline {
    /// A login that may take `time` from now, at most a day.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        Self(Arc::new(watch::Sender::new(Instant::now() + time.min(LONGEST))))
    }

    /// Gives the login at least `time` from now. Never shortens it.
    pub fn allow(&self, time: Duration) {
        let until = Instant::now() + time.min(LONGEST);
        self.0.send_if_modified(|deadline| {
            let later = until > *deadline;
            *deadline = until.max(*deadline);
            later
        });
    }

    /// Waits until the time is over, extensions included. Cancel-safe.
    pub async fn passed(&self) {
        let mut deadline = self.0.subscribe();
        loop {
            let until = *deadline.borrow_and_update();
            if Instant::now() >= until {
                return;
            }
            tokio::select! {
                () = sleep_until(until) => {}
                // An error is the sender being gone, which `self` holds.
                _ = deadline.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    #[tokio::test]
    async fn login_without_time_is_over_at_once() {
        timeout(Duration::from_secs(10), LoginDeadline::new(Duration::ZERO).passed()).await.unwrap();
    }

    #[tokio::test]
    async fn extension_is_seen_by_who_waits_and_never_shortens() {
        let deadline = LoginDeadline::new(Duration::from_millis(50));
        let waiting = deadline.clone();
        let waiter = tokio::spawn(async move { waiting.passed().await });
        deadline.allow(Duration::from_secs(3600));
        deadline.allow(Duration::ZERO);
        let early = timeout(Duration::from_millis(200), deadline.passed()).await;
        assert!(early.is_err(), "the login was ended early");
        assert!(!waiter.is_finished(), "who waited missed the extension");
        waiter.abort();
    }
}
