//! From a pod that exists to one in which programs can start: wait until it is ready, find the image's tools, write the
//! identity's files. The end of the connection cancels each step.

use super::{PodTask, RunningPod};
use crate::guest::Refusal;
use crate::kubernetes::pod::agent::{AgentAccess, AgentDelivery, AllowedAgents, GuestAgent};
use crate::kubernetes::pod::container::ReadyContainer;
use crate::kubernetes::pod::events::{self, PodEvent};
use crate::kubernetes::pod::state::connection_ended;
use crate::kubernetes::pod::wait::{self, PodEnd, Readiness};
use crate::kubernetes::pod::watch::WatchedPod;
use crate::settings::{PodMode, PodSettings};
use crate::telemetry::codes;
use crate::types::{EnvVar, time_text};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Time after which a pod's events are read, counted from its creation and again from when it has a node.
const FIRST_POLL: Duration = Duration::from_secs(1);
/// Factor between the times of two polls, and limit of the time between them, so that pods which wait for a busy node do
/// not keep the API busy, too.
const POLL_FACTOR: u32 = 3;
const MAX_POLL_PAUSE: Duration = Duration::from_secs(18);
/// Limit of the time between two polls of a pod that the watch does not show.
const MAX_UNWATCHED_POLL_PAUSE: Duration = Duration::from_secs(3);

/// The event that ends one turn of a wait.
enum WakeReason {
    PodChanged,
    Poll,
    Deadline,
    Dismissed,
}

impl PodTask {
    /// Waits until the pod is ready. Besides the watch it polls now and then: events if the status says nothing, and the pod
    /// itself if the watch does not work.
    pub(super) async fn wait_until_ready(&self, running: &mut RunningPod, deadline: Instant) -> Result<(), Refusal> {
        let mut pod_events: Vec<PodEvent> = Vec::new();
        let mut poll_from = Instant::now();
        let mut poll_after = FIRST_POLL;
        let mut last_progress = None;
        loop {
            match wait::readiness(&running.pod, &pod_events, &running.manifest.console) {
                Readiness::Ready => return Ok(()),
                Readiness::Failed(refusal) => return Err(refusal),
                Readiness::Waiting(progress) => {
                    last_progress = progress.clone().or(last_progress);
                    self.pod_state.report_progress(progress);
                }
            }
            let wake = tokio::select! {
                () = running.follower.changed() => WakeReason::PodChanged,
                () = sleep_until(poll_from + poll_after) => WakeReason::Poll,
                () = sleep_until(deadline) => WakeReason::Deadline,
                () = self.pod_state.dismissed().cancelled() => WakeReason::Dismissed,
            };
            match wake {
                WakeReason::PodChanged => {
                    let had_node = wait::has_node(&running.pod);
                    take_watched(running)?;
                    if wait::has_node(&running.pod) && !had_node {
                        (poll_from, poll_after) = (Instant::now(), FIRST_POLL);
                    }
                }
                WakeReason::Poll => {
                    let unwatched = self.poll(running, &mut pod_events, deadline).await?;
                    let pause = if unwatched { MAX_UNWATCHED_POLL_PAUSE } else { MAX_POLL_PAUSE };
                    poll_after = (poll_after * POLL_FACTOR).min(poll_after + pause);
                }
                WakeReason::Deadline => return Err(self.not_ready_in_time(last_progress, running.watch.trouble())),
                WakeReason::Dismissed => return Err(connection_ended()),
            }
        }
    }

