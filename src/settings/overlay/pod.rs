//! An answer's `kubernetes.pod` laid over the file's. Of two words about the same thing the answer's holds, and of two of
//! the same author the short key's (`image`, `resources`, `env`). `metadata` and `spec` are merged as `merge` says, in the
//! answer or in the file; every other key as everywhere.

use super::{Tree, merge};
use crate::config::reader::Report;
use crate::schema::At;
use crate::schema::strategic::{self, METADATA_RULES, POD_SPEC_RULES};
use crate::settings::console::{self, Short};
use serde_json::Value;

/// `kubernetes.pod.merge`: what becomes of the lists of `metadata` and `spec` that file and answer both have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Merge {
    /// The answer's are taken whole.
    Replace,
    /// They are merged as Kubernetes merges a strategic patch.
    Strategic,
}

/// The words for it.
pub(crate) const WORDS: [(&str, Merge); 2] = [("replace", Merge::Replace), ("strategic", Merge::Strategic)];

impl Merge {
    /// The answer's value, else the file's. A word that is not known is no reason for anything: the reader reports it.
    pub(super) fn of(file: Option<&Tree>, answer: Option<&Tree>) -> Self {
        let said = |pod: &Tree| {
            let (_, word) = pod.iter().find(|(key, _)| key.eq_ignore_ascii_case("merge"))?;
            word.as_str().filter(|word| !word.is_empty()).map(str::to_owned)
        };
        let word = answer.and_then(said).or_else(|| file.and_then(said));
        WORDS.iter().find(|(known, _)| word.as_deref() == Some(*known)).map_or(Self::Replace, |(_, merge)| *merge)
    }
}

/// Lays the answer's pod over the file's. Returns the fields of the file's console container that are lost because the
/// answer's list of containers took the place of the file's.
pub(super) fn lay_over(file: &mut Tree, answer: Tree, how: Merge, report: &Report) -> Vec<String> {
    let short = Short::take(file);
    let place = number(file);
    let before = console(file, place).map(|container| {
        short.over(container);
        container.clone()
    });
    let name = before.as_ref().and_then(|container| container.get("name"));
    let replaces = how == Merge::Replace && answer.get("spec").and_then(|spec| spec.get("containers")).is_some();
    match how {
        Merge::Replace => merge(file, answer),
        Merge::Strategic => strategic(file, answer, name, report),
    }
    let place = number(file);
    let Some(container) = console(file, place) else { return Vec::new() };
    short.under(container);
    let before = before.filter(|_| replaces).unwrap_or_default();
    before.into_iter().map(|(key, _)| key).filter(|key| !container.contains_key(key)).collect()
}

/// Merges the answer's `metadata` and `spec` as Kubernetes does; `name` is the file's console container's.
fn strategic(file: &mut Tree, mut answer: Tree, name: Option<&Value>, report: &Report) {
    let objects = [("metadata", &METADATA_RULES), ("spec", &POD_SPEC_RULES)];
    let patches = objects.map(|(key, rules)| (key, rules, answer.remove(key)));
    let counts = answer.contains_key("consoleContainerNumber");
    let others = names(file);
    merge(file, answer);
    for (key, rules, patch) in patches {
        let object = file.entry(key).or_insert_with(|| Value::Object(Tree::new()));
        match (object, patch) {
            (_, None) => {}
            (Value::Object(object), Some(Value::Object(patch))) => {
                let at = At::default().key("kubernetes").key("pod").key(key);
                let mistakes = strategic::merge(object, patch, rules, &at);
                mistakes.into_iter().for_each(|mistake| report.error(mistake.path, mistake.text));
            }
            // Not what belongs there: the reader reports it.
            (object, Some(other)) => *object = other,
        }
    }
    let Some(name) = name.filter(|_| !counts) else { return };
    match place(file, name) {
        // The merge may have put other containers in front.
        Some(place) => drop(file.insert("consoleContainerNumber".to_owned(), place.into())),
        None => not_another_of_the_file(file, &others, name, report),
    }
}

/// Refuses that users land in another container of the file because the answer deleted theirs; one that the answer brings
/// may take its place.
fn not_another_of_the_file(pod: &Tree, others: &[Value], deleted: &Value, report: &Report) {
    let number = number(pod);
    let now = names(pod).into_iter().nth(number);
    if let Some(now) = now.filter(|now| others.contains(now)) {
        let text = format!(
            "container number {number} is now {now}, as the console container {deleted} of the file is deleted; say in \
             consoleContainerNumber where users land"
        );
        report.error("kubernetes.pod.spec.containers".to_owned(), text);
    }
}

/// `consoleContainerNumber`. One that is no number is for the reader to report.
fn number(pod: &Tree) -> usize {
    pod.get("consoleContainerNumber").and_then(Value::as_u64).and_then(|number| number.try_into().ok()).unwrap_or(0)
}

fn console(pod: &mut Tree, number: usize) -> Option<&mut Tree> {
    console::container(pod.get_mut("spec")?.as_object_mut()?, number)
}

/// The number of the container of a name.
fn place(pod: &Tree, name: &Value) -> Option<usize> {
    names(pod).iter().position(|other| other == name)
}

/// The names of the containers, null where there is none.
fn names(pod: &Tree) -> Vec<Value> {
    let containers = pod.get("spec").and_then(|spec| spec.get("containers")).and_then(Value::as_array);
    containers.into_iter().flatten().map(|container| container.get("name").cloned().unwrap_or_default()).collect()
}
