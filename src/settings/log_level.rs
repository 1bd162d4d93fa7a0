//! `log.level` of the file and of a connection.

use crate::schema::Section;
use crate::telemetry::Level;
use crate::types::{printable, quoted};
use serde_json::Value;

const LEVELS: [(&str, Level); 8] = [
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("notice", Level::Notice),
    ("warning", Level::Warning),
    ("error", Level::Error),
    ("crit", Level::Critical),
    ("alert", Level::Alert),
    ("emerg", Level::Emergency),
];

/// Reads `log.level`: a name, or 0 (emerg) to 7 (debug). `None` was reported.
pub(crate) fn log_level(section: &Section<'_>) -> Option<Level> {
    let text = match section.value("level")? {
        Value::String(text) if text.is_empty() => section.default("level")?.as_str()?.to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => {
            section.error("level", "must be a name, or 0 (emerg) to 7 (debug)");
            return None;
        }
    };
    let by_number = || text.parse::<usize>().ok().and_then(|number| LEVELS.iter().rev().nth(number));
    let found = LEVELS.iter().find(|(name, _)| *name == text).or_else(by_number);
    if found.is_none() {
        let names: Vec<_> = LEVELS.iter().map(|(name, _)| *name).collect();
        let shown = quoted(&printable(&text, 64));
        section.error("level", format!("{shown} is not one of {}, nor 7 to 0", names.join(", ")));
    }
    found.map(|(_, level)| *level)
}
