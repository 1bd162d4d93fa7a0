//! A persistent pod, which exists before its connections and stays after them: it is found by its name, claimed, or created if
//! it is missing. When something changes meanwhile (another login is faster, an answer is lost), the pod is read again.

use super::PodTask;
use crate::guest::Refusal;
use crate::kubernetes::api::pods::{ApiError, PodApi};
use crate::kubernetes::api::retry::Backoff;
use crate::kubernetes::pod::claim::{self, ClaimRequest, ClaimStep};
use crate::kubernetes::pod::hold::refusal;
use crate::kubernetes::pod::manifest::Manifest;
use crate::kubernetes::pod::state::connection_ended;
use crate::settings::PodMode;
use crate::telemetry::{Code, codes};
use crate::types::time_text;
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The log's code for a pod that the API does not return, accept or create.
const FAILED: Code = codes::KUBERNETES_POD_CREATE_FAILED;

/// An error of one try to get the pod.
pub(super) enum PersistentPodError {
    /// Somebody else changed the pod meanwhile.
    Changed,
    /// The previous pod of that name is being deleted.
    BeingDeleted,
    /// A failure that may heal.
    Retryable(ApiError),
    /// A refusal, with its code for the log.
    Final(Code, Refusal),
}

impl PersistentPodError {
    /// Returns a line for the waiting user, and the failure behind it.
    fn progress(self) -> (Option<String>, Option<ApiError>) {
        match self {
            Self::Changed => (None, None),
            Self::BeingDeleted => (Some("the previous pod with this name is still being deleted".to_owned()), None),
            Self::Retryable(error) => (Some(refusal::progress(&error)), Some(error)),
            Self::Final(_, refusal) => (Some(refusal.reason), None),
        }
    }
}

impl PodTask {
    /// Gets the user's persistent pod before `deadline`, the end of `podStart`.
    pub(super) async fn find_or_create(
        &self,
        api: &PodApi,
        manifest: &Manifest,
        deadline: Instant,
    ) -> Result<Pod, Refusal> {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
        loop {
            let attempt = tokio::select! {
                attempt = timeout_at(deadline, self.attempt(api, manifest)) => attempt,
                () = self.pod_state.dismissed().cancelled() => return Err(connection_ended()),
            };
            let (progress, error) = match attempt {
                Ok(Ok(pod)) => return Ok(pod),
                Ok(Err(PersistentPodError::Final(code, refusal))) => return Err(self.refused(code, refusal, manifest)),
                Ok(Err(attempt)) => attempt.progress(),
                Err(_elapsed) => (Some("Kubernetes cannot be reached".to_owned()), None),
            };
            let wait = backoff.wait(error.as_ref().and_then(ApiError::retry_after));
            if Instant::now() + wait >= deadline {
                return Err(self.refused(FAILED, self.not_available_in_time(progress, error), manifest));
            }
            self.pod_state.report_progress(progress);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.pod_state.dismissed().cancelled() => return Err(connection_ended()),
            }
        }
    }

    fn not_available_in_time(&self, progress: Option<String>, error: Option<ApiError>) -> Refusal {
        let limit = time_text(self.request.settings.timeouts.pod_start);
        let cause = progress.map_or_else(String::new, |progress| format!(": {progress}"));
        let refusal = Refusal::new(format!("the pod was not available within {limit}{cause}"));
        match error {
            Some(error) => refusal.detail(error.to_string()),
            None => refusal,
        }
    }

    fn refused(&self, code: Code, refusal: Refusal, manifest: &Manifest) -> Refusal {
        self.failed(code, "the user's persistent pod is not available", refusal, Some(manifest.name.as_str()))
    }

    /// Makes the refusal of a login that has no time for another try.
    pub(super) fn given_up(&self, attempt: PersistentPodError, manifest: &Manifest) -> Refusal {
        match attempt {
            PersistentPodError::Final(code, refusal) => self.refused(code, refusal, manifest),
            attempt => {
                let (progress, error) = attempt.progress();
                self.refused(FAILED, self.not_available_in_time(progress, error), manifest)
            }
        }
    }

    async fn attempt(&self, api: &PodApi, manifest: &Manifest) -> Result<Pod, PersistentPodError> {
        let (step, found) = self.next_step(api, manifest).await?;
        self.carry_out(api, manifest, step, found).await
    }

    /// Reads the pod of that name, and decides on the next step.
    pub(super) async fn next_step(
        &self,
        api: &PodApi,
        manifest: &Manifest,
    ) -> Result<(ClaimStep, Option<Pod>), PersistentPodError> {
        let (create_missing, shared) = match &self.request.settings.pod.mode {
            PodMode::Persistent { create_missing, shared, .. } => (*create_missing, *shared),
            PodMode::Connection | PodMode::Session => (false, false),
        };
        let request = ClaimRequest {
            identity: self.request.identity.authenticated(),
            pod: &manifest.name,
            namespace: api.namespace(),
            shared,
            create_missing,
        };
        let found = api.get(&manifest.name).await.map_err(|error| failed(error, api, &[]))?;
        Ok((claim::decide(found.as_ref(), &request), found))
    }

    pub(super) async fn carry_out(
        &self,
        api: &PodApi,
        manifest: &Manifest,
        step: ClaimStep,
        found: Option<Pod>,
    ) -> Result<Pod, PersistentPodError> {
        match (step, found) {
            (ClaimStep::Use, Some(pod)) => Ok(pod),
            (ClaimStep::Claim(patch), Some(_)) => {
                self.debug(codes::KUBERNETES_POD_CLAIM, "claiming the pod for the user", manifest.name.as_str());
                api.patch(&manifest.name, &patch).await.map_err(|error| match error.code() {
                    Some(404 | 409) => PersistentPodError::Changed,
                    _ => failed(error, api, &[]),
                })
            }
            (ClaimStep::Create, _) => {
                self.debug(codes::KUBERNETES_POD_CREATE, "creating the pod", manifest.name.as_str());
                api.create(&manifest.json).await.map_err(|error| match error.code() {
                    // Another login was faster, or the answer to our create was lost: the pod's owner must be read.
                    Some(409) => PersistentPodError::Changed,
                    _ => failed(error, api, &manifest.lost),
                })
            }
            (ClaimStep::Missing(refusal), _) => {
                Err(PersistentPodError::Final(codes::KUBERNETES_POD_NOT_FOUND, refusal))
            }
            (ClaimStep::Taken(refusal), _) => Err(PersistentPodError::Final(codes::KUBERNETES_POD_TAKEN, refusal)),
            (ClaimStep::WaitForDeletion, _) => Err(PersistentPodError::BeingDeleted),
            (ClaimStep::Use | ClaimStep::Claim(_), None) => Err(PersistentPodError::Changed),
        }
    }
}

fn failed(error: ApiError, api: &PodApi, lost: &[String]) -> PersistentPodError {
    match error.may_heal() || error.is_of_dry_run() {
        true => PersistentPodError::Retryable(error),
        false => PersistentPodError::Final(FAILED, refusal::refused(&error, api.namespace(), lost)),
    }
}
