//! `docs/configuration.md` and the parser name the same keys, and every example in it loads.

use crate::config::Config;
use crate::config::fixture::MemoryFiles;
use crate::schema::duration;
use crate::schema::keys::{self, Effect, KeyKind, TakesEffect};
use crate::schema::{ConfigReport, Section};
use crate::schema::{Format, document};
use crate::settings::Settings;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// Every key that the reader asks for.
fn known_keys() -> BTreeSet<String> {
    let report = ConfigReport::default();
    let tree = Map::new();
    let _ = crate::config::read(&Section::root(&tree, &report), &MemoryFiles::default());
    report.keys.take()
}

/// The rows of the page: key and type. Below a heading that is one of our blocks' names, keys are the block's own.
fn documented_keys() -> BTreeSet<String> {
    let mut blocks: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut rows = Vec::new();
    let mut block = None;
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            block = ["HTTP client", "HTTP server"].into_iter().find(|name| *name == heading);
        }
        let Some(row) = line.strip_prefix("| `") else { continue };
        let (key, rest) = row.split_once('`').expect("a key in backticks");
        let kind = rest.split('|').nth(1).expect("a type").trim();
        match block {
            Some(block) => blocks.entry(block).or_default().push(key),
            None => rows.push((key, kind)),
        }
    }
    let mut keys = BTreeSet::new();
    for (key, kind) in rows {
        let own =
            blocks.iter().find(|(name, _)| kind == format!("[{name}](#{})", name.to_lowercase().replace(' ', "-")));
        match own {
            Some((_, block)) => keys.extend(block.iter().map(|own| format!("{key}.{own}"))),
            None => assert!(keys.insert(key.to_owned()), "{key} is there twice"),
        }
    }
    keys
}

#[test]
fn page_names_every_key_and_no_other() {
    let (known, documented) = (known_keys(), documented_keys());
    let missing: Vec<_> = known.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&known).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
    assert!(known.len() > 200, "{}", known.len());
}

/// The keys and sections that a row of the table of moments names.
fn documented_moment(moment: &str) -> Vec<&'static str> {
    let row = PAGE.lines().find_map(|line| line.strip_prefix(&format!("| {moment} | ")));
    row.unwrap_or_else(|| panic!("no row {moment}")).split('`').skip(1).step_by(2).collect()
}

