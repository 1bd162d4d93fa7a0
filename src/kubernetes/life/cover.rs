//! Before a pod is created, the gateway's Lease has to name its namespace.

use super::Life;
use crate::guest::Refusal;
use crate::kubernetes::pod::Manifest;
use crate::kubernetes::stage::connection_ended;
use crate::types::time_text;
use tokio::time::{Instant, sleep_until};

impl Life {
    /// The manifest as it is to be created, once it may be. The watch of its place is open already.
    pub(super) async fn covered(&self, manifest: &Manifest, deadline: Instant) -> Result<Manifest, Refusal> {
        let mut manifest = manifest.clone();
        let Some(presence) = self.backend.presence.get() else { return Ok(manifest) };
        let place = self.place();
        let lease = tokio::select! {
            lease = presence.cover(&place) => lease,
            () = self.stage.ended().cancelled() => return Err(connection_ended()),
            () = sleep_until(deadline) => {
                let limit = time_text(self.settings.timeouts.pod_start);
                let reason = format!("the pod could not be created within {limit}: Kubernetes cannot be reached");
                return Err(Refusal::new(reason).detail("the gateway's Lease was not written"));
            }
        };
        if let Some((home, term)) = lease {
            manifest.set_lease(home, term);
        }
        Ok(manifest)
    }
}
