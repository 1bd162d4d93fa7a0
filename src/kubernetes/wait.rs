//! What a pod's status means for someone who waits for it, and for someone who is in it. Pure: a pod and its events in,
//! a verdict out.
//!
//! Only what cannot heal ends a wait. Unschedulable, slow pulls and crash loops go on to the deadline: slow is not
//! failed. Container statuses are found by the container's name, because their order is not the spec's.

mod image;

use super::argv::Main;
use super::events::{self, Note};
use crate::guest::{Refusal, WHOLE};
use crate::settings;
use crate::types::printable;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition, PodStatus};

/// The container that the user lands in, as far as verdicts and reasons speak of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Console {
    name: String,
    image: String,
    program: String,
    purpose: Purpose,
}

/// What its first program is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It is the agent, which waits.
    Agent,
    /// It is another program that waits.
    Idle,
    /// It holds the user's program until we are attached.
    Gate,
    /// It is the user's program itself.
    Own,
}

impl Console {
    /// The console container of `pod` when `idle` is its command.
    pub(super) fn idle(pod: &settings::Pod, idle: &[String]) -> Self {
        let program = idle.first().map_or("", String::as_str);
        let is_agent = program == pod.agent_path || program.ends_with("/containerssh-agent");
        Self::new(pod, program, if is_agent { Purpose::Agent } else { Purpose::Idle })
    }

    /// The console container of `pod` when a user's program is its main process.
    pub(super) fn program(pod: &settings::Pod, main: &Main) -> Self {
        match &main.command {
            Some(gate) => Self::new(pod, gate.first().map_or("", String::as_str), Purpose::Gate),
            None => Self::new(pod, "program of its own", Purpose::Own),
        }
    }

    fn new(pod: &settings::Pod, program: &str, purpose: Purpose) -> Self {
        let container = pod.spec.get("containers").and_then(|containers| containers.get(pod.console));
        let image = container.and_then(|container| container.get("image")).and_then(serde_json::Value::as_str);
        Self {
            name: pod.console_name.to_string(),
            image: printable(image.unwrap_or_default(), 200),
            program: printable(program, 200),
            purpose,
        }
    }

    /// Whether the user's program is the container's main process: its start and end are the container's.
    pub(super) fn is_program(&self) -> bool {
        matches!(self.purpose, Purpose::Gate | Purpose::Own)
    }
}

/// Where a pod stands that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Programs can start.
    Ready,
    /// Not yet; the text is news for a person, one line.
    Waiting(Option<String>),
    /// It will never be ready.
    Never(Refusal),
}

/// Judges a pod that is waited for.
pub(super) fn judge(pod: &Pod, notes: &[Note], console: &Console) -> Verdict {
    if console.is_program() && has_run(pod, console) {
        return Verdict::Ready;
    }
    // A pod that is not to be started again has failed by it, and says less.
    if let Some(refusal) = pod.status.as_ref().filter(|_| !is_disturbed(pod)).and_then(|s| unstartable(s, console)) {
        return Verdict::Never(refusal);
    }
    if let Some(reason) = ended(pod) {
        return Verdict::Never(Refusal::new(reason));
    }
    let Some(status) = &pod.status else { return Verdict::Waiting(None) };
    if status.phase.as_deref() == Some("Running") && condition(status, "Ready").is_some_and(|c| c.status == "True") {
        return Verdict::Ready;
    }
    let mut news = None;
    for container in containers(status) {
        match judge_container(container, notes, console) {
            Verdict::Never(reason) => return Verdict::Never(reason),
            Verdict::Waiting(some) => news = news.or(some),
            Verdict::Ready => {}
        }
    }
    let news = news.or_else(|| unscheduled(status)).or_else(|| events::news(notes));
    Verdict::Waiting(news.or_else(|| not_begun(pod, status, notes)))
}

/// Whether a node is to have the pod.
pub(super) fn has_node(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

/// Whether the pod's events can say more than its status does.
pub(super) fn wants_events(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return true };
    if condition(status, "PodScheduled").is_none_or(|c| c.status != "True") {
        return true;
    }
    let silent = ["ContainerCreating", "PodInitializing", "ImagePullBackOff"];
    let mut containers = containers(status).peekable();
    containers.peek().is_none()
        || containers.any(|container| waiting(container).is_some_and(|(reason, _)| silent.contains(&reason)))
}

