//! Which lines a waiting client reads, and what the log has of a wait that was given up.

use super::*;
use crate::audit::capture::recorder;
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
async fn wait_that_the_client_gave_up_is_logged_with_the_last_reason_and_no_other_one() {
    let screen = Screen::default();
    for (over, reason, logged) in
        [(false, Some("pulling"), Some("pulling")), (false, None, Some(STARTING)), (true, Some("pulling"), None)]
    {
        let (audit, recorded) = recorder();
        let mut wait = Wait::new(&screen, &audit, false);
        wait.learn(reason.map(str::to_owned)).await;
        if over {
            wait.over()
        } else {
            drop(wait)
        }
        let text = recorded.text();
        assert_eq!(text.contains("code=SSH_LOGIN_ABANDONED"), logged.is_some(), "{text}");
        assert!(text.contains(logged.unwrap_or_default()), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn terminal_shows_each_reason_at_once_and_none_twice() {
    let (screen, audit) = (Screen::default(), recorder().0);
    let mut wait = Wait::new(&screen, &audit, true);
    for reason in [Some("pulling"), Some("pulling"), None, Some("starting")] {
        wait.learn(reason.map(str::to_owned)).await;
    }
    assert_eq!(screen.text(), "podgate: waiting: pulling\r\npodgate: waiting: starting\r\n");
}

#[tokio::test(start_paused = true)]
async fn program_hears_nothing_for_three_seconds_then_the_reason_and_each_other_one() {
    let (screen, audit) = (Screen::default(), recorder().0);
    let mut wait = Wait::new(&screen, &audit, false);
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
    let (screen, audit) = (Screen::default(), recorder().0);
    let mut wait = Wait::new(&screen, &audit, false);
    wait.patience().await;
    wait.tell().await;
    assert_eq!(screen.text(), format!("podgate: waiting: {STARTING}\n"));
    assert!(tokio::time::timeout(Duration::from_secs(3600), wait.patience()).await.is_err());
}
