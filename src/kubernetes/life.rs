//! The life of one pod, a connection's or a program's, led by one task: create, wait, make ready, watch over, remove.
//! However it goes, the last step is the removal of whatever was created, and only then is the end told. A persistent pod
//! is found, claimed or created instead, and stays.

mod cover;
mod persistent;
mod rehearsal;
mod start;

pub use rehearsal::{Failed, Plan};

use super::Shared;
use super::api::PodApi;
use super::claim::Claimant;
use super::events;
use super::lease::{Holder, Lease};
use super::pod::{Manifest, ManifestError, Notice};
use super::retry::Throttle;
use super::stage::{Stage, connection_ended};
use super::wait::{self, Over};
use super::watch::{Follower, Place, Seen, Subscription, Which};
use super::{ConnectionFacts, client::ClusterClient};
use crate::config::Level;
use crate::guest::Refusal;
use crate::settings::{self, Mode};
use k8s_openapi::api::core::v1::Pod;
use podgate_webhooks::wire;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How long the connections may take to end their guests when the process ends, before the pods go anyway.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// What the task knows.
pub(super) struct Life {
    pub(super) backend: Arc<Shared>,
    pub(super) settings: Arc<settings::Kubernetes>,
    pub(super) files: BTreeMap<String, wire::File>,
    pub(super) claimant: Claimant,
    /// The connection's, whichever of its pods asks.
    pub(super) throttle: Arc<Throttle>,
    pub(super) connection: ConnectionFacts,
    pub(super) stage: Arc<Stage>,
}

/// A pod that is there, and what watches it.
struct Here {
    client: Arc<ClusterClient>,
    api: Arc<PodApi>,
    manifest: Manifest,
    watch: Subscription,
    follower: Follower,
    pod: Arc<Pod>,
}

/// Tells the end however the task ends: a connection waits for it.
struct Told(Arc<Stage>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.gone(connection_ended());
        self.0.removed();
    }
}

impl Life {
    /// Leads it to its end.
    pub(super) async fn lead(self, manifest: Result<Manifest, ManifestError>) {
        let stage = Arc::clone(&self.stage);
        let _told = Told(Arc::clone(&self.stage));
        let stopping = self.backend.tasks.stopping().clone();
        let overdue = async move {
            stopping.cancelled().await;
            sleep(SHUTDOWN_GRACE).await;
        };
        let mut whole = Box::pin(self.whole(manifest));
        tokio::select! {
            () = &mut whole => {}
            () = overdue => {
                stage.let_go();
                whole.await;
            }
        }
    }

    async fn whole(&self, manifest: Result<Manifest, ManifestError>) {
        let (client, manifest) = match self.prepare(manifest) {
            Ok(prepared) => prepared,
            Err(refusal) => return self.stage.gone(refusal),
        };
        let api = Arc::new(self.api(&client));
        let mut lease = Lease::new(Arc::clone(&api), manifest.name.clone(), self.holder());
        // On the heap, so that what it took is free while the pod runs.
        let started = Box::pin(self.start(client, api, manifest, &mut lease)).await;
        let refusal = match started {
            Ok(here) => self.watch_over(here).await,
            Err(refusal) => refusal,
        };
        self.stage.gone(refusal);
        lease.release().await;
    }

    fn prepare(&self, manifest: Result<Manifest, ManifestError>) -> Result<(Arc<ClusterClient>, Manifest), Refusal> {
        let failed = |refusal| self.failed("KUBERNETES_CONFIG_ERROR", "The pod cannot be requested", refusal, None);
        let manifest = manifest.map_err(|error| failed(Refusal::new(error.to_string())))?;
        let http = self.settings.timeouts.http;
        let client = self.backend.clients.get(&self.settings.cluster, http).map_err(|error| {
            let refusal = Refusal::new("the connection to Kubernetes is not set up correctly");
            failed(refusal.detail(error.to_string()))
        })?;
        Ok((client, manifest))
    }

    fn api(&self, client: &ClusterClient) -> PodApi {
        let (namespace, call) = (self.settings.pod.namespace.clone(), self.settings.timeouts.http);
        PodApi::new(client.kube(), namespace, call, Arc::clone(&self.throttle))
    }

