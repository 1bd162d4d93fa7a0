//! The gateway's hold on one pod, from before the create until the pod is gone. It knows at every moment whether there is no
//! pod, certainly one, or perhaps one, because the answer to a create was lost. Releasing it removes the pod.
//! Only this module creates a connection's pods.

pub(crate) mod refusal;

use super::PodRequest;
use super::manifest::{CONNECTION, INSTANCE, Manifest};
use super::state::{PodState, connection_ended};
use crate::guest::Refusal;
use crate::kubernetes::api::pods::{ApiError, PodApi};
use crate::kubernetes::api::retry::Backoff;
use crate::shutdown::{POD_REMOVAL, Tasks};
use crate::telemetry::{Code, Level, codes};
use crate::types::PodName;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// Time for which a pod is looked for that was perhaps created: the API may still carry out a request that we gave up. The
/// reaper finds pods that appear even later.
const SEARCH_TIME: Duration = Duration::from_secs(10);

/// The gateway's hold on one pod. Dropping it removes the pod, too.
pub(crate) struct PodHold {
    api: Arc<PodApi>,
    name: PodName,
    request: Arc<PodRequest>,
    /// The tracker of a removal after a drop.
    tasks: Tasks,
    state: HoldState,
}

/// The knowledge about the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HoldState {
    Nothing,
    /// The answer to a create was lost.
    Perhaps,
    Pod {
        uid: String,
    },
}

impl PodHold {
    pub(crate) fn new(api: Arc<PodApi>, name: PodName, request: Arc<PodRequest>, tasks: Tasks) -> Self {
        Self { api, name, request, tasks, state: HoldState::Nothing }
    }

