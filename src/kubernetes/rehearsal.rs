//! What a login would ask of Kubernetes, for `podgate test-login`: [`Backend::rehearsal`] makes the pod's manifest, and
//! [`Rehearsal::dry_run`] hears what the API would say to it.

use super::life::{Failed, Plan};
use super::pod::{Manifest, ManifestError, Runs};
use super::retry::Throttle;
use super::stage::Stage;
use super::{Ask, Backend, ConnectionFacts, Shared, argv};
use crate::auth::Identity;
use crate::guest::Refusal;
use crate::policy::{Launch, Permit, What};
use crate::settings::{self, Mode};
use crate::types::PodName;
use serde_json::Value;
use std::sync::Arc;

/// A login that gets no pod.
pub struct Rehearsal {
    shared: Arc<Shared>,
    ask: Ask,
    manifest: Result<Manifest, ManifestError>,
}

impl Backend {
    /// Makes what a login would send. `launch` is its first program, which is the pod's own in mode `session`.
    ///
    /// # Errors
    /// A program that this pod does not have.
    pub fn rehearsal(
        &self,
        identity: &Identity,
        settings: Arc<settings::Kubernetes>,
        connection: ConnectionFacts,
        launch: Permit<Launch>,
    ) -> Result<Rehearsal, Refusal> {
        let throttle = Arc::new(Throttle::new(settings.cluster.qps_milli, settings.cluster.burst));
        let ask = Ask { identity: identity.clone(), settings, connection, throttle };
        let main = argv::main(&launch.spend(), &ask.settings.pod)?;
        let runs = if ask.settings.pod.mode == Mode::Session { Runs::Program(&main) } else { Runs::Idle };
        let manifest = ask.manifest(&self.shared, runs);
        Ok(Rehearsal { shared: Arc::clone(&self.shared), ask, manifest })
    }
}

impl Rehearsal {
    /// The pod as it would be sent; `None` where [`Rehearsal::dry_run`] says why there is none.
    #[must_use]
    pub fn pod(&self) -> Option<&Value> {
        self.manifest.as_ref().ok().map(|manifest| &manifest.json)
    }

    /// The pod's name.
    #[must_use]
    pub fn name(&self) -> Option<&PodName> {
        self.manifest.as_ref().ok().map(|manifest| &manifest.name)
    }

    /// Asks the API. Nothing is changed.
    ///
    /// # Errors
    /// The line that the user would read; logged already.
    pub async fn dry_run(self) -> Result<Plan, Failed> {
        let stage = Arc::new(Stage::new());
        self.ask.life(&self.shared, &stage).rehearse(self.manifest).await
    }
}

/// The program of a launch; `None` is the image's own.
///
/// # Errors
/// There is none.
pub fn program(what: &What, pod: &settings::Pod) -> Result<Option<Vec<String>>, Refusal> {
    argv::program(what, pod)
}
