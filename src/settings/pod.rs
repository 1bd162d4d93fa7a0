//! `kubernetes.pod` and `kubernetes.timeouts`: what a connection's pod looks like. The objects of Kubernetes stay JSON
//! (the API server judges their fields); only what Podgate itself needs of them is read here.

use super::console::{self, Short};
use super::{Completeness, Mode, Pod, Timeouts, mode, overlay};
use crate::config::reader::Section;
use crate::schema::{At, strategic};
use crate::types::{ContainerName, Namespace, printable};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const AGENT: &str = "/usr/bin/containerssh-agent";
const IDLE_COMMAND: [&str; 6] = [AGENT, "wait-signal", "--signal", "INT", "--signal", "TERM"];
const GENERATE_NAME: &str = "containerssh-";
const LEAST: Duration = Duration::from_millis(1);

/// ContainerSSH's default `spec`, which stands where the file has none.
pub(super) fn default_spec() -> Map<String, Value> {
    let container = json!({"name": "shell", "image": "containerssh/containerssh-guest-image"});
    [("containers".to_owned(), Value::Array(vec![container]))].into_iter().collect()
}

/// Reads `pod`; `None` was reported, or waits for a config server's answer.
pub(super) fn read(section: &Section<'_>, completeness: Completeness) -> Option<Pod> {
    if section.text("agentImage").is_some() {
        section.error(
            "agentImage",
            "is not built yet; leave it out: take an image that has the agent, or set disableAgent: true",
        );
    }
    let metadata = metadata(section);
    let _ = section.choice("merge", &overlay::MERGE_WORDS);
    let number = section.integer("consoleContainerNumber", 0..=i64::MAX).unwrap_or(0);
    let spec = spec(section, number);
    let console = spec.as_ref().and_then(|spec| console(section, spec, number, completeness));
    let idle_command = command(section, "idleCommand").filter(|words| *words != IDLE_COMMAND);
    let mode = mode::read(section, metadata.as_ref().map(|(_, metadata)| metadata), spec.as_ref(), completeness);
    let expose = mode::expose(section);
    let shell_command = shell_command(section, mode.as_ref());
    let exec_command = command(section, "execCommand").unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
    let subsystems = subsystems(section);
    let agent_path = section.text("agentPath").unwrap_or(AGENT).to_owned();
    let disable_agent = section.flag("disableAgent").unwrap_or(false);
    let (namespace, metadata) = metadata?;
    let (console, console_name) = console?;
    Some(Pod {
        mode: mode?,
        namespace,
        metadata,
        spec: spec?,
        console,
        console_name,
        idle_command,
        shell_command,
        exec_command,
        subsystems,
        agent_path,
        disable_agent,
        expose,
        lost: Vec::new(),
    })
}

/// The specification with the short keys in the console container, which may have its image from there alone.
fn spec(section: &Section<'_>, number: i64) -> Option<Map<String, Value>> {
    console::check(section);
    let mut spec = match section.value("spec") {
        Some(_) => section.object("spec")?.clone(),
        None => default_spec(),
    };
    for key in ["metadata", "spec"] {
        let left = section.value(key).and_then(|value| strategic::directive(value, &At::default().key(key)));
        if let Some(at) = left {
            let text = "is a directive of a strategic merge: it has a meaning in an answer of the config webhook, under \
                        kubernetes.pod.merge: strategic";
            section.error(at.shown(), text);
        }
    }
    let short = section.all().map(Short::of).unwrap_or_default();
    let container = usize::try_from(number).ok().and_then(|number| console::container(&mut spec, number));
    container.into_iter().for_each(|container| short.over(container));
    Some(spec)
}

/// `metadata.namespace` alone.
pub(super) fn namespace(section: &Section<'_>) -> Option<Namespace> {
    metadata(section).map(|(namespace, _)| namespace)
}

fn metadata(section: &Section<'_>) -> Option<(Namespace, Map<String, Value>)> {
    let mut metadata = match section.value("metadata") {
        Some(_) => section.object("metadata")?.clone(),
        None => Map::new(),
    };
    metadata.entry("generateName").or_insert_with(|| GENERATE_NAME.into());
    let namespace = metadata.entry("namespace").or_insert_with(|| "default".into());
    let namespace = namespace.as_str().map(Namespace::parse);
    let generate_name = metadata.get("generateName").is_some_and(Value::is_string);
    if !generate_name {
        section.error("metadata.generateName", "must be a text");
    }
    match namespace {
        Some(Ok(namespace)) => generate_name.then_some((namespace, metadata)),
        Some(Err(why)) => report(section, "metadata.namespace", &why.to_string()),
        None => report(section, "metadata.namespace", "must be a text"),
    }
}

