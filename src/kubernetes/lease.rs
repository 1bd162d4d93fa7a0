//! The gateway's hold on one pod, from before it is asked for until it is gone. A lease knows at every moment whether
//! there is no pod, surely one, or perhaps one, because an answer was lost; releasing it removes whatever there is.
//! Only this module makes one.

pub(super) mod refusal;

use super::api::{ApiError, PodApi};
use super::pod::{CONNECTION, INSTANCE, Instance, Manifest};
use super::retry::Backoff;
use super::stage::connection_ended;
use crate::config::Level;
use crate::guest::Refusal;
use crate::shutdown::Tasks;
use crate::telemetry::ConnectionLog;
use crate::types::{ConnectionId, PodName};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long a pod is looked for of which nobody knows whether it was created: a request that we gave up can still be
/// carried out by the API. What comes even later is found by the reaper.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// How long a release goes on once the process is to end.
const LAST_TRIES: Duration = Duration::from_secs(12);

/// Whose pod a lease is for.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// The connection.
    pub(super) connection: ConnectionId,
    /// The gateway's process.
    pub(super) instance: Instance,
    /// The connection's log.
    pub(super) log: ConnectionLog,
    /// Where a release goes on whose lease was dropped.
    pub(super) tasks: Tasks,
    /// How long all tries to remove the pod may take (`podStop`).
    pub(super) stop: Duration,
}

/// What is known about the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hold {
    Nothing,
    Perhaps,
    Pod { uid: String },
}

/// The hold.
#[derive(Debug)]
pub(super) struct Lease {
    api: Arc<PodApi>,
    name: PodName,
    holder: Holder,
    hold: Hold,
}

/// Where news about the create goes, and what ends it.
#[derive(Clone, Copy)]
pub(super) struct Patience<'a> {
    /// The end of `podStart`.
    pub(super) deadline: Instant,
    /// `podStart`, for the reason.
    pub(super) pod_start: Duration,
    /// The end of the connection.
    pub(super) ended: &'a CancellationToken,
    /// Told what a waiting person may want to know.
    pub(super) news: &'a (dyn Fn(String) + Send + Sync),
}

impl Lease {
    /// A hold on nothing yet.
    pub(super) fn new(api: Arc<PodApi>, name: PodName, holder: Holder) -> Self {
        Self { api, name, holder, hold: Hold::Nothing }
    }

