//! A config webhook's answer judged by itself, for whoever writes answers and does not have the gateway's file.

use super::{Answer, Base, Completeness, overlay, read};
use crate::config::reader::{Report, Section};
use crate::config::{ConfigError, Notice, log, pods};
use serde_json::{Map, Value};

/// Findings in an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Mistakes for which a gateway refuses the login.
    pub mistakes: Vec<ConfigError>,
    /// Values that have no effect, are understood otherwise than they are written, or are left to the API server to judge.
    pub notices: Vec<Notice>,
}

/// Judges the `config` of an answer whose values mean themselves (`"exact": true`), as far as that can be done without
/// the file of a gateway: what is missing may stand there.
#[must_use]
pub fn check_answer(config: &Map<String, Value>) -> Judgement {
    let report = Report::default();
    let base = Base { sections: Map::new(), exact_values: true, allow_connection: true, kuberun: false };
    let overlaid = overlay::overlay(&base, Some(Answer { config, exact: true }), &report);
    {
        let root = Section::root(&overlaid.sections, &report);
        let _ = log::level(&root.section("log"));
        let _ = read(&root, Completeness::Part, None);
    }
    let readings = overlaid.readings.into_iter().map(|note| (note.path, note.text));
    let doubts = pods::mistakes_in_answer(config, overlay::is_patch(config)).into_iter();
    let doubts = doubts.map(|note| (note.path, format!("{}; the API server decides", note.text)));
    match report.finish(Some(())) {
        Err(errors) => Judgement { mistakes: errors.0, notices: Vec::new() },
        Ok(((), mut notices)) => {
            let more = readings.chain(doubts).chain(without_effect(config)).chain(connection(config));
            notices.extend(more.map(|(path, text)| Notice { path, text, warn: true }));
            Judgement { mistakes: Vec::new(), notices }
        }
    }
}

/// Sections and keys that say nothing about one connection.
fn without_effect(config: &Map<String, Value>) -> impl Iterator<Item = (String, String)> {
    let sections = config.keys().filter(|key| overlay::is_without_effect(key)).cloned();
    let log = config.get("log").and_then(Value::as_object).into_iter().flat_map(Map::keys);
    let log = log.filter(|key| *key != "level").map(|key| format!("log.{key}"));
    sections.chain(log).map(|path| (path, "has no effect for a single connection".to_owned()))
}

fn connection(config: &Map<String, Value>) -> Option<(String, String)> {
    let connection = config.get("kubernetes")?.get("connection")?.as_object()?;
    let text = "is refused by a gateway whose file does not say configserver.allowConnection: true";
    (!connection.is_empty()).then(|| ("kubernetes.connection".to_owned(), text.to_owned()))
}
