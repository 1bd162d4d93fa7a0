//! A pod that is there before its connections and stays after them: found by its name, claimed, or created where it is
//! missing. Whatever changes meanwhile (another login is faster, an answer is lost) is found by looking again.

use super::Life;
use crate::guest::Refusal;
use crate::kubernetes::api::{ApiError, PodApi};
use crate::kubernetes::claim::{self, Step, Wanted};
use crate::kubernetes::lease::refusal;
use crate::kubernetes::pod::Manifest;
use crate::kubernetes::retry::Backoff;
use crate::kubernetes::stage::connection_ended;
use crate::settings::Mode;
use crate::types::time_text;
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The code of a pod that the API does not give, take or tell about.
const FAILED: &str = "KUBERNETES_POD_CREATE_FAILED";

/// How one try ended that brought no pod.
pub(super) enum Attempt {
    /// Somebody else changed something meanwhile.
    Changed,
    /// The last pod of that name is on its way out.
    Leaving,
    /// It may heal.
    Failed(ApiError),
    /// It cannot be had, for a reason with this code in the log.
    Never(&'static str, Refusal),
}

impl Attempt {
    /// News for the waiting user, and the failure behind it.
    fn news(self) -> (Option<String>, Option<ApiError>) {
        match self {
            Self::Changed => (None, None),
            Self::Leaving => (Some("the previous pod with this name is still being deleted".to_owned()), None),
            Self::Failed(error) => (Some(refusal::news(&error)), Some(error)),
            Self::Never(_, refusal) => (Some(refusal.reason), None),
        }
    }
}

impl Life {
    /// The user's persistent pod, by the end of `podStart`.
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
                () = self.stage.ended().cancelled() => return Err(connection_ended()),
            };
            let (news, error) = match attempt {
                Ok(Ok(pod)) => return Ok(pod),
                Ok(Err(Attempt::Never(code, refusal))) => return Err(self.refused(code, refusal, manifest)),
                Ok(Err(attempt)) => attempt.news(),
                Err(_elapsed) => (Some("Kubernetes cannot be reached".to_owned()), None),
            };
            let wait = backoff.wait(error.as_ref().and_then(ApiError::retry_after));
            if Instant::now() + wait >= deadline {
                return Err(self.refused(FAILED, self.late(news, error), manifest));
            }
            self.stage.news(news);
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stage.ended().cancelled() => return Err(connection_ended()),
            }
        }
    }

    fn late(&self, news: Option<String>, error: Option<ApiError>) -> Refusal {
        let limit = time_text(self.settings.timeouts.pod_start);
        let why = news.map_or_else(String::new, |news| format!(": {news}"));
        let refusal = Refusal::new(format!("the pod was not available within {limit}{why}"));
        match error {
            Some(error) => refusal.detail(error.to_string()),
            None => refusal,
        }
    }

    fn refused(&self, code: &'static str, refusal: Refusal, manifest: &Manifest) -> Refusal {
        self.failed(code, "The user's persistent pod is not available", refusal, Some(manifest.name.as_str()))
    }

    /// The refusal of a login that one try brought no pod, and that has no time for another.
    pub(super) fn given_up(&self, attempt: Attempt, manifest: &Manifest) -> Refusal {
        match attempt {
            Attempt::Never(code, refusal) => self.refused(code, refusal, manifest),
            attempt => {
                let (news, error) = attempt.news();
                self.refused(FAILED, self.late(news, error), manifest)
            }
        }
    }

    async fn attempt(&self, api: &PodApi, manifest: &Manifest) -> Result<Pod, Attempt> {
        let (step, found) = self.next_step(api, manifest).await?;
        self.take(api, manifest, step, found).await
    }

    /// Looks at the pod of that name, and decides the next step.
    pub(super) async fn next_step(&self, api: &PodApi, manifest: &Manifest) -> Result<(Step, Option<Pod>), Attempt> {
        let (create_missing, shared) = match &self.settings.pod.mode {
            Mode::Persistent { create_missing, shared, .. } => (*create_missing, *shared),
            Mode::Connection | Mode::Session => (false, false),
        };
        let wanted = Wanted {
            claimant: &self.claimant,
            pod: &manifest.name,
            namespace: api.namespace(),
            shared,
            create_missing,
        };
        let found = api.get(&manifest.name).await.map_err(|error| failed(error, api, &[]))?;
        Ok((claim::decide(found.as_ref(), &wanted), found))
    }

    pub(super) async fn take(
        &self,
        api: &PodApi,
        manifest: &Manifest,
        step: Step,
        found: Option<Pod>,
    ) -> Result<Pod, Attempt> {
        match (step, found) {
            (Step::Use, Some(pod)) => Ok(pod),
            (Step::Claim(patch), Some(_)) => {
                self.debug("KUBERNETES_POD_CLAIM", "Claiming the pod for the user", manifest.name.as_str());
                api.patch(&manifest.name, &patch).await.map_err(|error| match error.code() {
                    Some(404 | 409) => Attempt::Changed,
                    _ => failed(error, api, &[]),
                })
            }
            (Step::Create, _) => {
                self.debug("KUBERNETES_POD_CREATE", "Creating the pod", manifest.name.as_str());
                api.create(&manifest.json).await.map_err(|error| match error.code() {
                    // Another login was faster, or an answer of ours was lost: whose it is now is looked at.
                    Some(409) => Attempt::Changed,
                    _ => failed(error, api, &manifest.lost),
                })
            }
            (Step::Missing(refusal), _) => Err(Attempt::Never("KUBERNETES_POD_NOT_FOUND", refusal)),
            (Step::Taken(refusal), _) => Err(Attempt::Never("KUBERNETES_POD_TAKEN", refusal)),
            (Step::Wait, _) => Err(Attempt::Leaving),
            (Step::Use | Step::Claim(_), None) => Err(Attempt::Changed),
        }
    }
}

fn failed(error: ApiError, api: &PodApi, lost: &[String]) -> Attempt {
    match error.may_heal() || error.is_of_dry_run() {
        true => Attempt::Failed(error),
        false => Attempt::Never(FAILED, refusal::refused(&error, api.namespace(), lost)),
    }
}
