//! Judges a pod's status: whether a pod that starts is ready, and whether a pod in use has ended. Pure.
//!
//! Only causes that cannot heal end a wait. Unschedulable pods, slow pulls and crash loops wait for the deadline: slow is
//! not failed. Container statuses are found by the container's name, because their order is not the spec's.

mod image;

use super::events::{self, PodEvent};
use crate::guest::{LOG_TEXT_MAX, Refusal};
use crate::program::command_line::MainProcess;
use crate::settings;
use crate::types::{ContainerName, printable};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};

/// The console container, in which the user's programs run, as far as verdicts and reasons need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsoleContainer {
    name: String,
    image: String,
    /// First word of the main process's command line.
    program: String,
    kind: ConsoleProgram,
}

/// The kind of the container's main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConsoleProgram {
    /// The agent, which waits.
    Agent,
    /// A shell that becomes the agent where the image has it, and waits itself where not.
    AgentOrShell,
    /// Another program that waits.
    Idle,
    /// The gate, which holds the user's program until we are attached.
    Gate,
    /// The user's program itself.
    User,
}

impl ConsoleContainer {
    /// Describes the console container of `pod` with the command `idle`.
    pub(crate) fn idle(pod: &settings::PodSettings, idle: &[String]) -> Self {
        let program = idle.first().map_or("", String::as_str);
        let agents = ["/containerssh-agent", "/podgate-agent"];
        let is_agent = program == pod.agent_path || agents.iter().any(|agent| program.ends_with(agent));
        let kind = if is_agent {
            ConsoleProgram::Agent
        } else if pod.idle_command.is_none() && !pod.disable_agent {
            ConsoleProgram::AgentOrShell
        } else {
            ConsoleProgram::Idle
        };
        Self::new(pod, program, kind)
    }

    /// Describes the console container of `pod` with a user's program as its main process.
    pub(crate) fn program(pod: &settings::PodSettings, main: &MainProcess) -> Self {
        match &main.command {
            Some(gate) => Self::new(pod, gate.first().map_or("", String::as_str), ConsoleProgram::Gate),
            None => Self::new(pod, "program of its own", ConsoleProgram::User),
        }
    }

    fn new(pod: &settings::PodSettings, program: &str, kind: ConsoleProgram) -> Self {
        let container = pod.spec.get("containers").and_then(|containers| containers.get(pod.console));
        let image = container.and_then(|container| container.get("image")).and_then(serde_json::Value::as_str);
        Self {
            name: pod.console_name.to_string(),
            image: printable(image.unwrap_or_default(), 200),
            program: printable(program, 200),
            kind,
        }
    }

    /// The name of its image, printable.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// True if the user's program is the container's main process, so that its start and end are the container's.
    pub(crate) fn is_program(&self) -> bool {
        matches!(self.kind, ConsoleProgram::Gate | ConsoleProgram::User)
    }
}

/// The readiness of a pod that starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The pod is ready: programs can start.
    Ready,
    /// Not ready yet; the text is the progress for a user, one line.
    Waiting(Option<String>),
    /// The pod will never be ready.
    Failed(Refusal),
}

/// Judges a pod that starts.
pub(crate) fn readiness(pod: &Pod, pod_events: &[PodEvent], console: &ConsoleContainer) -> Readiness {
    if console.is_program() && has_run(pod, console) {
        return Readiness::Ready;
    }
    // If its containers are not restarted, a start error also fails the pod, whose own reason says less.
    if let Some(refusal) = pod.status.as_ref().filter(|_| !is_disturbed(pod)).and_then(|s| unstartable(s, console)) {
        return Readiness::Failed(refusal);
    }
    if let Some(reason) = ended(pod) {
        return Readiness::Failed(Refusal::new(reason));
    }
    let Some(status) = &pod.status else { return Readiness::Waiting(None) };
    if status.phase.as_deref() == Some("Running") && condition(status, "Ready").is_some_and(|c| c.status == "True") {
        return Readiness::Ready;
    }
    let mut progress = None;
    for container in containers(status) {
        match judge_container(container, pod_events, console) {
            Readiness::Failed(reason) => return Readiness::Failed(reason),
            Readiness::Waiting(some) => progress = progress.or(some),
            Readiness::Ready => {}
        }
    }
    let progress = progress.or_else(|| unscheduled(status)).or_else(|| events::progress(pod_events));
    Readiness::Waiting(progress.or_else(|| not_begun(pod, status, pod_events)))
}

