//! The dry run of a login's pod: the same manifest and the same calls, of which those that change something are dry runs. Each
//! call is tried once, and a claim again if the pod has changed in between. Where a login would wait, the dry run ends with the reason that the login would end with.
//!
//! Invariants: nothing is created, claimed or removed, and no Lease is written or watched.

use super::PodTask;
use super::persistent::PersistentPodError;
use crate::guest::Refusal;
use crate::kubernetes::api::pods::{ApiError, PodApi};
use crate::kubernetes::pod::claim::ClaimStep;
use crate::kubernetes::pod::hold::refusal;
use crate::kubernetes::pod::manifest::{Manifest, ManifestError};
use crate::settings::PodMode;

/// Claims that are tried of a pod which changes all the time: its kubelet writes its state, above all while it starts.
const CLAIMS: usize = 10;

/// The step that a login would take for its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PodPlan {
    /// Create the connection's pod, in mode `session` one for each program.
    Create,
    /// Create the persistent pod, which does not exist.
    CreateMissing,
    /// Claim the persistent pod, which exists and has no owner.
    Claim,
    /// Use the persistent pod, which exists.
    Use,
    /// Wait until the previous pod of that name is deleted, then create the persistent pod.
    WaitForDeletion,
}

/// The reason why a login would get no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DryRunError {
    /// The line for the user; logged already.
    pub refusal: Refusal,
    /// Set if the API gave no answer about the pod.
    pub unavailable: bool,
}

impl PodTask {
    /// Tries every call up to the pod's creation.
    pub(crate) async fn dry_run(&self, manifest: Result<Manifest, ManifestError>) -> Result<PodPlan, DryRunError> {
        let (client, manifest) =
            self.prepare(manifest).map_err(|refusal| DryRunError { refusal, unavailable: false })?;
        let api = self.api(&client).rehearsing();
        self.log_notices(&manifest);
        match self.request.settings.pod.mode {
            PodMode::Connection | PodMode::Session => self.try_create(&api, &manifest).await,
            PodMode::Persistent { .. } => self.try_persistent(&api, &manifest).await,
        }
    }

    async fn try_create(&self, api: &PodApi, manifest: &Manifest) -> Result<PodPlan, DryRunError> {
        let Err(error) = api.create(&manifest.json).await else { return Ok(PodPlan::Create) };
        if error.is_of_dry_run() {
            return Err(untried(&error));
        }
        let refusal = if error.may_heal() {
            refusal::out_of_time(self.request.settings.timeouts.pod_start, &error)
        } else if error.code() == Some(409) {
            refusal::name_taken(&manifest.name)
        } else {
            refusal::refused(&error, api.namespace(), &manifest.lost)
        };
        Err(DryRunError { refusal: self.not_created(refusal, manifest), unavailable: is_unavailable(&error) })
    }

    async fn try_persistent(&self, api: &PodApi, manifest: &Manifest) -> Result<PodPlan, DryRunError> {
        let failed = |attempt: PersistentPodError| {
            if let PersistentPodError::Retryable(error) = &attempt
                && error.is_of_dry_run()
            {
                return untried(error);
            }
            let unavailable = matches!(&attempt, PersistentPodError::Retryable(error) if is_unavailable(error));
            DryRunError { refusal: self.given_up(attempt, manifest), unavailable }
        };
        let mut left = CLAIMS;
        loop {
            left -= 1;
            let (step, found) = self.next_step(api, manifest).await.map_err(failed)?;
            let plan = match step {
                ClaimStep::Create => PodPlan::CreateMissing,
                ClaimStep::Claim(_) => PodPlan::Claim,
                ClaimStep::WaitForDeletion => return Ok(PodPlan::WaitForDeletion),
                ClaimStep::Use | ClaimStep::Missing(_) | ClaimStep::Taken(_) => PodPlan::Use,
            };
            match self.carry_out(api, manifest, step, found).await {
                Ok(_pod) => return Ok(plan),
                Err(PersistentPodError::Changed) if left > 0 => {}
                Err(attempt) => return Err(failed(attempt)),
            }
        }
    }
}

/// Makes the error of a cluster's webhook that takes no dry runs. It would not keep a login from its pod, and is not logged.
fn untried(error: &ApiError) -> DryRunError {
    let reason = "a webhook of the cluster takes no dry runs: the pod cannot be tried without creating it";
    DryRunError { refusal: Refusal::new(reason).detail(error.to_string()), unavailable: true }
}

/// True if the API failed, and did not refuse.
fn is_unavailable(error: &ApiError) -> bool {
    error.may_heal() || matches!(error, ApiError::Untrusted(_))
}