    /// Asks the API for what the watch does not show; returns true if the watch shows nothing of the pod. An update that the
    /// watch shows meanwhile stays unread, and so wakes the wait; an earlier one is older than the API's answer.
    async fn poll(
        &self,
        running: &mut RunningPod,
        pod_events: &mut Vec<PodEvent>,
        deadline: Instant,
    ) -> Result<bool, Refusal> {
        let unwatched = !take_watched(running)? || running.watch.trouble().is_some();
        let name = &running.manifest.name;
        let uid = running.pod.metadata.uid.clone().unwrap_or_default();
        let ask = async {
            let wants_events = wait::wants_events(&running.pod);
            let events = if wants_events { running.api.events(name, &uid).await.ok() } else { None };
            let pod = if unwatched { running.api.get(name).await.ok() } else { None };
            (events, pod)
        };
        let (events, pod) = tokio::select! {
            answers = ask => answers,
            () = self.pod_state.dismissed().cancelled() => return Err(connection_ended()),
            () = sleep_until(deadline) => return Ok(unwatched),
        };
        if let Some(events) = events {
            *pod_events = events::pod_events(events);
        }
        match pod {
            Some(Some(pod)) if pod.metadata.uid.as_ref() == Some(&uid) => running.pod = Arc::new(pod),
            Some(_) => return Err(deleted()),
            None => {}
        }
        Ok(unwatched)
    }

    fn not_ready_in_time(&self, last_progress: Option<String>, trouble: Option<String>) -> Refusal {
        let limit = time_text(self.request.settings.timeouts.pod_start);
        let reason = match last_progress {
            Some(progress) => format!("the pod was not ready within {limit}: {progress}"),
            None if trouble.is_some() => {
                format!("the pod was not ready within {limit}: Kubernetes cannot be reached")
            }
            None => format!("the pod was not ready within {limit}"),
        };
        let refusal = Refusal::new(reason);
        match trouble {
            Some(trouble) => refusal.detail(trouble),
            None => refusal,
        }
    }

    /// Prepares a ready pod for its first program. The end of the pod or of the connection cancels it.
    pub(super) async fn make_ready(&self, running: &mut RunningPod) -> Result<(), Refusal> {
        let settings = &self.request.settings.pod;
        let (name, container) = (running.manifest.name.clone(), settings.console_name.clone());
        let restarts = wait::restarts(&running.pod, &running.manifest.console);
        let (client, api) = (Arc::clone(&running.client), Arc::clone(&running.api));
        let container = Arc::new(ReadyContainer::new(client, api, name, container, restarts));
        // A program that is a container's main process has its variables from the container.
        let agent = match running.manifest.console.is_program() {
            true => None,
            false => Some(Arc::new(self.agent(running, &container))),
        };
        let sensitive = std::mem::take(&mut running.manifest.sensitive);
        let work = async {
            let access = match &agent {
                Some(agent) => agent.access().await,
                None => AgentAccess::None,
            };
            if matches!(access, AgentAccess::Link(_)) {
                return self.write_files(&container, &access).await;
            }
            self.log_left_out(&sensitive);
            let probe = async {
                if let Some(agent) = &agent {
                    agent.prepare_without().await;
                }
            };
            let ((), written) = tokio::join!(probe, self.write_files(&container, &access));
            written
        };
        let mut work = Box::pin(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    done?;
                    break;
                }
                () = running.follower.changed() => {
                    take_watched(running)?;
                    let end = wait::pod_end(&running.pod, &running.manifest.console, restarts);
                    if let Some(PodEnd::Died(reason)) = end {
                        return Err(Refusal::new(reason));
                    }
                }
                () = self.pod_state.dismissed().cancelled() => return Err(connection_ended()),
            }
        }
        drop(work);
        let details = [("podName", running.manifest.name.as_str()), ("namespace", settings.namespace.as_str())];
        self.request.log.write(codes::KUBERNETES_POD_READY, "the pod is ready", &details);
        if let Some(agent) = &agent {
            agent.set_used();
        }
        self.pod_state.set_ready(container, agent);
        Ok(())
    }

    /// Makes the agent of a container in which programs are to be started.
    fn agent(&self, running: &RunningPod, container: &Arc<ReadyContainer>) -> GuestAgent {
        let settings = &self.request.settings;
        let pod = &settings.pod;
        // Somebody else may have created a persistent pod.
        let is_own = !matches!(pod.mode, PodMode::Persistent { .. });
        GuestAgent::new(AgentDelivery {
            container: Arc::clone(container),
            image: running.manifest.console.image().to_owned(),
            allowed: AllowedAgents::of(pod),
            agent_key: agent_key(running, pod),
            tools_key: tools_key(running, pod.console).filter(|_| is_own),
            is_own,
            backend: Arc::clone(&self.backend),
            log: self.request.log.clone(),
            output: self.request.output.clone(),
            within: settings.timeouts.command_start,
        })
    }

    /// Reports the variables that are in no argument and in no spec, and so reach no program without our agent.
    fn log_left_out(&self, sensitive: &[EnvVar]) {
        for variable in sensitive {
            let text = "a sensitive value is left out, because everyone who can read pods could read it";
            let details = [("variable", variable.name().as_str())];
            self.request.log.write(codes::KUBERNETES_ENV_LEFT_OUT, text, &details);
        }
    }

    async fn write_files(&self, container: &ReadyContainer, access: &AgentAccess) -> Result<(), Refusal> {
        for (path, file) in &self.request.identity.known().files {
            let shown = crate::types::printable(path, 200);
            self.request.log.write(codes::KUBERNETES_FILE_WRITE, "writing a file", &[("path", &*shown)]);
            let content = Bytes::from(file.value.clone());
            let within = self.request.settings.timeouts.command_start;
            let written = access.write_file(container, path, content, within).await;
            if let Err(refusal) = written {
                let name = container.pod().as_str();
                return Err(self.failed(
                    codes::KUBERNETES_FILE_WRITE_FAILED,
                    "a file was not written",
                    refusal,
                    Some(name),
                ));
            }
        }
        Ok(())
    }
}

