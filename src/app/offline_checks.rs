//! Checks of a configuration's keys and certificates that need no network. The start and `--check-config` both report all
//! of these faults in one run.

use super::BuildError;
use super::startup_checks::kubernetes_of_file;
use crate::admin::Endpoint;
use crate::auth::Authenticator;
use crate::config::Config;
use crate::kubernetes::{ClientError, Clients};
use crate::settings::ConfigClient;
use crate::ssh::{unusable_directory, unusable_keys, useless_keys};
use std::time::{SystemTime, UNIX_EPOCH};

/// Finds every fault of the configuration that would prevent the start. Must be called within a Tokio runtime.
pub fn offline_faults(config: &Config) -> Vec<BuildError> {
    let ssh_keys = unusable_keys(&config.ssh).into_iter().map(BuildError::SshKey);
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
    // A fault of a key within a section is more precise than the failure of the section.
    let reported = |section: &str| {
        let below = |path: &str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        config.unusable.iter().any(|fault| below(&fault.path))
    };
    let sections = sections.filter(|(section, _)| !reported(section)).map(|(_, error)| error);
    ssh_keys.chain(config.unusable.iter().cloned().map(BuildError::Material)).chain(sections).collect()
}

/// Finds keys and certificates without use, which prevent no start: the key's path and what is wrong.
pub fn offline_warnings(config: &Config) -> Vec<(String, String)> {
    useless_keys(&config.ssh, SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

/// Finds the files and directories that the start would have to make and cannot. `--check-config` alone asks: the start
/// tries it.
pub fn unusable_places(config: &Config) -> Vec<BuildError> {
    let directory = unusable_directory(&config.ssh).map(BuildError::SshKey);
    directory.into_iter().chain(config.log.fault().map(BuildError::Log)).collect()
}

/// Ignores missing files, which may be mounted only where the gateway runs: the start reports those.
fn cluster(config: &Config) -> Option<ClientError> {
    let settings = kubernetes_of_file(config)?;
    let error = Clients::new().get(&settings.cluster, settings.timeouts.http).err()?;
    (!matches!(error, ClientError::File { .. })).then_some(error)
}
