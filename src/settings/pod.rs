//! `kubernetes.pod`: the pod of a connection. Kubernetes objects stay JSON (the API server checks their fields); only the
//! fields that Podgate itself needs are read here.

use super::file_sections::Completeness;
use super::pod_mode::{self, ExposedMetadata, PodMode};
use crate::schema::kubernetes::{ValuePath, strategic_merge};
use crate::schema::{Section, Tree, keys, kind, merge};
use crate::types::{ContainerName, ImageName, Namespace, printable};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Arguments of the default `idleCommand`, after the default `agentPath`.
const IDLE_ARGUMENTS: [&str; 5] = ["wait-signal", "--signal", "INT", "--signal", "TERM"];

const IMAGE: &str = "image";
const RESOURCES: &str = "resources";
const ENV: &str = "env";

/// `kubernetes.pod`.
#[derive(Debug, Clone)]
pub(crate) struct PodSettings {
    pub mode: PodMode,
    pub namespace: Namespace,
    /// The whole `metadata`, sent unchanged except for Podgate's additions.
    pub metadata: Tree,
    /// The whole `spec`; it has at least one container, each with name and image.
    pub spec: Tree,
    /// `consoleContainerNumber`, an index into `spec.containers` that exists.
    pub console: usize,
    /// Name of that container.
    pub console_name: ContainerName,
    /// `idleCommand`; `None` means the default.
    pub idle_command: Option<Vec<String>>,
    /// `shellCommand`, not empty; `None`, in mode session alone, means the image's own program.
    pub shell_command: Option<Vec<String>>,
    /// `execCommand`: program and arguments before the string of an exec request, by default `/bin/sh -c`.
    pub exec_command: Vec<String>,
    /// `subsystems`: name to program.
    pub subsystems: BTreeMap<String, String>,
    /// True if `subsystems` is unset: a guest with an agent has sftp by the agent's own server, not by the default's program.
    pub agent_sftp: bool,
    /// `agentPath`: the agent's path in the image of the console container.
    pub agent_path: String,
    /// True if `agentPath` is not the default: the operator says that the image has the agent there.
    pub agent_path_is_set: bool,
    /// `agentImage`: the image from which an init container copies the agent; a valid name.
    pub agent_image: Option<String>,
    /// `agentPush`: the gateway may bring its own agent into a running container.
    pub agent_push: bool,
    /// `disableAgent`: no agent is looked for, copied or brought.
    pub disable_agent: bool,
    /// `exposeAuthMetadataAsEnv`, `…AsLabels` and `…AsAnnotations`
    pub expose: ExposedMetadata,
    /// Fields that the file's console container lost because the config webhook's answer replaced the list of containers:
    /// the likely reason if the cluster does not admit the pod.
    pub lost: Vec<String>,
}

/// `kubernetes.pod.merge`: treatment of the lists of `metadata` and `spec` that both file and answer have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PodMerge {
    /// The answer's lists replace the file's.
    Replace,
    /// The lists are merged like those of a strategic merge patch.
    Strategic,
}

const MERGE_WORDS: [(&str, PodMerge); 2] = [("replace", PodMerge::Replace), ("strategic", PodMerge::Strategic)];

impl PodMerge {
    /// The answer's value, else the file's. An unknown word means the default; the reader reports it.
    pub(super) fn of(file: Option<&Tree>, answer: Option<&Tree>) -> Self {
        let word_of = |pod: &Tree| {
            let (_, word) = pod.iter().find(|(key, _)| key.eq_ignore_ascii_case("merge"))?;
            word.as_str().filter(|word| !word.is_empty()).map(str::to_owned)
        };
        let word = answer.and_then(word_of).or_else(|| file.and_then(word_of));
        MERGE_WORDS.iter().find(|(known, _)| word.as_deref() == Some(*known)).map_or(Self::Replace, |(_, merge)| *merge)
    }
}

/// Judge of the names of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImageJudge {
    /// This reader: a file or an answer is checked before anybody logs in.
    Reader,
    /// The node, whose reason the user then reads.
    Node,
}

