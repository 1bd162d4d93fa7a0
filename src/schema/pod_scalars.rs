//! `kubernetes.pod`, and `kuberun.pod` of before, as ContainerSSH read them: every scalar as what its field is. Runs on
//! a tree as it was written, before old words are translated and nulls are dropped.

use super::errors::ConfigError;
use super::keys::{self, ConfigKey, KeyKind};
use super::kubernetes::{
    METADATA, POD_SPEC, Type, TypedReader, TypedReading, UnquotedTexts, ValueAuthor, ValueNote, ValuePath,
};
use super::tree::Tree;
use serde_json::Value;
use std::sync::LazyLock;

type FieldTypes = Vec<(&'static str, Type)>;

/// The fields of `kubernetes.pod` that are ours. Wrong types and unknown keys are the configuration's reader to find.
static OURS: LazyLock<FieldTypes> = LazyLock::new(|| {
    let ours = keys::of_section("kubernetes.pod").filter(|key| !["metadata", "spec"].contains(&key.name()));
    ours.map(|key| (key.name(), type_of(key))).collect()
});

/// The type of one of our fields.
fn type_of(key: &ConfigKey) -> Type {
    match key.kind {
        KeyKind::Flag => Type::Flag,
        KeyKind::Integer(..) => Type::Integer64,
        KeyKind::Texts => Type::List(Box::new(Type::Text)),
        KeyKind::TextMap => Type::Map(Box::new(Type::Text)),
        KeyKind::Mapping | KeyKind::Variables => of_container(key.name()),
        _ => Type::Text,
    }
}

/// The type of a field of a container.
fn of_container(field: &str) -> Type {
    POD_SPEC.field_of_each("containers", field).cloned().unwrap_or(Type::Any)
}

/// The fields of `kuberun.pod` that hold texts.
static KUBERUN: LazyLock<FieldTypes> = LazyLock::new(|| {
    vec![
        ("namespace", Type::Text),
        ("consoleContainerNumber", Type::Integer64),
        ("subsystems", Type::Map(Box::new(Type::Text))),
        ("agentPath", Type::Text),
        ("shellCommand", Type::List(Box::new(Type::Text))),
    ]
});

/// Reads a file's pods.
pub(super) fn in_file(tree: &mut Tree, texts: &UnquotedTexts) -> TypedReading {
    read(tree, ValueAuthor::File(texts), false)
}

/// Reads the pods of a config webhook's answer. What was understood otherwise than it is written; the API server judges
/// the rest when the pod is made. In a patch of `metadata` and `spec`, null stays null.
pub(crate) fn in_answer(tree: &mut Tree, is_patch: bool) -> Vec<ValueNote> {
    let TypedReading { mut changes, doubts, mistakes: _ } = read(tree, ValueAuthor::Server, is_patch);
    changes.extend(doubts);
    changes
}

/// Fields of the pods of a config webhook's answer that the API server would refuse.
pub(crate) fn mistakes_in_answer(tree: &Tree, is_patch: bool) -> Vec<ValueNote> {
    read(&mut tree.clone(), ValueAuthor::Server, is_patch).mistakes
}

fn read(tree: &mut Tree, writer: ValueAuthor<'_>, is_patch: bool) -> TypedReading {
    let reader = if is_patch { TypedReader::patch(writer) } else { TypedReader::new(writer) };
    let (mut reader, mut old) = (reader, TypedReader::old(writer));
    if let Some((pod, at)) = pod(tree, "kubernetes") {
        kubernetes(&mut reader, pod, &at);
    }
    if let Some((pod, at)) = pod(tree, "kuberun") {
        for (key, value) in pod.iter_mut() {
            let at = at.key(key);
            if key.eq_ignore_ascii_case("podSpec") {
                old.read(value, &POD_SPEC, &at);
            } else if let Some((_, wanted)) = KUBERUN.iter().find(|(field, _)| field.eq_ignore_ascii_case(key)) {
                ours(&mut old, value, wanted, &at);
            }
        }
    }
    let (mut reading, old) = (reader.finish(), old.finish());
    reading.changes.extend(old.changes);
    reading.doubts.extend(old.doubts);
    reading.mistakes.extend(old.mistakes);
    reading
}

fn pod<'t>(tree: &'t mut Tree, block: &str) -> Option<(&'t mut Tree, ValuePath)> {
    let pod = tree.get_mut(block)?.get_mut("pod")?.as_object_mut()?;
    Some((pod, ValuePath::default().key(block).key("pod")))
}

fn kubernetes(reader: &mut TypedReader<'_>, pod: &mut Tree, at: &ValuePath) {
    let objects = [("metadata", &METADATA), ("spec", &POD_SPEC)];
    let names = objects.iter().map(|(name, _)| *name).chain(OURS.iter().map(|(name, _)| *name));
    let spelled = reader.spell(pod, names, at);
    for (key, value) in pod.iter_mut() {
        let written = spelled.iter().find(|(_, field)| field == key).map_or(key, |(written, _)| written);
        let at = at.key(written);
        if let Some((_, wanted)) = objects.iter().find(|(name, _)| name == key) {
            reader.read(value, wanted, &at);
        } else if let Some((_, wanted)) = OURS.iter().find(|(name, _)| name == key) {
            ours(reader, value, wanted, &at);
        }
    }
}

/// A field of ours, in which nothing is absence.
fn ours(reader: &mut TypedReader<'_>, value: &mut Value, wanted: &Type, at: &ValuePath) {
    if let (Type::Map(_), Value::Object(map)) = (wanted, &mut *value) {
        map.retain(|_, value| !value.is_null());
    }
    reader.read(value, wanted, at);
}

/// Mistakes that `--check-config` refuses and a start leaves to the API server.
pub(crate) fn strict(reading: &TypedReading) -> Vec<ConfigError> {
    let error = |note: &ValueNote| ConfigError::new(note.path.as_str(), note.text.as_str());
    reading.mistakes.iter().chain(&reading.doubts).map(error).collect()
}
