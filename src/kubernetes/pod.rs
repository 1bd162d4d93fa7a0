//! The pod that one connection gets, as JSON: the configured metadata and spec as they are, and what Podgate adds.
//! Pure: settings, identity and connection in, manifest out.
//!
//! The spec stays JSON to the API server, so that fields which this program does not know survive.

mod labels;

pub(super) use labels::{CONNECTION, INSTANCE, Instance};

use super::wait::Console;
use crate::auth::Identity;
use crate::settings::{Kubernetes, Pod};
use crate::types::{ConnectionId, EnvName, EnvVar, PodName, printable};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// How long a pod may live at most in a cluster whose credentials a webhook sent, where its spec does not say: nobody
/// can be counted on to still have those credentials later and sweep up what was left behind.
const FOREIGN_CLUSTER_LIFETIME_SECONDS: u64 = 24 * 60 * 60;

/// What runs in the guest while nobody does anything, where there is no agent: as PID 1 a shell gets no signal that it
/// does not trap, and its `wait` also collects the orphans of programs that were run in the container.
const IDLE_SCRIPT: &str =
    "trap 'exit 0' TERM INT; while :; do sleep 2147483647 & wait $!; [ $? -ne 127 ] || exit 127; done";

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
}

/// Something about a pod that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// The user's name was cut to fit a label; an annotation has it whole.
    LabelCut,
    /// A sensitive variable is left out: without the agent it could only be put into the spec for all to read.
    SensitiveLeftOut(String),
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

/// Makes the manifest.
pub(super) fn manifest(order: &Order<'_>) -> Result<Manifest, ManifestError> {
    let pod = &order.settings.pod;
    let mut notices = Vec::new();
    let name = name(&pod.metadata)?;
    let (variables, left_out) = environment(order.identity)?;
    notices.extend(left_out.into_iter().map(Notice::SensitiveLeftOut));
    let (metadata, cut) = metadata(order, &name)?;
    notices.extend(cut.then_some(Notice::LabelCut));
    let idle = idle_command(pod);
    let spec = spec(order.settings, &idle, &variables)?;
    let console = Console::new(pod, &idle);
    let json = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
    Ok(Manifest { name, json, notices, console })
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
    let spec = spec(settings, &idle_command(pod), &[])?;
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

fn metadata(order: &Order<'_>, name: &PodName) -> Result<(Map<String, Value>, bool), ManifestError> {
    let pod = &order.settings.pod;
    let mut metadata = pod.metadata.clone();
    metadata.remove("generateName");
    metadata.insert("name".into(), name.as_str().into());
    metadata.insert("namespace".into(), pod.namespace.as_str().into());
    let authenticated = order.identity.authenticated();
    let username = labels::username(authenticated);
    let labels = object(&mut metadata, "labels", "metadata")?;
    for (key, value) in [
        (CONNECTION, order.connection.to_string()),
        ("containerssh_username", username.value),
        ("app.kubernetes.io/managed-by", "podgate".to_owned()),
        (INSTANCE, order.instance.to_string()),
        ("podgate/identity", labels::identity(authenticated)),
    ] {
        labels.insert(key.to_owned(), value.into());
    }
    let annotations = object(&mut metadata, "annotations", "metadata")?;
    annotations.insert("containerssh_ip".into(), order.remote.to_canonical().to_string().replace(':', "-").into());
    annotations.insert("podgate/username".into(), authenticated.into());
    Ok((metadata, username.cut))
}

fn spec(settings: &Kubernetes, idle: &[String], variables: &[EnvVar]) -> Result<Map<String, Value>, ManifestError> {
    let pod = &settings.pod;
    let mut spec = pod.spec.clone();
    let silent = |spec: &Map<String, Value>, key: &str| spec.get(key).is_none_or(Value::is_null);
    if silent(&spec, "automountServiceAccountToken") {
        spec.insert("automountServiceAccountToken".into(), false.into());
    }
    if settings.cluster.from_webhook && silent(&spec, "activeDeadlineSeconds") {
        spec.insert("activeDeadlineSeconds".into(), FOREIGN_CLUSTER_LIFETIME_SECONDS.into());
    }
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        for container in containers(&mut spec, list, &path)? {
            add_variables(container, variables, &path)?;
        }
    }
    let console = containers(&mut spec, "containers", "spec.containers")?.nth(pod.console);
    let Some(console) = console else {
        return Err(ManifestError::Shape {
            path: "consoleContainerNumber".into(),
            expected: "the number of a container of the spec",
        });
    };
    console.insert("command".into(), idle.into());
    Ok(spec)
}

fn containers<'a>(
    spec: &'a mut Map<String, Value>,
    list: &str,
    path: &str,
) -> Result<impl Iterator<Item = &'a mut Map<String, Value>>, ManifestError> {
    let containers = match spec.get_mut(list) {
        None | Some(Value::Null) => &mut [],
        Some(Value::Array(containers)) => containers.as_mut_slice(),
        Some(_) => return Err(ManifestError::Shape { path: path.to_owned(), expected: "a list" }),
    };
    if let Some(number) = containers.iter().position(|container| !container.is_object()) {
        return Err(ManifestError::Shape { path: format!("{path}[{number}]"), expected: "a container" });
    }
    Ok(containers.iter_mut().filter_map(Value::as_object_mut))
}

/// A variable that the container already has gets the identity's value; there are never two of one name.
fn add_variables(container: &mut Map<String, Value>, variables: &[EnvVar], path: &str) -> Result<(), ManifestError> {
    if variables.is_empty() {
        return Ok(());
    }
    let env = container.entry("env").or_insert_with(|| json!([]));
    if env.is_null() {
        *env = json!([]);
    }
    let Value::Array(env) = env else {
        return Err(ManifestError::Shape { path: format!("{path}[].env"), expected: "a list" });
    };
    env.retain(|entry| {
        let name = entry.get("name").and_then(Value::as_str);
        !variables.iter().any(|var| Some(var.name().as_str()) == name)
    });
    env.extend(variables.iter().map(|var| json!({"name": var.name().as_str(), "value": var.value()})));
    Ok(())
}

/// What of the identity's environment can be set, and the names of what is left out.
fn environment(identity: &Identity) -> Result<(Vec<EnvVar>, Vec<String>), ManifestError> {
    let mut variables = Vec::new();
    let mut left_out = Vec::new();
    for (name, value) in &identity.known().environment {
        let wrong = |problem: crate::types::Invalid| ManifestError::Environment {
            name: printable(name, 64),
            problem: problem.to_string(),
        };
        let name = EnvName::parse(name).map_err(wrong)?;
        if value.sensitive {
            left_out.push(name.to_string());
        } else {
            variables.push(EnvVar::new(name, value.value.clone()).map_err(wrong)?);
        }
    }
    Ok((variables, left_out))
}

fn idle_command(pod: &Pod) -> Vec<String> {
    if let Some(command) = &pod.idle_command {
        return command.clone();
    }
    if pod.disable_agent {
        return ["/bin/sh", "-c", IDLE_SCRIPT].map(str::to_owned).to_vec();
    }
    [&*pod.agent_path, "wait-signal", "--signal", "INT", "--signal", "TERM"].map(str::to_owned).to_vec()
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
        .ok_or_else(|| ManifestError::Shape { path: format!("{path}.{key}"), expected: "a map of texts" })
}

#[cfg(test)]
mod tests;