/// True if the pod is assigned to a node.
pub(crate) fn has_node(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// True if the pod's events can say more than its status.
pub(crate) fn wants_events(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return true };
    if condition(status, "PodScheduled").is_none_or(|c| c.status != "True") {
        return true;
    }
    let silent = ["ContainerCreating", "PodInitializing", "ImagePullBackOff"];
    let mut containers = containers(status).peekable();
    containers.peek().is_none()
        || containers.any(|container| waiting(container).is_some_and(|(reason, _)| silent.contains(&reason)))
}

/// Returns the reason why a pod with an idle console container ended; see [`pod_end`].
fn idle_pod_end(pod: &Pod, console: &ConsoleContainer, restarts: i32) -> Option<String> {
    if let Some(reason) = ended(pod) {
        return Some(reason);
    }
    let container = console_status(pod, console)?;
    if let Some(end) = container.state.as_ref().and_then(|state| state.terminated.as_ref()) {
        return Some(container_end(&console.name, end));
    }
    if container.restart_count <= restarts {
        return None;
    }
    let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    Some(last.map_or_else(|| "the container was restarted".to_owned(), |end| container_end(&console.name, end)))
}

/// The end of a pod that was ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodEnd {
    /// The user's program, which was the console container's main process, exited with this status.
    ProgramExited(u8),
    /// The pod or its console container ended otherwise, for this reason.
    Died(String),
}

/// Returns the end of a pod that was ready; `None` while it can be used. `restarts` is the restart count of its console
/// container when it became ready.
pub(crate) fn pod_end(pod: &Pod, console: &ConsoleContainer, restarts: i32) -> Option<PodEnd> {
    if !console.is_program() {
        return idle_pod_end(pod, console, restarts).map(PodEnd::Died);
    }
    let end = console_status(pod, console).and_then(|container| container.state.as_ref()?.terminated.as_ref());
    match end {
        Some(end) if end.reason.as_deref() == Some("OOMKilled") => {
            Some(PodEnd::Died(container_end(&console.name, end)))
        }
        Some(end) if !is_disturbed(pod) => Some(PodEnd::ProgramExited(u8::try_from(end.exit_code).unwrap_or(255))),
        _ => ended(pod).map(PodEnd::Died),
    }
}

/// True if something other than its program ends the pod.
fn is_disturbed(pod: &Pod) -> bool {
    let disturbed = |status: &PodStatus| status.reason.is_some() || disruption(status).is_some();
    pod.metadata.deletion_timestamp.is_some() || pod.status.as_ref().is_some_and(disturbed)
}

/// True if the console container's program runs, or ran and ended.
fn has_run(pod: &Pod, console: &ConsoleContainer) -> bool {
    let Some(container) = console_status(pod, console) else { return false };
    let Some(state) = &container.state else { return false };
    state.running.is_some() || (state.terminated.is_some() && start_failure(container).is_none())
}

fn console_status<'a>(pod: &'a Pod, console: &ConsoleContainer) -> Option<&'a ContainerStatus> {
    containers(pod.status.as_ref()?).find(|container| container.name == console.name)
}

/// True if the events of a pod can say more about its end than its status: it ended as a whole, is not being deleted, and
/// has no reason.
pub(crate) fn ended_silently(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    over && pod.metadata.deletion_timestamp.is_none() && status.reason.as_deref().is_none_or(str::is_empty)
}

/// Makes the reason of a pod that its node evicted.
pub(crate) fn evicted(message: &str) -> String {
    let reason_text = "the pod was evicted from its node";
    printable(
        &if message.is_empty() { reason_text.to_owned() } else { format!("{reason_text}: {message}") },
        LOG_TEXT_MAX,
    )
}

