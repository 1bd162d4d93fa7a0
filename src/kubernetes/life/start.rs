//! From nothing to a pod in which programs can start: create, wait for Ready, find out what the image has, write the files. The
//! first two share `podStart`; the end of the connection ends each of them.

use super::{Here, Life};
use crate::config::Level;
use crate::guest::Refusal;
use crate::kubernetes::api::PodApi;
use crate::kubernetes::client::ClusterClient;
use crate::kubernetes::events::{self, Note};
use crate::kubernetes::ground::Ground;
use crate::kubernetes::lease::{Lease, Patience};
use crate::kubernetes::pod::Manifest;
use crate::kubernetes::stage::connection_ended;
use crate::kubernetes::wait::{self, Over, Verdict};
use crate::kubernetes::watch::Seen;
use crate::settings::Mode;
use crate::telemetry::metrics::{Outcome, Step};
use crate::types::time_text;
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a pod is waited for, and again from when it has a node, until its events are asked for.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How many times as long until the next time, and how long at most: whom a busy node lets wait does not make the API
/// busy too.
const LATER: u32 = 3;
const NEXT_LOOK: Duration = Duration::from_secs(18);
/// How often a pod is asked for that the watch does not show.
const BLIND_LOOK: Duration = Duration::from_secs(3);

/// What a waiting task was woken by.
enum Wake {
    Changed,
    Look,
    OutOfTime,
    Ended,
}

impl Life {
    /// Brings the pod up. Whatever was created is in the lease, whether this works or not.
    pub(super) async fn start(
        &self,
        client: Arc<ClusterClient>,
        api: Arc<PodApi>,
        manifest: Manifest,
        lease: &mut Lease,
    ) -> Result<Here, Refusal> {
        let deadline = Instant::now() + self.settings.timeouts.pod_start;
        let watch = self.backend.watches.subscribe(&self.place(), &client);
        self.notices(&manifest);
        let pod = self.timed(Step::PodCreate, self.obtain(&api, &manifest, lease, deadline)).await?;
        let follower = watch.follow(pod.metadata.uid.as_deref().unwrap_or_default());
        let mut here = Here { client, api, manifest, watch, follower, pod: Arc::new(pod) };
        let name = here.manifest.name.clone();
        self.debug("KUBERNETES_POD_WAIT", "Waiting for the pod to become ready", name.as_str());
        if let Err(refusal) = self.timed(Step::PodReady, self.wait(&mut here, deadline)).await {
            if self.stage.ended().is_cancelled() {
                return Err(refusal);
            }
            let name = Some(name.as_str());
            return Err(self.failed("KUBERNETES_POD_WAIT_FAILED", "The pod did not become ready", refusal, name));
        }
        self.timed(Step::PodPrepare, self.make_ready(&mut here)).await?;
        // Nobody reads it again, and the connection may be a long one.
        here.manifest.json = Value::Null;
        Ok(here)
    }

    /// The pod, created or found, not ready yet.
    async fn obtain(
        &self,
        api: &PodApi,
        manifest: &Manifest,
        lease: &mut Lease,
        deadline: Instant,
    ) -> Result<Pod, Refusal> {
        match &self.settings.pod.mode {
            Mode::Connection | Mode::Session => Box::pin(self.create(manifest, lease, deadline)).await,
            Mode::Persistent { .. } => Box::pin(self.find_or_create(api, manifest, deadline)).await,
        }
    }

    /// Measures a step; one that the connection's end cut short was abandoned.
    async fn timed<T>(&self, step: Step, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let timer = self.connection.log.metrics().step(step);
        let done = work.await;
        match &done {
            Ok(_) => timer.end(Outcome::Success),
            Err(_) if self.stage.ended().is_cancelled() => drop(timer),
            Err(_) => timer.end(Outcome::Failed),
        }
        done
    }

