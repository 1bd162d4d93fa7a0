//! The manifest of the pod that a connection gets, as JSON: the configured metadata and spec as they are, and what Podgate
//! adds. Pure.
//!
//! The spec stays JSON all the way to the API server, so that fields which this program does not know survive. Values
//! that the webhooks marked as sensitive are left out, because everybody who may read pods could read them there.

mod agent;
mod fields;
mod labels;
mod spec;

pub(crate) use agent::copied_agent;
pub(crate) use labels::{CONNECTION, HOME, IDENTITY, INSTANCE, Instance, TERM, USERNAME, identity as identity_label};

use super::PodRequest;
use super::wait::ConsoleContainer;
use crate::auth::Identity;
use crate::program::command_line::MainProcess;
use crate::settings::{ExposedMetadata, KubernetesSettings, PodMode};
use crate::types::{EnvName, EnvVar, Invalid, MetadataKey, Namespace, PodName, printable};
use podgate_webhooks::wire;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The command of the console container.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConsoleCommand<'a> {
    /// The idle command; programs are started by exec.
    Idle,
    /// A user's program, as the container's main process.
    Program(&'a MainProcess),
}

/// A pod to create.
#[derive(Debug, Clone)]
pub(crate) struct Manifest {
    /// The pod's name, chosen by us, so that a create whose answer was lost can be found.
    pub(crate) name: PodName,
    /// The body of the create.
    pub(crate) json: Value,
    /// The user's variables, which are in the spec.
    pub(crate) variables: Vec<EnvVar>,
    /// The user's variables that the webhooks marked as sensitive: they are not in the spec.
    pub(crate) sensitive: Vec<EnvVar>,
    pub(crate) notices: Vec<ManifestNotice>,
    pub(crate) console: ConsoleContainer,
    /// Fields that the file's console container has and this one lacks, because an answer replaced it.
    pub(crate) lost: Vec<String>,
}

/// A warning about a manifest for the operator's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ManifestNotice {
    /// The user's name was cut to fit a label; an annotation has it whole.
    LabelCut,
    /// A sensitive value is left out of the pod's metadata, which everybody can read.
    SensitiveLeftOut {
        /// `label` or `annotation`.
        kind: &'static str,
        /// The value's name in the pod.
        name: String,
    },
}

/// An error that leaves a connection without a manifest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("the environment that was sent for this user has a variable that cannot be set: {name} {problem}")]
    Environment {
        /// The variable's name, printable.
        name: String,
        problem: String,
    },
    /// A part of the metadata or the spec has the wrong shape.
    #[error("kubernetes.pod.{path} is not {expected}")]
    Shape { path: String, expected: &'static str },
    /// The spec has something of its own where the agent's init container or volume belongs.
    #[error("kubernetes.pod.{path} has {taken}, which kubernetes.pod.agentImage uses; give yours another name")]
    Reserved { path: String, taken: &'static str },
    /// The configured name or prefix makes no pod name.
    #[error("kubernetes.pod.metadata has no usable name: {name} {problem}")]
    Name {
        /// The name that the pod would have, printable.
        name: String,
        problem: String,
    },
}

impl Manifest {
    /// Labels the pod as made under its gateway's Lease: when that has expired, another gateway may remove the pod.
    pub(crate) fn set_lease(&mut self, home: &Namespace, term: u32) {
        if let Some(labels) = self.json.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.insert(HOME.to_owned(), home.as_str().into());
            labels.insert(TERM.to_owned(), term.to_string().into());
        }
    }
}

/// Makes the manifest of a pod whose console container runs `command`.
pub(crate) fn manifest(request: &PodRequest, command: ConsoleCommand<'_>) -> Result<Manifest, ManifestError> {
    let pod = &request.settings.pod;
    let name = name(&pod.metadata)?;
    let UserVariables { plain: variables, sensitive } = variables(&request.identity, &pod.expose)?;
    let mut notices = Vec::new();
    let metadata = metadata(request, &name, &mut notices)?;
    // A persistent pod outlives this login, and others may come to use it: each program gets its own user's variables.
    let of_pod = if matches!(pod.mode, PodMode::Persistent { .. }) { &[] } else { &*variables };
    let spec = spec::spec(&request.settings, command, of_pod)?;
    let console = match command {
        ConsoleCommand::Idle => ConsoleContainer::idle(pod, &spec::idle_command(pod)),
        ConsoleCommand::Program(main) => ConsoleContainer::program(pod, main),
    };
    let json = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    Ok(Manifest { name, json, variables, sensitive, notices, console, lost: pod.lost.clone() })
}