/// Reads `pod`; `None` if a mistake was reported or an answer may supply the rest.
pub(super) fn read(section: &Section<'_>, completeness: Completeness, judge: ImageJudge) -> Option<PodSettings> {
    let metadata = metadata(section);
    let _ = section.choice("merge", &MERGE_WORDS);
    let number = section.integer("consoleContainerNumber").unwrap_or_default();
    let spec = spec(section, number);
    if let (Some(spec), ImageJudge::Reader) = (&spec, judge) {
        judge_images(section, spec);
    }
    let console = spec.as_ref().and_then(|spec| console(section, spec, number, completeness));
    let idle_command = command(section, "idleCommand").filter(|words| !is_default_idle_command(section, words));
    let mode = pod_mode::read(section, metadata.as_ref().map(|(_, metadata)| metadata), spec.as_ref(), completeness);
    if !matches!(mode, Some(PodMode::Session)) {
        let container = console.as_ref().and_then(|(number, _)| spec.as_ref()?.get("containers")?.get(number));
        replaced_program(section, number, container, idle_command.is_some());
    }
    let expose = pod_mode::exposed_metadata(section);
    let shell_command = shell_command(section, mode.as_ref());
    let exec_command = command(section, "execCommand");
    let subsystems = subsystems(section);
    // A file that names the default, as one that ContainerSSH or a dump wrote, is one without the key.
    let agent_sftp = section.written("subsystems").is_none_or(|written| Some(written) == section.default("subsystems"));
    let agent_path = section.text("agentPath").map(str::to_owned);
    // A file that ContainerSSH wrote has its default, as one without the key.
    let agent_path_is_set = agent_path.as_deref() != section.default("agentPath").and_then(Value::as_str);
    let agent_image = agent_image(section);
    let agent_push = section.flag("agentPush");
    let disable_agent = section.flag("disableAgent");
    let (namespace, metadata) = metadata?;
    let (console, console_name) = console?;
    Some(PodSettings {
        mode: mode?,
        namespace,
        metadata,
        spec: spec?,
        console,
        console_name,
        idle_command,
        shell_command: shell_command?,
        exec_command: exec_command?,
        subsystems: subsystems?,
        agent_sftp,
        agent_path: agent_path?,
        agent_path_is_set,
        agent_image,
        agent_push,
        disable_agent,
        expose,
        lost: Vec::new(),
    })
}

/// Reads `spec` and puts the short keys into the console container, which may have its image from there alone.
fn spec(section: &Section<'_>, number: i64) -> Option<Tree> {
    check_shortcuts(section);
    let mut spec = section.object("spec")?.clone();
    for key in ["metadata", "spec"] {
        let left =
            section.written(key).and_then(|value| strategic_merge::directive(value, &ValuePath::default().key(key)));
        if let Some(at) = left {
            let text = "is a directive of a strategic merge: it has a meaning in an answer of the config webhook, under \
                        kubernetes.pod.merge: strategic";
            section.error(at.shown(), text);
        }
    }
    let short = section.all().map(ConsoleShortcuts::of).unwrap_or_default();
    let container = usize::try_from(number).ok().and_then(|number| console_container(&mut spec, number));
    container.into_iter().for_each(|container| short.over(container));
    Some(spec)
}

/// Reads only `metadata.namespace`.
pub(super) fn namespace(section: &Section<'_>) -> Option<Namespace> {
    metadata(section).map(|(namespace, _)| namespace)
}

fn metadata(section: &Section<'_>) -> Option<(Namespace, Tree)> {
    let mut metadata = keys::default_mapping("kubernetes.pod.metadata");
    metadata.extend(section.object("metadata")?.clone());
    let namespace = metadata.get("namespace").and_then(Value::as_str).map(Namespace::parse);
    let generate_name = metadata.get("generateName").is_some_and(Value::is_string);
    if !generate_name {
        section.error("metadata.generateName", "must be a string");
    }
    match namespace {
        Some(Ok(namespace)) => generate_name.then_some((namespace, metadata)),
        Some(Err(why)) => report(section, "metadata.namespace", &why.to_string()),
        None => report(section, "metadata.namespace", "must be a string"),
    }
}

fn report<T>(section: &Section<'_>, key: &str, text: &str) -> Option<T> {
    section.error(key, text);
    None
}