    async fn create(&self, manifest: &Manifest, lease: &mut Lease, deadline: Instant) -> Result<Pod, Refusal> {
        let news = |text: String| self.stage.news(Some(text));
        let patience =
            Patience { deadline, pod_start: self.settings.timeouts.pod_start, ended: self.stage.ended(), news: &news };
        let created = match self.covered(manifest, deadline).await {
            Ok(manifest) => {
                self.debug("KUBERNETES_POD_CREATE", "Creating the pod", manifest.name.as_str());
                lease.create(&manifest, patience).await
            }
            Err(refusal) => Err(refusal),
        };
        created.map_err(|refusal| {
            if self.stage.ended().is_cancelled() {
                return refusal;
            }
            self.not_created(refusal, manifest)
        })
    }

    /// Waits until the pod is ready. What the watch does not tell is looked for now and then: events where the status is
    /// silent, and the pod itself where the watch does not work.
    async fn wait(&self, here: &mut Here, deadline: Instant) -> Result<(), Refusal> {
        let mut notes: Vec<Note> = Vec::new();
        let mut wait_from = Instant::now();
        let mut look_after = FIRST_LOOK;
        let mut last = None;
        loop {
            match wait::judge(&here.pod, &notes, &here.manifest.console) {
                Verdict::Ready => return Ok(()),
                Verdict::Never(refusal) => return Err(refusal),
                Verdict::Waiting(news) => {
                    last = news.clone().or(last);
                    self.stage.news(news);
                }
            }
            let wake = tokio::select! {
                () = here.follower.changed() => Wake::Changed,
                () = sleep_until(wait_from + look_after) => Wake::Look,
                () = sleep_until(deadline) => Wake::OutOfTime,
                () = self.stage.ended().cancelled() => Wake::Ended,
            };
            match wake {
                Wake::Changed => {
                    let had_node = wait::has_node(&here.pod);
                    self.seen(here)?;
                    if wait::has_node(&here.pod) && !had_node {
                        (wait_from, look_after) = (Instant::now(), FIRST_LOOK);
                    }
                }
                Wake::Look => {
                    let blind = self.look(here, &mut notes, deadline).await?;
                    let most = if blind { BLIND_LOOK } else { NEXT_LOOK };
                    look_after = (look_after * LATER).min(look_after + most);
                }
                Wake::OutOfTime => return Err(self.out_of_time(last, here.watch.trouble())),
                Wake::Ended => return Err(connection_ended()),
            }
        }
    }

    /// Takes what the watch shows of the pod; says whether it has shown it.
    fn seen(&self, here: &mut Here) -> Result<bool, Refusal> {
        match here.follower.seen() {
            Seen::NotYet => return Ok(false),
            Seen::There(pod) => here.pod = pod,
            Seen::Gone => return Err(Refusal::new("the pod was deleted while it started")),
        }
        Ok(true)
    }

    /// Says whether the watch tells nothing of the pod. What it shows while the API is asked stays unseen, and so wakes who
    /// waits; what it showed before is older than the API's answer.
    async fn look(&self, here: &mut Here, notes: &mut Vec<Note>, deadline: Instant) -> Result<bool, Refusal> {
        let blind = !self.seen(here)? || here.watch.trouble().is_some();
        let name = &here.manifest.name;
        let uid = here.pod.metadata.uid.clone().unwrap_or_default();
        let ask = async {
            let events = if wait::wants_events(&here.pod) { here.api.events(name, &uid).await.ok() } else { None };
            let pod = if blind { here.api.get(name).await.ok() } else { None };
            (events, pod)
        };
        let (events, pod) = tokio::select! {
            answers = ask => answers,
            () = self.stage.ended().cancelled() => return Err(connection_ended()),
            () = sleep_until(deadline) => return Ok(blind),
        };
        if let Some(events) = events {
            *notes = events::notes(events);
        }
        match pod {
            Some(Some(pod)) if pod.metadata.uid.as_ref() == Some(&uid) => here.pod = Arc::new(pod),
            Some(_) => return Err(Refusal::new("the pod was deleted while it started")),
            None => {}
        }
        Ok(blind)
    }