    /// Creates the pod: what may heal is tried again until the deadline, everything else ends it at once. A try that is
    /// under way is not given up when the connection ends, its answer is worth more; it has its own deadline.
    pub(super) async fn create(&mut self, manifest: &Manifest, patience: Patience<'_>) -> Result<Pod, Refusal> {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            if patience.ended.is_cancelled() {
                return Err(connection_ended());
            }
            let error = match self.try_create(manifest, patience.deadline).await {
                Ok(pod) => return Ok(pod),
                Err(Attempt::Again(error)) => error,
                Err(Attempt::Never(refusal)) => return Err(refusal),
            };
            let wait = backoff.wait(error.retry_after());
            if Instant::now() + wait >= patience.deadline {
                return Err(refusal::out_of_time(patience.pod_start, &error));
            }
            self.log(
                Level::Debug,
                "KUBERNETES_POD_CREATE_FAILED",
                "The pod was not created, trying again",
                Some(&error),
            );
            (patience.news)(refusal::news(&error));
            tokio::select! {
                () = sleep(wait) => {}
                () = patience.ended.cancelled() => {}
            }
        }
    }

    async fn try_create(&mut self, manifest: &Manifest, deadline: Instant) -> Result<Pod, Attempt> {
        let known = self.hold.clone();
        self.hold = Hold::Perhaps;
        let answer = timeout_at(deadline, self.api.create(&manifest.json)).await;
        let error = match answer.unwrap_or_else(|_| Err(ApiError::Unreachable("no answer in time".into()))) {
            Ok(pod) => return Ok(self.keep(pod)),
            Err(error) => error,
        };
        if error.code() == Some(409) && !error.may_heal() {
            return self.name_taken(known, error).await;
        }
        if error.did_nothing() {
            self.hold = known;
        }
        if error.may_heal() {
            return Err(Attempt::Again(error));
        }
        Err(Attempt::Never(refusal::refused(&error, self.api.namespace(), &manifest.lost)))
    }

    /// The name is taken: by a create of ours whose answer was lost, or by somebody else's pod.
    async fn name_taken(&mut self, known: Hold, taken: ApiError) -> Result<Pod, Attempt> {
        match self.api.get(&self.name).await {
            Ok(Some(pod)) if self.is_ours(&pod) => Ok(self.keep(pod)),
            Ok(Some(pod)) => {
                self.hold = Hold::Nothing;
                if pod.metadata.deletion_timestamp.is_some() {
                    return Err(Attempt::Again(taken));
                }
                Err(Attempt::Never(refusal::name_taken(&self.name)))
            }
            Ok(None) => {
                self.hold = known;
                Err(Attempt::Again(taken))
            }
            Err(error) if error.may_heal() => Err(Attempt::Again(error)),
            Err(error) => Err(Attempt::Never(refusal::refused(&error, self.api.namespace(), &[]))),
        }
    }

    fn keep(&mut self, pod: Pod) -> Pod {
        self.hold = pod.metadata.uid.clone().map_or(Hold::Perhaps, |uid| Hold::Pod { uid });
        pod
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
        label(INSTANCE) == Some(self.holder.instance.to_string())
            && label(CONNECTION) == Some(self.holder.connection.to_string())
    }

    /// Removes the pod, or gives up at the end of `podStop` and says in the log how to do it by hand.
    pub(super) async fn release(mut self) {
        self.remove().await;
    }

    async fn remove(&mut self) {
        if self.hold == Hold::Nothing {
            return;
        }
        self.log(Level::Debug, "KUBERNETES_POD_REMOVE", "Removing the pod", None);
        let stopping = self.holder.tasks.stopping().clone();
        let out_of_time = async move {
            stopping.cancelled().await;
            sleep(LAST_TRIES).await;
        };
        tokio::select! {
            () = self.try_until_removed() => {}
            () = out_of_time => self.give_up(None),
        }
    }

    async fn try_until_removed(&mut self) {
        let start = Instant::now();
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            let (again, error) = match self.try_remove(start).await {
                Ok(Removal::Gone) => {
                    self.hold = Hold::Nothing;
                    self.log(Level::Debug, "KUBERNETES_POD_REMOVE_SUCCESSFUL", "The pod is removed", None);
                    return;
                }
                Ok(Removal::LookAgain) => (true, None),
                Err(error) => (error.may_heal(), Some(error)),
            };
            let wait = backoff.wait(error.as_ref().and_then(ApiError::retry_after));
            if !again || start.elapsed() + wait >= self.holder.stop {
                self.give_up(error.as_ref());
                return;
            }
            if let Some(error) = &error {
                self.log(
                    Level::Debug,
                    "KUBERNETES_POD_REMOVE_FAILED",
                    "The pod was not removed, trying again",
                    Some(error),
                );
            }
            sleep(wait).await;
        }
    }

    async fn try_remove(&mut self, start: Instant) -> Result<Removal, ApiError> {
        if self.hold == Hold::Perhaps {
            match self.api.get(&self.name).await? {
                Some(pod) if self.is_ours(&pod) => {
                    self.keep(pod);
                }
                None if start.elapsed() < LOOK_AGAIN => return Ok(Removal::LookAgain),
                Some(_) | None => return Ok(Removal::Gone),
            }
        }
        let Hold::Pod { uid } = &self.hold else { return Ok(Removal::Gone) };
        self.api.delete(&self.name, uid).await.map(|_| Removal::Gone)
    }

    fn give_up(&mut self, error: Option<&ApiError>) {
        self.hold = Hold::Nothing;
        let by_hand = format!(
            "The pod may be left behind; this removes it: kubectl delete pod -n {} {}",
            self.api.namespace(),
            self.name
        );
        self.log(Level::Error, "KUBERNETES_POD_REMOVE_FAILED", &by_hand, error);
    }

    fn log(&self, level: Level, code: &'static str, message: &str, error: Option<&ApiError>) {
        let reason = error.map(ToString::to_string);
        let mut details = vec![("podName", self.name.as_str()), ("namespace", self.api.namespace().as_str())];
        details.extend(reason.as_deref().map(|reason| ("reason", reason)));
        self.holder.log.write(level, code, message, &details);
    }
}

/// The net under [`Lease::release`]: a lease that is dropped, because its task was, is released by a task of its own.
impl Drop for Lease {
    fn drop(&mut self) {
        if self.hold == Hold::Nothing || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let mut rest = Self {
            api: Arc::clone(&self.api),
            name: self.name.clone(),
            holder: self.holder.clone(),
            hold: std::mem::replace(&mut self.hold, Hold::Nothing),
        };
        let tasks = self.holder.tasks.clone();
        tasks.spawn(async move { rest.remove().await });
    }
}

/// How one try to create ended that brought no pod.
enum Attempt {
    Again(ApiError),
    Never(Refusal),
}

/// How one try to remove ended.
enum Removal {
    Gone,
    LookAgain,
}
