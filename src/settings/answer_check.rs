//! Checks a config webhook's answer by itself, for authors of answers who do not have the gateway's file.

use super::file_sections::{Completeness, FileSections, PARTIAL};
use super::log_level::log_level;
use super::on_failure::on_failure;
use super::overlay::{self, SHARED};
use super::pod::ImageJudge;
use super::resolve::{BackendSettings, Settings, pod_mistakes, read};
use crate::schema::{ConfigError, ConfigReport, Errors, Notice, Section, Tree, get, keys};
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::Value;

/// Findings in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerFindings {
    /// Mistakes for which a gateway refuses the login.
    pub mistakes: Vec<ConfigError>,
    /// Values that have no effect, are converted to another type, or are left to the API server to judge.
    pub notices: Vec<Notice>,
}

/// Checks the `config` of an exact answer (`"exact": true`) as far as that is possible without the gateway's file, which
/// may supply missing values.
pub fn check_answer(config: &Tree) -> AnswerFindings {
    let report = ConfigReport::default();
    let base = FileSections {
        sections: Tree::new(),
        exact_values: true,
        allow_connection: true,
        allow_shared: true,
        kuberun: false,
    };
    let merged = overlay::overlay(&base, Some(&ConfigAnswer::new(config.clone())), &report);
    {
        let root = Section::root(&merged.sections, &report);
        let _ = (log_level(&root.section("log")), on_failure(&root.section("audit")));
        let _ = read(&root, Completeness::Part, ImageJudge::Reader, None);
    }
    let conversions = merged.conversions.into_iter().map(|note| (note.path, note.text));
    let doubts = pod_mistakes(config);
    match report.finish(Some(())) {
        Err(errors) => AnswerFindings { mistakes: errors.and(doubts).0, notices: Vec::new() },
        Ok(((), mut notices)) => {
            let more = conversions
                .chain(doubts.into_iter().map(|doubt| (doubt.path, doubt.text)))
                .chain(without_effect(config))
                .chain(changed_connection(config))
                .chain(opened(config));
            notices.extend(more.map(|(path, text)| Notice { path, text, warn: true }));
            AnswerFindings { mistakes: Vec::new(), notices }
        }
    }
}

/// Sections and keys that cannot differ between connections.
fn without_effect(config: &Tree) -> impl Iterator<Item = (String, String)> {
    let sections = config.keys().filter(|key| overlay::is_without_effect(key)).cloned();
    let part = |section: &'static str| {
        let part = config.get(section).and_then(Value::as_object).into_iter().flat_map(Tree::keys);
        part.map(move |key| format!("{section}.{key}")).filter(|path| !keys::is_per_connection(path))
    };
    sections
        .chain(PARTIAL.into_iter().flat_map(part))
        .map(|path| (path, "has no effect for a single connection".to_owned()))
}

fn changed_connection(config: &Tree) -> Option<(String, String)> {
    let connection = config.get("kubernetes")?.get("connection")?.as_object()?;
    let text = "is refused by a gateway whose file does not say configserver.allowConnection: true";
    (!connection.is_empty()).then(|| ("kubernetes.connection".to_owned(), text.to_owned()))
}

fn opened(config: &Tree) -> Option<(String, String)> {
    let text = "is refused by a gateway whose file does not say kubernetes.pod.shared: true";
    (get(config, SHARED) == Some(&Value::Bool(true))).then(|| (SHARED.to_owned(), text.to_owned()))
}

/// Pod spec of a connection with this answer over the file, as it is sent to the API server.
///
/// # Errors
/// All mistakes in the file and the answer, each with its path.
pub fn pod_spec(base: &FileSections, answer: Option<&ConfigAnswer>) -> Result<Tree, Errors> {
    let BackendSettings::Kubernetes(kubernetes) = Settings::resolve(base, answer)?.backend;
    Ok(kubernetes.pod.spec)
}
