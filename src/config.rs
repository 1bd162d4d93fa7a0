//! The file's configuration, typed. One schema, ContainerSSH's keys; what a value means is decided here once, for the
//! file and for the config webhook's answers alike.
//!
//! What varies from connection to connection (`backend`, `kubernetes`, `security`, `log.level`) is not here but in
//! [`crate::settings`], made from [`FileSections`] and the webhook's answer by the same parser.

mod address;
mod admin;
mod algorithms;
mod audit;
mod auth;
mod dump;
mod events;
mod geoip;
mod http_client;
mod http_server;
mod listeners;
mod log;
mod login_limits;
mod migrate_file;
mod shutdown;
mod ssh;
mod tls;
mod traces;
mod unbuilt;

pub(crate) use admin::{HealthConfig, MetricsConfig, OperatorConfig};
pub use admin::{admin_socket, health_client};
pub(crate) use algorithms::{AlgorithmList, Cipher, Kex, Mac, PubkeyAlgorithm};
pub use dump::dump_file;
pub(crate) use dump::masked_spec;
pub(crate) use http_server::{HttpServerConfig, ServerTlsConfig};
pub(crate) use listeners::{ListenAddress, ListenerConfig};
pub(crate) use login_limits::LoginLimits;
pub(crate) use shutdown::ShutdownConfig;
pub(crate) use ssh::{HostKey, PublicText, SshConfig};

