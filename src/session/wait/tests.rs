//! The lines that a waiting client reads, and the log line of a wait that was given up.

use super::*;
use crate::audit::capture::recorder;
use crate::guest::{Exit, OutputEvent, ProgramOutput};
use crate::session::pump::pump_output;
use crate::session::{CarriedBytes, ClientExit, ClientGone};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::future::ready;
use tokio::sync::Notify;

/// A client that remembers its standard error and refuses everything else.
#[derive(Default)]
struct Screen(Mutex<String>);

impl Client for Screen {
    fn stdout(&self, _: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(ready(Err(ClientGone)))
    }

    fn stderr(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.line(data)
    }

    fn line(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.0.lock().push_str(std::str::from_utf8(&data).unwrap());
        Box::pin(ready(Ok(())))
    }

    fn answer(&self, _: bool) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(ready(Ok(())))
    }

    fn end_of_output(&self) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(ready(Err(ClientGone)))
    }

    fn end(&self, _: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(ready(Err(ClientGone)))
    }
}

/// A client that takes one line at each notification.
#[derive(Default)]
struct Slow {
    screen: Screen,
    reads: Notify,
}

impl Client for Slow {
    fn stdout(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.screen.stdout(data)
    }

    fn stderr(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.line(data)
    }

    fn line(&self, line: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move {
            self.reads.notified().await;
            self.screen.line(line).await
        })
    }

    fn answer(&self, _: bool) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(ready(Ok(())))
    }

    fn end_of_output(&self) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.screen.end_of_output()
    }

    fn end(&self, exit: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>> {
        self.screen.end(exit)
    }
}

/// A program that outputs these events, the last one first.
struct ReversedOutput(Vec<OutputEvent>);

impl ProgramOutput for ReversedOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        let said = self.0.pop();
        Box::pin(async move {
            match said {
                Some(said) => said,
                None => pending().await,
            }
        })
    }
}

/// Finishes the line that a wait has begun.
async fn settle(wait: &mut ClientWait<'_>) {
    if wait.pending.is_pending() {
        wait.proceed().await;
    }
}

