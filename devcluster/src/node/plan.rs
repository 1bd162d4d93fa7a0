//! A pod's spec as the node reads it: parsed once from JSON that the API has validated.

use serde_json::Value;
use std::time::Duration;

/// The restart policy of a pod's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

/// The containers and settings of one pod, read from its object.
#[derive(Debug, Clone)]
pub(crate) struct PodPlan {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) hostname: String,
    pub(crate) restart: Restart,
    pub(crate) deadline: Option<Duration>,
    /// Time that the sidecars have to end after the containers.
    pub(crate) grace: Duration,
    pub(crate) init: Vec<ContainerPlan>,
    pub(crate) containers: Vec<ContainerPlan>,
}

/// The settings of one container, read from the pod's object.
#[derive(Debug, Clone)]
pub(crate) struct ContainerPlan {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) never_pull: bool,
    pub(crate) command: Vec<String>,
    pub(crate) args: Vec<String>,
    /// The entries of `env`, unread: what they refer to is known only at the start.
    pub(crate) env: Vec<Value>,
    pub(crate) env_from: Vec<Value>,
    pub(crate) working_dir: Option<String>,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    pub(crate) tty: bool,
    /// An init container with `restartPolicy: Always`, which runs beside everything that comes after it.
    pub(crate) sidecar: bool,
}

impl PodPlan {
    pub(crate) fn of(pod: &Value) -> Self {
        let (spec, metadata) = (&pod["spec"], &pod["metadata"]);
        let restart = match spec["restartPolicy"].as_str() {
            Some("Never") => Restart::Never,
            Some("OnFailure") => Restart::OnFailure,
            _ => Restart::Always,
        };
        Self {
            namespace: text(&metadata["namespace"]),
            name: text(&metadata["name"]),
            uid: text(&metadata["uid"]),
            hostname: spec["hostname"].as_str().map_or_else(|| text(&metadata["name"]), str::to_owned),
            restart,
            deadline: spec["activeDeadlineSeconds"].as_u64().map(Duration::from_secs),
            grace: Duration::from_secs(spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30)),
            init: containers(&spec["initContainers"]),
            containers: containers(&spec["containers"]),
        }
    }

    /// The sidecars in the order in which they end, which is the reverse of the spec's.
    pub(crate) fn ending_sidecars(&self) -> impl Iterator<Item = &ContainerPlan> {
        self.init.iter().rev().filter(|container| container.sidecar)
    }

    /// Every container, the init containers first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ContainerPlan> {
        self.init.iter().chain(&self.containers)
    }
}

fn containers(list: &Value) -> Vec<ContainerPlan> {
    list.as_array().into_iter().flatten().map(container).collect()
}

fn container(spec: &Value) -> ContainerPlan {
    let flag = |field: &str| spec[field].as_bool().unwrap_or(false);
    ContainerPlan {
        name: text(&spec["name"]),
        image: text(&spec["image"]),
        never_pull: spec["imagePullPolicy"] == "Never",
        command: texts(&spec["command"]),
        args: texts(&spec["args"]),
        env: spec["env"].as_array().cloned().unwrap_or_default(),
        env_from: spec["envFrom"].as_array().cloned().unwrap_or_default(),
        working_dir: spec["workingDir"].as_str().filter(|dir| !dir.is_empty()).map(str::to_owned),
        stdin: flag("stdin"),
        stdin_once: flag("stdinOnce"),
        tty: flag("tty"),
        sidecar: spec["restartPolicy"] == "Always",
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}
