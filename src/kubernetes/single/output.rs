//! What comes from a program that is a container's main process, and how it ended.
//!
//! The stream says what the program said, the pod's status how it ended; whichever ends first waits for the other, a
//! while. A stream that was lost stays lost, whatever the status says: nobody knows what of the output is missing.

use super::Hold;
use crate::guest::{Exit, Output, Refusal, Said};
use crate::kubernetes::api::{LogStream, causes};
use crate::kubernetes::exec::found_stopped;
use crate::kubernetes::ground::Ground;
use crate::kubernetes::wait::Over;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// How long nothing may come from a stream whose program is over before it is over, too; and how long the news may take
/// that the pod of a lost stream is gone.
const QUIET: Duration = Duration::from_secs(2);

/// The program's pod.
pub(super) struct Pod {
    pub(super) ground: Arc<Ground>,
    pub(super) over: watch::Receiver<Option<Over>>,
    /// `podStop`: how long the exit code is waited for.
    pub(super) stop: Duration,
}

impl Pod {
    /// How the program is over, where that is known by then.
    async fn over(&mut self, deadline: Instant) -> Option<Over> {
        timeout_at(deadline, over(&mut self.over)).await.ok()
    }
}

/// Waits until the program is over.
async fn over(told: &mut watch::Receiver<Option<Over>>) -> Over {
    match told.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(over)) => over.clone(),
        // Whoever tells it is gone with the pod.
        Ok(None) | Err(_) => Over::Died("the pod is gone".to_owned()),
    }
}

/// The reason that a program never started: what happened to its pod says more than its stream does.
pub(super) async fn why(mut pod: Pod, refusal: Refusal) -> Refusal {
    match pod.over(Instant::now() + QUIET).await {
        Some(Over::Died(reason)) => Refusal { reason, logged: true, ..refusal },
        Some(Over::Exited(_)) | None => refusal,
    }
}

/// The output.
pub(super) struct MainOutput {
    pod: Pod,
    phase: Phase,
    /// Whether the log has what the stream does not: nothing held the program, and nothing came.
    missed: bool,
    _hold: Arc<Hold>,
}

enum Phase {
    /// The stream goes on.
    Attached(Box<dyn Output>),
    /// The stream ended so; how the program did is waited for until then.
    Ending(Exit, Instant),
    /// The log is read of a program that ended so.
    Log(Box<LogStream>, Exit),
    Ended(Exit),
}

impl MainOutput {
    /// Of a stream. `unheld` says that the program ran before it was attached to.
    pub(super) fn new(stream: Box<dyn Output>, pod: Pod, hold: Arc<Hold>, unheld: bool) -> Self {
        Self { pod, phase: Phase::Attached(stream), missed: unheld, _hold: hold }
    }

    /// Of a program that could not be attached to for that reason: its log, where it has ended by itself.
    pub(super) async fn after(refusal: Refusal, mut pod: Pod, hold: Arc<Hold>) -> Result<Self, Refusal> {
        match pod.over(Instant::now() + patience(&refusal, pod.stop)).await {
            Some(Over::Exited(status)) => {
                let phase = Phase::Ending(Exit::Status(status), Instant::now());
                Ok(Self { pod, phase, missed: true, _hold: hold })
            }
            Some(Over::Died(reason)) => Err(Refusal { reason, logged: true, ..refusal }),
            None => Err(refusal),
        }
    }

    async fn one(&mut self) -> Said {
        loop {
            match &mut self.phase {
                Phase::Attached(stream) => match talk(stream, &mut self.pod.over).await {
                    Said::Exit(exit) => self.phase = ending(exit, self.pod.stop),
                    said => {
                        self.missed = false;
                        return said;
                    }
                },
                Phase::Ending(exit, deadline) => {
                    let over = self.pod.over(*deadline).await;
                    let exit = verdict(exit.clone(), over, self.missed);
                    self.phase = self.end(exit).await;
                }
                Phase::Log(log, exit) => match log.next().await {
                    Ok(Some(piece)) => return Said::Stdout(piece),
                    Ok(None) => self.phase = Phase::Ended(exit.clone()),
                    Err(error) => self.phase = Phase::Ended(lost_log(causes(&error))),
                },
                Phase::Ended(exit) => return Said::Exit(exit.clone()),
            }
        }
    }

    async fn end(&mut self, exit: Exit) -> Phase {
        if !self.missed || !matches!(exit, Exit::Status(_)) {
            return Phase::Ended(exit);
        }
        match self.pod.ground.log().await {
            Ok(log) => Phase::Log(Box::new(log), exit),
            Err(error) => Phase::Ended(lost_log(error.to_string())),
        }
    }
}

impl Output for MainOutput {
    fn next(&mut self) -> BoxFuture<'_, Said> {
        Box::pin(self.one())
    }
}

/// The next thing on the stream; a stream that falls silent when its program is over has ended.
async fn talk(stream: &mut Box<dyn Output>, told: &mut watch::Receiver<Option<Over>>) -> Said {
    let silence = async {
        let _over = over(told).await;
        sleep(QUIET).await;
    };
    tokio::select! {
        biased;
        said = stream.next() => said,
        () = silence => Said::Exit(Exit::Status(0)),
    }
}

/// A stream's own end says success whatever happened, or that it was lost.
fn ending(exit: Exit, stop: Duration) -> Phase {
    let patience = match &exit {
        Exit::Lost(refusal) => patience(refusal, stop),
        Exit::Status(_) | Exit::Signal { .. } => stop,
    };
    Phase::Ending(exit, Instant::now() + patience)
}