impl Screen {
    fn text(&self) -> String {
        self.0.lock().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn wait_that_the_client_gave_up_is_logged_with_the_last_reason_and_no_other_one() {
    let screen = Screen::default();
    for (over, reason, logged) in
        [(false, Some("pulling"), Some("pulling")), (false, None, Some(STARTING)), (true, Some("pulling"), None)]
    {
        let (audit, recorded) = recorder();
        let mut wait = ClientWait::new(&screen, &audit, false);
        wait.learn(reason.map(str::to_owned));
        if over {
            drop(wait.over())
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
    let mut wait = ClientWait::new(&screen, &audit, true);
    for reason in [Some("pulling"), Some("pulling"), None, Some("starting")] {
        wait.learn(reason.map(str::to_owned));
        settle(&mut wait).await;
    }
    assert_eq!(screen.text(), "podgate: waiting: pulling\r\npodgate: waiting: starting\r\n");
}

#[tokio::test(start_paused = true)]
async fn program_hears_nothing_for_three_seconds_then_the_reason_and_each_other_one() {
    let (screen, audit) = (Screen::default(), recorder().0);
    let mut wait = ClientWait::new(&screen, &audit, false);
    wait.learn(Some("scheduling".to_owned()));
    wait.learn(Some("pulling".to_owned()));
    assert_eq!(screen.text(), "");
    let begun = Instant::now();
    wait.proceed().await;
    assert_eq!(begun.elapsed().as_secs(), 3);
    settle(&mut wait).await;
    assert_eq!(screen.text(), "podgate: waiting: pulling\n");
    wait.learn(Some("pulling".to_owned()));
    settle(&mut wait).await;
    wait.learn(Some("starting".to_owned()));
    settle(&mut wait).await;
    assert_eq!(screen.text(), "podgate: waiting: pulling\npodgate: waiting: starting\n");
}

#[tokio::test(start_paused = true)]
async fn wait_without_a_known_reason_is_told_once() {
    let (screen, audit) = (Screen::default(), recorder().0);
    let mut wait = ClientWait::new(&screen, &audit, false);
    wait.proceed().await;
    settle(&mut wait).await;
    assert_eq!(screen.text(), format!("podgate: waiting: {STARTING}\n"));
    assert!(tokio::time::timeout(Duration::from_secs(3600), wait.proceed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_holds_up_no_reason_and_reads_the_first_and_the_last_in_the_end() {
    let (screen, audit) = (Slow::default(), recorder().0);
    let mut wait = ClientWait::new(&screen, &audit, true);
    for reason in ["scheduling", "pulling", "starting"] {
        wait.learn(Some(reason.to_owned()));
        assert!(tokio::time::timeout(Duration::from_secs(3600), wait.proceed()).await.is_err(), "the line is written");
    }
    assert_eq!(screen.screen.text(), "");
    screen.reads.notify_waiters();
    wait.proceed().await;
    let mut unread = wait.over();
    assert!(unread.is_pending());
    screen.reads.notify_one();
    unread.written().await;
    assert_eq!(screen.screen.text(), "podgate: waiting: scheduling\r\npodgate: waiting: starting\r\n");
}

#[tokio::test(start_paused = true)]
async fn line_that_nobody_reads_goes_out_before_any_output_and_holds_up_no_exit() {
    let carried = CarriedBytes::default();
    let (screen, audit) = (Slow::default(), recorder().0);
    let line = || {
        let mut wait = ClientWait::new(&screen, &audit, true);
        wait.learn(Some("starting".to_owned()));
        wait.over()
    };
    let exit = pump_output(
        Box::new(ReversedOutput(vec![OutputEvent::Exit(Exit::Status(7))])),
        (&screen, &audit, &carried),
        line(),
    )
    .await;
    assert_eq!(exit, Ok(Exit::Status(7)));
    // The fake client fails at the end of output, so it was not told behind the line.
    let ended = vec![OutputEvent::Exit(Exit::Status(7)), OutputEvent::End];
    let exit = tokio::time::timeout(
        Duration::from_secs(3600),
        pump_output(Box::new(ReversedOutput(ended)), (&screen, &audit, &carried), line()),
    );
    assert_eq!(exit.await.expect("an exit does not wait for the line"), Ok(Exit::Status(7)));
    assert_eq!(screen.screen.text(), "");
    let said = vec![OutputEvent::Exit(Exit::Status(0)), OutputEvent::Stderr(Bytes::from_static(b"output"))];
    screen.reads.notify_one();
    let mut pumping = Box::pin(pump_output(Box::new(ReversedOutput(said)), (&screen, &audit, &carried), line()));
    assert!(tokio::time::timeout(Duration::from_secs(3600), &mut pumping).await.is_err(), "the output was not read");
    screen.reads.notify_one();
    assert_eq!(pumping.await, Ok(Exit::Status(0)));
    assert_eq!(screen.screen.text(), "podgate: waiting: starting\r\noutput");
    let mut pumping =
        Box::pin(pump_output(Box::new(ReversedOutput(vec![OutputEvent::End])), (&screen, &audit, &carried), line()));
    assert!(tokio::time::timeout(Duration::from_secs(3600), &mut pumping).await.is_err(), "the line was not read");
    screen.reads.notify_one();
    assert_eq!(pumping.await, Err(ClientGone), "the end is told behind the line");
}

#[tokio::test(start_paused = true)]
async fn long_reason_is_cut_for_the_client_and_whole_in_the_log() {
    let (screen, (audit, recorded)) = (Screen::default(), recorder());
    let mut wait = ClientWait::new(&screen, &audit, true);
    wait.learn(Some("x".repeat(1000)));
    settle(&mut wait).await;
    assert_eq!(screen.text().chars().filter(|c| *c == 'x').count(), USER_TEXT_MAX - 1);
    drop(wait);
    assert!(recorded.text().contains(&"x".repeat(1000)));
}
