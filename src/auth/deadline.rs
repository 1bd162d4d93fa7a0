//! When a login is over, however far it got. A step that needs longer moves it.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What all extensions together can make of a login: nobody stays for ever without being let in.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// The end of the login's time; clones share it.
#[derive(Debug, Clone)]
pub struct LoginDeadline {
    deadline: Arc<watch::Sender<Instant>>,
    latest: Instant,
}

impl LoginDeadline {
    /// A login that may take `time` from now, at most a quarter of an hour.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        let now = Instant::now();
        Self { deadline: Arc::new(watch::Sender::new(now + time.min(LONGEST))), latest: now + LONGEST }
    }

    /// Gives the login at least `time` from now, as far as a quarter of an hour in all allows. Never shortens it.
    pub fn allow(&self, time: Duration) {
        let until = (Instant::now() + time.min(LONGEST)).min(self.latest);
        self.deadline.send_if_modified(|deadline| {
            let later = until > *deadline;
            *deadline = until.max(*deadline);
            later
        });
    }

    /// Waits until the time is over, extensions included. Cancel-safe.
    pub async fn passed(&self) {
        let mut deadline = self.deadline.subscribe();
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

    #[tokio::test(start_paused = true)]
    async fn extensions_have_an_end() {
        let deadline = LoginDeadline::new(Duration::from_secs(1));
        let extended = async {
            for _ in 0..100 {
                deadline.allow(Duration::from_secs(65));
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        };
        let start = Instant::now();
        tokio::select! {
            () = deadline.passed() => {}
            () = extended => panic!("the login never ended"),
        }
        assert!(start.elapsed() <= LONGEST + Duration::from_secs(1));
    }

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
