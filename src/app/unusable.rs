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
    let endpoints = endpoints
        .into_iter()
        .flatten()
        .filter_map(|(section, server)| Some((section, BuildError::Admin(Endpoint::tls(section, server).err()?))));
    let connection = "kubernetes.connection";
    let cluster = cluster(config).map(|error| BuildError::Cluster(format!("{connection}: {error}")));
    let sections = webhooks
        .map(|(section, source)| (section, BuildError::Webhook { section, source }))
        .chain(endpoints)
        .chain(cluster.map(|error| (connection, error)));
    // What is known of a section's key says more than the section's own failure.
    let told = |section: &str| {
        let below = |path: &str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        config.unusable.iter().any(|fault| below(&fault.path))
    };
    let sections = sections.filter(|(section, _)| !told(section)).map(|(_, error)| error);
    host_keys.chain(config.unusable.iter().cloned().map(BuildError::Material)).chain(sections).collect()
}

/// A file may be mounted only where the gateway runs: a missing one is the start's to find.
fn cluster(config: &Config) -> Option<ClientError> {
    let settings = settings_of_file(config)?.kubernetes;
    let error = Clients::new().get(&settings.cluster, settings.timeouts.http).err()?;
    (!matches!(error, ClientError::File { .. })).then_some(error)
}
