//! A config webhook's answer laid over the file. Mappings are merged key by key, everything else is replaced whole; null
//! is absence. A server written with ContainerSSH's Go library sends its whole structure, zeros included: unless the
//! answer is exact, a zero of our own structure is unset. List elements, map values and the objects of Kubernetes are
//! not our structure: their zeros are values.

mod pod;

pub(super) use pod::WORDS as MERGE_WORDS;

use super::pod::default_spec;
use super::{Answer, Base};
use crate::config::document::drop_nulls;
use crate::config::pods;
use crate::config::reader::Report;
use crate::schema::Note;
use pod::Merge;
use serde_json::{Map, Value};

type Tree = Map<String, Value>;

/// Sections of the file that say nothing about one connection.
const WITHOUT_EFFECT: [&str; 10] =
    ["listen", "ssh", "configserver", "auth", "metrics", "geoip", "audit", "health", "docker", "sshproxy"];

/// Where our own structure ends.
const FOREIGN: [&str; 10] = [
    "kuberun.pod.podSpec",
    "kuberun.pod.subsystems",
    "kubernetes.pod.metadata",
    "kubernetes.pod.spec",
    "kubernetes.pod.resources",
    "kubernetes.pod.env",
    "kubernetes.pod.subsystems",
    "kubernetes.pod.exposeAuthMetadataAsEnv",
    "kubernetes.pod.exposeAuthMetadataAsLabels",
    "kubernetes.pod.exposeAuthMetadataAsAnnotations",
];

/// The texts that an exact answer can empty; elsewhere (paths, URLs, modes, certificates) "" is always unset.
const CAN_BE_EMPTY: [&str; 5] = [
    "security.forceCommand",
    "kubernetes.connection.username",
    "kubernetes.connection.password",
    "kubernetes.connection.serverName",
    "kubernetes.connection.bearerToken",
];

/// The file's sections with an answer laid over them.
#[derive(Default)]
pub(super) struct Overlaid {
    /// The sections of one connection.
    pub(super) sections: Tree,
    /// Whether the answer changed which cluster is used and how.
    pub(super) changed_cluster: bool,
    /// The answer's old keys, and what became of them.
    pub(super) old_keys: Option<String>,
    /// Values of the answer's pod that were understood otherwise than they are written.
    pub(super) readings: Vec<Note>,
    /// Fields of the file's console container that the answer's list of containers replaced without naming them.
    pub(super) lost: Vec<String>,
}

/// True for a section of the file that says nothing about one connection.
pub(super) fn is_without_effect(section: &str) -> bool {
    WITHOUT_EFFECT.contains(&section)
}

/// Lays an answer over the file.
pub(super) fn overlay(base: &Base, answer: Option<Answer<'_>>, report: &Report) -> Overlaid {
    let mut merged = base.sections.clone();
    if let Some(pod) = at(&mut merged, &["kubernetes", "pod"]) {
        pod.entry("spec").or_insert_with(|| Value::Object(default_spec()));
    }
    let Some(answer) = answer else { return Overlaid { sections: merged, ..Overlaid::default() } };
    let exact = answer.exact || base.exact_values;
    let mut over = effective(answer.config);
    let how = Merge::of(pod_of(&merged), pod_of(&over));
    let is_patch = exact && how == Merge::Strategic;
    let readings = pods::in_answer(&mut over, is_patch);
    drop_absent(&mut over, is_patch);
    drop_unset(&mut over, "", exact);
    let (mut over, old_keys) = super::migrated::translate(base, over, report);
    let changed_cluster = super::connection::lay_over(&mut merged, &mut over, base.allow_connection, report);
    let lost = match (pod_mut(&mut merged), take_pod(&mut over)) {
        (Some(file), Some(answer)) => pod::lay_over(file, answer, how, report),
        _ => Vec::new(),
    };
    merge(&mut merged, over);
    drop_nulls(&mut merged);
    Overlaid { sections: merged, changed_cluster, old_keys, readings, lost }
}

/// True for an answer that asks for a strategic merge itself, whatever the file says.
pub(super) fn is_patch(answer: &Tree) -> bool {
    Merge::of(None, pod_of(answer)) == Merge::Strategic
}

fn pod_of(tree: &Tree) -> Option<&Tree> {
    tree.get("kubernetes")?.get("pod")?.as_object()
}

fn pod_mut(tree: &mut Tree) -> Option<&mut Tree> {
    tree.get_mut("kubernetes")?.get_mut("pod")?.as_object_mut()
}

/// The answer's pod, where it is a mapping; anything else stays, for the reader to report.
fn take_pod(over: &mut Tree) -> Option<Tree> {
    pod_of(over)?;
    match over.get_mut("kubernetes")?.as_object_mut()?.remove("pod") {
        Some(Value::Object(pod)) => Some(pod),
        _ => None,
    }
}

/// Takes out what is null. In a strategic merge patch those of Kubernetes' objects stay, where null removes something.
fn drop_absent(over: &mut Tree, is_patch: bool) {
    let mut patches = Vec::new();
    if let Some(pod) = pod_mut(over).filter(|_| is_patch) {
        for key in ["metadata", "spec"] {
            let patch = pod.remove(key).filter(|patch| !patch.is_null());
            patches.extend(patch.map(|patch| (key.to_owned(), patch)));
        }
    }
    drop_nulls(over);
    if let Some(pod) = pod_mut(over) {
        pod.extend(patches);
    }
}

/// The part of an answer that means something for a connection, and what nobody knows, for the reader to report.
fn effective(config: &Tree) -> Tree {
    let mut over = Tree::new();
    for (key, value) in config {
        if key == "log" {
            if let Some(level) = value.get("level") {
                over.insert(key.clone(), Value::Object([("level".to_owned(), level.clone())].into_iter().collect()));
            }
        } else if !is_without_effect(key) {
            over.insert(key.clone(), value.clone());
        }
    }
    over
}

/// Takes out what is unset: in an exact answer the empty texts that can't mean anything, else every zero.
fn drop_unset(tree: &mut Tree, path: &str, exact: bool) {
    tree.retain(|key, value| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let path = path.as_str();
        match value {
            Value::Object(inner) if !FOREIGN.contains(&path) => {
                drop_unset(inner, path, exact);
                !inner.is_empty()
            }
            Value::String(text) if text.is_empty() => exact && CAN_BE_EMPTY.contains(&path),
            _ if exact => true,
            _ => !is_zero(path, value),
        }
    });
}

fn is_zero(path: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        // ContainerSSH writes the level 0 by its name.
        Value::String(text) => text.is_empty() || (path == "log.level" && (text == "emerg" || text == "0")),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The mapping at a path, made where it is not there; `None` where something else stands (which the reader reports).
pub(super) fn at<'t>(tree: &'t mut Tree, path: &[&str]) -> Option<&'t mut Tree> {
    path.iter()
        .try_fold(tree, |tree, key| tree.entry(*key).or_insert_with(|| Value::Object(Tree::new())).as_object_mut())
}

/// Mappings key by key, everything else whole.
pub(super) fn merge(base: &mut Tree, over: Tree) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Object(base)), Value::Object(over)) => merge(base, over),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}
