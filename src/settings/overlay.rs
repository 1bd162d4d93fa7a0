//! Overlays a config webhook's answer on the file's sections. Mappings are merged key by key, everything else is replaced
//! as a whole; null means absent. A server that uses ContainerSSH's Go library sends its complete structure, zeros
//! included: unless the answer is exact, a zero of our own structure means unset. Zeros in list elements, map values and
//! Kubernetes objects are values.
//!
//! In `kubernetes.pod` the answer takes precedence over the file, and the short keys (`image`, `resources`, `env`) over
//! `spec` within each of them. `kubernetes.pod.merge`, in the answer or in the file, says how `metadata` and `spec` are
//! merged.

use super::cluster::overlay_connection;
use super::file_sections::{FileSections, PARTIAL};
use super::pod::{ConsoleShortcuts, PodMerge, console_container};
use crate::schema::document::drop_nulls;
use crate::schema::keys::{self, KeyKind};
use crate::schema::kubernetes::strategic_merge::{self, METADATA_RULES, POD_SPEC_RULES};
use crate::schema::kubernetes::{ValueNote, ValuePath};
use crate::schema::migrate::{self, DocumentSource, FileBackend};
use crate::schema::{ConfigReport, Tree, get, mapping_at, merge, pod_scalars};
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::{Value, json};

/// Paths of ContainerSSH before 0.5 below which zeros are values.
const OLD_FOREIGN: [&str; 2] = ["kuberun.pod.podSpec", "kuberun.pod.subsystems"];

/// The key that opens a persistent pod for several identities.
pub(super) const SHARED: &str = "kubernetes.pod.shared";

/// The file's sections after an answer was overlaid on them.
#[derive(Default)]
pub(super) struct MergedSections {
    /// Sections for one connection.
    pub(super) sections: Tree,
    /// The answer changed `kubernetes.connection`.
    pub(super) changed_cluster: bool,
    /// Deprecated keys of the answer and their replacements.
    pub(super) old_keys: Option<String>,
    /// Values of the answer's pod that were converted to the type that Kubernetes expects.
    pub(super) conversions: Vec<ValueNote>,
    /// Fields of the file's console container that are missing because the answer's list of containers replaced the
    /// file's.
    pub(super) lost: Vec<String>,
}

/// True for a section of the file that cannot differ between connections.
pub(super) fn is_without_effect(section: &str) -> bool {
    section == "listen" || (keys::sections().contains(&section) && !keys::is_per_connection(section))
}

/// Overlays an answer on the file.
pub(super) fn overlay(base: &FileSections, answer: Option<&ConfigAnswer>, report: &ConfigReport) -> MergedSections {
    let mut merged = base.sections.clone();
    if let Some(pod) = mapping_at(&mut merged, &["kubernetes", "pod"]) {
        pod.entry("spec").or_insert_with(|| Value::Object(keys::default_mapping("kubernetes.pod.spec")));
    }
    let Some(answer) = answer else { return MergedSections { sections: merged, ..MergedSections::default() } };
    let exact = answer.exact || base.exact_values;
    let mut over = effective_sections(&answer.config);
    let how = PodMerge::of(pod_of(&merged), pod_of(&over));
    let is_patch = exact && how == PodMerge::Strategic;
    let conversions = pod_scalars::in_answer(&mut over, is_patch);
    drop_absent(&mut over, is_patch);
    drop_unset(&mut over, "", exact);
    let (mut over, old_keys) = translate_kuberun(base, over, report);
    let changed_cluster = overlay_connection(&mut merged, &mut over, base.allow_connection, report);
    judge_shared(base, &mut merged, &over, report);
    let lost = match (pod_mut(&mut merged), take_pod(&mut over)) {
        (Some(file), Some(answer)) => overlay_pod(file, answer, how, report),
        _ => Vec::new(),
    };
    merge(&mut merged, over);
    drop_nulls(&mut merged);
    MergedSections { sections: merged, changed_cluster, old_keys, conversions, lost }
}