use crate::auth::AuthConfig;
use crate::collector::TracesConfig;
use crate::schema::{
    ConfigError, ConfigReport, ContentDigest, Disk, Errors, FileContents, Files, Format, Notice, RecordedFiles,
    Section, document, keys, migrate, pod_scalars,
};
use crate::settings::{self, ConfigServer, FileSections};
use crate::telemetry::{EventsConfig, LogConfig};
use crate::types::RecordingPlan;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ssh`.
    pub ssh: SshConfig,
    /// `auth`.
    pub auth: AuthConfig,
    /// `configserver`; absent without a `url`.
    pub configserver: Option<ConfigServer>,
    /// `log`.
    pub log: LogConfig,
    /// `events`, where it is on.
    pub(crate) events: Option<EventsConfig>,
    /// `traces`, where they are on.
    pub(crate) traces: Option<TracesConfig>,
    /// `geoip.maxmind-geoip2-file`, where `geoip.provider` is `maxmind`.
    pub(crate) geoip: Option<PathBuf>,
    /// `health`, where it is on.
    pub health: Option<HealthConfig>,
    /// `metrics`, where they are on.
    pub metrics: Option<MetricsConfig>,
    /// `admin`.
    pub admin: OperatorConfig,
    /// `shutdown`.
    pub shutdown: ShutdownConfig,
    /// `audit`, where it is on.
    pub audit: Option<RecordingPlan>,
    /// The start of every connection's settings.
    pub base: FileSections,
    /// Keys that are accepted without effect, and warnings for each start.
    pub notices: Vec<Notice>,
    /// Certificates and keys that were read and that nothing can start with.
    pub unusable: Vec<ConfigError>,
    /// Mistakes in pods that `--check-config` refuses. At a start each is a warning, and the API server decides.
    pub strict: Vec<ConfigError>,
    /// The file; `None` for a text from elsewhere.
    pub(crate) file: Option<PathBuf>,
    /// The files that it was read from.
    pub(crate) contents: FileContents,
    /// `reload.onFileChange`.
    pub(crate) reloads_on_change: bool,
    /// The values of the keys that take effect at the start alone.
    pub(crate) at_start: StartValues,
    /// The marks of every key's value.
    marks: BTreeMap<&'static str, u64>,
}

/// Values by their keys.
pub(crate) type StartValues = BTreeMap<&'static str, Value>;

impl Config {
    /// Reads and checks a file: JSON where its name ends in `.json`, else YAML.
    ///
    /// # Errors
    /// Every mistake of the file, and of the files that it names, in one run.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let (config, contents) = Self::load_recorded(path);
        Ok(Self { contents, ..config? })
    }

    /// Loads a file, and records what was read, whether it has mistakes or not.
    pub(crate) fn load_recorded(path: &Path) -> (Result<Self, Errors>, FileContents) {
        Self::of_text(path, document::text_of(path))
    }

    /// Loads a regular file as [`Config::load_recorded`] does.
    pub(crate) fn load_again(path: &Path) -> (Result<Self, Errors>, FileContents) {
        Self::of_text(path, document::text_of_regular(path))
    }

    fn of_text(path: &Path, text: Result<String, Errors>) -> (Result<Self, Errors>, FileContents) {
        let text = match text {
            Ok(text) => text,
            Err(errors) => return (Err(errors), FileContents::from([(path.to_owned(), None)])),
        };
        let files = RecordedFiles::of(&Disk);
        let config = Self::parse(&text, Format::of(path), &files);
        let mut contents = files.contents();
        contents.insert(path.to_owned(), Some(ContentDigest::of(&text)));
        (config.map(|config| Self { file: Some(path.to_owned()), ..config }), contents)
    }

    /// Checks a text; the files that it names are read from `files`.
    ///
    /// # Errors
    /// Every mistake of the text, and of the files that it names.
    pub fn parse(text: &str, format: Format, files: &dyn Files) -> Result<Self, Errors> {
        let (tree, reading) = document::read(text, format)?;
        let strict = pod_scalars::strict(&reading);
        let mut migration = migrate::migrate(tree);
        let mut tree = std::mem::take(&mut migration.document);
        let report = ConfigReport::default();
        migration.report_to(&report);
        report.pods(&reading);
        settings::expand_kubeconfig(&mut tree, files, &report);
        let parts = read(&Section::root(&tree, &report), files);
        let unusable = report.faults();
        let (parts, notices) =
            report.finish(parts).map_err(|errors| errors.and(unusable.clone()).and(strict.clone()))?;
        let ConfigParts {
            ssh,
            auth,
            configserver,
            log,
            events,
            traces,
            geoip,
            health,
            metrics,
            admin,
            shutdown,
            audit,
            reloads_on_change,
        } = parts;
        let (exact, connection) =
            configserver.as_ref().map_or((false, false), |server| (server.exact_values, server.allow_connection));
        let (at_start, marks) = (keys::of_next_start(&tree), keys::marks(&tree));
        let base = FileSections::new(tree, exact, connection, migration.is_kuberun());
        Ok(Self {
            ssh,
            auth,
            configserver,
            log,
            events,
            traces,
            geoip,
            health,
            metrics,
            admin,
            shutdown,
            audit,
            base,
            notices,
            unusable,
            strict,
            file: None,
            contents: FileContents::new(),
            reloads_on_change,
            at_start,
            marks,
        })
    }

    /// The same with a record of what was read.
    pub(crate) fn with_contents(self, contents: FileContents) -> Self {
        Self { contents, ..self }
    }

    /// The keys that differ from those of the start and take effect at the start alone.
    pub(crate) fn at_next_start(&self, started: &StartValues) -> Vec<String> {
        let changed = differing(&self.at_start, started);
        changed.map(|key| (*key).to_owned()).collect()
    }

    /// The keys whose values differ, and the other files whose contents do.
    pub(crate) fn changes(&self, before: &Self) -> Vec<String> {
        let keys = differing(&self.marks, &before.marks).map(|key| (*key).to_owned());
        let files = differing(&self.contents, &before.contents).filter(|file| Some(*file) != self.file.as_ref());
        // A file that was named before, or is now, is the change of a key.
        let files = files.filter(|file| self.contents.contains_key(*file) && before.contents.contains_key(*file));
        keys.chain(files.map(|file| format!("the file {}", file.display()))).collect()
    }
}

/// The keys that only one has, or whose values differ.
fn differing<'a, K: Ord, V: PartialEq>(
    one: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let changed = one.iter().filter(|(key, value)| other.get(*key) != Some(value)).map(|(key, _)| key);
    changed.chain(other.keys().filter(|key| !one.contains_key(*key)))
}

/// Everything but what varies from connection to connection.
struct ConfigParts {
    ssh: SshConfig,
    auth: AuthConfig,
    configserver: Option<ConfigServer>,
    log: LogConfig,
    events: Option<EventsConfig>,
    traces: Option<TracesConfig>,
    geoip: Option<PathBuf>,
    health: Option<HealthConfig>,
    metrics: Option<MetricsConfig>,
    admin: OperatorConfig,
    shutdown: ShutdownConfig,
    audit: Option<RecordingPlan>,
    reloads_on_change: bool,
}

/// Reads all parts; what varies from connection to connection is checked and kept as it is. `None` was reported.
fn read(root: &Section<'_>, files: &dyn Files) -> Option<ConfigParts> {
    let ssh = ssh::read(&root.section("ssh"), files);
    let has_authorities = ssh.as_ref().is_some_and(|ssh| !ssh.trusted_user_ca_keys.is_empty());
    let auth = auth::read(&root.section("auth"), has_authorities, files);
    let (has_config_server, configserver) = auth::config_server(&root.section("configserver"), files);
    let log = log::read(&root.section("log"));
    let events = events::read(&root.section("events"));
    let traces = traces::read(&root.section("traces"), files);
    let geoip = geoip::read(&root.section("geoip"));
    let health = admin::health(&root.section("health"), files);
    let metrics = admin::metrics(&root.section("metrics"), files);
    let admin = admin::operators(&root.section("admin"));
    let shutdown = shutdown::read(&root.section("shutdown"));
    let audit = audit::read(&root.section("audit"), files);
    let reloads_on_change = root.section("reload").flag("onFileChange");
    settings::check_file(root, has_config_server, files);
    unbuilt::read(root);
    Some(ConfigParts {
        ssh: ssh?,
        auth: auth?,
        configserver,
        log: log?,
        events: events?,
        traces: traces?,
        geoip: geoip?,
        health,
        metrics,
        admin: admin?,
        shutdown: shutdown?,
        audit: audit?,
        reloads_on_change,
    })
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
