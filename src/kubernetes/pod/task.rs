//! The life of one pod, of a connection or of one program, led by one task:
//!
//! 1. obtain: the pod is created, or a persistent pod is found, claimed or created ([`persistent`]);
//! 2. wait until it is ready, and prepare it for programs ([`ready`]);
//! 3. watch it until it or its connection ends;
//! 4. remove it. A persistent pod stays.
//!
//! Whatever happens, the last step is the removal of everything that was created, and only after it is the end reported.

mod dry_run;
mod persistent;
mod ready;

pub(crate) use dry_run::{DryRunError, PodPlan};

use super::PodRequest;
use super::backend_parts::BackendParts;
use super::events;
use super::hold::PodHold;
use super::manifest::{Manifest, ManifestError, ManifestNotice};
use super::state::{PodState, connection_ended};
use super::wait::{self, PodEnd};
use super::watch::{Follower, PodSelection, Subscription, WatchScope, WatchedPod};
use crate::guest::Refusal;
use crate::kubernetes::api::client::ClusterClient;
use crate::kubernetes::api::pods::PodApi;
use crate::settings::PodMode;
use crate::shutdown::POD_DISMISSAL;
use crate::telemetry::metrics::{MeasuredStep, StepOutcome};
use crate::telemetry::{Code, codes};
use crate::types::time_text;
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::sync::Arc;
use tokio::time::{Instant, sleep, sleep_until};

/// The task of one pod.
pub(crate) struct PodTask {
    pub(crate) backend: Arc<BackendParts>,
    pub(crate) request: Arc<PodRequest>,
    pub(crate) pod_state: Arc<PodState>,
}

/// A pod that exists, and its watch.
struct RunningPod {
    client: Arc<ClusterClient>,
    api: Arc<PodApi>,
    manifest: Manifest,
    watch: Subscription,
    follower: Follower,
    pod: Arc<Pod>,
}

/// Reports the end of the task when it is dropped, because the connection waits for that.
struct EndNotifier(Arc<PodState>);

impl Drop for EndNotifier {
    fn drop(&mut self) {
        self.0.set_gone(connection_ended());
        self.0.set_removed();
    }
}

impl PodTask {
    /// Leads the pod from its manifest to its removal.
    pub(crate) async fn run(self, manifest: Result<Manifest, ManifestError>) {
        let pod_state = Arc::clone(&self.pod_state);
        let _notifier = EndNotifier(Arc::clone(&self.pod_state));
        let stopping = self.backend.tasks.stopping().clone();
        let overdue = async move {
            stopping.cancelled().await;
            sleep(POD_DISMISSAL).await;
        };
        let mut life = Box::pin(self.obtain_watch_remove(manifest));
        tokio::select! {
            () = &mut life => {}
            () = overdue => {
                pod_state.dismiss();
                life.await;
            }
        }
    }

    async fn obtain_watch_remove(&self, manifest: Result<Manifest, ManifestError>) {
        let (client, manifest) = match self.prepare(manifest) {
            Ok(prepared) => prepared,
            Err(refusal) => return self.pod_state.set_gone(refusal),
        };
        let api = Arc::new(self.api(&client));
        let request = Arc::clone(&self.request);
        let mut hold = PodHold::new(Arc::clone(&api), manifest.name.clone(), request, self.backend.tasks.clone());
        // Boxed, so that the memory of the start is free while the pod runs.
        let started = Box::pin(self.start(client, api, manifest, &mut hold)).await;
        let refusal = match started {
            Ok(running) => self.watch_over(running).await,
            Err(refusal) => refusal,
        };
        self.pod_state.set_gone(refusal);
        hold.release().await;
    }

    fn prepare(&self, manifest: Result<Manifest, ManifestError>) -> Result<(Arc<ClusterClient>, Manifest), Refusal> {
        let failed =
            |refusal| self.failed(codes::KUBERNETES_CONFIG_ERROR, "the pod cannot be requested", refusal, None);
        let manifest = manifest.map_err(|error| failed(Refusal::new(error.to_string())))?;
        let settings = &self.request.settings;
        let client = self.backend.clients.get(&settings.cluster, settings.timeouts.http).map_err(|error| {
            let refusal = Refusal::new("the connection to Kubernetes is not set up correctly");
            failed(refusal.detail(error.to_string()))
        })?;
        Ok((client, manifest))
    }

