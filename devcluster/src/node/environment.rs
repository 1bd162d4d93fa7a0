//! What a container's program starts with: environment, command line and directory. `$(NAME)` is expanded as Kubernetes
//! does it; a reference to a Secret or ConfigMap is a configuration error, since this cluster has none.

use crate::node::plan::{ContainerPlan, PodPlan};
use crate::process::sweep;
use serde_json::Value;
use std::path::{Path, PathBuf};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Waits for TERM, as an image whose command is `sleep infinity` under an init would: for a child that reads a pipe whose
/// writing end it holds itself, so that no program can be missing or fail. It ends with the child, as `sleep` would.
const IDLE: &str = "trap 'exit 0' TERM INT; : | read -r word <>/proc/self/fd/0 & wait $!";

/// The values that the node adds to every container's environment.
#[derive(Debug, Clone)]
pub(crate) struct ContainerPlace {
    pub(crate) mark: String,
    pub(crate) directory: PathBuf,
    pub(crate) api_port: u16,
}

/// The whole environment of a container, or why it cannot be made (the message of `CreateContainerConfigError`).
pub(crate) fn environment(
    pod: &PodPlan,
    container: &ContainerPlan,
    around: &ContainerPlace,
    object: &Value,
) -> Result<Vec<(String, String)>, String> {
    let home = around.directory.to_string_lossy().into_owned();
    let mut all: Vec<(String, String)> = Vec::new();
    let given = [
        ("PATH", PATH.to_owned()),
        ("HOME", home.clone()),
        ("TMPDIR", home),
        ("HOSTNAME", pod.hostname.clone()),
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT", around.api_port.to_string()),
    ];
    given.into_iter().for_each(|(name, value)| set(&mut all, name, value));
    if container.tty {
        set(&mut all, "TERM", "xterm".to_owned());
    }
    for source in &container.env_from {
        missing_reference(&source["secretRef"], "secret")?;
        missing_reference(&source["configMapRef"], "configmap")?;
    }
    for entry in &container.env {
        let name = entry["name"].as_str().unwrap_or_default();
        let value = match entry.get("valueFrom") {
            Some(from) if !from.is_null() => match referenced(from, object)? {
                Some(value) => value,
                None => continue,
            },
            _ => expand(entry["value"].as_str().unwrap_or_default(), &all),
        };
        set(&mut all, name, value);
    }
    set(&mut all, sweep::VARIABLE, around.mark.clone());
    Ok(all)
}

fn set(all: &mut Vec<(String, String)>, name: &str, value: String) {
    match all.iter_mut().find(|(known, _)| known == name) {
        Some(entry) => entry.1 = value,
        None => all.push((name.to_owned(), value)),
    }
}

fn missing_reference(reference: &Value, what: &str) -> Result<(), String> {
    if reference.is_null() || reference["optional"] == true {
        return Ok(());
    }
    Err(format!("{what} {:?} not found", reference["name"].as_str().unwrap_or_default()))
}

fn referenced(from: &Value, object: &Value) -> Result<Option<String>, String> {
    missing_reference(&from["secretKeyRef"], "secret")?;
    missing_reference(&from["configMapKeyRef"], "configmap")?;
    let Some(path) = from["fieldRef"]["fieldPath"].as_str() else { return Ok(None) };
    if let Some((map, key)) = path.strip_prefix("metadata.").and_then(|rest| rest.split_once("['")) {
        let value = object["metadata"][map].get(key.trim_end_matches("']"));
        return Ok(Some(value.and_then(Value::as_str).unwrap_or_default().to_owned()));
    }
    match path {
        "status.podIP" | "status.hostIP" => Ok(Some("127.0.0.1".to_owned())),
        _ => Ok(path.split('.').try_fold(object, |at, part| at.get(part)).and_then(Value::as_str).map(str::to_owned)),
    }
}