#[test]
fn page_says_of_each_key_when_a_change_takes_effect() {
    let (at_once, next_start) = (documented_moment("At once"), documented_moment("At the next start"));
    let named = |path: &str, rows: &[&str]| {
        rows.iter().any(|row| path.strip_prefix(row).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    };
    for key in keys::all() {
        let Some(moment) = key.takes_effect() else { continue };
        let documented = match (named(&key.path, &at_once), named(&key.path, &next_start)) {
            (true, _) => TakesEffect::AtOnce,
            (false, true) => TakesEffect::NextStart,
            (false, false) => TakesEffect::NewConnections,
        };
        assert_eq!(moment, documented, "{}", key.path);
    }
    for row in at_once.into_iter().chain(next_start) {
        let known = keys::all().iter().any(|key| named(&key.path, &[row]));
        assert!(known, "{row}");
    }
}

/// The values in the Default column, by key, of the rows that are not blocks. What a cell says in parentheses is no value.
fn documented_defaults() -> Vec<(&'static str, Vec<&'static str>)> {
    let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.filter_map(|(key, rest)| {
        let cell = rest.split('|').nth(2)?.split('(').next()?;
        Some((key, cell.split('`').skip(1).step_by(2).collect()))
    })
    .collect()
}

/// The keys whose default is explained instead of written.
const PROSE: [&str; 2] = ["kubernetes.pod.spec", "kubernetes.pod.idleCommand"];

#[test]
fn defaults_of_the_page_are_those_of_the_table() {
    let mut compared = 0;
    let mut wrong = Vec::new();
    for (path, documented) in documented_defaults() {
        let Some(key) = keys::find(path).filter(|key| key.effect.works()) else { continue };
        let default = key.default.clone().unwrap_or_default();
        let same = match &default {
            // An explanation.
            _ if PROSE.contains(&path) => continue,
            Value::Null => documented.iter().all(|word| *word == "false"),
            Value::String(text) if text.is_empty() => documented.is_empty(),
            Value::String(text) if matches!(key.kind, KeyKind::Duration(_)) => {
                let time = |text: &str| duration::read(&Value::from(text)).ok();
                documented.len() == 1 && time(documented[0]) == time(text)
            }
            Value::Array(elements) if documented.len() != 1 => {
                documented.iter().map(|word| Value::from(*word)).eq(elements.iter().cloned())
            }
            Value::Object(map) if map.is_empty() => documented.is_empty(),
            value => {
                let cell = format!("v: {}", documented.join(", "));
                document::parse(&cell, Format::Yaml).is_ok_and(|cell| {
                    cell.get("v") == Some(value)
                        || value.as_array().is_some_and(|one| one.len() == 1 && cell.get("v") == one.first())
                })
            }
        };
        compared += usize::from(!default.is_null());
        if !same {
            wrong.push(format!("{path}: the page says {documented:?}, the table {default}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared > 40, "{compared}");
}

/// Keys that are refused for good, or were only ever names of others.
const NEVER: &[&str] = &["allowRedirects", "kubernetes.connection.path", "auth.authTimeout", "auth.pubkey", "auth.url"];

#[test]
fn readme_lists_every_feature_that_is_not_built_and_no_other() {
    let readme = include_str!("../../../README.md");
    let (_, list) = readme.split_once("\n## Not there yet\n").expect("the list");
    let list = list.split("\n## ").next().expect("its text");
    let listed: BTreeSet<&str> = list.split('`').skip(1).step_by(2).filter(|word| !word.starts_with('-')).collect();
    let unbuilt: Vec<String> = keys::all()
        .iter()
        .filter(|key| matches!(key.effect, Effect::Ignored | Effect::Refused))
        .map(|key| key.path.clone())
        .filter(|path| !NEVER.iter().any(|never| path == never || path.ends_with(&format!(".{never}"))))
        .collect();
    let names = |feature: &str, path: &str| path == feature || path.starts_with(&format!("{feature}."));
    // The keys that a block of today had for all of its methods.
    let inherited = |path: &str| path.starts_with("auth.") && path.matches('.').count() == 1;
    for path in unbuilt.iter().filter(|path| !inherited(path)) {
        assert!(listed.iter().any(|feature| names(feature, path)), "{path} is not in the README's list");
    }
    for feature in listed {
        assert!(unbuilt.iter().any(|path| names(feature, path)), "{feature} is built, and in the README's list");
    }
}

#[test]
fn examples_of_the_page_load() {
    let mut examples = 0;
    for block in PAGE.split("```yaml\n").skip(1) {
        let text = block.split("```").next().expect("the example");
        let mut tree = document::parse(text, Format::Yaml).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        for (key, value) in crate::config::fixture::minimal().as_object().expect("a mapping") {
            tree.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let config = Config::parse(&Value::Object(tree).to_string(), Format::Json, &page_files());
        let config = config.unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        examples += 1;
    }
    assert!(examples >= 4, "{examples}");
}

/// The files that the page's examples name.
fn page_files() -> MemoryFiles {
    let usual = MemoryFiles::new();
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let kubeconfig = json!({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://10.0.0.1:6443"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    });
    MemoryFiles::new()
        .with("/etc/podgate/ssh_host_ed25519_key", &usual.text("hostkey"))
        .with("/etc/podgate/kubeconfig", &kubeconfig.to_string())
        .with(&format!("{account}/ca.crt"), &usual.text("ca.crt"))
        .with(&format!("{account}/token"), "t0ken")
}
