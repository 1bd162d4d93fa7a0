//! The pod that one connection gets, as JSON: the configured metadata and spec as they are, and what Podgate adds.
//! Pure: settings, identity and connection in, manifest out.
//!
//! The spec stays JSON to the API server, so that fields which this program does not know survive.

mod known;
mod labels;
mod spec;

pub(super) use known::variables;
pub(super) use labels::{CONNECTION, HOME, IDENTITY, INSTANCE, Instance, TERM, USERNAME, identity as identity_label};

use super::argv::Main;
use super::wait::Console;
use crate::auth::Identity;
use crate::settings::{Kubernetes, Mode};
use crate::types::{ConnectionId, Namespace, PodName, printable};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// What a pod is made from.
#[derive(Debug)]
pub(super) struct Order<'a> {
    /// Whose pod it is.
    pub(super) identity: &'a Identity,
    /// What it is like.
    pub(super) settings: &'a Kubernetes,
    /// The connection it is for.
    pub(super) connection: ConnectionId,
    /// Where that connection comes from.
    pub(super) remote: IpAddr,
    /// The gateway's process.
    pub(super) instance: &'a Instance,
    /// What the console container runs.
    pub(super) runs: Runs<'a>,
}

/// What the console container runs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Runs<'a> {
    /// Something that waits; programs come by exec.
    Idle,
    /// A user's program, as the container's main process.
    Program(&'a Main),
}

/// A pod to create.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    /// Its name, chosen by us, so that a create whose answer was lost can be found.
    pub(super) name: PodName,
    /// What is sent.
    pub(super) json: Value,
    /// What the log should say.
    pub(super) notices: Vec<Notice>,
    /// The container that the user lands in.
    pub(super) console: Console,
    /// Fields of the file's container that it lacks, because an answer replaced it.
    pub(super) lost: Vec<String>,
}

/// Something about a pod that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The user's name was cut to fit a label; an annotation has it whole.
    LabelCut,
    /// Something sensitive is left out: without the agent it could only be put where all can read it.
    SensitiveLeftOut {
        /// `variable`, `label` or `annotation`.
        what: &'static str,
        /// Its name in the pod.
        name: String,
    },
}

/// Why there is no manifest.
#[derive(Debug, thiserror::Error)]
pub(super) enum ManifestError {
    /// A variable of the identity's cannot be set.
    #[error("the environment that was sent for this user has a variable that cannot be set: {name} {problem}")]
    Environment {
        /// Its name, printable.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A part of the metadata or the spec has the wrong shape.
    #[error("kubernetes.pod.{path} is not {expected}")]
    Shape {
        /// Where.
        path: String,
        /// What belongs there.
        expected: &'static str,
    },
    /// The prefix or name that is configured makes no pod name.
    #[error("kubernetes.pod.metadata has no usable name: {name} {problem}")]
    Name {
        /// What it would have been, printable.
        name: String,
        /// What is wrong.
        problem: String,
    },
}

impl Manifest {
    /// Says that the pod is made under its owner's Lease: when that runs out, another gateway may remove the pod.
    pub(super) fn set_lease(&mut self, home: &Namespace, term: u32) {
        if let Some(labels) = self.json.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.insert(HOME.to_owned(), home.as_str().into());
            labels.insert(TERM.to_owned(), term.to_string().into());
        }
    }
}

/// Makes the manifest.
pub(super) fn manifest(order: &Order<'_>) -> Result<Manifest, ManifestError> {
    let pod = &order.settings.pod;
    let name = name(&pod.metadata)?;
    let (variables, mut notices) = known::variables(order.identity, &pod.expose)?;
    let metadata = metadata(order, &name, &mut notices)?;
    let spec = spec::spec(order.settings, order.runs, &variables)?;
    let console = match order.runs {
        Runs::Idle => Console::idle(pod, &spec::idle_command(pod)),
        Runs::Program(main) => Console::program(pod, main),
    };
    let json = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    Ok(Manifest { name, json, notices, console, lost: pod.lost.clone() })
}

/// The pod of these settings, for nobody: to find out whether the API would take it.
pub(super) fn trial(settings: &Kubernetes) -> Result<Value, ManifestError> {
    let pod = &settings.pod;
    let mut metadata = pod.metadata.clone();
    metadata.remove("generateName");
    metadata.insert("name".into(), name(&pod.metadata)?.as_str().into());
    metadata.insert("namespace".into(), pod.namespace.as_str().into());
    object(&mut metadata, "labels", "metadata")?.insert("app.kubernetes.io/managed-by".into(), "podgate".into());
    object(&mut metadata, "annotations", "metadata")?;
    let spec = spec::spec(settings, Runs::Idle, &[])?;
    Ok(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

/// A configured name is used as it is; otherwise `generateName` is the prefix of ours.
fn name(metadata: &Map<String, Value>) -> Result<PodName, ManifestError> {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let name = match text("name") {
        Some(name) => name.to_owned(),
        None => labels::generated_name(text("generateName").unwrap_or("podgate-")),
    };
    PodName::parse(&name)
        .map_err(|problem| ManifestError::Name { name: printable(&name, 80), problem: problem.to_string() })
}

fn metadata(order: &Order<'_>, name: &PodName, notices: &mut Vec<Notice>) -> Result<Map<String, Value>, ManifestError> {
    let pod = &order.settings.pod;
    let mut metadata = pod.metadata.clone();
    metadata.remove("generateName");
    metadata.insert("name".into(), name.as_str().into());
    metadata.insert("namespace".into(), pod.namespace.as_str().into());
    let authenticated = order.identity.authenticated();
    let username = labels::username(authenticated);
    notices.extend(username.cut.then_some(Notice::LabelCut));
    known::labels(order.identity, &pod.expose, &mut metadata, notices)?;
    let labels = object(&mut metadata, "labels", "metadata")?;
    let mut set = |key: &str, value: String| drop(labels.insert(key.to_owned(), value.into()));
    set("containerssh_username", username.value);
    set("app.kubernetes.io/managed-by", "podgate".to_owned());
    set(IDENTITY, labels::identity(authenticated));
    // A persistent pod is no connection's and no gateway's: nobody sweeps it up.
    if !matches!(pod.mode, Mode::Persistent { .. }) {
        set(CONNECTION, order.connection.to_string());
        set(INSTANCE, order.instance.to_string());
    }
    let annotations = object(&mut metadata, "annotations", "metadata")?;
    annotations.insert("containerssh_ip".into(), order.remote.to_canonical().to_string().replace(':', "-").into());
    annotations.insert(USERNAME.into(), authenticated.into());
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

#[cfg(test)]
mod tests;
