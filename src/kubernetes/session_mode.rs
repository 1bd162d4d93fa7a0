//! Mode session: a pod for every program, which is the main process of its console container. The program's streams are
//! attached to; its status is the container's exit code, because an attach's own end says nothing of it.
//!
//! A program that we name is held by a [gate] until we are attached. The image's own program cannot be held:
//! where it wrote before, and nothing since, the container's log is given.

mod output;

use super::api::exec::ExecError;
use super::pod::PodRequest;
use super::pod::backend_parts::BackendParts;
use super::pod::manifest::{ConsoleCommand, manifest};
use super::pod::state::{PodState, connection_ended};
use super::pod::task::PodTask;
use crate::guest::{
    Exit, ForwardedConnection, Guest, GuestListener, InputClosed, Program, ProgramInput, Progress, Refusal,
};
use crate::policy::{Dial, Listen, Permit, ProgramSpec, SendSignal};
use crate::program::command_line;
use crate::program::deadlines::with_deadlines;
use crate::program::gate::{self, GateError};
use crate::telemetry::codes;
use crate::telemetry::metrics::{MeasuredStep, StepOutcome};
use crate::types::Size;
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use output::{MainOutput, ProgramPod};
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The guest of a connection whose programs have a pod each.
pub(super) struct SessionModeGuest {
    shared: Arc<BackendParts>,
    request: Arc<PodRequest>,
    /// Cancelled at the end of the connection.
    ended: CancellationToken,
    /// The tasks of the pods.
    pods: TaskTracker,
}

/// The guard of a program's pod, which its output owns: the pod is removed when it is dropped.
pub(super) struct PodGuard(Arc<PodState>);

impl Drop for PodGuard {
    fn drop(&mut self) {
        self.0.dismiss();
    }
}

impl SessionModeGuest {
    pub(super) fn new(shared: Arc<BackendParts>, request: PodRequest) -> Self {
        Self { shared, request: Arc::new(request), ended: CancellationToken::new(), pods: TaskTracker::new() }
    }

    async fn start_program(&self, program: Permit<ProgramSpec>, progress: Progress) -> Result<Program, Refusal> {
        let spec = program.spend();
        let main = command_line::for_main_process(&spec, &self.request.settings.pod)?;
        let pod_state = Arc::new(PodState::child_of(&self.ended));
        let hold = PodGuard(Arc::clone(&pod_state));
        let manifest = manifest(&self.request, ConsoleCommand::Program(&main));
        let task = PodTask {
            backend: Arc::clone(&self.shared),
            request: Arc::clone(&self.request),
            pod_state: Arc::clone(&pod_state),
        };
        self.shared.tasks.spawn(self.pods.track_future(task.run(manifest)));
        let size = spec.terminal.map(|terminal| terminal.size);
        let program = self.attach(hold, main.command.is_some(), size, &progress).await?;
        Ok(with_deadlines(program, &self.request.settings.timeouts, &self.request.log))
    }

    /// Waits for the pod and attaches to its program, within `commandStart`. `held` is set if a gate holds the program.
    async fn attach(
        &self,
        hold: PodGuard,
        held: bool,
        size: Option<Size>,
        progress: &Progress,
    ) -> Result<Program, Refusal> {
        let container = hold.0.ready(progress).await?;
        let timeouts = &self.request.settings.timeouts;
        let log = &self.request.log;
        log.write(codes::KUBERNETES_POD_ATTACH, "attaching to the program", &[("podName", container.pod().as_str())]);
        progress.send();
        let starting = async {
            let program = container.attach(size, timeouts.command_start).await;
            match program {
                Ok(program) if held => gate::open(program).await.map_err(AttachError::Gate),
                program => program.map_err(AttachError::Attach),
            }
        };
        let timer = log.step(MeasuredStep::Exec);
        let started = timeout(timeouts.command_start, starting).await;
        let started = started.unwrap_or(Err(AttachError::Attach(ExecError::Timeout(timeouts.command_start))));
        timer.end(if started.is_ok() { StepOutcome::Success } else { StepOutcome::Failed });
        let pod = ProgramPod { container, end: hold.0.end_watch(), stop: timeouts.pod_stop };
        match started {
            Ok(program) => {
                let output = MainOutput::new(program.output, pod, hold, !held);
                Ok(Program { input: program.input, output: Box::new(output) })
            }
            Err(error) => {
                let refusal = error.into();
                // The image's own program may have ended before.
                let output = match held {
                    true => return Err(output::start_refusal(pod, refusal).await),
                    // It has run since its pod began.
                    false => MainOutput::after(refusal, pod, hold).await.map_err(Refusal::unanswered)?,
                };
                Ok(Program { input: Box::new(EndedInput), output: Box::new(output) })
            }
        }
    }
}

/// The refusal of a forward.
fn nothing_forwarded() -> Refusal {
    Refusal::new("nothing can be forwarded in mode: session, where each program has a pod of its own")
}

/// The error of an attach.
enum AttachError {
    Attach(ExecError),
    Gate(GateError),
}

impl From<AttachError> for Refusal {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Attach(error) => error.into(),
            AttachError::Gate(GateError::Ended(Exit::Lost(refusal))) => refusal.unanswered(),
            AttachError::Gate(GateError::NotAGate(refusal)) => refusal,
            AttachError::Gate(GateError::Ended(Exit::Status(_) | Exit::Signal { .. })) => {
                Self::new("the container ended before the program could start")
            }
        }
    }
}

impl Guest for SessionModeGuest {
    fn start(&self, program: Permit<ProgramSpec>, progress: Progress) -> BoxFuture<'_, Result<Program, Refusal>> {
        Box::pin(self.start_program(program, progress))
    }

    fn dial(&self, _: Permit<Dial>, _: Progress) -> BoxFuture<'_, Result<ForwardedConnection, Refusal>> {
        Box::pin(std::future::ready(Err(nothing_forwarded())))
    }

    fn listen(&self, _: Permit<Listen>, _: Progress) -> BoxFuture<'_, Result<GuestListener, Refusal>> {
        Box::pin(std::future::ready(Err(nothing_forwarded())))
    }

    /// Each program has a pod of its own, which [`Guest::start`] waits for.
    fn ready(&self, _: Progress) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn gone(&self) -> BoxFuture<'_, Refusal> {
        Box::pin(async {
            self.ended.cancelled().await;
            connection_ended()
        })
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.ended.cancel();
            self.pods.close();
            self.pods.wait().await;
        })
    }
}

impl Drop for SessionModeGuest {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

/// The input of a program that has ended.
struct EndedInput;

impl ProgramInput for EndedInput {
    fn write(&mut self, _data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn resize(&mut self, _size: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn signal(&mut self, _signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Err(Refusal::new("the program has ended")) })
    }
}
