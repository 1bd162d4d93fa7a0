//! The guest with one pod for the whole connection (modes connection and persistent): it waits for the pod's task and runs
//! programs in the pod's container, over the link with the guest's agent where there is one, else by an exec each.
//!
//! Over a link, nothing of a program is in an exec's arguments: neither command nor environment.

use super::api::exec::{self, ExecError};
use super::pod::PodRequest;
use super::pod::agent::containerssh::ContainerSshAgent;
use super::pod::agent::{AgentAccess, GuestAgent};
use super::pod::container::ReadyContainer;
use super::pod::state::{PodState, connection_ended};
use crate::guest::{ForwardedConnection, Guest, GuestListener, Program, Progress, Refusal};
use crate::link::{self, AgentLink};
use crate::policy::{Dial, Listen, Permit, ProgramRequest, ProgramSpec};
use crate::program::command_line;
use crate::program::confirmed_end::ExitWitness;
use crate::program::deadlines::with_deadlines;
use crate::program::shell_start::unstartable;
use crate::telemetry::codes;
use crate::telemetry::metrics::{MeasuredStep, StepOutcome};
use crate::types::EnvVar;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The guest of a connection with a pod of its own.
pub(super) struct PodGuest {
    pub(super) pod_state: Arc<PodState>,
    /// The user's variables for every program, if the pod's spec does not have them.
    pub(super) variables: Vec<EnvVar>,
    /// The user's variables that may be in no argument.
    pub(super) sensitive: Vec<EnvVar>,
    /// Time between the signals that end a program over the link.
    pub(super) grace: Duration,
    pub(super) request: Arc<PodRequest>,
}

/// An agent that forwards connections.
enum Forwarder {
    Link(AgentLink),
    ContainerSsh(ContainerSshAgent),
}

/// Time between HUP, TERM and KILL where the pod's spec has no `terminationGracePeriodSeconds`.
const GRACE: Duration = Duration::from_secs(10);

/// The time that programs have to end: `terminationGracePeriodSeconds`, as when their pod ends.
pub(super) fn grace(spec: &Map<String, Value>) -> Duration {
    spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).map_or(GRACE, Duration::from_secs)
}

impl PodGuest {
    async fn start_program(&self, program: Permit<ProgramSpec>, progress: Progress) -> Result<Program, Refusal> {
        let container = self.pod_state.ready(&progress).await?;
        let PodRequest { settings, log, .. } = &*self.request;
        let (spec, agent) = (program.spend(), self.pod_state.agent());
        let timer = log.step(MeasuredStep::Exec);
        let access = match &agent {
            Some(agent) => agent.access().await,
            None => AgentAccess::None,
        };
        log.write(codes::KUBERNETES_EXEC, "starting a program", &[("podName", container.pod().as_str())]);
        let started = match &access {
            AgentAccess::Link(link) => {
                progress.send();
                self.start_by(link, &spec, &container).await
            }
            AgentAccess::ContainerSsh(_) | AgentAccess::None => {
                self.start_without((agent.as_deref(), &access), &spec, &container, &progress).await
            }
        };
        timer.end(if started.is_ok() { StepOutcome::Success } else { StepOutcome::Failed });
        started.map(|program| with_deadlines(program, &settings.timeouts, log))
    }

    /// Starts a program over the link.
    async fn start_by(
        &self,
        link: &AgentLink,
        spec: &ProgramSpec,
        container: &Arc<ReadyContainer>,
    ) -> Result<Program, Refusal> {
        let PodRequest { settings, .. } = &*self.request;
        // The later of two variables with the same name counts.
        let env = self.variables.iter().chain(&self.sensitive).chain(&spec.env);
        let start = async {
            if settings.pod.agent_sftp && spec.request == ProgramRequest::Subsystem("sftp".to_owned()) {
                return link.start_sftp(link::sftp_request(env, self.grace)).await;
            }
            let argv = command_line::agent_program(&spec.request, &settings.pod)?
                .ok_or_else(|| Refusal::new("there is no shell here"))?;
            let name = String::from_utf8_lossy(&argv[0]).into_owned();
            let mut request = link::program_request(argv, env, spec.terminal.as_ref(), self.grace);
            let original = spec.original.iter().map(|original| original.as_bytes().to_vec());
            request.env.extend(original.map(|original| (command_line::ORIGINAL_COMMAND.into(), original)));
            link.start(request).await.map_err(|refusal| match unstartable(&name, refusal.kind) {
                Some(told) => told.detail(refusal.reason),
                None => refusal,
            })
        };
        let limit = settings.timeouts.command_start;
        let started = timeout(limit, start).await;
        let program = started.unwrap_or_else(|_elapsed| Err(ExecError::Timeout(limit).into()))?;
        Ok(container.confirm_end(program, ExitWitness::Agent))
    }