    fn api(&self, client: &ClusterClient) -> PodApi {
        let settings = &self.request.settings;
        let throttle = Arc::clone(&self.request.throttle);
        PodApi::new(client.kube(), settings.pod.namespace.clone(), settings.timeouts.http, throttle)
    }

    /// Brings the pod up, within `podStart` until it is ready. A pod that was created is in the hold, also after an error.
    async fn start(
        &self,
        client: Arc<ClusterClient>,
        api: Arc<PodApi>,
        mut manifest: Manifest,
        hold: &mut PodHold,
    ) -> Result<RunningPod, Refusal> {
        let deadline = Instant::now() + self.request.settings.timeouts.pod_start;
        let watch = self.backend.watches.subscribe(&self.watch_scope(), &client);
        self.log_notices(&manifest);
        let obtain = async {
            match &self.request.settings.pod.mode {
                PodMode::Connection | PodMode::Session => Box::pin(self.create(&mut manifest, hold, deadline)).await,
                PodMode::Persistent { .. } => Box::pin(self.find_or_create(&api, &manifest, deadline)).await,
            }
        };
        let pod = self.timed(MeasuredStep::PodCreate, obtain).await?;
        let follower = watch.follow(pod.metadata.uid.as_deref().unwrap_or_default());
        let mut running = RunningPod { client, api, manifest, watch, follower, pod: Arc::new(pod) };
        let name = running.manifest.name.clone();
        self.debug(codes::KUBERNETES_POD_WAIT, "waiting for the pod to become ready", name.as_str());
        if let Err(refusal) = self.timed(MeasuredStep::PodReady, self.wait_until_ready(&mut running, deadline)).await {
            if self.pod_state.dismissed().is_cancelled() {
                return Err(refusal);
            }
            let name = Some(name.as_str());
            return Err(self.failed(codes::KUBERNETES_POD_WAIT_FAILED, "the pod did not become ready", refusal, name));
        }
        self.timed(MeasuredStep::PodPrepare, self.make_ready(&mut running)).await?;
        // The manifest is not read again, and the connection may be a long one.
        (running.manifest.json, running.manifest.sensitive) = (Value::Null, Vec::new());
        Ok(running)
    }

    fn watch_scope(&self) -> WatchScope {
        let settings = &self.request.settings;
        let selection = match &settings.pod.mode {
            PodMode::Connection | PodMode::Session => PodSelection::Own,
            PodMode::Persistent { shared: false, .. } => PodSelection::Claimed,
            PodMode::Persistent { shared: true, name, .. } => PodSelection::Named(name.clone()),
        };
        WatchScope { cluster: settings.cluster.clone(), namespace: settings.pod.namespace.clone(), selection }
    }

    async fn create(&self, manifest: &mut Manifest, hold: &mut PodHold, deadline: Instant) -> Result<Pod, Refusal> {
        let created = match self.list_in_lease(manifest, deadline).await {
            Ok(()) => {
                self.debug(codes::KUBERNETES_POD_CREATE, "creating the pod", manifest.name.as_str());
                hold.create(manifest, &self.pod_state, deadline).await
            }
            Err(refusal) => Err(refusal),
        };
        created.map_err(|refusal| {
            if self.pod_state.dismissed().is_cancelled() {
                return refusal;
            }
            self.not_created(refusal, manifest)
        })
    }

    /// Waits until the gateway's Lease lists the pod's namespace, in which a watch is open already, and labels the pod.
    async fn list_in_lease(&self, manifest: &mut Manifest, deadline: Instant) -> Result<(), Refusal> {
        let Some(membership) = self.backend.membership.get() else { return Ok(()) };
        let scope = self.watch_scope();
        let listed = tokio::select! {
            listed = membership.ensure_listed(&scope) => listed,
            () = self.pod_state.dismissed().cancelled() => return Err(connection_ended()),
            () = sleep_until(deadline) => {
                let limit = time_text(self.request.settings.timeouts.pod_start);
                let reason = format!("the pod could not be created within {limit}: Kubernetes cannot be reached");
                return Err(Refusal::new(reason).detail("the gateway's Lease was not written"));
            }
        };
        if let Some((home, term)) = listed {
            manifest.set_lease(home, term);
        }
        Ok(())
    }