/// How long a lost stream waits for what happened to its program: a container that was found not to run has ended, and
/// its code will come.
fn patience(refusal: &Refusal, stop: Duration) -> Duration {
    if found_stopped(refusal) { stop } else { QUIET }
}

/// How the program ended whose stream ended so. `missed` says that nothing held it and nothing came.
fn verdict(stream: Exit, over: Option<Over>, missed: bool) -> Exit {
    match (stream, over) {
        // The attach was begun, then found that it came too late.
        (Exit::Lost(refusal), Some(Over::Exited(status))) if missed && found_stopped(&refusal) => Exit::Status(status),
        (Exit::Lost(refusal), Some(Over::Died(reason))) => Exit::Lost(Refusal { reason, logged: true, ..refusal }),
        (Exit::Lost(refusal), Some(Over::Exited(_)) | None) => Exit::Lost(refusal),
        (_, Some(Over::Exited(status))) => Exit::Status(status),
        (_, Some(Over::Died(reason))) => Exit::Lost(Refusal { logged: true, ..Refusal::new(reason) }),
        (_, None) => Exit::Lost(
            Refusal::new("it is not known how the program ended")
                .detail("the container's exit code did not come within timeouts.podStop"),
        ),
    }
}

fn lost_log(detail: String) -> Exit {
    Exit::Lost(
        Refusal::new("the program ended before it could be attached to, and its log cannot be read").detail(detail),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::api::PodApi;
    use crate::kubernetes::client::Clients;
    use crate::kubernetes::retry::Throttle;
    use crate::kubernetes::samples;
    use crate::kubernetes::stage::Stage;
    use crate::types::PodName;

    fn lost(reason: &str) -> Exit {
        Exit::Lost(Refusal::new(reason))
    }

    /// An end whose reason the pod's own line in the log has told.
    fn told(reason: &str) -> Exit {
        Exit::Lost(Refusal { logged: true, ..Refusal::new(reason) })
    }

    #[test]
    fn end_of_a_stream_is_success_only_where_the_containers_code_says_so() {
        let (exited, died) = (|code| Some(Over::Exited(code)), || Some(Over::Died("evicted".into())));
        let unknown = verdict(Exit::Status(0), None, false);
        assert!(matches!(&unknown, Exit::Lost(refusal) if refusal.status == 255), "{unknown:?}");
        for (stream, over, expected) in [
            (Exit::Status(0), exited(0), Exit::Status(0)),
            (Exit::Status(0), exited(7), Exit::Status(7)),
            (Exit::Status(0), died(), told("evicted")),
            (lost("cut"), exited(0), lost("cut")),
            (lost("cut"), died(), told("evicted")),
            (lost("cut"), None, lost("cut")),
        ] {
            assert_eq!(verdict(stream.clone(), over.clone(), false), expected, "{stream:?} {over:?}");
        }
    }

    #[test]
    fn attach_that_found_the_program_ended_is_not_a_lost_stream() {
        let exited = || Some(Over::Exited(7));
        let stopped = || lost("the container is not running");
        for (stream, over, missed, expected) in [
            (stopped(), exited(), false, stopped()),
            (stopped(), Some(Over::Died("evicted".into())), true, told("evicted")),
            (stopped(), None, true, stopped()),
            (lost("cut"), exited(), true, lost("cut")),
            (stopped(), exited(), true, Exit::Status(7)),
        ] {
            assert_eq!(verdict(stream.clone(), over.clone(), missed), expected, "{stream:?} {over:?} {missed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn code_of_a_program_that_an_attach_found_ended_may_take_its_time() {
        crate::tls::install();
        let settings = samples::settings();
        for (reason, known) in [("the container is not running", true), ("cut", false)] {
            let client = Clients::new().get(&settings.cluster, settings.timeouts.http).unwrap();
            let (namespace, throttle) = (settings.pod.namespace.clone(), Arc::new(Throttle::new(0, 0)));
            let api = Arc::new(PodApi::new(client.kube(), namespace, settings.timeouts.http, throttle));
            let name = PodName::parse("p").unwrap();
            let ground = Arc::new(Ground::new(client, api, name, settings.pod.console_name.clone()));
            let stage = Arc::new(Stage::new());
            let pod = Pod { ground, over: stage.over(), stop: settings.timeouts.pod_stop };
            let hold = Arc::new(Hold(Arc::clone(&stage)));
            let told = async {
                sleep(settings.timeouts.pod_stop - Duration::from_secs(1)).await;
                stage.tell_over(Over::Exited(3));
            };
            let (output, ()) = tokio::join!(MainOutput::after(Refusal::new(reason), pod, hold), told);
            assert_eq!(output.is_ok(), known, "{reason}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stream_that_falls_silent_when_its_program_is_over_is_not_waited_for() {
        struct Silent(Option<Said>);

        impl Output for Silent {
            fn next(&mut self) -> BoxFuture<'_, Said> {
                Box::pin(async move {
                    match self.0.take() {
                        Some(said) => said,
                        None => std::future::pending().await,
                    }
                })
            }
        }

        let (tell, mut told) = watch::channel(None);
        let last = Said::Stdout("last".into());
        let mut stream: Box<dyn Output> = Box::new(Silent(Some(last.clone())));
        tell.send_replace(Some(Over::Exited(0)));
        assert_eq!(talk(&mut stream, &mut told).await, last);
        let start = Instant::now();
        assert_eq!(talk(&mut stream, &mut told).await, Said::Exit(Exit::Status(0)));
        assert_eq!(start.elapsed(), QUIET);
    }
}
