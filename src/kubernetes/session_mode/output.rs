//! The output and the end of a program that is a container's main process.
//!
//! The output comes from the stream, the exit from the pod's status; the one that ends first waits a while for the other. A
//! stream that was lost stays lost, whatever the status says: a part of the output may be missing.

use super::PodGuard;
use crate::guest::{Exit, OutputEvent, ProgramOutput, Refusal, RefusalKind};
use crate::kubernetes::api::pods::LogStream;
use crate::kubernetes::pod::container::ReadyContainer;
use crate::kubernetes::pod::wait::PodEnd;
use crate::types::causes;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// The time of silence after which the stream of an ended program counts as ended, and the time that the report of a pod's
/// end may take after the loss of its stream.
const QUIET: Duration = Duration::from_secs(2);

/// The pod of a program.
pub(super) struct ProgramPod {
    pub(super) container: Arc<ReadyContainer>,
    pub(super) end: watch::Receiver<Option<PodEnd>>,
    /// `podStop`: the limit of the wait for the exit code.
    pub(super) stop: Duration,
}

impl ProgramPod {
    /// Waits for the program's end until the deadline.
    async fn end_by(&mut self, deadline: Instant) -> Option<PodEnd> {
        timeout_at(deadline, end_of(&mut self.end)).await.ok()
    }
}

/// Waits for the program's end.
async fn end_of(end: &mut watch::Receiver<Option<PodEnd>>) -> PodEnd {
    match end.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(end)) => end.clone(),
        // The pod's task has ended with the pod.
        Ok(None) | Err(_) => PodEnd::Died("the pod is gone".to_owned()),
    }
}

/// The refusal of a program that never started: the end of its pod says more than its stream does.
pub(super) async fn start_refusal(mut pod: ProgramPod, refusal: Refusal) -> Refusal {
    match pod.end_by(Instant::now() + QUIET).await {
        Some(PodEnd::Died(reason)) => Refusal { reason, logged: true, ..refusal },
        Some(PodEnd::ProgramExited(_)) | None => refusal,
    }
}

/// The output of a main process.
pub(super) struct MainOutput {
    pod: ProgramPod,
    phase: OutputPhase,
    /// Set while the container's log may have output that the stream has not: nothing held the program, and nothing came.
    missed: bool,
    _guard: PodGuard,
}

enum OutputPhase {
    /// The stream is open.
    Attached(Box<dyn ProgramOutput>),
    /// The stream ended with this exit; the pod's end is waited for until then.
    Ending(Exit, Instant),
    /// The container's log is read; the program ended with this exit.
    Log(Box<LogStream>, Exit),
    Ended(Exit),
}

impl MainOutput {
    /// Makes the output of an attached program; `unheld` is set if the program ran before the attach.
    pub(super) fn new(stream: Box<dyn ProgramOutput>, pod: ProgramPod, guard: PodGuard, unheld: bool) -> Self {
        Self { pod, phase: OutputPhase::Attached(stream), missed: unheld, _guard: guard }
    }

    /// Makes the output of a program that could not be attached to: its log, if it has ended by itself.
    ///
    /// # Errors
    /// The program has not ended by itself.
    pub(super) async fn after(refusal: Refusal, mut pod: ProgramPod, guard: PodGuard) -> Result<Self, Refusal> {
        match pod.end_by(Instant::now() + patience(&refusal, pod.stop)).await {
            Some(PodEnd::ProgramExited(status)) => {
                let phase = OutputPhase::Ending(Exit::Status(status), Instant::now());
                Ok(Self { pod, phase, missed: true, _guard: guard })
            }
            Some(PodEnd::Died(reason)) => Err(Refusal { reason, logged: true, ..refusal }),
            None => Err(refusal),
        }
    }