/// Refuses an answer that shares a pod which the file does not share. In a file for connections of different modes `shared`
/// permits; it counts where the answer leaves the mode persistent.
fn judge_shared(base: &FileSections, merged: &mut Tree, over: &Tree, report: &ConfigReport) {
    let answer = pod_of(over);
    if !base.allow_shared && answer.and_then(|pod| pod.get("shared")) == Some(&json!(true)) {
        report.error(SHARED, "counts in a response only if the gateway's file says it, too");
    }
    let mode = |pod: Option<&Tree>| pod?.get("mode").cloned();
    let persistent = mode(answer).or_else(|| mode(pod_of(merged))) == Some(json!("persistent"));
    if let Some(pod) = pod_mut(merged).filter(|_| !persistent) {
        pod.remove("shared");
    }
}

/// True for an answer that itself asks for a strategic merge, whatever the file says.
pub(super) fn is_patch(answer: &Tree) -> bool {
    PodMerge::of(None, pod_of(answer)) == PodMerge::Strategic
}

fn pod_of(tree: &Tree) -> Option<&Tree> {
    tree.get("kubernetes")?.get("pod")?.as_object()
}

fn pod_mut(tree: &mut Tree) -> Option<&mut Tree> {
    tree.get_mut("kubernetes")?.get_mut("pod")?.as_object_mut()
}

/// Removes and returns the answer's pod if it is a mapping; any other value stays, and the reader reports it.
fn take_pod(over: &mut Tree) -> Option<Tree> {
    pod_of(over)?;
    match over.get_mut("kubernetes")?.as_object_mut()?.remove("pod") {
        Some(Value::Object(pod)) => Some(pod),
        _ => None,
    }
}

/// Removes nulls. In a strategic merge patch those of Kubernetes objects stay, because null removes a field there.
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

/// The sections of an answer that can differ between connections, and unknown ones, which the reader reports.
fn effective_sections(config: &Tree) -> Tree {
    let mut over = Tree::new();
    for (key, value) in config {
        if PARTIAL.contains(&key.as_str()) {
            let part = value.as_object().into_iter().flatten();
            let part = part.filter(|(name, _)| keys::is_per_connection(&format!("{key}.{name}")));
            let part: Tree = part.map(|(name, value)| (name.clone(), value.clone())).collect();
            if !part.is_empty() {
                over.insert(key.clone(), Value::Object(part));
            }
        } else if !is_without_effect(key) {
            over.insert(key.clone(), value.clone());
        }
    }
    over
}