/// Makes the pod of these settings for no user, to find out whether the API takes it.
pub(crate) fn trial(settings: &KubernetesSettings) -> Result<Value, ManifestError> {
    let pod = &settings.pod;
    let mut metadata = pod.metadata.clone();
    metadata.remove("generateName");
    metadata.insert("name".into(), name(&pod.metadata)?.as_str().into());
    metadata.insert("namespace".into(), pod.namespace.as_str().into());
    object(&mut metadata, "labels", "metadata")?.insert("app.kubernetes.io/managed-by".into(), "podgate".into());
    object(&mut metadata, "annotations", "metadata")?;
    let spec = spec::spec(settings, ConsoleCommand::Idle, &[])?;
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

/// Returns the configured name, or a new one with `generateName` as its prefix.
fn name(metadata: &Map<String, Value>) -> Result<PodName, ManifestError> {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = match text("name") {
        Some(name) => name.to_owned(),
        None => labels::generated_name(text("generateName").unwrap_or("podgate-")),
    };
    PodName::parse(&name)
        .map_err(|problem| ManifestError::Name { name: printable(&name, 80), problem: problem.to_string() })
}

fn metadata(
    request: &PodRequest,
    name: &PodName,
    notices: &mut Vec<ManifestNotice>,
) -> Result<Map<String, Value>, ManifestError> {
    let pod = &request.settings.pod;
    let mut metadata = pod.metadata.clone();
    metadata.remove("generateName");
    metadata.insert("name".into(), name.as_str().into());
    metadata.insert("namespace".into(), pod.namespace.as_str().into());
    let authenticated = request.identity.authenticated();
    let username = labels::username(authenticated);
    notices.extend(username.cut.then_some(ManifestNotice::LabelCut));
    expose_metadata(&request.identity, &pod.expose, &mut metadata, notices)?;
    let labels = object(&mut metadata, "labels", "metadata")?;
    let mut set = |key: &str, value: String| drop(labels.insert(key.to_owned(), value.into()));
    set("containerssh_username", username.value);
    set("app.kubernetes.io/managed-by", "podgate".to_owned());
    let is_shared = matches!(pod.mode, PodMode::Persistent { shared: true, .. });
    if !is_shared {
        set(IDENTITY, labels::identity(authenticated));
    }
    // A persistent pod belongs to no connection and no gateway: neither the reaper nor another gateway removes it.
    if !matches!(pod.mode, PodMode::Persistent { .. }) {
        set(CONNECTION, request.connection.to_string());
        set(INSTANCE, request.instance.to_string());
    }
    let annotations = object(&mut metadata, "annotations", "metadata")?;
    annotations
        .insert("containerssh_ip".into(), request.remote.ip().to_canonical().to_string().replace(':', "-").into());
    if !is_shared {
        annotations.insert(USERNAME.into(), authenticated.into());
    }
    Ok(metadata)
}

fn object<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
    path: &str,
) -> Result<&'a mut Map<String, Value>, ManifestError> {
    let child = parent.entry(key).or_insert_with(|| json!({}));
    if child.is_null() {
        *child = json!({});
    }
    child
        .as_object_mut()
        .ok_or_else(|| ManifestError::Shape { path: format!("{path}.{key}"), expected: "a mapping of strings" })
}

/// The user's variables.
struct UserVariables {
    plain: Vec<EnvVar>,
    /// Marked so by the webhooks.
    sensitive: Vec<EnvVar>,
}

/// Returns the user's variables: `environment`, and the metadata that `exposeAuthMetadataAsEnv` names, which wins.
fn variables(identity: &Identity, expose: &ExposedMetadata) -> Result<UserVariables, ManifestError> {
    let known = identity.known();
    let mut all: BTreeMap<EnvName, &wire::Value> = BTreeMap::new();
    for (name, value) in &known.environment {
        all.insert(EnvName::parse(name).map_err(|problem| cannot_be_set(name, &problem))?, value);
    }
    all.extend(exposed(identity, &expose.env).map(|(name, value)| (name.clone(), value)));
    let (mut plain, mut sensitive) = (Vec::new(), Vec::new());
    for (name, value) in all {
        let shown = name.to_string();
        let variable = EnvVar::new(name, value.value.clone()).map_err(|problem| cannot_be_set(&shown, &problem))?;
        if value.sensitive { &mut sensitive } else { &mut plain }.push(variable);
    }
    Ok(UserVariables { plain, sensitive })
}

fn cannot_be_set(name: &str, problem: &Invalid) -> ManifestError {
    ManifestError::Environment { name: printable(name, 64), problem: problem.to_string() }
}

/// Returns the targets whose metadata is known, with its values.
fn exposed<'a, T>(
    identity: &'a Identity,
    targets: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (&'a T, &'a wire::Value)> {
    targets.iter().filter_map(|(name, target)| Some((target, identity.known().metadata.get(name)?)))
}

/// Adds the labels and annotations that `exposeAuthMetadataAs…` names. A value that had to be changed to fit a label also
/// stands whole in an annotation of the same key.
fn expose_metadata(
    identity: &Identity,
    expose: &ExposedMetadata,
    metadata: &mut Map<String, Value>,
    notices: &mut Vec<ManifestNotice>,
) -> Result<(), ManifestError> {
    let mut plain = |kind, (key, value): (&MetadataKey, &wire::Value)| {
        if value.sensitive {
            notices.push(ManifestNotice::SensitiveLeftOut { kind, name: key.to_string() });
        }
        (!value.sensitive).then(|| (key.as_str().to_owned(), value.value.clone()))
    };
    let wanted: Vec<_> = exposed(identity, &expose.labels).filter_map(|entry| plain("label", entry)).collect();
    let mut annotations = BTreeMap::new();
    if !wanted.is_empty() {
        let target = object(metadata, "labels", "metadata")?;
        for (key, value) in wanted {
            let fitted = labels::value(&value);
            target.insert(key.clone(), fitted.clone().into());
            if fitted != value {
                annotations.insert(key, value);
            }
        }
    }
    annotations.extend(exposed(identity, &expose.annotations).filter_map(|entry| plain("annotation", entry)));
    if !annotations.is_empty() {
        let target = object(metadata, "annotations", "metadata")?;
        target.extend(annotations.into_iter().map(|(key, value)| (key, Value::String(value))));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
