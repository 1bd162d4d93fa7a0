//! Everything that connections are served with, made from the configuration. A later snapshot can replace it while older
//! connections keep theirs.

use super::certificate::TrustedAuthorities;
use super::key_material::{self, KeyMaterialError};
use super::key_offer::KeyRules;
use super::revocation::RevocationFile;
use super::transport::{self, Transport};
use crate::audit::Recordings;
use crate::auth::{AuthMethod, Authenticator};
use crate::config::{Config, LoginLimits};
use crate::guest::Backend;
use crate::memory;
use crate::settings::{ConfigClient, FileSections};
use russh::MethodSet;
use std::sync::Arc;
use std::time::Duration;

/// The parts that a connection takes when it is accepted.
pub(crate) struct Snapshot {
    pub(super) transport: Transport,
    pub(super) methods: MethodSet,
    /// Our identification line, without its end.
    pub(super) server_version: String,
    pub(super) banner: Option<String>,
    pub(super) login: LoginLimits,
    pub(super) keys: KeyRules,
    /// The authorities whose certificates log users in.
    pub(super) authorities: Option<TrustedAuthorities>,
    pub(super) revocation: Option<Arc<RevocationFile>>,
    /// The time for a PROXY header.
    pub(super) proxy_header: Duration,
    /// The time for which a client may take no data although there is some; no limit without keep-alive requests.
    pub(super) stall: Option<Duration>,
    /// The bytes that may wait for programs in all.
    pub(super) max_queued: usize,
    pub(super) auth: Authenticator,
    pub(super) config: Option<ConfigClient>,
    pub(super) base: FileSections,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) recordings: Option<Recordings>,
}

impl Snapshot {
    /// Builds a snapshot, which reads the keys.
    ///
    /// # Errors
    /// A key, a certificate or the file of revoked keys cannot be used.
    pub(crate) fn build(
        config: &Config,
        auth: Authenticator,
        config_client: Option<ConfigClient>,
        backend: Arc<dyn Backend>,
        recordings: Option<Recordings>,
    ) -> Result<Self, KeyMaterialError> {
        let authorities = key_material::authorities(&config.ssh)?;
        let mut offered = auth.methods();
        if authorities.is_some() && !offered.contains(&AuthMethod::PublicKey) {
            offered.insert(0, AuthMethod::PublicKey);
        }
        let methods = transport::methods(&offered);
        Ok(Self {
            transport: Transport::new(&config.ssh, &methods)?,
            methods,
            server_version: config.ssh.server_version.clone(),
            banner: config.ssh.banner.clone(),
            login: config.ssh.login.clone(),
            keys: KeyRules::of(&config.ssh),
            authorities,
            revocation: key_material::revocation(&config.ssh)?,
            proxy_header: config.ssh.proxy_header_timeout,
            stall: stall(config.ssh.client_alive_interval, config.ssh.client_alive_count_max),
            max_queued: config.ssh.max_queued.unwrap_or_else(|| memory::available() / MEMORY_PART),
            auth,
            config: config_client,
            base: config.base.clone(),
            backend,
            recordings,
        })
    }

    /// The same without the time that a refusal takes.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn refusing_at_once(self) -> Self {
        Self { transport: self.transport.refusing_at_once(), ..self }
    }
}

/// The part of the memory that may wait for programs in all.
const MEMORY_PART: usize = 4;
/// The least time for which a client may take no data: a lost packet or two is not a client that is gone.
const SHORTEST_STALL: Duration = Duration::from_secs(30);

/// The time for which a client may take no data: that of its unanswered keep-alive requests.
fn stall(interval: Option<Duration>, count: u32) -> Option<Duration> {
    interval.map(|interval| interval.saturating_mul(count).max(SHORTEST_STALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_may_take_no_data_for_as_long_as_it_may_be_silent_but_never_less_than_half_a_minute() {
        let seconds = Duration::from_secs;
        for (interval, count, limit) in [
            (None, 3, None),
            (Some(seconds(60)), 3, Some(seconds(180))),
            (Some(seconds(15)), 2, Some(seconds(30))),
            (Some(seconds(1)), 1, Some(seconds(30))),
            (Some(seconds(1)), 31, Some(seconds(31))),
            (Some(Duration::MAX), 2, Some(Duration::MAX)),
        ] {
            assert_eq!(stall(interval, count), limit, "{interval:?} times {count}");
        }
    }
}