    fn holder(&self) -> Holder {
        Holder {
            connection: self.connection.id,
            instance: self.backend.instance,
            log: self.connection.log.clone(),
            tasks: self.backend.tasks.clone(),
            stop: self.settings.timeouts.pod_stop,
        }
    }

    fn place(&self) -> Place {
        let which = match &self.settings.pod.mode {
            Mode::Connection | Mode::Session => Which::Ours,
            Mode::Persistent { shared: false, .. } => Which::Claimed,
            Mode::Persistent { shared: true, name, .. } => Which::Named(name.clone()),
        };
        Place { cluster: self.settings.cluster.clone(), namespace: self.settings.pod.namespace.clone(), which }
    }

    /// Stays with a pod that is ready until it or its connection is over.
    async fn watch_over(&self, mut here: Here) -> Refusal {
        let restarts = wait::restarts(&here.pod, &here.manifest.console);
        loop {
            let over = match here.follower.seen() {
                Seen::NotYet => wait::over(&here.pod, &here.manifest.console, restarts),
                Seen::There(pod) => wait::over(&pod, &here.manifest.console, restarts),
                Seen::Gone => Some(Over::Died("the pod was deleted".to_owned())),
            };
            if let Some(over) = over {
                let over = match over {
                    Over::Died(reason) => Over::Died(self.eviction(&mut here).await.unwrap_or(reason)),
                    Over::Exited(code) => Over::Exited(code),
                };
                return self.is_over(&here, over).await;
            }
            tokio::select! {
                () = here.follower.changed() => {}
                () = self.stage.ended().cancelled() => return connection_ended(),
            }
        }
    }

    /// A pod whose program is over is kept until the program's session has all that it wants of it.
    async fn is_over(&self, here: &Here, over: Over) -> Refusal {
        self.stage.tell_over(over.clone());
        if let Over::Died(reason) = over {
            let (refusal, name) = (Refusal::new(reason), here.manifest.name.as_str());
            return self.failed("KUBERNETES_POD_GONE", "The pod ended before its connection", refusal, Some(name));
        }
        self.stage.ended().cancelled().await;
        connection_ended()
    }

    /// Whether a pod that ended without a word was evicted, and why: its events may know.
    async fn eviction(&self, here: &mut Here) -> Option<String> {
        let Seen::There(pod) = here.follower.seen() else { return None };
        if !wait::ended_silently(&pod) {
            return None;
        }
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let events = tokio::select! {
            events = here.api.events(&here.manifest.name, uid) => events.ok()?,
            () = self.stage.ended().cancelled() => return None,
        };
        events::eviction(&events::notes(events)).map(wait::evicted)
    }

    fn notices(&self, manifest: &Manifest) {
        for notice in &manifest.notices {
            let (code, message, details) = match notice {
                Notice::LabelCut => (
                    "KUBERNETES_USERNAME_TOO_LONG",
                    "The user's name is shortened in the label, the annotation podgate/username has the complete name",
                    None,
                ),
                Notice::SensitiveLeftOut { what, name } => (
                    "KUBERNETES_ENV_LEFT_OUT",
                    "A sensitive value is left out, because everyone who can read pods could read it",
                    Some((*what, name.as_str())),
                ),
            };
            self.connection.log.write(Level::Warning, code, message, details.as_slice());
        }
    }

    fn not_created(&self, refusal: Refusal, manifest: &Manifest) -> Refusal {
        let name = Some(manifest.name.as_str());
        self.failed("KUBERNETES_POD_CREATE_FAILED", "The pod was not created", refusal, name)
    }

    /// Logs a failure, and returns it marked as logged.
    fn failed(&self, code: &'static str, message: &str, refusal: Refusal, pod: Option<&str>) -> Refusal {
        let mut details = vec![("reason", refusal.reason.as_str())];
        details.extend(refusal.detail.as_deref().map(|detail| ("detail", detail)));
        details.extend(pod.map(|name| ("podName", name)));
        self.connection.log.write(Level::Error, code, message, &details);
        Refusal { logged: true, ..refusal }
    }
}