/// Removes unset values: in an exact answer the texts that cannot be empty ([`KeyKind::can_be_empty`]), else every zero.
fn drop_unset(tree: &mut Tree, path: &str, exact: bool) {
    tree.retain(|key, value| {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let path = path.as_str();
        let kind = keys::find(path).map(|key| key.kind);
        match value {
            Value::Object(inner) if !kind.is_some_and(KeyKind::is_foreign) && !OLD_FOREIGN.contains(&path) => {
                drop_unset(inner, path, exact);
                !inner.is_empty()
            }
            Value::String(text) if text.is_empty() => exact && kind.is_some_and(KeyKind::can_be_empty),
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

/// Translates an answer, whose zeros were dropped, that still says `kuberun`. That is allowed only if the file's pods are
/// kuberun's, too: a mixture never had a meaning. Returns the translated answer and a text about its old keys.
fn translate_kuberun(base: &FileSections, over: Tree, report: &ConfigReport) -> (Tree, Option<String>) {
    let says = |backend: &str| over.get("backend").and_then(Value::as_str) == Some(backend);
    let file = file_backend(base);
    if says("kuberun") && file == FileBackend::Other {
        let text = "kuberun does not fit the file, whose pods are not kuberun's; send backend: kubernetes and \
                    kubernetes.pod.mode: session";
        report.error("backend", text);
    }
    if base.kuberun && !says("kuberun") {
        let text = "does not fit the file, which says backend: kuberun; rewrite the file with `podgate migrate` first";
        for key in ["backend", "kubernetes"].into_iter().filter(|key| over.contains_key(*key)) {
            report.error(key, text);
        }
    }
    let mut migration = migrate::translate(over, DocumentSource::Answer(file));
    migration.report_to(report);
    let over = std::mem::take(&mut migration.document);
    let forced = get(&base.sections, "security.forceCommand").is_some_and(|command| *command != json!(""));
    if migration.disables_commands() && forced {
        let text = "does not go together with the file's security.forceCommand, which runs as a command itself";
        report.error("kuberun.pod.disableCommand", text);
    }
    let old_keys = migration.old_blocks().remove("kuberun");
    (over, old_keys)
}

/// Backend of the file; kuberun also for a file that `podgate migrate` made of a kuberun file.
fn file_backend(base: &FileSections) -> FileBackend {
    if base.kuberun || get(&base.sections, "kubernetes.pod.mode") == Some(&json!("session")) {
        FileBackend::Kuberun
    } else if base.sections.contains_key("kubernetes") {
        FileBackend::Other
    } else {
        FileBackend::Nothing
    }
}

/// Overlays the answer's pod on the file's. Returns the fields that the file's console container lost because the answer's
/// list of containers replaced the file's.
fn overlay_pod(file: &mut Tree, answer: Tree, how: PodMerge, report: &ConfigReport) -> Vec<String> {
    let shortcuts = ConsoleShortcuts::take(file);
    let number = console_number(file);
    let before = console(file, number).map(|container| {
        shortcuts.over(container);
        container.clone()
    });
    let name = before.as_ref().and_then(|container| container.get("name"));
    let replaces = how == PodMerge::Replace && answer.get("spec").and_then(|spec| spec.get("containers")).is_some();
    match how {
        PodMerge::Replace => merge(file, answer),
        PodMerge::Strategic => merge_strategic(file, answer, name, report),
    }
    let number = console_number(file);
    let Some(container) = console(file, number) else { return Vec::new() };
    shortcuts.under(container);
    let before = before.filter(|_| replaces).unwrap_or_default();
    before.into_iter().map(|(key, _)| key).filter(|key| !container.contains_key(key)).collect()
}

/// Merges the answer's `metadata` and `spec` like Kubernetes; `name` is that of the file's console container.
fn merge_strategic(file: &mut Tree, mut answer: Tree, name: Option<&Value>, report: &ConfigReport) {
    let objects = [("metadata", &METADATA_RULES), ("spec", &POD_SPEC_RULES)];
    let patches = objects.map(|(key, rules)| (key, rules, answer.remove(key)));
    let sets_number = answer.contains_key("consoleContainerNumber");
    let file_names = container_names(file);
    merge(file, answer);
    for (key, rules, patch) in patches {
        let object = file.entry(key).or_insert_with(|| Value::Object(Tree::new()));
        match (object, patch) {
            (_, None) => {}
            (Value::Object(object), Some(Value::Object(patch))) => {
                let at = ValuePath::default().key("kubernetes").key("pod").key(key);
                let mistakes = strategic_merge::merge(object, patch, rules, &at);
                mistakes.into_iter().for_each(|mistake| report.error(mistake.path, mistake.text));
            }
            // Of a wrong type: the reader reports it.
            (object, Some(other)) => *object = other,
        }
    }
    let Some(name) = name.filter(|_| !sets_number) else { return };
    match container_names(file).iter().position(|other| other == name) {
        // The merge may have inserted other containers before it.
        Some(number) => drop(file.insert("consoleContainerNumber".to_owned(), number.into())),
        None => refuse_other_file_container(file, &file_names, name, report),
    }
}

/// Refuses that users land in another container of the file because the answer deleted theirs; a container that the
/// answer adds may take its place.
fn refuse_other_file_container(pod: &Tree, file_names: &[Value], deleted: &Value, report: &ConfigReport) {
    let number = console_number(pod);
    let now = container_names(pod).into_iter().nth(number);
    if let Some(now) = now.filter(|now| file_names.contains(now)) {
        let text = format!(
            "container number {number} is now {now}, as the console container {deleted} of the file is deleted; say in \
             consoleContainerNumber where users land"
        );
        report.error("kubernetes.pod.spec.containers".to_owned(), text);
    }
}

/// `consoleContainerNumber`, 0 if it is not a number (which the reader reports).
fn console_number(pod: &Tree) -> usize {
    pod.get("consoleContainerNumber").and_then(Value::as_u64).and_then(|number| number.try_into().ok()).unwrap_or(0)
}

fn console(pod: &mut Tree, number: usize) -> Option<&mut Tree> {
    console_container(pod.get_mut("spec")?.as_object_mut()?, number)
}

/// Names of the containers, null for one without a name.
fn container_names(pod: &Tree) -> Vec<Value> {
    let containers = pod.get("spec").and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    containers.into_iter().flatten().map(|container| container.get("name").cloned().unwrap_or_default()).collect()
}
