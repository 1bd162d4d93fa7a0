//! A login's pod without the pod: the same manifest, and the same questions to the API, of which those that would change
//! something are dry runs. One try each; what a login would wait for ends it here with the reason that the login would end
//! with.
//!
//! Invariants: nothing is created, claimed or removed, and no Lease is written or watched.

use super::Life;
use super::persistent::Attempt;
use crate::guest::Refusal;
use crate::kubernetes::api::{ApiError, PodApi};
use crate::kubernetes::claim::Step;
use crate::kubernetes::lease::refusal;
use crate::kubernetes::pod::{Manifest, ManifestError};
use crate::settings::Mode;

/// Step that a login would take for its pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Create it for the connection, in mode `session` for each program.
    Create,
    /// Create the persistent pod, which is not there.
    CreateMissing,
    /// Claim the persistent pod, which is there and nobody's.
    Claim,
    /// Use the persistent pod, which is there.
    Use,
    /// Wait until the last pod of that name is gone, then create it.
    Wait,
}

/// Reason why a login would get no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The user's line; logged already.
    pub refusal: Refusal,
    /// Set where the API gave no answer, or none that says anything about the pod.
    pub unavailable: bool,
}

impl Life {
    /// Tries everything up to the pod's creation.
    pub(in crate::kubernetes) async fn rehearse(
        &self,
        manifest: Result<Manifest, ManifestError>,
    ) -> Result<Plan, Failed> {
        let (client, manifest) = self.prepare(manifest).map_err(|refusal| Failed { refusal, unavailable: false })?;
        let api = self.api(&client).rehearsing();
        self.notices(&manifest);
        match self.settings.pod.mode {
            Mode::Connection | Mode::Session => self.try_create(&api, &manifest).await,
            Mode::Persistent { .. } => self.try_persistent(&api, &manifest).await,
        }
    }

    async fn try_create(&self, api: &PodApi, manifest: &Manifest) -> Result<Plan, Failed> {
        let Err(error) = api.create(&manifest.json).await else { return Ok(Plan::Create) };
        if error.is_of_dry_run() {
            return Err(untried(&error));
        }
        let refusal = if error.may_heal() {
            refusal::out_of_time(self.settings.timeouts.pod_start, &error)
        } else if error.code() == Some(409) {
            refusal::name_taken(&manifest.name)
        } else {
            refusal::refused(&error, api.namespace(), &manifest.lost)
        };
        Err(Failed { refusal: self.not_created(refusal, manifest), unavailable: is_unavailable(&error) })
    }

    async fn try_persistent(&self, api: &PodApi, manifest: &Manifest) -> Result<Plan, Failed> {
        let failed = |attempt: Attempt| {
            if let Attempt::Failed(error) = &attempt
                && error.is_of_dry_run()
            {
                return untried(error);
            }
            let unavailable = matches!(&attempt, Attempt::Failed(error) if is_unavailable(error));
            Failed { refusal: self.given_up(attempt, manifest), unavailable }
        };
        let (step, found) = self.next_step(api, manifest).await.map_err(failed)?;
        let plan = match step {
            Step::Create => Plan::CreateMissing,
            Step::Claim(_) => Plan::Claim,
            Step::Wait => return Ok(Plan::Wait),
            Step::Use | Step::Missing(_) | Step::Taken(_) => Plan::Use,
        };
        self.take(api, manifest, step, found).await.map_err(failed)?;
        Ok(plan)
    }
}

/// A webhook of the cluster says neither yes nor no to a dry run. A login would not read this, and its log has no line of it.
fn untried(error: &ApiError) -> Failed {
    let reason = "a webhook of the cluster takes no dry runs: the pod cannot be tried without creating it";
    Failed { refusal: Refusal::new(reason).detail(error.to_string()), unavailable: true }
}

/// Tells an API that fails from one that says no.
fn is_unavailable(error: &ApiError) -> bool {
    error.may_heal() || matches!(error, ApiError::Untrusted(_))
}
