//! The pod's spec: the configured one with Podgate's defaults for fields that it does not set, the user's variables, and the
//! command of the console container.

use super::fields::{list, objects};
use super::{ConsoleCommand, ManifestError, agent};
use crate::program::command_line::MainProcess;
use crate::settings::{KubernetesSettings, PodMode, PodSettings};
use crate::types::EnvVar;
use serde_json::{Map, Value, json};

/// Default of `activeDeadlineSeconds` in a cluster whose credentials a webhook sent: nobody may have those credentials later
/// and remove a pod that was left behind.
const FOREIGN_CLUSTER_LIFETIME_SECONDS: u64 = 24 * 60 * 60;

/// The idle program of a guest without an agent. As PID 1 a shell gets no signal that it does not trap, and its `wait`
/// also collects the orphans of programs that were run in the container.
///
/// It waits for a child that reads a pipe whose writing end it holds itself, which needs nothing of the image. If a pipe
/// cannot be opened like that, it waits for the image's `sleep`. A child that was killed is replaced by another one. If
/// ten end within one second, nothing can wait in this container, and the shell ends with the status of the last.
pub(super) const IDLE_SCRIPT: &str = "trap 'exit 0' TERM INT; rounds=0 second=; while :; do \
     : | read -r word 2>/dev/null <>/proc/self/fd/0 & wait $!; status=$?; \
     [ $status -gt 128 ] || { sleep 2147483647 & wait $!; status=$?; }; \
     read -r now word 2>/dev/null </proc/uptime || now=; \
     [ \"${now%%.*}\" = \"$second\" ] || rounds=0; second=${now%%.*}; rounds=$((rounds + 1)); \
     [ $rounds -lt 10 ] || { \
     echo \"podgate: nothing waits in this container: sleep ended at once with status $status\" >&2; \
     [ $status -ne 0 ] || status=1; exit $status; }; done";

/// Becomes the agent, if the image has one.
pub(super) const AGENT_OR: &str = "[ -f \"$0\" ] && [ -x \"$0\" ] && exec \"$0\" \"$@\"; ";

pub(super) fn spec(
    settings: &KubernetesSettings,
    command: ConsoleCommand<'_>,
    variables: &[EnvVar],
) -> Result<Map<String, Value>, ManifestError> {
    let pod = &settings.pod;
    let mut spec = pod.spec.clone();
    if is_unset(&spec, "automountServiceAccountToken") {
        spec.insert("automountServiceAccountToken".into(), false.into());
    }
    let stays = matches!(pod.mode, PodMode::Persistent { .. });
    if settings.cluster.from_webhook && !stays && is_unset(&spec, "activeDeadlineSeconds") {
        spec.insert("activeDeadlineSeconds".into(), FOREIGN_CLUSTER_LIFETIME_SECONDS.into());
    }
    for list in ["containers", "initContainers"] {
        let path = format!("spec.{list}");
        for container in objects(&mut spec, list, &path)? {
            add_variables(container, variables, &path)?;
        }
    }
    if matches!(command, ConsoleCommand::Program(_)) && is_unset(&spec, "restartPolicy") {
        spec.insert("restartPolicy".into(), "Never".into());
    }
    let console = objects(&mut spec, "containers", "spec.containers")?.nth(pod.console);
    let Some(console) = console else {
        return Err(ManifestError::Shape {
            path: "consoleContainerNumber".into(),
            expected: "the number of a container of the spec",
        });
    };
    match command {
        ConsoleCommand::Idle => {
            console.insert("command".into(), idle_command(pod).into());
            // They belong to the program that does not run; a configured command gets them, as in ContainerSSH.
            if pod.idle_command.is_none() {
                console.remove("args");
            }
        }
        ConsoleCommand::Program(main) => set_main_program(main, console)?,
    }
    agent::add(pod, &mut spec)?;
    Ok(spec)
}

fn is_unset(spec: &Map<String, Value>, key: &str) -> bool {
    spec.get(key).is_none_or(|value| value.is_null() || value == "")
}

/// Makes the user's program the container's main process, with streams to attach to. The spec's `args` belong to the
/// image's own program.
fn set_main_program(main: &MainProcess, console: &mut Map<String, Value>) -> Result<(), ManifestError> {
    add_variables(console, &main.env, "spec.containers")?;
    for (key, value) in [("stdin", true), ("stdinOnce", true), ("tty", main.terminal)] {
        console.insert(key.to_owned(), value.into());
    }
    if let Some(command) = &main.command {
        let words: Vec<String> = command.iter().map(|word| escaped(word)).collect();
        console.insert("command".into(), words.into());
        console.remove("args");
    }
    Ok(())
}

/// Escapes a text for command lines and variables, in which Kubernetes expands `$(NAME)` and reads `$$` as one dollar sign.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// Sets variables of a container; one that it already has gets the new value.
fn add_variables(container: &mut Map<String, Value>, variables: &[EnvVar], path: &str) -> Result<(), ManifestError> {
    if variables.is_empty() {
        return Ok(());
    }
    let env = list(container, "env", &format!("{path}[].env"))?;
    env.retain(|entry| {
        let name = entry.get("name").and_then(Value::as_str);
        !variables.iter().any(|var| Some(var.name().as_str()) == name)
    });
    env.extend(variables.iter().map(|var| json!({"name": var.name().as_str(), "value": escaped(var.value())})));
    Ok(())
}

/// The command of an idle console container: the configured one, else the agent's. An image may lack an agent that the
/// gateway can bring; a shell then waits in its place.
pub(super) fn idle_command(pod: &PodSettings) -> Vec<String> {
    if let Some(command) = &pod.idle_command {
        return command.clone();
    }
    let shell = |script: &str| ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    if pod.disable_agent {
        return shell(IDLE_SCRIPT);
    }
    let copied = agent::copied_agent(pod);
    let waits = [copied.unwrap_or(&pod.agent_path), "wait-signal", "--signal", "INT", "--signal", "TERM"];
    let waits = waits.map(str::to_owned).to_vec();
    let is_certain = copied.is_some() || pod.agent_path_is_set || !pod.agent_push;
    if is_certain { waits } else { [shell(&format!("{AGENT_OR}{IDLE_SCRIPT}")), waits].concat() }
}
