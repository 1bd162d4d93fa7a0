//! Resolves one connection's settings from the file's sections and the config webhook's answer.

use super::cluster::{self, Cluster};
use super::file_sections::{Completeness, FileSections};
use super::gateway_home::lease_duration;
use super::limits::{self, ConnectionLimits};
use super::log_level::log_level;
use super::on_failure::on_failure;
use super::overlay::{is_patch, overlay};
use super::pod::{self, ImageJudge, PodSettings};
use super::security;
use super::timeouts::{self, Timeouts};
use crate::policy::Rules;
use crate::schema::kubernetes::ValueNote;
use crate::schema::{ConfigError, ConfigReport, Errors, Files, Section, Tree, get, pod_scalars};
use crate::telemetry::Level;
use crate::types::OnFailure;
use podgate_webhooks::wire::ConfigAnswer;
use std::sync::Arc;

/// Number of converted values that one log line names.
const MOST_CONVERSIONS: usize = 8;

/// All settings of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Rules of the section `security`.
    pub rules: Rules,
    /// The section `limits`.
    pub limits: ConnectionLimits,
    /// `backend` and its section.
    pub backend: BackendSettings,
    /// `log.level` for the connection's lines.
    pub level: Level,
    /// True if the answer says another `log.level` than the file.
    pub has_own_level: bool,
    /// `audit.onFailure`.
    pub on_failure: OnFailure,
    /// Keys of ContainerSSH before 0.5 in the answer, with their replacements.
    pub old_keys: Option<String>,
    /// Pod values in the answer that were converted to the type that Kubernetes expects.
    pub conversions: Option<String>,
}

/// Settings of the connection's backend, by `backend`.
#[derive(Debug, Clone)]
pub(crate) enum BackendSettings {
    Kubernetes(KubernetesSettings),
}

/// The section `kubernetes`.
#[derive(Debug, Clone)]
pub(crate) struct KubernetesSettings {
    /// `connection`; shared, because most connections have the same.
    pub cluster: Arc<Cluster>,
    pub pod: PodSettings,
    pub timeouts: Timeouts,
}

impl Settings {
    /// Resolves the settings of a connection.
    ///
    /// # Errors
    /// All mistakes in the file and the answer, each with its path.
    pub(crate) fn resolve(base: &FileSections, answer: Option<&ConfigAnswer>) -> Result<Self, Errors> {
        let report = ConfigReport::default();
        let merged = overlay(base, answer, &report);
        let settings = read_all(&merged.sections, &report);
        // What the API server would refuse comes with it, lest the author finds it only in the next round.
        let doubts = || answer.map(|answer| pod_mistakes(&answer.config)).unwrap_or_default();
        let (mut settings, _) = report.finish(settings).map_err(|errors| errors.and(doubts()))?;
        let BackendSettings::Kubernetes(kubernetes) = &mut settings.backend;
        Arc::make_mut(&mut kubernetes.cluster).from_webhook = merged.changed_cluster;
        kubernetes.pod.lost = merged.lost;
        settings.has_own_level = get(&merged.sections, "log.level") != get(&base.sections, "log.level");
        settings.old_keys = merged.old_keys;
        settings.conversions = conversions_text(&merged.conversions);
        Ok(settings)
    }

    /// Settings of the only backend.
    #[cfg(test)]
    pub(crate) fn kubernetes(&self) -> KubernetesSettings {
        let BackendSettings::Kubernetes(kubernetes) = &self.backend;
        kubernetes.clone()
    }
}

fn read_all(sections: &Tree, report: &ConfigReport) -> Option<Settings> {
    let root = Section::root(sections, report);
    let level = log_level(&root.section("log"));
    let on_failure = on_failure(&root.section("audit"));
    let (rules, limits, kubernetes) = read(&root, Completeness::Whole, ImageJudge::Node, None);
    let backend = BackendSettings::Kubernetes(kubernetes?);
    Some(Settings {
        rules,
        limits,
        backend,
        level: level?,
        has_own_level: false,
        on_failure: on_failure?,
        old_keys: None,
        conversions: None,
    })
}

/// The fields of an answer's pod that the API server would refuse.
pub(super) fn pod_mistakes(config: &Tree) -> Vec<ConfigError> {
    let notes = pod_scalars::mistakes_in_answer(config, is_patch(config)).into_iter();
    notes.map(|note| ConfigError::new(note.path, format!("{}; the API server decides", note.text))).collect()
}

fn conversions_text(notes: &[ValueNote]) -> Option<String> {
    let named = notes.iter().take(MOST_CONVERSIONS).map(|note| format!("{} {}", note.path, note.text));
    let named: Vec<String> = named.collect();
    let more = notes.len().saturating_sub(MOST_CONVERSIONS);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    (!named.is_empty()).then(|| format!("{}{more}", named.join("; ")))
}

/// Reads the sections that can differ between connections; with `files`, also checks the files that they name.
pub(super) fn read(
    root: &Section<'_>,
    completeness: Completeness,
    judge: ImageJudge,
    files: Option<&dyn Files>,
) -> (Rules, ConnectionLimits, Option<KubernetesSettings>) {
    check_backend(root, completeness);
    let limits = limits::read(&root.section("limits"));
    let rules = Rules { env_limit: limits.env, ..security::read(&root.section("security")) };
    let section = root.section("kubernetes");
    let connection = section.section("connection");
    let cluster = cluster::read(&connection);
    if let Some(files) = files {
        cluster::check_files(&connection, files);
    }
    let pod = pod::read(&section.section("pod"), completeness, judge);
    let timeouts = timeouts::read(&section.section("timeouts"));
    let _ = lease_duration(&section);
    let kubernetes = match (cluster, pod) {
        (Some(cluster), Some(pod)) => Some(KubernetesSettings { cluster: Arc::new(cluster), pod, timeouts }),
        _ => None,
    };
    (rules, limits, kubernetes)
}

/// Checks `backend`. The names of ContainerSSH's other backends are refused where old keys are translated.
fn check_backend(root: &Section<'_>, completeness: Completeness) {
    let chosen = root.choice("backend", &[("kubernetes", ())]);
    if chosen.is_none() && completeness == Completeness::Whole && !root.has_text("backend") {
        root.error("backend", "is not set; write backend: kubernetes");
    }
}

/// Checks the file's own sections: completely, or only the present values if a config server supplies the others.
pub(crate) fn check_file(root: &Section<'_>, has_config_server: bool, files: &dyn Files) {
    let completeness = if has_config_server { Completeness::Part } else { Completeness::Whole };
    let _ = read(root, completeness, ImageJudge::Reader, Some(files));
}