    async fn one(&mut self) -> OutputEvent {
        loop {
            match &mut self.phase {
                OutputPhase::Attached(stream) => match next_on_stream(stream, &mut self.pod.end).await {
                    OutputEvent::Exit(exit) => self.phase = ending(exit, self.pod.stop),
                    event => {
                        self.missed = false;
                        return event;
                    }
                },
                OutputPhase::Ending(exit, deadline) => {
                    let end = self.pod.end_by(*deadline).await;
                    let exit = exit_of(exit.clone(), end, self.missed);
                    self.phase = self.end(exit).await;
                }
                OutputPhase::Log(log, exit) => match log.next().await {
                    Ok(Some(piece)) => return OutputEvent::Stdout(piece),
                    Ok(None) => self.phase = OutputPhase::Ended(exit.clone()),
                    Err(error) => self.phase = OutputPhase::Ended(lost_log(causes(&error))),
                },
                OutputPhase::Ended(exit) => return OutputEvent::Exit(exit.clone()),
            }
        }
    }

    async fn end(&mut self, exit: Exit) -> OutputPhase {
        if !self.missed || !matches!(exit, Exit::Status(_)) {
            return OutputPhase::Ended(exit);
        }
        match self.pod.container.log().await {
            Ok(log) => OutputPhase::Log(Box::new(log), exit),
            Err(error) => OutputPhase::Ended(lost_log(error.to_string())),
        }
    }
}

impl ProgramOutput for MainOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(self.one())
    }
}

/// Waits for the next event on the stream, which ends with a silence after the program's end.
async fn next_on_stream(stream: &mut Box<dyn ProgramOutput>, end: &mut watch::Receiver<Option<PodEnd>>) -> OutputEvent {
    let silence = async {
        let _end = end_of(end).await;
        sleep(QUIET).await;
    };
    tokio::select! {
        biased;
        event = stream.next() => event,
        () = silence => OutputEvent::Exit(Exit::Status(0)),
    }
}

/// The wait after the stream's end, which says success whatever happened, or that the stream was lost.
fn ending(exit: Exit, stop: Duration) -> OutputPhase {
    let patience = match &exit {
        Exit::Lost(refusal) => patience(refusal, stop),
        Exit::Status(_) | Exit::Signal { .. } => stop,
    };
    OutputPhase::Ending(exit, Instant::now() + patience)
}

/// The time to wait for the pod's end after a lost stream: a stopped container's exit code is sure to come.
fn patience(refusal: &Refusal, stop: Duration) -> Duration {
    if refusal.kind == RefusalKind::ContainerStopped { stop } else { QUIET }
}