fn report<T>(section: &Section<'_>, key: &str, text: &str) -> Option<T> {
    section.error(key, text);
    None
}

/// The guest: an existing container of the spec, all of whose containers have a name and an image.
fn console(
    section: &Section<'_>,
    spec: &Map<String, Value>,
    number: i64,
    completeness: Completeness,
) -> Option<(usize, ContainerName)> {
    let containers = match spec.get("containers") {
        Some(Value::Array(containers)) => containers.as_slice(),
        Some(_) => return report(section, "spec.containers", "must be a list"),
        None => &[],
    };
    if containers.is_empty() {
        return match completeness {
            Completeness::Whole => report(section, "spec.containers", "is empty; a pod needs at least one container"),
            Completeness::Part => None,
        };
    }
    let names: Vec<_> =
        containers.iter().enumerate().filter_map(|(index, value)| container(section, index, value)).collect();
    if names.len() != containers.len() {
        return None;
    }
    let console = usize::try_from(number).ok()?;
    match names.get(console) {
        Some(name) => Some((console, name.clone())),
        None if completeness == Completeness::Part => None,
        None => {
            let text = format!("is {number}, but spec.containers has {}; the first is 0", names.len());
            report(section, "consoleContainerNumber", &text)
        }
    }
}

fn container(section: &Section<'_>, index: usize, value: &Value) -> Option<ContainerName> {
    let at = |key: &str| format!("spec.containers[{index}]{key}");
    let Value::Object(container) = value else { return report(section, &at(""), "must be a mapping") };
    let name = match container.get("name") {
        Some(Value::String(name)) => ContainerName::parse(name).map_err(|why| why.to_string()),
        Some(_) => Err("must be a text".into()),
        None => Err("is missing".into()),
    };
    let image = match container.get("image") {
        Some(Value::String(image)) if image.trim().is_empty() => Err("is empty"),
        Some(Value::String(_)) => Ok(()),
        Some(_) => Err("must be a text"),
        None => Err("is missing"),
    };
    if let Err(why) = image {
        section.error(&at(".image"), why);
    }
    match name {
        Ok(name) => image.is_ok().then_some(name),
        Err(why) => report(section, &at(".name"), &why),
    }
}

/// The shell. In mode session an empty list is the image's own program; elsewhere there is none, and it is unset.
fn shell_command(section: &Section<'_>, mode: Option<&Mode>) -> Option<Vec<String>> {
    let images_own = matches!(mode, Some(Mode::Session))
        && section.value("shellCommand").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if images_own {
        return None;
    }
    Some(command(section, "shellCommand").unwrap_or_else(|| vec!["/bin/bash".into()]))
}

/// A program with its arguments; an empty list is unset.
fn command(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let words = section.texts(key)?;
    let program = words.first()?;
    if program.is_empty() {
        return report(section, &format!("{key}[0]"), "is empty; it names the program");
    }
    if words.iter().any(|word| word.contains('\0')) {
        return report(section, key, "holds a NUL character");
    }
    Some(words.into_iter().map(str::to_owned).collect())
}

fn subsystems(section: &Section<'_>) -> BTreeMap<String, String> {
    let Some(table) = section.table("subsystems") else {
        return [("sftp".to_owned(), "/usr/lib/openssh/sftp-server".to_owned())].into();
    };
    for (name, program) in &table {
        if program.is_empty() || program.contains('\0') {
            section.error(&format!("subsystems.{}", printable(name, 64)), "names no program");
        }
    }
    table
}

/// Reads `timeouts`.
pub(super) fn timeouts(section: &Section<'_>) -> Timeouts {
    let of = |key, seconds| section.duration(key, LEAST).unwrap_or(Duration::from_secs(seconds));
    Timeouts {
        pod_start: of("podStart", 60),
        pod_stop: of("podStop", 60),
        command_start: of("commandStart", 60),
        signal: of("signal", 60),
        window: of("window", 60),
        http: of("http", 15),
    }
}
