//! The spec: the configured one as it is, with what Podgate fills in where it is silent, the user's variables, and what
//! the console container runs.

use super::{ManifestError, Runs};
use crate::kubernetes::argv::Main;
use crate::settings::{Kubernetes, Mode, Pod};
use crate::types::EnvVar;
use serde_json::{Map, Value, json};

/// How long a pod may live at most in a cluster whose credentials a webhook sent, where its spec does not say: nobody
/// can be counted on to still have those credentials later and sweep up what was left behind.
const FOREIGN_CLUSTER_LIFETIME_SECONDS: u64 = 24 * 60 * 60;

/// The idle program of a guest without an agent. As PID 1 a shell gets no signal that it does not trap, and its `wait`
/// also collects the orphans of programs that were run in the container.
///
/// It waits for a child that reads a pipe whose writing end it holds itself, which needs nothing of the image. Where a
/// pipe cannot be opened so, the image's `sleep` waits. A child that somebody killed is followed by another one; ten
/// that end within one second mean that nothing waits here, and the shell ends with the status of the last.
pub(super) const IDLE_SCRIPT: &str = "trap 'exit 0' TERM INT; rounds=0 second=; while :; do \
     : | read -r word 2>/dev/null <>/proc/self/fd/0 & wait $!; status=$?; \
     [ $status -gt 128 ] || { sleep 2147483647 & wait $!; status=$?; }; \
     read -r now word 2>/dev/null </proc/uptime || now=; \
     [ \"${now%%.*}\" = \"$second\" ] || rounds=0; second=${now%%.*}; rounds=$((rounds + 1)); \
     [ $rounds -lt 10 ] || { \
     echo \"podgate: nothing waits in this container: sleep ended at once with status $status\" >&2; \
     [ $status -ne 0 ] || status=1; exit $status; }; done";

pub(super) fn spec(
    settings: &Kubernetes,
    runs: Runs<'_>,
    variables: &[EnvVar],
) -> Result<Map<String, Value>, ManifestError> {
    let pod = &settings.pod;
    let mut spec = pod.spec.clone();
    if is_silent(&spec, "automountServiceAccountToken") {
        spec.insert("automountServiceAccountToken".into(), false.into());
    }
    let stays = matches!(pod.mode, Mode::Persistent { .. });
    if settings.cluster.from_webhook && !stays && is_silent(&spec, "activeDeadlineSeconds") {
        spec.insert("activeDeadlineSeconds".into(), FOREIGN_CLUSTER_LIFETIME_SECONDS.into());
    }
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        for container in containers(&mut spec, list, &path)? {
            add_variables(container, variables, &path)?;
        }
    }
    if matches!(runs, Runs::Program(_)) && is_silent(&spec, "restartPolicy") {
        spec.insert("restartPolicy".into(), "Never".into());
    }
    let console = containers(&mut spec, "containers", "spec.containers")?.nth(pod.console);
    let Some(console) = console else {
        return Err(ManifestError::Shape {
            path: "consoleContainerNumber".into(),
            expected: "the number of a container of the spec",
        });
    };
    match runs {
        Runs::Idle => drop(console.insert("command".into(), idle_command(pod).into())),
        Runs::Program(main) => run(main, console)?,
    }
    Ok(spec)
}

fn is_silent(spec: &Map<String, Value>, key: &str) -> bool {
    spec.get(key).is_none_or(|value| value.is_null() || value == "")
}

/// The container's main process is the user's program, on streams that we attach to. What the spec has as `args` belongs
/// to the image's own program.
fn run(main: &Main, console: &mut Map<String, Value>) -> Result<(), ManifestError> {
    add_variables(console, &main.env, "spec.containers")?;
    for (key, value) in [("stdin", true), ("stdinOnce", true), ("tty", main.terminal)] {
        console.insert(key.to_owned(), value.into());
    }
    if let Some(command) = &main.command {
        let words: Vec<String> = command.iter().map(|word| verbatim(word)).collect();
        console.insert("command".into(), words.into());
        console.remove("args");
    }
    Ok(())
}

/// Kubernetes reads `$(NAME)` in command lines and variables, and `$$` as one dollar sign.
fn verbatim(text: &str) -> String {
    text.replace('$', "$$")
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

/// A variable that the container already has gets the new value; there are never two of one name.
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
    env.extend(variables.iter().map(|var| json!({"name": var.name().as_str(), "value": verbatim(var.value())})));
    Ok(())
}

pub(super) fn idle_command(pod: &Pod) -> Vec<String> {
    if let Some(command) = &pod.idle_command {
        return command.clone();
    }
    if pod.disable_agent {
        return ["/bin/sh", "-c", IDLE_SCRIPT].map(str::to_owned).to_vec();
    }
    [&*pod.agent_path, "wait-signal", "--signal", "INT", "--signal", "TERM"].map(str::to_owned).to_vec()
}