/// Returns the restart count of the console container.
pub(crate) fn restarts(pod: &Pod, console: &ConsoleContainer) -> i32 {
    console_status(pod, console).map_or(0, |container| container.restart_count)
}

/// True if a container runs, and has not been restarted since its restart count was `restarts`.
pub(crate) fn is_same_run(pod: &Pod, container: &ContainerName, restarts: i32) -> bool {
    let status = pod.status.as_ref();
    let found = status.and_then(|status| containers(status).find(|found| found.name == container.as_str()));
    found.is_some_and(|found| {
        found.restart_count == restarts && found.state.as_ref().is_some_and(|state| state.running.is_some())
    })
}

/// Returns the id of the console container's image; empty if the status has none.
pub(crate) fn image_id<'a>(pod: &'a Pod, console: &ConsoleContainer) -> &'a str {
    console_status(pod, console).map_or("", |container| &container.image_id)
}

/// Returns the reason why the pod as a whole ended, or is being deleted.
fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or_default();
    let leaving = pod.metadata.deletion_timestamp.is_some();
    if !leaving && !matches!(phase, "Failed" | "Succeeded") && status.reason.as_deref() != Some("NodeLost") {
        return None;
    }
    let message = status.message.as_deref().filter(|message| !message.is_empty());
    let reason_text =
        |text: &str| printable(&message.map_or_else(|| text.to_owned(), |m| format!("{text}: {m}")), LOG_TEXT_MAX);
    match status.reason.as_deref() {
        Some("Evicted") => return Some(evicted(message.unwrap_or_default())),
        Some("NodeLost") => return Some("the pod's node was lost".to_owned()),
        Some("DeadlineExceeded") => return Some("the pod reached the time limit of its specification".to_owned()),
        Some("Preempting" | "Preempted") => {
            return Some("the pod was preempted by one with a higher priority".to_owned());
        }
        Some("NodeShutdown" | "Terminated" | "Shutdown") => return Some("the pod's node is shutting down".to_owned()),
        _ => {}
    }
    if let Some(reason) = disruption(&status) {
        return Some(reason);
    }
    if leaving {
        return Some("the pod was deleted".to_owned());
    }
    let container = containers(&status).find_map(|container| {
        let end = container.state.as_ref()?.terminated.as_ref()?;
        (end.exit_code != 0).then(|| container_end(&container.name, end))
    });
    Some(match (container, status.reason.as_deref()) {
        (Some(reason), _) => reason,
        (None, Some(reason)) => reason_text(&format!("the pod failed ({reason})")),
        (None, None) if phase == "Succeeded" => "all containers of the pod ended".to_owned(),
        (None, None) => reason_text("the pod failed"),
    })
}

/// Returns the reason in the condition `DisruptionTarget`, by which Kubernetes ends a pod from outside.
fn disruption(status: &PodStatus) -> Option<String> {
    let condition = condition(status, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    Some(match condition.reason.as_deref() {
        Some("EvictionByEvictionAPI") => "the pod was evicted, its node is being drained".to_owned(),
        Some("PreemptionByScheduler") => "the pod was preempted by one with a higher priority".to_owned(),
        Some("DeletionByTaintManager") => "the pod's node is out of service".to_owned(),
        Some("DeletionByPodGC") => "the pod's node was lost".to_owned(),
        Some("TerminationByKubelet") => "the pod was ended by its node".to_owned(),
        _ => printable(&format!("the pod was disrupted: {}", condition.message.as_deref().unwrap_or("")), LOG_TEXT_MAX),
    })
}

fn judge_container(container: &ContainerStatus, pod_events: &[PodEvent], console: &ConsoleContainer) -> Readiness {
    let name = printable(&container.name, 63);
    let Some((reason, message)) = waiting(container) else { return Readiness::Waiting(None) };
    let image = if container.name == console.name { &console.image } else { &container.image };
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => Readiness::Waiting(events::progress(pod_events)),
        "InvalidImageName"
        | "ErrImageNeverPull"
        | "ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => image::judge(reason, message, image, pod_events),
        "CreateContainerConfigError" => {
            let reason = printable(&format!("the container {name} cannot be made: {message}"), LOG_TEXT_MAX);
            Readiness::Failed(Refusal::new(reason))
        }
        "RunContainerError" | "StartError" => Readiness::Failed(not_started(&name, message, console)),
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let end = last.map_or_else(|| format!("the container {name} ended"), |end| container_end(&name, end));
            Readiness::Waiting(Some(format!("{end}; it is started again")))
        }
        reason => Readiness::Waiting(Some(printable(
            &format!("the container {name} waits: {reason}: {message}"),
            LOG_TEXT_MAX,
        ))),
    }
}