/// Takes the last state of the pod that the watch has shown; returns false if it has shown none.
fn take_watched(running: &mut RunningPod) -> Result<bool, Refusal> {
    match running.follower.seen() {
        WatchedPod::Unknown => return Ok(false),
        WatchedPod::Present(pod) => running.pod = pod,
        WatchedPod::Deleted => return Err(deleted()),
    }
    Ok(true)
}

fn deleted() -> Refusal {
    Refusal::new("the pod was deleted while it started")
}

/// Returns a key for the tools that a container has, such as `env`: the id of its image, and the fields of its spec about
/// the sources of its environment and its file system. `None` if the image's id is not known.
fn tools_key(running: &RunningPod, console: usize) -> Option<String> {
    let id = wait::image_id(&running.pod, &running.manifest.console);
    let container = running.manifest.json.pointer(&format!("/spec/containers/{console}"))?;
    let rest = json!([variables(container, &["PATH"]), container.get("envFrom"), container.get("volumeMounts")]);
    (!id.is_empty()).then(|| format!("{id} {rest}"))
}

/// The entries of a container's `env` with these names.
fn variables<'a>(container: &'a Value, names: &[&str]) -> Vec<&'a Value> {
    let named = |entry: &&Value| entry.get("name").and_then(Value::as_str).is_some_and(|name| names.contains(&name));
    container.get("env").and_then(Value::as_array).map_or_else(Vec::new, |env| env.iter().filter(named).collect())
}

/// Returns a key for the way of the agent into a container: the id of its image, what the settings allow, and the parts of the
/// pod's spec that decide where a file can be written and executed, and by whom. `None` if the image's id is not known.
fn agent_key(running: &RunningPod, pod: &PodSettings) -> Option<String> {
    let id = wait::image_id(&running.pod, &running.manifest.console);
    let allowed = AllowedAgents::of(pod)?;
    let spec = running.manifest.json.get("spec")?;
    let container = spec.get("containers")?.get(pod.console)?;
    let of_container = ["envFrom", "volumeMounts", "securityContext"].map(|field| container.get(field));
    let variables = variables(container, &["PATH", "HOME", "TMPDIR"]);
    let rest =
        json!([allowed.path, allowed.copied, allowed.push, variables, of_container, spec.get("securityContext")]);
    (!id.is_empty()).then(|| format!("{id} {rest}"))
}