    fn out_of_time(&self, last: Option<String>, trouble: Option<String>) -> Refusal {
        let limit = time_text(self.settings.timeouts.pod_start);
        let reason = match last {
            Some(news) => format!("the pod was not ready within {limit}: {news}"),
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

    /// What comes before the first program. The pod's death or the connection's end stops it.
    async fn make_ready(&self, here: &mut Here) -> Result<(), Refusal> {
        let settings = &self.settings.pod;
        let (name, container) = (here.manifest.name.clone(), settings.console_name.clone());
        let ground = Arc::new(Ground::new(Arc::clone(&here.client), Arc::clone(&here.api), name, container));
        let within = self.settings.timeouts.command_start;
        // What decides it in a pod that somebody else made is not known.
        let ours = !matches!(settings.mode, Mode::Persistent { .. });
        let key = image_key(here, settings.console).filter(|_| ours);
        let restarts = wait::restarts(&here.pod, &here.manifest.console);
        // A program that is a container's main process has its variables from the container.
        let wants_tools = !here.manifest.console.is_program();
        let work = async {
            let probe = async {
                if wants_tools {
                    ground.look_for_tools(&self.backend.images, key, within).await;
                }
            };
            let ((), written) = tokio::join!(probe, self.write_files(&ground));
            written
        };
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => {
                    done?;
                    break;
                }
                () = here.follower.changed() => {
                    self.seen(here)?;
                    if let Some(Over::Died(reason)) = wait::over(&here.pod, &here.manifest.console, restarts) {
                        return Err(Refusal::new(reason));
                    }
                }
                () = self.stage.ended().cancelled() => return Err(connection_ended()),
            }
        }
        let (name, namespace) = (here.manifest.name.as_str(), self.settings.pod.namespace.as_str());
        let details = [("podName", name), ("namespace", namespace)];
        self.connection.log.write(Level::Info, "KUBERNETES_POD_READY", "the pod is ready", &details);
        self.stage.open(Arc::clone(&ground));
        Ok(())
    }

    async fn write_files(&self, ground: &Ground) -> Result<(), Refusal> {
        for (path, file) in &self.files {
            let shown = crate::types::printable(path, 200);
            self.connection.log.write(Level::Debug, "KUBERNETES_FILE_WRITE", "Writing a file", &[("path", &*shown)]);
            let content = Bytes::from(file.value.clone());
            let written = ground.write_file(path, content, self.settings.timeouts.command_start).await;
            if let Err(refusal) = written {
                let name = ground.pod().as_str();
                return Err(self.failed("KUBERNETES_FILE_WRITE_FAILED", "A file was not written", refusal, Some(name)));
            }
        }
        Ok(())
    }

    pub(super) fn debug(&self, code: &'static str, message: &str, pod: &str) {
        let details = [("podName", pod), ("namespace", self.settings.pod.namespace.as_str())];
        self.connection.log.write(Level::Debug, code, message, &details);
    }
}

/// What decides whether a container finds a program like `env`: the image's content, and what the spec says about its
/// environment's origins and its file system. `None` where the image's content has no name.
fn image_key(here: &Here, console: usize) -> Option<String> {
    let id = wait::image_id(&here.pod, &here.manifest.console);
    let container = here.manifest.json.pointer(&format!("/spec/containers/{console}"))?;
    let path = container.get("env").and_then(Value::as_array).map(|env| {
        env.iter().filter(|entry| entry.get("name").and_then(Value::as_str) == Some("PATH")).collect::<Vec<_>>()
    });
    let rest = json!([path, container.get("envFrom"), container.get("volumeMounts")]);
    (!id.is_empty()).then(|| format!("{id} {rest}"))
}