/// Finds the console container and checks that all containers have a name and an image.
fn console(
    section: &Section<'_>,
    spec: &Tree,
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

/// Reports names that no image has. One that is missing or empty is reported elsewhere.
fn judge_images(section: &Section<'_>, spec: &Tree) {
    let short = section.plain_text(IMAGE).filter(|image| !image.trim().is_empty());
    if let Some(Err(why)) = short.map(ImageName::parse) {
        section.error(IMAGE, why.to_string());
    }
    for list in ["containers", "initContainers"] {
        let containers = spec.get(list).and_then(Value::as_array).into_iter().flatten();
        for (index, container) in containers.enumerate() {
            let image = container.get(IMAGE).and_then(Value::as_str).filter(|image| !image.trim().is_empty());
            let image = image.filter(|image| short != Some(*image));
            if let Some(Err(why)) = image.map(ImageName::parse) {
                section.error(&format!("spec.{list}[{index}].image"), why.to_string());
            }
        }
    }
}

fn container(section: &Section<'_>, index: usize, value: &Value) -> Option<ContainerName> {
    let at = |key: &str| format!("spec.containers[{index}]{key}");
    let Value::Object(container) = value else { return report(section, &at(""), "must be a mapping") };
    let name = match container.get("name") {
        Some(Value::String(name)) => ContainerName::parse(name).map_err(|why| why.to_string()),
        Some(_) => Err("must be a string".into()),
        None => Err("is missing".into()),
    };
    let image = match container.get("image") {
        Some(Value::String(image)) if image.trim().is_empty() => Err("is empty"),
        Some(Value::String(_)) => Ok(()),
        Some(_) => Err("must be a string"),
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

/// The name of the agent's image.
fn agent_image(section: &Section<'_>) -> Option<String> {
    match ImageName::parse(section.text("agentImage")?) {
        Ok(image) => Some(image.as_str().to_owned()),
        Err(why) => report(section, "agentImage", &why.to_string()),
    }
}

/// Notices that the console container's own program does not run, because another one keeps the container running.
fn replaced_program(section: &Section<'_>, number: i64, container: Option<&Value>, idle_command: bool) {
    let is_set = |key: &str| {
        let words = container.and_then(|container| container.get(key)).and_then(Value::as_array);
        words.is_some_and(|words| !words.is_empty())
    };
    // Kubernetes appends `args` to any command.
    let key = match (is_set("command"), is_set("args") && !idle_command) {
        (true, _) => "command",
        (false, true) => "args",
        (false, false) => return,
    };
    let text = "has no effect in the modes connection and persistent, where kubernetes.pod.idleCommand is the container's main \
                process; what users start is shellCommand, execCommand and subsystems";
    section.notice(&format!("spec.containers[{number}].{key}"), text);
}

/// True for ContainerSSH's default, the agent that Podgate starts anyway.
fn is_default_idle_command(section: &Section<'_>, words: &[String]) -> bool {
    let agent = section.default("agentPath").and_then(Value::as_str);
    words.split_first().is_some_and(|(program, rest)| Some(program.as_str()) == agent && rest == IDLE_ARGUMENTS)
}

/// The shell; the outer `None` was reported. In mode session an empty list is the image's own program; elsewhere it is
/// unset.
#[expect(clippy::option_option, reason = "one is a mistake, the other the image's own program")]
fn shell_command(section: &Section<'_>, mode: Option<&PodMode>) -> Option<Option<Vec<String>>> {
    let images_own = matches!(mode, Some(PodMode::Session))
        && section.written("shellCommand").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if images_own { Some(None) } else { command(section, "shellCommand").map(Some) }
}

/// Reads a program with its arguments; an empty list means unset. `None` was reported, or is unset without a default.
fn command(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let mut words = section.texts(key)?;
    if words.is_empty() {
        words = section.default(key)?.as_array()?.iter().filter_map(Value::as_str).collect();
    }
    let program = words.first()?;
    if program.is_empty() {
        return report(section, &format!("{key}[0]"), "is empty; it names the program");
    }
    if words.iter().any(|word| word.contains('\0')) {
        return report(section, key, "holds a NUL character");
    }
    Some(words.into_iter().map(str::to_owned).collect())
}

fn subsystems(section: &Section<'_>) -> Option<BTreeMap<String, String>> {
    let table = section.table("subsystems")?;
    for (name, program) in &table {
        if program.is_empty() || program.contains('\0') {
            section.error(&format!("subsystems.{}", printable(name, 64)), "names no program");
        }
    }
    Some(table)
}

/// `image`, `resources` and `env`, which change one field of the console container: `resources` is merged key by key, `env`
/// by name. A value of a wrong type is left out; [`check_shortcuts`] reports it.
#[derive(Debug, Clone, Default)]
pub(super) struct ConsoleShortcuts {
    image: Option<String>,
    resources: Tree,
    env: Vec<Value>,
}

impl ConsoleShortcuts {
    /// Reads the keys of a `kubernetes.pod`.
    fn of(pod: &Tree) -> Self {
        let image = pod.get(IMAGE).and_then(Value::as_str).filter(|image| !image.is_empty());
        Self {
            image: image.map(str::to_owned),
            resources: pod.get(RESOURCES).and_then(Value::as_object).cloned().unwrap_or_default(),
            env: pod.get(ENV).and_then(Value::as_array).cloned().unwrap_or_default(),
        }
    }

    /// Removes the keys from a `kubernetes.pod`.
    pub(super) fn take(pod: &mut Tree) -> Self {
        let short = Self::of(pod);
        for key in [IMAGE, RESOURCES, ENV] {
            pod.remove(key);
        }
        short
    }

    /// Overwrites the values of the container.
    pub(super) fn over(&self, container: &mut Tree) {
        if let Some(image) = &self.image {
            container.insert(IMAGE.to_owned(), image.as_str().into());
        }
        if !self.resources.is_empty()
            && let Some(resources) = mapping(container, RESOURCES)
        {
            merge(resources, self.resources.clone());
        }
        if !self.env.is_empty()
            && let Some(env) = list(container, ENV)
        {
            self.env.iter().for_each(|variable| set_variable(env, variable.clone()));
        }
    }

    /// Sets the values that the container does not have.
    pub(super) fn under(&self, container: &mut Tree) {
        let own = Self::of(container);
        self.over(container);
        own.over(container);
    }
}

/// The mapping at a key, created if it is absent; `None` for another value, which the API server refuses.
fn mapping<'t>(container: &'t mut Tree, key: &str) -> Option<&'t mut Tree> {
    container.entry(key).or_insert_with(|| Value::Object(Tree::new())).as_object_mut()
}

fn list<'t>(container: &'t mut Tree, key: &str) -> Option<&'t mut Vec<Value>> {
    container.entry(key).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()
}

