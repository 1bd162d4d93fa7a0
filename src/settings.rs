//! What one connection gets: the file's `backend`, `kubernetes`, `security` and `log.level`, overlaid by the config
//! webhook's answer, typed by the same parser as the file.

mod check;
mod cluster;
mod connection;
mod console;
mod kubeconfig;
mod migrated;
mod mode;
mod overlay;
mod pod;
mod security;

pub use check::{Judgement, check_answer};
pub(crate) use cluster::ACCOUNT_CA;

use crate::config::pem::Files;
use crate::config::reader::{Report, Section};
use crate::config::{Errors, Level, log};
use crate::policy::Rules;
use crate::schema::Note;
use crate::types::{ContainerName, EnvName, MetadataKey, NamesLeftOut, Namespace, PodName, Secret};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `kubernetes.leaseDuration` where nothing is said.
const LEASE: Duration = Duration::from_secs(30);

/// What the file says, untyped where an answer may still fill it: JSON objects of the sections that vary.
#[derive(Clone)]
pub struct Base {
    /// `backend`, `kubernetes`, `security`, `log` (level) as the file has them; nulls removed.
    pub sections: serde_json::Map<String, serde_json::Value>,
    /// `configserver.exactValues`
    pub exact_values: bool,
    /// `configserver.allowConnection`
    pub allow_connection: bool,
    /// Whether the file said `backend: kuberun`, which its sections say in today's words.
    pub kuberun: bool,
}

/// The sections can hold credentials: only their names are shown.
impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base")
            .field("sections", &self.sections.keys())
            .field("exact_values", &self.exact_values)
            .field("allow_connection", &self.allow_connection)
            .field("kuberun", &self.kuberun)
            .finish()
    }
}

impl Base {
    /// Whether the file has something at this path.
    #[must_use]
    pub fn says(&self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        let found = rest.iter().try_fold(self.sections.get(*first), |at, key| Some(at?.get(*key)));
        found.flatten().is_some()
    }
}

/// What a config webhook answered.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// `config`
    pub config: &'a Map<String, Value>,
    /// `exact`: zeros are values.
    pub exact: bool,
}

/// One connection's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `security`
    pub rules: Rules,
    /// `kubernetes`; `backend` is `kubernetes`, there is no other yet.
    pub kubernetes: Kubernetes,
    /// `log.level` of this connection's lines.
    pub level: Level,
    /// Which keys of ContainerSSH before 0.5 the config webhook's answer has, and what they are now.
    pub old_keys: Option<String>,
    /// Pod values of the config webhook's answer that were understood otherwise than they are written.
    pub readings: Option<String>,
}

/// `kubernetes`.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// `connection`; shared, because so many connections have the same.
    pub cluster: Arc<Cluster>,
    /// `pod`
    pub pod: Pod,
    /// `timeouts`
    pub timeouts: Timeouts,
}

/// `kubernetes.connection`: equal clusters share one client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// `host`: `https://host[:port]`, always https.
    pub host: url::Url,
    /// `serverName`: the name in the certificate, where it is not the host's.
    pub server_name: Option<String>,
    /// `cacert` or `cacertFile`; `None` is the machine's own CAs.
    pub ca: Option<Source>,
    /// `cert` and `key`, or `certFile` and `keyFile`.
    pub client_certificate: Option<(Source, Source)>,
    /// `bearerToken` or `bearerTokenFile`; a file is read again as it changes.
    pub bearer_token: Option<Source>,
    /// `username` and `password`.
    pub basic: Option<(String, Secret)>,
    /// `qps` in thousandths: REST requests a second and connection.
    pub qps_milli: u64,
    /// `burst`
    pub burst: u32,
    /// Whether the answer of a config webhook changed any of this.
    pub from_webhook: bool,
}

/// A PEM text or token, inline or in a file. Files are checked to be readable at start-up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// In the configuration itself.
    Inline(Secret),
    /// In a file.
    File(PathBuf),
}

