//! Checks of a configuration's keys and certificates that need no network. The start and `--check-config` both report all
//! of these faults in one run.

use super::BuildError;
use super::startup_checks::kubernetes_of_file;
use crate::admin::Endpoint;
use crate::audit::Recordings;
use crate::auth::Authenticator;
use crate::collector::Collector;
use crate::config::{Config, OperatorConfig};
use crate::kubernetes::{ClientError, Clients};
use crate::locks::Locks;
use crate::settings::ConfigClient;
use crate::ssh::{unusable_directory, unusable_keys, useless_keys};
use crate::telemetry::{Countries, EventsConfig};
use rustix::process::geteuid;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
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
        .chain(cluster.map(|error| (connection, error)))
        .chain(Collector::fault(config.traces.as_ref()).map(|error| ("traces.otlp", BuildError::Collector(error))));
    // A fault of a key within a section is more precise than the failure of the section.
    let reported = |section: &str| {
        let below = |path: &str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
        config.unusable.iter().any(|fault| below(&fault.path))
    };
    let sections = sections.filter(|(section, _)| !reported(section)).map(|(_, error)| error);
    let seal_key = config.audit.as_ref().and_then(Recordings::fault).map(BuildError::Recordings);
    ssh_keys.chain(seal_key).chain(config.unusable.iter().cloned().map(BuildError::Material)).chain(sections).collect()
}

/// Finds keys and certificates without use, and directories that strangers can change, which prevent no start: the key's path
/// and what is wrong.
pub fn offline_warnings(config: &Config) -> Vec<(String, String)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let OperatorConfig { socket, lock_directory } = &config.admin;
    let folders = [
        ("admin.socket", socket.as_deref().and_then(Path::parent), "put a socket of their own in its place"),
        ("admin.lockDirectory", lock_directory.as_deref(), "lock and unlock users"),
    ];
    let changeable = folders.into_iter().filter_map(|(key, folder, harm)| {
        let folder = folder.filter(|folder| is_changed_by_strangers(folder))?;
        Some((key.to_owned(), format!("other users can change the directory {}, and {harm}", folder.display())))
    });
    useless_keys(&config.ssh, now).into_iter().chain(changeable).collect()
}

/// True if a user other than root and that of this process can replace files in a directory. Groups are the operator's own.
fn is_changed_by_strangers(folder: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    // One that is not there yet has no strangers.
    let Ok(found) = fs::metadata(folder) else { return false };
    let is_strangers = ![0, geteuid().as_raw()].contains(&found.uid());
    // A volume of a pod has any mode, and no users but the pod's.
    let is_volume =
        folder.parent().and_then(|parent| fs::metadata(parent).ok()).is_some_and(|parent| parent.dev() != found.dev());
    is_strangers || found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 && !is_volume
}

/// Finds the files and directories that the start would have to make and cannot. `--check-config` alone asks: the start
/// tries it.
pub fn unusable_places(config: &Config) -> Vec<BuildError> {
    let directory = unusable_directory(&config.ssh).map(BuildError::SshKey);
    let locks = Locks::open(config.admin.lock_directory.as_deref()).err().map(BuildError::Locks);
    // The key's fault is told with the other keys'.
    let recordings = config.audit.as_ref().filter(|plan| Recordings::fault(plan).is_none());
    let recordings = recordings.and_then(|plan| Recordings::open(plan).err()).map(BuildError::Recordings);
    let faults = directory.into_iter().chain(recordings).chain(config.log.fault().map(BuildError::Log));
    let events = config.events.as_ref().and_then(EventsConfig::fault).map(BuildError::Log);
    let countries = config.geoip.as_deref().and_then(|path| Countries::open(path).err()).map(BuildError::Countries);
    faults.chain(events).chain(countries).chain(locks).collect()
}

/// Ignores missing files, which may be mounted only where the gateway runs: the start reports those.
fn cluster(config: &Config) -> Option<ClientError> {
    let settings = kubernetes_of_file(config)?;
    let error = Clients::new().get(&settings.cluster, settings.timeouts.http).err()?;
    (!matches!(error, ClientError::File { .. })).then_some(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown};

    #[test]
    fn directory_that_other_users_can_change_is_found() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, found) in [(0o700, false), (0o775, false), (0o1777, false), (0o777, true), (0o702, true)] {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_changed_by_strangers(folder.path()), found, "{mode:o}");
        }
        assert!(!is_changed_by_strangers(&folder.path().join("missing")));
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).unwrap();
        // Only root can give it away.
        if chown(folder.path(), Some(65534), None).is_ok() {
            assert_eq!(is_changed_by_strangers(folder.path()), geteuid().as_raw() != 65534);
        }
    }
}