/// Replaces the variable of the same name as a whole: a `value` never gets another's `valueFrom`.
fn set_variable(env: &mut Vec<Value>, variable: Value) {
    match env.iter_mut().find(|other| other.get("name") == variable.get("name")) {
        Some(other) => *other = variable,
        None => env.push(variable),
    }
}

/// Container number `number` of a spec.
pub(super) fn console_container(spec: &mut Tree, number: usize) -> Option<&mut Tree> {
    spec.get_mut("containers")?.get_mut(number)?.as_object_mut()
}

/// Reports mistakes in `image`, `resources` and `env`.
fn check_shortcuts(section: &Section<'_>) {
    if section.text(IMAGE).is_some_and(|image| image.trim().is_empty()) {
        section.error(IMAGE, "is empty");
    }
    let _ = section.object(RESOURCES);
    let variables = match section.value(ENV) {
        None => return,
        Some(Value::Array(variables)) => variables,
        Some(other) => {
            let text = format!("must be a list of Kubernetes' EnvVar ([{{name: A, value: b}}]), not {}", kind(other));
            return section.error(ENV, text);
        }
    };
    let mut names = BTreeSet::new();
    for (index, variable) in variables.iter().enumerate() {
        let at = format!("{ENV}[{index}]");
        match (variable, variable.get("name")) {
            (Value::Object(_), Some(Value::String(name))) if !name.is_empty() => {
                if !names.insert(name) {
                    section.error(&format!("{at}.name"), "is there twice");
                }
            }
            (Value::Object(_), None) => section.error(&format!("{at}.name"), "is missing"),
            (Value::Object(_), Some(_)) => section.error(&format!("{at}.name"), "must be a string that is not empty"),
            (other, _) => section.error(&at, format!("must be a mapping, not {}", kind(other))),
        }
    }
}
