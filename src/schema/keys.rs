//! Every key that a configuration may hold, written once: its type with its bounds, its default, and its effect. Sections
//! are read by this table, `--dump-config` prints it, an answer of the config webhook is judged by it, and the test of
//! `docs/configuration.md` compares the page with it.

mod kinds;
mod rows;
mod timing;

pub(crate) use kinds::{Effect, KeyKind};
pub(crate) use timing::TakesEffect;

use super::tree::{Tree, get};
use rows::{BLOCKS, KeyRow, ROWS};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// A key of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConfigKey {
    /// Complete path, `a.b.c`.
    pub(crate) path: String,
    /// Type of its value.
    pub(crate) kind: KeyKind,
    /// The value that holds without it, where that is one value.
    pub(crate) default: Option<Value>,
    /// Effect of its value.
    pub(crate) effect: Effect,
}

impl ConfigKey {
    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or_default()
    }

    /// The moment at which it takes effect when it is changed in the file; `None` for a key without effect.
    pub(crate) fn takes_effect(&self) -> Option<TakesEffect> {
        self.effect.works().then(|| timing::of(&self.path))
    }

    fn new(block: &str, (name, kind, default, effect): KeyRow, works: bool) -> Self {
        let path = if block.is_empty() { name.to_owned() } else { format!("{block}.{name}") };
        let default = if works { serde_json::from_str(default).ok() } else { None };
        Self { path, kind, default, effect: if works { effect } else { Effect::Ignored } }
    }
}

static KEYS: LazyLock<Vec<ConfigKey>> = LazyLock::new(|| {
    let single = ROWS.iter().map(|row| ConfigKey::new("", *row, true));
    let in_block = |(block, rows, works): &(&str, &[KeyRow], bool)| -> Vec<ConfigKey> {
        rows.iter().map(|row| ConfigKey::new(block, *row, *works)).collect()
    };
    single.chain(BLOCKS.iter().flat_map(in_block)).collect()
});

static BY_PATH: LazyLock<HashMap<&str, &ConfigKey>> =
    LazyLock::new(|| KEYS.iter().map(|key| (key.path.as_str(), key)).collect());

/// Every key that a configuration may hold.
pub(crate) fn all() -> &'static [ConfigKey] {
    &KEYS
}

/// The key of a path.
pub(crate) fn find(path: &str) -> Option<&'static ConfigKey> {
    BY_PATH.get(path).copied()
}

/// The value of a path where nothing is written there.
pub(crate) fn default(path: &str) -> Option<&'static Value> {
    find(path)?.default.as_ref()
}

/// The mapping that stands at a path where nothing is written there.
pub(crate) fn default_mapping(path: &str) -> Tree {
    default(path).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The keys directly in a section.
pub(crate) fn of_section(section: &str) -> impl Iterator<Item = &'static ConfigKey> {
    let below = move |key: &&ConfigKey| key.path.rsplit_once('.').map_or("", |(section, _)| section) == section;
    all().iter().filter(below)
}

/// The sections directly in a section, in order.
pub(crate) fn subsections(section: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for key in all() {
        let rest = if section.is_empty() {
            Some(key.path.as_str())
        } else {
            key.path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'))
        };
        match rest.and_then(|rest| rest.split_once('.')) {
            Some((name, _)) if !found.contains(&name) => found.push(name),
            _ => {}
        }
    }
    found
}

/// The sections and keys at the root, in order.
pub(crate) fn sections() -> Vec<&'static str> {
    let mut found: Vec<&str> = Vec::new();
    for name in all().iter().filter_map(|key| key.path.split('.').next()) {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}

/// The values in a file's document of the keys that take effect at the start alone.
pub(crate) fn of_next_start(document: &Tree) -> BTreeMap<&'static str, Value> {
    let fixed = all().iter().filter(|key| key.takes_effect() == Some(TakesEffect::NextStart));
    let values = fixed.filter_map(|key| {
        let value = get(document, &key.path).or(key.default.as_ref())?;
        Some((key.path.as_str(), value.clone()))
    });
    values.collect()
}

/// The keys of a file's document with marks of their values, which tell nothing but equality within this process.
pub(crate) fn marks(document: &Tree) -> BTreeMap<&'static str, u64> {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let marked = all().iter().filter_map(|key| {
        let value = get(document, &key.path).or(key.default.as_ref())?;
        Some((key.path.as_str(), SECRET.hash_one(value)))
    });
    marked.collect()
}

/// True for a key or section of which an answer of the config webhook may set something.
pub(crate) fn is_per_connection(path: &str) -> bool {
    let is_below =
        |key: &ConfigKey| key.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    all().iter().any(|key| is_below(key) && key.effect.works() && key.effect != Effect::Works)
}

/// The key whose value is the default of this one, before its own.
pub(crate) fn follows(path: &str) -> Option<&'static str> {
    (path == "auth.password.webhook.timeout").then_some("auth.password.webhook.authTimeout")
}