/// The program's exit by the end of its stream and of its pod; `missed` as in [`MainOutput`].
fn exit_of(stream: Exit, end: Option<PodEnd>, missed: bool) -> Exit {
    match (stream, end) {
        // The attach came too late.
        (Exit::Lost(refusal), Some(PodEnd::ProgramExited(status)))
            if missed && refusal.kind == RefusalKind::ContainerStopped =>
        {
            Exit::Status(status)
        }
        (Exit::Lost(refusal), Some(PodEnd::Died(reason))) => Exit::Lost(Refusal { reason, logged: true, ..refusal }),
        (Exit::Lost(refusal), Some(PodEnd::ProgramExited(_)) | None) => Exit::Lost(refusal),
        (_, Some(PodEnd::ProgramExited(status))) => Exit::Status(status),
        (_, Some(PodEnd::Died(reason))) => Exit::Lost(Refusal { logged: true, ..Refusal::new(reason) }),
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
    use crate::kubernetes::api::client::Clients;
    use crate::kubernetes::api::pods::PodApi;
    use crate::kubernetes::api::retry::Throttle;
    use crate::kubernetes::fixtures;
    use crate::kubernetes::pod::state::PodState;
    use crate::types::PodName;

    fn lost(reason: &str) -> Exit {
        Exit::Lost(Refusal::new(reason))
    }

    fn container_stopped() -> Refusal {
        Refusal::new("the container is not running").kind(RefusalKind::ContainerStopped)
    }

    /// The same with the reason that the pod's own line in the log has told.
    fn stopped_and(reason: &str) -> Exit {
        Exit::Lost(Refusal { reason: reason.to_owned(), logged: true, ..container_stopped() })
    }

    /// An end whose reason the pod's own line in the log has told.
    fn told(reason: &str) -> Exit {
        Exit::Lost(Refusal { logged: true, ..Refusal::new(reason) })
    }

    #[test]
    fn end_of_a_stream_is_success_only_where_the_containers_code_says_so() {
        let (exited, died) = (|code| Some(PodEnd::ProgramExited(code)), || Some(PodEnd::Died("evicted".into())));
        let unknown = exit_of(Exit::Status(0), None, false);
        assert!(matches!(&unknown, Exit::Lost(refusal) if refusal.status() == 255), "{unknown:?}");
        for (stream, over, expected) in [
            (Exit::Status(0), exited(0), Exit::Status(0)),
            (Exit::Status(0), exited(7), Exit::Status(7)),
            (Exit::Status(0), died(), told("evicted")),
            (lost("cut"), exited(0), lost("cut")),
            (lost("cut"), died(), told("evicted")),
            (lost("cut"), None, lost("cut")),
        ] {
            assert_eq!(exit_of(stream.clone(), over.clone(), false), expected, "{stream:?} {over:?}");
        }
    }

    #[test]
    fn attach_that_found_the_program_ended_is_not_a_lost_stream() {
        let exited = || Some(PodEnd::ProgramExited(7));
        let stopped = || Exit::Lost(container_stopped());
        for (stream, over, missed, expected) in [
            (stopped(), exited(), false, stopped()),
            (stopped(), Some(PodEnd::Died("evicted".into())), true, stopped_and("evicted")),
            (stopped(), None, true, stopped()),
            (lost("cut"), exited(), true, lost("cut")),
            (stopped(), exited(), true, Exit::Status(7)),
        ] {
            assert_eq!(exit_of(stream.clone(), over.clone(), missed), expected, "{stream:?} {over:?} {missed}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn code_of_a_program_that_an_attach_found_ended_may_take_its_time() {
        crate::tls::install();
        let settings = fixtures::settings();
        for (refusal, known) in [(container_stopped(), true), (Refusal::new("cut"), false)] {
            let client = Clients::new().get(&settings.cluster, settings.timeouts.http).unwrap();
            let (namespace, throttle) = (settings.pod.namespace.clone(), Arc::new(Throttle::new(0, 0)));
            let api = Arc::new(PodApi::new(client.kube(), namespace, settings.timeouts.http, throttle));
            let name = PodName::parse("p").unwrap();
            let container = Arc::new(ReadyContainer::new(client, api, name, settings.pod.console_name.clone(), 0));
            let pod_state = Arc::new(PodState::new());
            let pod = ProgramPod { container, end: pod_state.end_watch(), stop: settings.timeouts.pod_stop };
            let guard = PodGuard(Arc::clone(&pod_state));
            let told = async {
                sleep(settings.timeouts.pod_stop - Duration::from_secs(1)).await;
                pod_state.set_end(PodEnd::ProgramExited(3));
            };
            let (output, ()) = tokio::join!(MainOutput::after(refusal.clone(), pod, guard), told);
            assert_eq!(output.is_ok(), known, "{refusal}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stream_that_falls_silent_when_its_program_is_over_is_not_waited_for() {
        struct Silent(Option<OutputEvent>);

        impl ProgramOutput for Silent {
            fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
                Box::pin(async move {
                    match self.0.take() {
                        Some(event) => event,
                        None => std::future::pending().await,
                    }
                })
            }
        }

        let (tell, mut told) = watch::channel(None);
        let last = OutputEvent::Stdout("last".into());
        let mut stream: Box<dyn ProgramOutput> = Box::new(Silent(Some(last.clone())));
        tell.send_replace(Some(PodEnd::ProgramExited(0)));
        assert_eq!(next_on_stream(&mut stream, &mut told).await, last);
        let start = Instant::now();
        assert_eq!(next_on_stream(&mut stream, &mut told).await, OutputEvent::Exit(Exit::Status(0)));
        assert_eq!(start.elapsed(), QUIET);
    }
}