    /// Measures a step. A step that the end of the connection cuts short counts as abandoned.
    async fn timed<T>(&self, step: MeasuredStep, work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
        let timer = self.request.log.step(step);
        let done = work.await;
        match &done {
            Ok(_) => timer.end(StepOutcome::Success),
            Err(_) if self.pod_state.dismissed().is_cancelled() => drop(timer),
            Err(_) => timer.end(StepOutcome::Failed),
        }
        done
    }

    /// Watches a ready pod until it or its connection ends.
    async fn watch_over(&self, mut running: RunningPod) -> Refusal {
        let restarts = wait::restarts(&running.pod, &running.manifest.console);
        loop {
            let end = match running.follower.seen() {
                WatchedPod::Unknown => wait::pod_end(&running.pod, &running.manifest.console, restarts),
                WatchedPod::Present(pod) => wait::pod_end(&pod, &running.manifest.console, restarts),
                WatchedPod::Deleted => Some(PodEnd::Died("the pod was deleted".to_owned())),
            };
            if let Some(end) = end {
                let end = match end {
                    PodEnd::Died(reason) => PodEnd::Died(self.eviction(&mut running).await.unwrap_or(reason)),
                    PodEnd::ProgramExited(code) => PodEnd::ProgramExited(code),
                };
                return self.pod_ended(&running, end).await;
            }
            tokio::select! {
                () = running.follower.changed() => {}
                () = self.pod_state.dismissed().cancelled() => return connection_ended(),
            }
        }
    }

    /// Reports the end of the pod. One whose program exited is kept until the program's session has read its output.
    async fn pod_ended(&self, running: &RunningPod, end: PodEnd) -> Refusal {
        self.pod_state.set_end(end.clone());
        if let PodEnd::Died(reason) = end {
            let (refusal, name) = (Refusal::new(reason), running.manifest.name.as_str());
            return self.failed(codes::KUBERNETES_POD_GONE, "the pod ended before its connection", refusal, Some(name));
        }
        self.pod_state.dismissed().cancelled().await;
        connection_ended()
    }

    /// Returns the reason of an eviction that the pod's status does not show, from its events.
    async fn eviction(&self, running: &mut RunningPod) -> Option<String> {
        let WatchedPod::Present(pod) = running.follower.seen() else { return None };
        if !wait::ended_silently(&pod) {
            return None;
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let events = tokio::select! {
            events = running.api.events(&running.manifest.name, uid) => events.ok()?,
            () = self.pod_state.dismissed().cancelled() => return None,
        };
        events::eviction(&events::pod_events(events)).map(wait::evicted)
    }

    fn log_notices(&self, manifest: &Manifest) {
        for notice in &manifest.notices {
            let (code, message, details) = match notice {
                ManifestNotice::LabelCut => (
                    codes::KUBERNETES_USERNAME_TOO_LONG,
                    "the user's name is shortened in the label, the annotation podgate/username has the complete name",
                    None,
                ),
                ManifestNotice::SensitiveLeftOut { kind, name } => (
                    codes::KUBERNETES_ENV_LEFT_OUT,
                    "a sensitive value is left out, because everyone who can read pods could read it",
                    Some((*kind, name.as_str())),
                ),
            };
            self.request.log.write(code, message, details.as_slice());
        }
    }

    fn not_created(&self, refusal: Refusal, manifest: &Manifest) -> Refusal {
        let name = Some(manifest.name.as_str());
        self.failed(codes::KUBERNETES_POD_CREATE_FAILED, "the pod was not created", refusal, name)
    }

    /// Logs a failure, and returns it marked as logged.
    fn failed(&self, code: Code, message: &str, refusal: Refusal, pod: Option<&str>) -> Refusal {
        let mut details = vec![("reason", refusal.reason.as_str())];
        details.extend(refusal.detail.as_deref().map(|detail| ("detail", detail)));
        details.extend(pod.map(|name| ("podName", name)));
        self.request.log.write(code, message, &details);
        Refusal { logged: true, ..refusal }
    }

    fn debug(&self, code: Code, message: &str, pod: &str) {
        let details = [("podName", pod), ("namespace", self.request.settings.pod.namespace.as_str())];
        self.request.log.write(code, message, &details);
    }
}
