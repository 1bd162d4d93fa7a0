//! The agent that an init container copies into the pod from `kubernetes.pod.agentImage`, through a volume that the console
//! container can only read.
//!
//! Whatever admits the console container admits the init container: it has the same user and the same resources (so that the
//! pod needs no more than before, and keeps its class of service), and for the rest what the level `restricted` of Pod
//! Security asks for. Pull secrets are the pod's own. The rest of the spec stays as it is.

use super::{ManifestError, fields};
use crate::settings::{PodMode, PodSettings};
use serde_json::{Map, Value, json};

/// The path of the copied agent in the console container.
const COPIED_AGENT: &str = "/.podgate/podgate-agent";
/// The folder of the volume, in both containers.
const MOUNT_PATH: &str = "/.podgate";
/// The name of both the init container and the volume.
const NAME: &str = "podgate-agent";
/// The agent in its own image, found by that image's `PATH`.
const PROGRAM: &str = "podgate-agent";
/// The limit of the volume: twice the agent and more, because a copy that was interrupted may be beside the new one.
const VOLUME_SIZE: &str = "16Mi";
/// The resources of the console container that the init container gets, too; a device is not one of them.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// The fields of the console container's security context that say which user runs it.
const USER_FIELDS: [&str; 4] = ["runAsUser", "runAsGroup", "runAsNonRoot", "seLinuxOptions"];

/// The path of the agent in the pod if an init container copies it there. Mode session needs none: its programs are the
/// container's main process.
pub(crate) fn copied_agent(pod: &PodSettings) -> Option<&'static str> {
    image(pod).map(|_| COPIED_AGENT)
}

fn image(pod: &PodSettings) -> Option<&str> {
    let is_used = !pod.disable_agent && !matches!(pod.mode, PodMode::Session);
    pod.agent_image.as_deref().filter(|_| is_used)
}

/// Adds the init container and the volume, if there is an image of the agent.
///
/// # Errors
/// The spec has something of its own where they belong.
pub(super) fn add(pod: &PodSettings, spec: &mut Map<String, Value>) -> Result<(), ManifestError> {
    let Some(image) = image(pod) else { return Ok(()) };
    for list in ["containers", "initContainers", "volumes"] {
        let path = format!("spec.{list}");
        if fields::objects(spec, list, &path)?.any(|entry| entry.get("name").is_some_and(|name| name == NAME)) {
            return Err(ManifestError::Reserved { path, taken: NAME });
        }
    }
    let path = "spec.containers";
    let Some(console) = fields::objects(spec, "containers", path)?.nth(pod.console) else { return Ok(()) };
    let init = init_container(image, console);
    let mounts = fields::list(console, "volumeMounts", &format!("{path}[].volumeMounts"))?;
    if mounts.iter().filter_map(|mount| mount.get("mountPath")?.as_str()).any(is_below_mount) {
        return Err(ManifestError::Reserved { path: format!("{path}[].volumeMounts"), taken: MOUNT_PATH });
    }
    mounts.push(json!({"name": NAME, "mountPath": MOUNT_PATH, "readOnly": true}));
    // Before the others: without the agent none of them needs to run.
    fields::list(spec, "initContainers", "spec.initContainers")?.insert(0, init);
    let volume = json!({"name": NAME, "emptyDir": {"sizeLimit": VOLUME_SIZE}});
    fields::list(spec, "volumes", "spec.volumes")?.push(volume);
    Ok(())
}

/// True for the folder of the volume and every path below it.
fn is_below_mount(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    parts.first().is_some_and(|first| MOUNT_PATH.strip_prefix('/') == Some(first))
}

/// The container that copies the agent.
fn init_container(image: &str, console: &Map<String, Value>) -> Value {
    let mut container = json!({
        "name": NAME,
        "image": image,
        "command": [PROGRAM, "install", COPIED_AGENT],
        "securityContext": security_context(console),
        "volumeMounts": [{"name": NAME, "mountPath": MOUNT_PATH}],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    });
    if let (Some(container), Some(resources)) = (container.as_object_mut(), resources(console)) {
        container.insert("resources".to_owned(), resources);
    }
    container
}

/// The console container's user, where it names one (otherwise the pod's applies), without any privilege.
fn security_context(console: &Map<String, Value>) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if let (Some(context), Some(own)) = (context.as_object_mut(), console.get("securityContext")) {
        let named = USER_FIELDS.iter().filter_map(|field| Some((*field, own.get(field)?)));
        context.extend(named.filter(|(_, value)| !value.is_null()).map(|(field, value)| (field.into(), value.clone())));
    }
    context
}

/// The console container's requests and limits, where it has some.
fn resources(console: &Map<String, Value>) -> Option<Value> {
    let own = console.get("resources")?;
    let kinds = ["requests", "limits"].into_iter().filter_map(|kind| {
        let all = own.get(kind)?.as_object()?;
        let of_all = |name: &str| Some((name.to_owned(), all.get(name)?.clone()));
        let some: Map<String, Value> = RESOURCES.into_iter().filter_map(of_all).collect();
        (!some.is_empty()).then(|| (kind.to_owned(), some.into()))
    });
    let kinds: Map<String, Value> = kinds.collect();
    (!kinds.is_empty()).then(|| kinds.into())
}
