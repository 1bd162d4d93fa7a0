//! The end of a program that may be its container's: KILL and the loss of a stream come to one program, or to all that
//! runs there. The user of a container that is gone is to read why, and the user of one that lives is not to wait.
//!
//! A [witness](super::witness) that outlived its program has proven that the container lives. Otherwise a program is started
//! there: where that works, the end is handed on at once; where it does not, it is held back for as long as a kubelet
//! takes to notice that a container is gone, which then is the reason that the session gets.

use super::ground::Ground;
use crate::guest::{Exit, Output, Program, Said};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The exit status of a program that got KILL.
pub(super) const KILLED: u8 = 137;

/// Time until the news arrives that a container is gone: a kubelet looks at its containers once a second.
const LAG: Duration = Duration::from_secs(2);

/// The program with ends that are certain. `witnessed` says that it ran under a witness, who tells it apart from himself.
pub(super) fn certain(program: Program, ground: Arc<Ground>, witnessed: bool) -> Program {
    let lives: Lives = Box::new(move || {
        let ground = Arc::clone(&ground);
        Box::pin(async move { ground.lives(LAG).await })
    });
    let output = Certain { output: program.output, lives, witnessed, until: None, ended: None };
    Program { input: program.input, output: Box::new(output) }
}

type Lives = Box<dyn Fn() -> BoxFuture<'static, bool> + Send>;

struct Certain {
    output: Box<dyn Output>,
    lives: Lives,
    witnessed: bool,
    /// When an end that is in doubt is handed on anyway.
    until: Option<Instant>,
    ended: Option<Exit>,
}

impl Output for Certain {
    fn next(&mut self) -> BoxFuture<'_, Said> {
        Box::pin(async move {
            if let Some(exit) = &self.ended {
                return Said::Exit(exit.clone());
            }
            let exit = match self.output.next().await {
                Said::Exit(exit) => exit,
                said => return said,
            };
            if self.doubts(&exit) {
                let until = *self.until.get_or_insert_with(|| Instant::now() + LAG);
                if timeout_at(until, (self.lives)()).await != Ok(true) {
                    sleep_until(until).await;
                }
            }
            let exit = match exit {
                Exit::Signal { .. } => Exit::Status(KILLED),
                exit => exit,
            };
            self.ended = Some(exit.clone());
            Said::Exit(exit)
        })
    }
}

impl Certain {
    /// True for an exit that may be the container's own end.
    fn doubts(&self, exit: &Exit) -> bool {
        match exit {
            Exit::Status(status) => *status == KILLED && !self.witnessed,
            Exit::Signal { .. } => true,
            // 126 and 127 are a container's that lives.
            Exit::Lost(refusal) => refusal.status == 255,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Refusal;
    use std::future::{pending, ready};

    struct Ends(Exit);

    impl Output for Ends {
        fn next(&mut self) -> BoxFuture<'_, Said> {
            Box::pin(ready(Said::Exit(self.0.clone())))
        }
    }

    fn killed() -> Exit {
        Exit::Signal { name: "KILL".to_owned(), core: false }
    }

    fn lost(status: u8) -> Exit {
        Exit::Lost(Refusal { status, ..Refusal::new("lost") })
    }

    async fn told(exit: &Exit, witnessed: bool, lives: fn() -> BoxFuture<'static, bool>) -> (Exit, Duration) {
        let output = Box::new(Ends(exit.clone()));
        let mut certain = Certain { output, lives: Box::new(lives), witnessed, until: None, ended: None };
        let begun = Instant::now();
        let Said::Exit(exit) = certain.next().await else { panic!("an exit") };
        assert_eq!(certain.next().await, Said::Exit(exit.clone()), "an exit stays");
        (exit, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn end_that_may_be_the_containers_waits_for_the_news_of_it() {
        type Fake = fn() -> BoxFuture<'static, bool>;
        let (dead, unknown): (Fake, Fake) = (|| Box::pin(ready(false)), || Box::pin(pending()));
        for lives in [dead, unknown] {
            for (exit, witnessed) in
                [(lost(255), true), (lost(255), false), (killed(), true), (Exit::Status(137), false)]
            {
                let (_, took) = told(&exit, witnessed, lives).await;
                assert_eq!(took, LAG, "{exit:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn end_in_a_container_that_lives_is_told_at_once() {
        for (exit, witnessed, expected) in [
            (lost(255), true, lost(255)),
            (killed(), true, Exit::Status(137)),
            (Exit::Status(137), false, Exit::Status(137)),
        ] {
            assert_eq!(told(&exit, witnessed, || Box::pin(ready(true))).await, (expected, Duration::ZERO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn end_that_is_the_programs_own_asks_nobody() {
        for (exit, witnessed) in [
            (Exit::Status(0), false),
            (Exit::Status(255), true),
            (Exit::Status(137), true),
            (lost(126), false),
            (lost(127), false),
        ] {
            let (same, took) = told(&exit, witnessed, || panic!("nobody is asked")).await;
            assert_eq!((same, took), (exit, Duration::ZERO));
        }
    }
}