    /// Creates the pod. Errors that may heal are followed by another try until the deadline, the end of `podStart`. A try that
    /// is under way is not cancelled when the connection ends, because then it would not be known whether there is a pod;
    /// it has a deadline of its own.
    pub(crate) async fn create(
        &mut self,
        manifest: &Manifest,
        state: &PodState,
        deadline: Instant,
    ) -> Result<Pod, Refusal> {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            if state.dismissed().is_cancelled() {
                return Err(connection_ended());
            }
            let error = match self.try_create(manifest, deadline).await {
                Ok(pod) => return Ok(pod),
                Err(CreateError::Retryable(error)) => error,
                Err(CreateError::Final(refusal)) => return Err(refusal),
            };
            let wait = backoff.wait(error.retry_after());
            if Instant::now() + wait >= deadline {
                return Err(refusal::out_of_time(self.request.settings.timeouts.pod_start, &error));
            }
            self.log(
                codes::KUBERNETES_POD_CREATE_FAILED.at(Level::Debug),
                "the pod was not created, trying again",
                Some(&error),
            );
            state.report_progress(Some(refusal::progress(&error)));
            tokio::select! {
                () = sleep(wait) => {}
                () = state.dismissed().cancelled() => {}
            }
        }
    }

    async fn try_create(&mut self, manifest: &Manifest, deadline: Instant) -> Result<Pod, CreateError> {
        let before = self.state.clone();
        self.state = HoldState::Perhaps;
        let answer = timeout_at(deadline, self.api.create(&manifest.json)).await;
        let error = match answer.unwrap_or_else(|_| Err(ApiError::Unreachable("no answer in time".into()))) {
            Ok(pod) => return Ok(self.keep(pod)),
            Err(error) => error,
        };
        if error.code() == Some(409) && !error.may_heal() {
            return self.name_taken(before, error).await;
        }
        if error.did_nothing() {
            self.state = before;
        }
        if error.may_heal() {
            return Err(CreateError::Retryable(error));
        }
        Err(CreateError::Final(refusal::refused(&error, self.api.namespace(), &manifest.lost)))
    }

    /// Finds out whether the pod with our name was created by a try of ours with a lost answer, or is another one.
    async fn name_taken(&mut self, before: HoldState, taken: ApiError) -> Result<Pod, CreateError> {
        match self.api.get(&self.name).await {
            Ok(Some(pod)) if self.is_ours(&pod) => Ok(self.keep(pod)),
            Ok(Some(pod)) => {
                self.state = HoldState::Nothing;
                if pod.metadata.deletion_timestamp.is_some() {
                    return Err(CreateError::Retryable(taken));
                }
                Err(CreateError::Final(refusal::name_taken(&self.name)))
            }
            Ok(None) => {
                self.state = before;
                Err(CreateError::Retryable(taken))
            }
            Err(error) if error.may_heal() => Err(CreateError::Retryable(error)),
            Err(error) => Err(CreateError::Final(refusal::refused(&error, self.api.namespace(), &[]))),
        }
    }

    fn keep(&mut self, pod: Pod) -> Pod {
        self.state = pod.metadata.uid.clone().map_or(HoldState::Perhaps, |uid| HoldState::Pod { uid });
        pod
    }

    fn is_ours(&self, pod: &Pod) -> bool {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
        label(INSTANCE) == Some(self.request.instance.to_string())
            && label(CONNECTION) == Some(self.request.connection.to_string())
    }

    /// Removes the pod. At the end of `podStop` it gives up, and logs a command that removes the pod.
    pub(crate) async fn release(mut self) {
        self.remove().await;
    }

    async fn remove(&mut self) {
        if self.state == HoldState::Nothing {
            return;
        }
        self.log(codes::KUBERNETES_POD_REMOVE, "removing the pod", None);
        let stopping = self.tasks.stopping().clone();
        let out_of_time = async move {
            stopping.cancelled().await;
            sleep(POD_REMOVAL).await;
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
                    self.state = HoldState::Nothing;
                    self.log(codes::KUBERNETES_POD_REMOVE_SUCCESSFUL, "the pod is removed", None);
                    return;
                }
                Ok(Removal::LookAgain) => (true, None),
                Err(error) => (error.may_heal(), Some(error)),
            };
            let wait = backoff.wait(error.as_ref().and_then(ApiError::retry_after));
            if !again || start.elapsed() + wait >= self.request.settings.timeouts.pod_stop {
                self.give_up(error.as_ref());
                return;
            }
            if let Some(error) = &error {
                self.log(
                    codes::KUBERNETES_POD_REMOVE_FAILED.at(Level::Debug),
                    "the pod was not removed, trying again",
                    Some(error),
                );
            }
            sleep(wait).await;
        }
    }

    async fn try_remove(&mut self, start: Instant) -> Result<Removal, ApiError> {
        if self.state == HoldState::Perhaps {
            match self.api.get(&self.name).await? {
                Some(pod) if self.is_ours(&pod) => {
                    self.keep(pod);
                }
                None if start.elapsed() < SEARCH_TIME => return Ok(Removal::LookAgain),
                Some(_) | None => return Ok(Removal::Gone),
            }
        }
        let HoldState::Pod { uid } = &self.state else { return Ok(Removal::Gone) };
        self.api.delete(&self.name, uid).await.map(|_| Removal::Gone)
    }

    fn give_up(&mut self, error: Option<&ApiError>) {
        self.state = HoldState::Nothing;
        let by_hand = format!(
            "the pod may be left behind; this removes it: kubectl delete pod -n {} {}",
            self.api.namespace(),
            self.name
        );
        self.log(codes::KUBERNETES_POD_REMOVE_FAILED, &by_hand, error);
    }

    fn log(&self, code: Code, message: &str, error: Option<&ApiError>) {
        let reason = error.map(ToString::to_string);
        let mut details = vec![("podName", self.name.as_str()), ("namespace", self.api.namespace().as_str())];
        details.extend(reason.as_deref().map(|reason| ("reason", reason)));
        self.request.log.write(code, message, &details);
    }
}

/// Removes the pod of a hold whose task was dropped before [`PodHold::release`], in a task of its own.
impl Drop for PodHold {
    fn drop(&mut self) {
        if self.state == HoldState::Nothing || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let mut rest = Self {
            api: Arc::clone(&self.api),
            name: self.name.clone(),
            request: Arc::clone(&self.request),
            tasks: self.tasks.clone(),
            state: std::mem::replace(&mut self.state, HoldState::Nothing),
        };
        let tasks = self.tasks.clone();
        tasks.spawn(async move { rest.remove().await });
    }
}

/// An error of one try to create the pod.
enum CreateError {
    Retryable(ApiError),
    Final(Refusal),
}

/// The result of one try to remove the pod.
enum Removal {
    Gone,
    LookAgain,
}
