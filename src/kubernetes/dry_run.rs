//! The dry run of a login's pod, for `podgate test-login`: [`Backend::prepare_dry_run`] makes the pod's manifest, and
//! [`PodDryRun::run`] has it judged by the API.

use super::Backend;
use super::pod::PodRequest;
use super::pod::manifest::{ConsoleCommand, Manifest, ManifestError, manifest};
use super::pod::state::PodState;
use super::pod::task::{DryRunError, PodPlan, PodTask};
use crate::guest::{Arrival, Refusal};
use crate::policy::{Permit, ProgramRequest, ProgramSpec};
use crate::program::command_line;
use crate::settings::{self, PodMode};
use crate::types::PodName;
use serde_json::Value;
use std::sync::Arc;

/// A login's pod that is not created.
pub(crate) struct PodDryRun {
    backend: Backend,
    request: PodRequest,
    manifest: Result<Manifest, ManifestError>,
}

impl Backend {
    /// Makes the manifest that a login would send. `launch` is its first program, which is the pod's main process in mode
    /// `session`.
    ///
    /// # Errors
    /// The program is not configured for this pod.
    pub(crate) fn prepare_dry_run(&self, arrival: Arrival, launch: Permit<ProgramSpec>) -> Result<PodDryRun, Refusal> {
        let request = self.request(arrival);
        let pod = &request.settings.pod;
        let main = command_line::for_main_process(&launch.spend(), pod)?;
        let command = if pod.mode == PodMode::Session { ConsoleCommand::Program(&main) } else { ConsoleCommand::Idle };
        let manifest = manifest(&request, command);
        Ok(PodDryRun { backend: self.clone(), request, manifest })
    }
}

impl PodDryRun {
    /// The pod as it would be sent; `None` if [`PodDryRun::run`] returns the reason why there is none.
    pub(crate) fn pod(&self) -> Option<&Value> {
        self.manifest.as_ref().ok().map(|manifest| &manifest.json)
    }

    pub(crate) fn name(&self) -> Option<&PodName> {
        self.manifest.as_ref().ok().map(|manifest| &manifest.name)
    }

    /// Sends the calls of the login as dry runs, which change nothing.
    ///
    /// # Errors
    /// The line that the user would read; logged already.
    pub(crate) async fn run(self) -> Result<PodPlan, DryRunError> {
        let Self { backend, request, manifest } = self;
        let task =
            PodTask { backend: backend.shared, request: Arc::new(request), pod_state: Arc::new(PodState::new()) };
        task.dry_run(manifest).await
    }
}

/// Returns the command line of a program; `None` for the image's own.
///
/// # Errors
/// The program is not configured.
pub(crate) fn program(what: &ProgramRequest, pod: &settings::PodSettings) -> Result<Option<Vec<String>>, Refusal> {
    command_line::requested_program(what, pod)
}