/// `kubernetes.pod`.
#[derive(Debug, Clone)]
pub struct Pod {
    /// `mode`
    pub mode: Mode,
    /// `metadata.namespace`
    pub namespace: Namespace,
    /// `metadata` whole, as JSON, sent as it is beside what Podgate adds.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `spec` whole, as JSON; has at least one container, each with name and image.
    pub spec: serde_json::Map<String, serde_json::Value>,
    /// `consoleContainerNumber`, an index into `spec.containers` that exists.
    pub console: usize,
    /// The name of that container.
    pub console_name: ContainerName,
    /// `idleCommand`; `None` is the default one.
    pub idle_command: Option<Vec<String>>,
    /// `shellCommand`, not empty; `None` in mode session alone: the image's own program.
    pub shell_command: Option<Vec<String>>,
    /// `execCommand`: the program and arguments that an exec request's string is appended to; `/bin/sh -c`.
    pub exec_command: Vec<String>,
    /// `subsystems`: name to program.
    pub subsystems: BTreeMap<String, String>,
    /// `agentPath`
    pub agent_path: String,
    /// `disableAgent`
    pub disable_agent: bool,
    /// `exposeAuthMetadataAsEnv`, `…AsLabels` and `…AsAnnotations`
    pub expose: Expose,
    /// Fields of the file's console container that this one lacks because the config webhook's answer replaced the list of
    /// containers: the likely reason why a cluster does not admit the pod.
    pub lost: Vec<String>,
}

/// `kubernetes.pod.mode`: which pod a program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// One pod a connection.
    Connection,
    /// One pod a program, whose main process it is.
    Session,
    /// A pod that is there before the connection and stays after it.
    Persistent {
        /// `metadata.name`
        name: PodName,
        /// `createMissingPods`
        create_missing: bool,
        /// `shared`: nobody asks whose pod it is.
        shared: bool,
    },
}

/// What of the metadata that the webhooks know about a user goes into a pod that is created: its name there, and its
/// name in the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expose {
    /// As a variable of every container.
    pub env: BTreeMap<String, EnvName>,
    /// The variables that would have names that no shell allows.
    pub left_out: NamesLeftOut,
    /// As a label.
    pub labels: BTreeMap<String, MetadataKey>,
    /// As an annotation.
    pub annotations: BTreeMap<String, MetadataKey>,
}

/// `kubernetes.timeouts`: each bounds its own step.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// `podStart`: from the request for the pod until programs can start in it.
    pub pod_start: Duration,
    /// `podStop`: all tries to remove the pod, and in mode session the wait for the program's exit code.
    pub pod_stop: Duration,
    /// `commandStart`: from the request for a program to its started stream.
    pub command_start: Duration,
    /// `signal`: until a signal is delivered.
    pub signal: Duration,
    /// `window`: until a terminal's new size is delivered.
    pub window: Duration,
    /// `http`: one REST call.
    pub http: Duration,
}

/// Where the gateways of a cluster look after each other: the file's own cluster and namespace.
#[derive(Debug, Clone)]
pub struct Home {
    /// `connection`
    pub cluster: Arc<Cluster>,
    /// `pod.metadata.namespace`, where the Leases are.
    pub namespace: Namespace,
    /// `timeouts.http`: one REST call.
    pub http: Duration,
    /// `leaseDuration`: how long a gateway may be silent.
    pub lease: Duration,
}

/// How much a tree must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Completeness {
    /// Everything that a connection needs.
    Whole,
    /// What stands there must be right; a config server's answer brings the rest.
    Part,
}

impl Settings {
    /// One connection's settings: the file's, overlaid by the config webhook's answer where there is one.
    ///
    /// # Errors
    /// Every mistake of the two together, each with its path.
    pub fn resolve(base: &Base, answer: Option<Answer<'_>>) -> Result<Self, Errors> {
        let report = Report::default();
        let overlaid = overlay::overlay(base, answer, &report);
        let settings = read_all(&overlaid.sections, &report);
        let (mut settings, _) = report.finish(settings)?;
        Arc::make_mut(&mut settings.kubernetes.cluster).from_webhook = overlaid.changed_cluster;
        settings.kubernetes.pod.lost = overlaid.lost;
        settings.old_keys = overlaid.old_keys;
        settings.readings = readings(&overlaid.readings);
        Ok(settings)
    }
}