/// Why the guest is over that was ready when its console container had started `restarts` times again; `None` when it
/// is not over.
fn death(pod: &Pod, console: &Console, restarts: i32) -> Option<String> {
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

/// How a guest is over that could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    /// With the status of the user's program that was its main process.
    Exited(u8),
    /// By something that happened to it.
    Died(String),
}

/// How the guest is over whose console container had started `restarts` times again when it could first be used; `None`
/// while it is not.
pub(super) fn over(pod: &Pod, console: &Console, restarts: i32) -> Option<Over> {
    if !console.is_program() {
        return death(pod, console, restarts).map(Over::Died);
    }
    let end = console_status(pod, console).and_then(|container| container.state.as_ref()?.terminated.as_ref());
    match end {
        Some(end) if end.reason.as_deref() == Some("OOMKilled") => Some(Over::Died(container_end(&console.name, end))),
        Some(end) if !is_disturbed(pod) => Some(Over::Exited(u8::try_from(end.exit_code).unwrap_or(255))),
        _ => ended(pod).map(Over::Died),
    }
}

/// Whether the pod's end is not its program's own.
fn is_disturbed(pod: &Pod) -> bool {
    let disturbed = |status: &PodStatus| status.reason.is_some() || disruption(status).is_some();
    pod.metadata.deletion_timestamp.is_some() || pod.status.as_ref().is_some_and(disturbed)
}

/// Whether the console container's program runs, or has run and ended.
fn has_run(pod: &Pod, console: &Console) -> bool {
    let Some(container) = console_status(pod, console) else { return false };
    let Some(state) = &container.state else { return false };
    state.running.is_some() || (state.terminated.is_some() && start_failure(container).is_none())
}

fn console_status<'a>(pod: &'a Pod, console: &Console) -> Option<&'a ContainerStatus> {
    containers(pod.status.as_ref()?).find(|container| container.name == console.name)
}

/// Whether the events of a pod that is over can say more than its status does: it ended as a whole, nobody deletes it,
/// and no reason is given.
pub(super) fn ended_silently(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
    over && pod.metadata.deletion_timestamp.is_none() && status.reason.as_deref().is_none_or(str::is_empty)
}

/// The reason of a pod that its node evicted.
pub(super) fn evicted(message: &str) -> String {
    let told = "the pod was evicted from its node";
    printable(&if message.is_empty() { told.to_owned() } else { format!("{told}: {message}") }, WHOLE)
}

/// How many times the console container was started again so far.
pub(super) fn restarts(pod: &Pod, console: &Console) -> i32 {
    console_status(pod, console).map_or(0, |container| container.restart_count)
}

/// The id of the image that the console container runs; empty where nobody says.
pub(super) fn image_id<'a>(pod: &'a Pod, console: &Console) -> &'a str {
    console_status(pod, console).map_or("", |container| &container.image_id)
}

/// Why the pod as a whole is over.
fn ended(pod: &Pod) -> Option<String> {
    let status = pod.status.clone().unwrap_or_default();
    let phase = status.phase.as_deref().unwrap_or_default();
    let leaving = pod.metadata.deletion_timestamp.is_some();
    if !leaving && !matches!(phase, "Failed" | "Succeeded") && status.reason.as_deref() != Some("NodeLost") {
        return None;
    }
    let message = status.message.as_deref().filter(|message| !message.is_empty());
    let told = |text: &str| printable(&message.map_or_else(|| text.to_owned(), |m| format!("{text}: {m}")), WHOLE);
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
        (None, Some(reason)) => told(&format!("the pod failed ({reason})")),
        (None, None) if phase == "Succeeded" => "all containers of the pod ended".to_owned(),
        (None, None) => told("the pod failed"),
    })
}