    /// Starts a program in a container without the agent.
    async fn start_without(
        &self,
        (agent, access): (Option<&GuestAgent>, &AgentAccess),
        spec: &ProgramSpec,
        container: &Arc<ReadyContainer>,
        progress: &Progress,
    ) -> Result<Program, Refusal> {
        if let Some(agent) = agent {
            if spec.has_bytes() {
                return Err(agent.needed("a command that is not UTF-8"));
            }
            agent.prepare_without().await;
        }
        progress.send();
        self.exec(access, spec, container).await
    }

    /// Starts a program by an exec of its own.
    async fn exec(
        &self,
        access: &AgentAccess,
        spec: &ProgramSpec,
        container: &Arc<ReadyContainer>,
    ) -> Result<Program, Refusal> {
        let PodRequest { settings, log, .. } = &*self.request;
        let launcher = match access {
            AgentAccess::ContainerSsh(agent) => Some(agent),
            AgentAccess::Link(_) | AgentAccess::None => None,
        };
        let (tools, path) = (container.tools(), launcher.map(|agent| agent.path()));
        let command = command_line::for_exec(spec, &self.variables, &settings.pod, (tools, path), exec::fits)?;
        if command.dropped_env > 0 {
            log.write(
                codes::KUBERNETES_ENV_LEFT_OUT,
                "the image has no env program, a program runs without the environment that was sent for it",
                &[("podName", container.pod().as_str()), ("variables", &command.dropped_env.to_string())],
            );
        }
        let launcher = launcher.filter(|_| command.launched);
        let size = spec.terminal.as_ref().map(|terminal| terminal.size);
        let program = container.exec(command, size, settings.timeouts.command_start).await?;
        Ok(match launcher {
            Some(agent) => agent.with_signals(program, size.is_some(), settings.timeouts.signal),
            None => program,
        })
    }

    /// The agent, for a feature that cannot be had without.
    async fn forwarder(&self, what: &str, progress: Progress) -> Result<Forwarder, Refusal> {
        self.pod_state.ready(&progress).await?;
        let agent = self.pod_state.agent().ok_or_else(connection_ended)?;
        match agent.access().await {
            AgentAccess::Link(link) => Ok(Forwarder::Link(link)),
            AgentAccess::ContainerSsh(agent) => Ok(Forwarder::ContainerSsh(agent)),
            AgentAccess::None => Err(agent.needed(what)),
        }
    }
}

impl Guest for PodGuest {
    fn start(&self, program: Permit<ProgramSpec>, progress: Progress) -> BoxFuture<'_, Result<Program, Refusal>> {
        Box::pin(self.start_program(program, progress))
    }

    fn dial(&self, dial: Permit<Dial>, progress: Progress) -> BoxFuture<'_, Result<ForwardedConnection, Refusal>> {
        Box::pin(async move {
            match self.forwarder("forwarding", progress).await? {
                Forwarder::Link(link) => link.dial(dial.spend()).await,
                Forwarder::ContainerSsh(agent) => agent.dial(dial.spend()).await,
            }
        })
    }

    fn listen(&self, listen: Permit<Listen>, progress: Progress) -> BoxFuture<'_, Result<GuestListener, Refusal>> {
        Box::pin(async move {
            let what = match listen.request() {
                Listen::Agent => "agent forwarding",
                Listen::X11(_) => "X11 forwarding",
                Listen::Tcp { .. } | Listen::Unix { .. } => "forwarding",
            };
            match self.forwarder(what, progress).await? {
                Forwarder::Link(link) => link.listen(listen.spend()).await,
                Forwarder::ContainerSsh(agent) => agent.listen(listen.spend()).await,
            }
        })
    }

    fn ready(&self, progress: Progress) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async move { self.pod_state.ready(&progress).await.map(drop) })
    }

    fn gone(&self) -> BoxFuture<'_, Refusal> {
        Box::pin(self.pod_state.wait_until_gone())
    }

    fn pod(&self) -> Option<String> {
        let container = self.pod_state.container()?;
        Some(format!("{}/{}", self.request.settings.pod.namespace, container.pod()))
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.pod_state.end())
    }
}

impl Drop for PodGuest {
    fn drop(&mut self) {
        self.pod_state.dismiss();
    }
}
