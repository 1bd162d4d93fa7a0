//! The end of a program that may be the end of its container: KILL and the loss of a stream hit one program, or all that
//! run there. The user of a container that is gone reads the reason, and the user of one that lives does not wait.
//!
//! An [exit wrapper](super::exit_wrapper) that outlived its program has proven that the container lives. Otherwise a program
//! is started there. If that works, the end is handed on at once; if not, it is held back for as long as a kubelet takes
//! to notice that a container is gone, which then becomes the session's reason.

use crate::guest::{Exit, OutputEvent, Program, ProgramOutput};
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The exit status of a program that got KILL.
pub(crate) const KILLED: u8 = 137;

/// The time until the end of a container is reported: a kubelet looks at its containers once a second.
const LAG: Duration = Duration::from_secs(2);

/// The witness of a program's exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitWitness {
    /// The container runtime, which says 137 of a program and of a container.
    Runtime,
    /// An [exit wrapper](super::exit_wrapper), whose own 137 is never the container's end.
    Wrapper,
    /// The guest's agent, which tells signals from statuses.
    Agent,
}

/// Holds back the program's end until it is known if the container lives, which `lives` tells within its limit.
pub(crate) fn confirm_end<F>(
    program: Program,
    witness: ExitWitness,
    lives: impl Fn(Duration) -> F + Send + 'static,
) -> Program
where
    F: Future<Output = bool> + Send + 'static,
{
    let lives: LivenessCheck = Box::new(move || Box::pin(lives(LAG)));
    let output = ConfirmedOutput { output: program.output, lives, witness, deadline: None, exit: None };
    Program { input: program.input, output: Box::new(output) }
}

/// A check whether the container lives.
type LivenessCheck = Box<dyn Fn() -> BoxFuture<'static, bool> + Send>;

struct ConfirmedOutput {
    output: Box<dyn ProgramOutput>,
    lives: LivenessCheck,
    witness: ExitWitness,
    /// The time at which an end in doubt is handed on.
    deadline: Option<Instant>,
    exit: Option<Exit>,
}

impl ProgramOutput for ConfirmedOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            if let Some(exit) = &self.exit {
                return OutputEvent::Exit(exit.clone());
            }
            let exit = match self.output.next().await {
                OutputEvent::Exit(exit) => exit,
                event => return event,
            };
            if self.is_in_doubt(&exit) {
                let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + LAG);
                if timeout_at(deadline, (self.lives)()).await != Ok(true) {
                    sleep_until(deadline).await;
                }
            }
            let exit = match exit {
                Exit::Signal { .. } if self.witness != ExitWitness::Agent => Exit::Status(KILLED),
                exit => exit,
            };
            self.exit = Some(exit.clone());
            OutputEvent::Exit(exit)
        })
    }
}

impl ConfirmedOutput {
    /// True for an exit that may be the container's own end.
    fn is_in_doubt(&self, exit: &Exit) -> bool {
        match exit {
            Exit::Status(status) => *status == KILLED && self.witness == ExitWitness::Runtime,
            Exit::Signal { .. } => self.witness != ExitWitness::Agent,
            // 126 and 127 come from a container that lives.
            Exit::Lost(refusal) => refusal.status() == 255,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{Refusal, RefusalKind};
    use std::future::{pending, ready};

    struct Ends(Exit);

    impl ProgramOutput for Ends {
        fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
            Box::pin(ready(OutputEvent::Exit(self.0.clone())))
        }
    }

    fn killed() -> Exit {
        Exit::Signal { name: "KILL".to_owned(), core: false }
    }

    fn lost(kind: RefusalKind) -> Exit {
        Exit::Lost(Refusal::new("lost").kind(kind))
    }

    async fn confirmed(exit: &Exit, witness: ExitWitness, lives: fn() -> BoxFuture<'static, bool>) -> (Exit, Duration) {
        let ends = Box::new(Ends(exit.clone()));
        let mut output = ConfirmedOutput { output: ends, lives: Box::new(lives), witness, deadline: None, exit: None };
        let begun = Instant::now();
        let OutputEvent::Exit(exit) = output.next().await else { panic!("an exit") };
        assert_eq!(output.next().await, OutputEvent::Exit(exit.clone()), "an exit stays");
        (exit, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn end_that_may_be_the_containers_waits_for_the_news_of_it() {
        type Fake = fn() -> BoxFuture<'static, bool>;
        let (dead, unknown): (Fake, Fake) = (|| Box::pin(ready(false)), || Box::pin(pending()));
        for lives in [dead, unknown] {
            for (exit, witness) in [
                (lost(RefusalKind::Other), ExitWitness::Wrapper),
                (lost(RefusalKind::Other), ExitWitness::Runtime),
                (lost(RefusalKind::Other), ExitWitness::Agent),
                (killed(), ExitWitness::Wrapper),
                (Exit::Status(137), ExitWitness::Runtime),
            ] {
                let (_, took) = confirmed(&exit, witness, lives).await;
                assert_eq!(took, LAG, "{exit:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn end_in_a_container_that_lives_is_told_at_once() {
        for (exit, witness, expected) in [
            (lost(RefusalKind::Other), ExitWitness::Wrapper, lost(RefusalKind::Other)),
            (killed(), ExitWitness::Wrapper, Exit::Status(137)),
            (Exit::Status(137), ExitWitness::Runtime, Exit::Status(137)),
        ] {
            assert_eq!(confirmed(&exit, witness, || Box::pin(ready(true))).await, (expected, Duration::ZERO));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn end_that_is_the_programs_own_asks_nobody() {
        for (exit, witness) in [
            (Exit::Status(0), ExitWitness::Runtime),
            (Exit::Status(255), ExitWitness::Wrapper),
            (Exit::Status(137), ExitWitness::Wrapper),
            (killed(), ExitWitness::Agent),
            (Exit::Status(137), ExitWitness::Agent),
            (lost(RefusalKind::NotExecutable), ExitWitness::Runtime),
            (lost(RefusalKind::NotFound), ExitWitness::Runtime),
        ] {
            let (same, took) = confirmed(&exit, witness, || panic!("nobody is asked")).await;
            assert_eq!((same, took), (exit, Duration::ZERO));
        }
    }
}