/// Returns the end of a container whose program could not be started, now or at the last try.
fn start_failure(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    ends.find(|end| matches!(end.reason.as_deref(), Some("StartError" | "ContainerCannotRun")))
}

/// Makes the refusal of a pod with a container that could not be started.
fn unstartable(status: &PodStatus, console: &ConsoleContainer) -> Option<Refusal> {
    let (container, end) =
        containers(status).find_map(|container| start_failure(container).map(|end| (container, end)))?;
    Some(not_started(&printable(&container.name, 63), end.message.as_deref().unwrap_or_default(), console))
}

/// Makes the refusal of a container that could not be started. The whole text of the container runtime, which names its
/// layers before the cause, is for the log.
fn not_started(name: &str, message: &str, console: &ConsoleContainer) -> Refusal {
    let missing = ["no such file", "executable file not found", "not found in $PATH"];
    let ConsoleContainer { image, program, .. } = console;
    let reason = if name != console.name || !missing.iter().any(|text| message.contains(text)) {
        let cause = message.rsplit_once("unable to start container process: ").map_or(message, |(_, cause)| cause);
        let cause = cause.strip_suffix(": unknown").unwrap_or(cause);
        printable(&format!("the container {name} cannot be started: {cause}"), LOG_TEXT_MAX)
    } else {
        let explanation = match console.kind {
            ConsoleProgram::Agent => {
                ": put the agent into the image, set kubernetes.pod.agentImage, or set kubernetes.pod.disableAgent to true"
            }
            ConsoleProgram::AgentOrShell => {
                ": set kubernetes.pod.agentImage, or, if the image has the agent, kubernetes.pod.agentPush to false"
            }
            ConsoleProgram::Idle => ", which its idle command needs",
            ConsoleProgram::Gate => ", which mode: session needs to hold a program until the session is attached to it",
            ConsoleProgram::User => "",
        };
        format!("the image {image} has no {program}{explanation}")
    };
    Refusal::new(reason).detail(printable(message, LOG_TEXT_MAX))
}

fn container_end(name: &str, end: &ContainerStateTerminated) -> String {
    let name = printable(name, 63);
    match (end.reason.as_deref(), end.signal.filter(|&signal| signal != 0)) {
        (Some("OOMKilled"), _) => format!("the container {name} ran out of memory"),
        (_, Some(signal)) => format!("the container {name} was ended by signal {signal}"),
        (_, None) => format!("the container {name} ended with status {}", end.exit_code),
    }
}

fn unscheduled(status: &PodStatus) -> Option<String> {
    let condition = condition(status, "PodScheduled").filter(|condition| condition.status == "False")?;
    let message = condition.message.as_deref().unwrap_or("nobody says why");
    Some(printable(&format!("no node takes the pod yet: {message}"), LOG_TEXT_MAX))
}

/// Makes the progress of a pod whose node has reported nothing about it when its events are read.
fn not_begun(pod: &Pod, status: &PodStatus, pod_events: &[PodEvent]) -> Option<String> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let silent = containers(status).next().is_none() && events::only_scheduled(pod_events);
    silent.then(|| printable(&format!("the node {node} has not begun to start the pod"), LOG_TEXT_MAX))
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten())
}

fn waiting(container: &ContainerStatus) -> Option<(&str, &str)> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.as_deref().unwrap_or_default(), waiting.message.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