/// What disturbs a pod from outside (the condition `DisruptionTarget`).
fn disruption(status: &PodStatus) -> Option<String> {
    let condition = condition(status, "DisruptionTarget").filter(|condition| condition.status == "True")?;
    Some(match condition.reason.as_deref() {
        Some("EvictionByEvictionAPI") => "the pod was evicted, its node is being drained".to_owned(),
        Some("PreemptionByScheduler") => "the pod was preempted by one with a higher priority".to_owned(),
        Some("DeletionByTaintManager") => "the pod's node is out of service".to_owned(),
        Some("DeletionByPodGC") => "the pod's node was lost".to_owned(),
        Some("TerminationByKubelet") => "the pod was ended by its node".to_owned(),
        _ => printable(&format!("the pod was disrupted: {}", condition.message.as_deref().unwrap_or("")), WHOLE),
    })
}

fn judge_container(container: &ContainerStatus, notes: &[Note], console: &Console) -> Verdict {
    let name = printable(&container.name, 63);
    let Some((reason, message)) = waiting(container) else { return Verdict::Waiting(None) };
    let image = if container.name == console.name { &console.image } else { &container.image };
    match reason {
        "" | "ContainerCreating" | "PodInitializing" => Verdict::Waiting(events::news(notes)),
        "InvalidImageName"
        | "ErrImageNeverPull"
        | "ErrImagePull"
        | "ImagePullBackOff"
        | "RegistryUnavailable"
        | "ImageInspectError"
        | "SignatureValidationFailed" => image::judge(reason, message, image, notes),
        "CreateContainerConfigError" => {
            let reason = printable(&format!("the container {name} cannot be made: {message}"), WHOLE);
            Verdict::Never(Refusal::new(reason))
        }
        "RunContainerError" | "StartError" => Verdict::Never(not_started(&name, message, console)),
        "CrashLoopBackOff" => {
            let last = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
            let end = last.map_or_else(|| format!("the container {name} ended"), |end| container_end(&name, end));
            Verdict::Waiting(Some(format!("{end}; it is started again")))
        }
        reason => Verdict::Waiting(Some(printable(&format!("the container {name} waits: {reason}: {message}"), WHOLE))),
    }
}

/// A container whose program could not be started at all, now or at its last try.
fn start_failure(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    ends.find(|end| matches!(end.reason.as_deref(), Some("StartError" | "ContainerCannotRun")))
}

/// Why one of the containers could not be started.
fn unstartable(status: &PodStatus, console: &Console) -> Option<Refusal> {
    let (container, end) =
        containers(status).find_map(|container| start_failure(container).map(|end| (container, end)))?;
    Some(not_started(&printable(&container.name, 63), end.message.as_deref().unwrap_or_default(), console))
}

/// The runtime's text names its layers before the cause; it is for the log.
fn not_started(name: &str, message: &str, console: &Console) -> Refusal {
    let missing = ["no such file", "executable file not found", "not found in $PATH"];
    let Console { image, program, .. } = console;
    let reason = if name != console.name || !missing.iter().any(|text| message.contains(text)) {
        let cause = message.rsplit_once("unable to start container process: ").map_or(message, |(_, cause)| cause);
        let cause = cause.strip_suffix(": unknown").unwrap_or(cause);
        printable(&format!("the container {name} cannot be started: {cause}"), WHOLE)
    } else {
        let why = match console.purpose {
            Purpose::Agent => ": put the agent into the image, or set kubernetes.pod.disableAgent to true",
            Purpose::Idle => ", which its idle command needs",
            Purpose::Gate => ", which mode: session needs to hold a program until the session is attached to it",
            Purpose::Own => "",
        };
        format!("the image {image} has no {program}{why}")
    };
    Refusal::new(reason).detail(printable(message, WHOLE))
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
    Some(printable(&format!("no node takes the pod yet: {message}"), WHOLE))
}

/// A node that has said nothing of a pod of its own when its events are looked at.
fn not_begun(pod: &Pod, status: &PodStatus, notes: &[Note]) -> Option<String> {
    let node = pod.spec.as_ref()?.node_name.as_deref()?;
    let silent = containers(status).next().is_none() && events::only_scheduled(notes);
    silent.then(|| printable(&format!("the node {node} has not begun to start the pod"), WHOLE))
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