fn read_all(sections: &Map<String, Value>, report: &Report) -> Option<Settings> {
    let root = Section::root(sections, report);
    let level = log::level(&root.section("log"));
    let (rules, kubernetes) = read(&root, Completeness::Whole, None);
    Some(Settings { rules, kubernetes: kubernetes?, level, old_keys: None, readings: None })
}

/// The number of values that one line of the log tells about.
const TOLD: usize = 8;

fn readings(notes: &[Note]) -> Option<String> {
    let told: Vec<String> = notes.iter().take(TOLD).map(|note| format!("{} {}", note.path, note.text)).collect();
    let more = notes.len().saturating_sub(TOLD);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    (!told.is_empty()).then(|| format!("{}{more}", told.join("; ")))
}

/// Reads what varies from connection to connection; with `files`, also checks those that it names.
fn read(root: &Section<'_>, completeness: Completeness, files: Option<&dyn Files>) -> (Rules, Option<Kubernetes>) {
    backend(root, completeness);
    let rules = security::read(&root.section("security"));
    let section = root.section("kubernetes");
    let connection = section.section("connection");
    let cluster = cluster::read(&connection);
    if let Some(files) = files {
        cluster::check_files(&connection, files);
    }
    let pod = pod::read(&section.section("pod"), completeness);
    let timeouts = pod::timeouts(&section.section("timeouts"));
    let _ = lease_duration(&section);
    let kubernetes = match (cluster, pod) {
        (Some(cluster), Some(pod)) => Some(Kubernetes { cluster: Arc::new(cluster), pod, timeouts }),
        _ => None,
    };
    (rules, kubernetes)
}

impl Home {
    /// The file's; `None` where it leaves the cluster to the config webhook.
    #[must_use]
    pub fn of(base: &Base) -> Option<Self> {
        let report = Report::default();
        let root = Section::root(&base.sections, &report);
        let section = root.section("kubernetes");
        if base.allow_connection && section.value("connection").is_none() {
            return None;
        }
        Some(Self {
            cluster: Arc::new(cluster::read(&section.section("connection"))?),
            namespace: pod::namespace(&section.section("pod"))?,
            http: pod::timeouts(&section.section("timeouts")).http,
            lease: lease_duration(&section),
        })
    }
}

/// `leaseDuration`; Kubernetes counts it in whole seconds.
fn lease_duration(section: &Section<'_>) -> Duration {
    section.duration("leaseDuration", Duration::from_secs(1)).unwrap_or(LEASE)
}

/// The others are known, and refused, where old words are translated.
fn backend(root: &Section<'_>, completeness: Completeness) {
    let chosen = root.choice("backend", &[("kubernetes", ())]);
    if chosen.is_none() && completeness == Completeness::Whole && !root.has_text("backend") {
        root.error("backend", "is not set; write backend: kubernetes");
    }
}

/// Puts a kubeconfig in place of itself, before anything is read from the tree.
pub(crate) fn expand(sections: &mut Map<String, Value>, files: &dyn Files, report: &Report) {
    kubeconfig::expand(sections, files, report);
}

/// Checks the file's own sections: whole, or as far as they stand alone where a config server completes them.
pub(crate) fn check(root: &Section<'_>, has_config_server: bool, files: &dyn Files) {
    let completeness = if has_config_server { Completeness::Part } else { Completeness::Whole };
    let _ = read(root, completeness, Some(files));
}

/// The part of the file that [`Settings::resolve`] starts from.
pub(crate) fn base(mut file: Map<String, Value>, exact_values: bool, allow_connection: bool, kuberun: bool) -> Base {
    file.retain(|key, _| ["backend", "kubernetes", "security", "log"].contains(&key.as_str()));
    if let Some(Value::Object(log)) = file.get_mut("log") {
        log.retain(|key, _| key == "level");
    }
    Base { sections: file, exact_values, allow_connection, kuberun }
}

#[cfg(test)]
mod tests;
