//! Faults of a configuration that are found in its keys and certificates, without a network: the start and `--check-config`
//! find the same ones, all of them in one run.

use super::BuildError;
use super::inspect::settings_of_file;
use crate::admin::Endpoint;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::kubernetes::client::{ClientError, Clients};
use crate::ssh::unusable_host_keys;
use crate::webhook::ConfigClient;

/// Every part of the configuration that the gateway could not start with. Call it within the runtime.
#[must_use]
pub fn unusable(config: &Config) -> Vec<BuildError> {
    let host_keys = unusable_host_keys(&config.ssh).into_iter().map(BuildError::HostKey);
    let webhooks = Authenticator::unusable(&config.auth).into_iter();
    let config_server = config.configserver.as_ref().and_then(|server| ConfigClient::new(server).err());
    let webhooks = webhooks.chain(config_server.map(|source| ("configserver", source)));
    let endpoints = [
        config.health.as_ref().map(|health| ("health", &health.server)),
        config.metrics.as_ref().map(|metrics| ("metrics", &metrics.server)),
    ];
    let endpoints =
        endpoints.into_iter().flatten().filter_map(|(section, server)| Endpoint::tls(section, server).err());
    host_keys
        .chain(webhooks.map(|(section, source)| BuildError::Webhook { section, source }))
        .chain(endpoints.map(BuildError::Admin))
        .chain(cluster(config).map(|error| BuildError::Cluster(format!("kubernetes.connection: {error}"))))
        .collect()
}

/// A file may be mounted only where the gateway runs: a missing one is the start's to find.
fn cluster(config: &Config) -> Option<ClientError> {
    let settings = settings_of_file(config)?.kubernetes;
    let error = Clients::new().get(&settings.cluster, settings.timeouts.http).err()?;
    (!matches!(error, ClientError::File { .. })).then_some(error)
}
