//! Everything that connections are served with, made from the configuration. A later snapshot can replace it while older
//! connections keep theirs.

use super::transport::{self, HostKeyError};
use crate::auth::Authenticator;
use crate::config::{Config, LoginLimits};
use crate::guest::Backend;
use crate::settings::{ConfigClient, FileSections};
use russh::MethodSet;
use std::sync::Arc;
use std::time::Duration;

/// The parts that a connection takes when it is accepted.
pub(crate) struct Snapshot {
    pub(super) transport: Arc<russh::server::Config>,
    pub(super) methods: MethodSet,
    pub(super) banner: Option<String>,
    pub(super) login: LoginLimits,
    /// The time for which a client may take no data although there is some: that of its unanswered keep-alive requests.
    pub(super) stall: Option<Duration>,
    pub(super) auth: Authenticator,
    pub(super) config: Option<ConfigClient>,
    pub(super) base: FileSections,
    pub(super) backend: Arc<dyn Backend>,
}

impl Snapshot {
    /// Builds a snapshot, which reads the host keys.
    ///
    /// # Errors
    /// A host key cannot be used.
    pub(crate) fn build(
        config: &Config,
        auth: Authenticator,
        config_client: Option<ConfigClient>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, HostKeyError> {
        let methods = transport::methods(&auth.methods());
        Ok(Self {
            transport: Arc::new(transport::config(&config.ssh, methods.clone())?),
            methods,
            banner: config.ssh.banner.clone(),
            login: config.ssh.login.clone(),
            stall: config.ssh.client_alive_interval.map(|time| time.saturating_mul(config.ssh.client_alive_count_max)),
            auth,
            config: config_client,
            base: config.base.clone(),
            backend,
        })
    }
}
