//! A client's wait for its program, and the lines on standard error that say what it waits for. Standard output gets no
//! byte from here.
//!
//! A terminal shows each reason at once. A client without one hears nothing in the first [`PATIENCE`], then one line, and
//! another whenever the reason changes.

use super::{Client, tell};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The time that a program's client waits before it is told anything.
const PATIENCE: Duration = Duration::from_secs(3);

/// The line for a wait of which no reason is known.
const STARTING: &str = "the container is being started";

/// One client's wait.
pub(super) struct Wait<'a> {
    client: &'a dyn Client,
    pub(super) terminal: bool,
    patient_until: Instant,
    reason: Option<String>,
    /// The last line that was written.
    told: Option<String>,
}

impl<'a> Wait<'a> {
    /// A wait that begins now.
    pub(super) fn new(client: &'a dyn Client, terminal: bool) -> Self {
        Self { client, terminal, patient_until: Instant::now() + PATIENCE, reason: None, told: None }
    }

    /// Takes a new reason, and writes it if the client is to know by now. Without a reason the last one stands.
    pub(super) async fn learn(&mut self, reason: Option<String>) {
        let Some(reason) = reason else { return };
        self.reason = Some(reason);
        if self.terminal || Instant::now() >= self.patient_until {
            self.tell().await;
        }
    }

    /// Waits until a client that was told nothing yet is to be told. Cancel-safe.
    pub(super) async fn patience(&self) {
        match self.told {
            None => sleep_until(self.patient_until).await,
            Some(_) => std::future::pending().await,
        }
    }

    /// Writes the reason, unless that is the last line already.
    pub(super) async fn tell(&mut self) {
        let line = self.reason.as_deref().unwrap_or(STARTING);
        if self.told.as_deref() != Some(line) {
            tell(self.client, &format!("waiting: {line}"), self.terminal).await;
            self.told = Some(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{ClientExit, ClientGone};
    use bytes::Bytes;
    use futures_util::future::BoxFuture;
    use std::future::ready;
    use std::sync::Mutex;

    /// A client that remembers its standard error and refuses everything else.
    #[derive(Default)]
    struct Screen(Mutex<String>);

    impl Client for Screen {
        fn stdout(&self, _: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
            Box::pin(ready(Err(ClientGone)))
        }

        fn stderr(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
            self.0.lock().unwrap().push_str(std::str::from_utf8(&data).unwrap());
            Box::pin(ready(Ok(())))
        }

        fn end(&self, _: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>> {
            Box::pin(ready(Err(ClientGone)))
        }
    }

    impl Screen {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn terminal_shows_each_reason_at_once_and_none_twice() {
        let screen = Screen::default();
        let mut wait = Wait::new(&screen, true);
        for reason in [Some("pulling"), Some("pulling"), None, Some("starting")] {
            wait.learn(reason.map(str::to_owned)).await;
        }
        assert_eq!(screen.text(), "podgate: waiting: pulling\r\npodgate: waiting: starting\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn program_hears_nothing_for_three_seconds_then_the_reason_and_each_other_one() {
        let screen = Screen::default();
        let mut wait = Wait::new(&screen, false);
        wait.learn(Some("scheduling".to_owned())).await;
        wait.learn(Some("pulling".to_owned())).await;
        assert_eq!(screen.text(), "");
        let begun = Instant::now();
        wait.patience().await;
        assert_eq!(begun.elapsed().as_secs(), 3);
        wait.tell().await;
        assert_eq!(screen.text(), "podgate: waiting: pulling\n");
        wait.learn(Some("pulling".to_owned())).await;
        wait.learn(Some("starting".to_owned())).await;
        assert_eq!(screen.text(), "podgate: waiting: pulling\npodgate: waiting: starting\n");
    }

    #[tokio::test(start_paused = true)]
    async fn wait_without_a_known_reason_is_told_once() {
        let screen = Screen::default();
        let mut wait = Wait::new(&screen, false);
        wait.patience().await;
        wait.tell().await;
        assert_eq!(screen.text(), format!("podgate: waiting: {STARTING}\n"));
        assert!(tokio::time::timeout(Duration::from_secs(3600), wait.patience()).await.is_err());
    }
}