/// Replaces `$(NAME)` by what is known; `$$` is a dollar sign; an unknown name stays as it is written.
pub(crate) fn expand(text: &str, known: &[(String, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(tail) = after.strip_prefix('$') {
            expanded.push('$');
            rest = tail;
            continue;
        }
        let reference = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let Some((name, tail)) = reference else {
            expanded.push('$');
            rest = after;
            continue;
        };
        match known.iter().find(|(known, _)| known == name) {
            Some((_, value)) => expanded.push_str(value),
            None => expanded.push_str(&format!("$({name})")),
        }
        rest = tail;
    }
    expanded + rest
}

/// The command line: `command` replaces the image's entrypoint, `args` its arguments.
pub(crate) fn argv(
    container: &ContainerPlan,
    environment: &[(String, String)],
    images: &[(String, Vec<String>)],
) -> Vec<String> {
    let own: Vec<&String> = container.command.iter().chain(&container.args).collect();
    if own.is_empty() {
        return image_command(&container.image, images);
    }
    own.into_iter().map(|word| expand(word, environment)).collect()
}

/// The command of an image: as the options say, a shell for the well-known shells' images, else something idle.
fn image_command(image: &str, images: &[(String, Vec<String>)]) -> Vec<String> {
    let configured = images.iter().find(|(prefix, _)| image.starts_with(prefix.as_str()));
    if let Some((_, command)) = configured {
        return command.clone();
    }
    let base = image.rsplit('/').next().unwrap_or(image);
    let base = base.split(['@', ':']).next().unwrap_or(base);
    let words: &[&str] = match base {
        "alpine" | "bash" | "busybox" | "debian" | "ubuntu" => &["/bin/sh"],
        _ => &["/bin/sh", "-c", IDLE],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The directory a program starts in: a `workingDir` that the machine lacks is made below the container's own.
pub(crate) fn working_directory(container: &ContainerPlan, scratch: &Path) -> std::io::Result<PathBuf> {
    let Some(wanted) = &container.working_dir else { return Ok(scratch.to_owned()) };
    let wanted = Path::new(wanted);
    if wanted.is_absolute() && wanted.is_dir() {
        return Ok(wanted.to_owned());
    }
    let parts = wanted.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    let below = parts.fold(scratch.to_owned(), |path, part| path.join(part));
    std::fs::create_dir_all(&below)?;
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(container: &Value) -> (PodPlan, Value) {
        let object = json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "x"}},
            "spec": {"containers": [container]},
        });
        (PodPlan::of(&object), object)
    }

    fn environment_of(container: &Value) -> Result<Vec<(String, String)>, String> {
        let (plan, object) = pod(container);
        let around = ContainerPlace { mark: "m".to_owned(), directory: "/scratch".into(), api_port: 1 };
        environment(&plan, &plan.containers[0], &around, &object)
    }

    #[test]
    fn a_missing_secret_is_a_configuration_error() {
        let entry = json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        assert_eq!(environment_of(&json!({"name": "c", "env": [entry]})).unwrap_err(), "secret \"s\" not found");
    }

    #[test]
    fn names_are_expanded_in_order() {
        let env = json!([
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(LATER)-$$(A)-$"},
            {"name": "LATER", "value": "2"},
            {"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        ]);
        let made = environment_of(&json!({"name": "c", "env": env})).unwrap();
        let value = |name: &str| made.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap();
        assert_eq!(value("B"), "1-$(LATER)-$(A)-$");
        assert_eq!((value("NS"), value("APP"), value("HOSTNAME")), ("ns".into(), "x".into(), "p".into()));
        assert_eq!(value("HOME"), "/scratch");
    }

    #[test]
    fn args_alone_are_run_and_nothing_at_all_idles() {
        let (plan, _) = pod(&json!({"name": "c", "image": "x", "args": ["$(A)", "b"]}));
        let environment = [("A".to_owned(), "echo".to_owned())];
        assert_eq!(argv(&plan.containers[0], &environment, &[]), ["echo", "b"]);
        assert_eq!(image_command("docker.io/library/busybox:1", &[]), ["/bin/sh"]);
        assert_eq!(image_command("some/guest", &[])[1], "-c");
        assert_eq!(image_command("some/guest", &[("some/".to_owned(), vec!["x".to_owned()])]), ["x"]);
    }

    #[test]
    fn a_missing_working_directory_is_made_below_the_scratch() {
        let scratch = tempfile::tempdir().unwrap();
        let (plan, _) = pod(&json!({"name": "c", "workingDir": "/no/such/../dir"}));
        let made = working_directory(&plan.containers[0], scratch.path()).unwrap();
        assert_eq!(made, scratch.path().join("no/such/dir"));
        assert!(made.is_dir());
    }
}
