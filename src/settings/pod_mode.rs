//! `kubernetes.pod.mode` with the keys that depend on it, and the user metadata that is copied to a pod
//! (`exposeAuthMetadataAs…`).

use super::file_sections::Completeness;
use crate::schema::{Section, Tree};
use crate::types::{EnvName, Invalid, MetadataKey, NamesLeftOut, PodName, printable, quoted};
use serde_json::Value;
use std::collections::BTreeMap;

/// Prefix of the labels and annotations that Podgate's decisions depend on.
const OURS: &str = "podgate/";

/// Other labels and annotations that Podgate sets on every pod: ContainerSSH's and Kubernetes' recommended ones.
const SET: [&str; 4] =
    ["containerssh_connection_id", "containerssh_username", "containerssh_ip", "app.kubernetes.io/managed-by"];

/// `kubernetes.pod.mode`: the pod that a program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PodMode {
    /// One pod for each connection.
    Connection,
    /// One pod for each program, which is its main process.
    Session,
    /// A pod that exists before the connection and stays after it.
    Persistent {
        /// The pod's `metadata.name`.
        name: PodName,
        create_missing: bool,
        /// `shared`: the pod's owner is not checked.
        shared: bool,
    },
}

/// User metadata that is copied to a new pod: the name in the webhooks' answers, and the name in the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ExposedMetadata {
    /// Copied to variables of every container.
    pub env: BTreeMap<String, EnvName>,
    /// Variables that are left out because their names are not valid in a shell.
    pub left_out: NamesLeftOut,
    /// Copied to labels of the pod.
    pub labels: BTreeMap<String, MetadataKey>,
    /// Copied to annotations of the pod.
    pub annotations: BTreeMap<String, MetadataKey>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ModeWord {
    Connection,
    Session,
    Persistent,
}

/// Reads the mode; `None` if a mistake was reported or an answer may supply the rest.
pub(super) fn read(
    section: &Section<'_>,
    metadata: Option<&Tree>,
    spec: Option<&Tree>,
    completeness: Completeness,
) -> Option<PodMode> {
    let words =
        [("connection", ModeWord::Connection), ("session", ModeWord::Session), ("persistent", ModeWord::Persistent)];
    let word = section.choice("mode", &words);
    let wrong = word.is_none() && section.has_text("mode");
    let waits = !section.has_text("mode") && completeness == Completeness::Part;
    let flag = |key| {
        let on = section.flag(key);
        if on && word != Some(ModeWord::Persistent) && !waits && !wrong {
            section.error(key, "is only for mode: persistent");
        }
        on
    };
    let (create_missing, shared) = (flag("createMissingPods"), flag("shared"));
    if shared {
        section.warning("shared", "all users with the same pod name share this persistent pod");
    }
    match word {
        None if wrong => None,
        None | Some(ModeWord::Connection) => Some(PodMode::Connection),
        Some(ModeWord::Session) => {
            restart_policy(section, spec);
            unnamed(section, metadata);
            Some(PodMode::Session)
        }
        Some(ModeWord::Persistent) => {
            let name = pod_name(section, metadata, completeness)?;
            Some(PodMode::Persistent { name, create_missing, shared })
        }
    }
}

/// Checks that a program is not restarted, because its end is the session's end.
fn restart_policy(section: &Section<'_>, spec: Option<&Tree>) {
    match spec.and_then(|spec| spec.get("restartPolicy")) {
        None | Some(Value::Null) => {}
        Some(Value::String(policy)) if policy.is_empty() || policy == "Never" => {}
        Some(_) => section.error("spec.restartPolicy", "must be Never in mode: session"),
    }
}

/// Checks that the pods have no common name: a second program would get the pod of the first.
fn unnamed(section: &Section<'_>, metadata: Option<&Tree>) {
    if metadata.and_then(|metadata| metadata.get("name")).is_some_and(|name| !name.is_null() && name != "") {
        section
            .error("metadata.name", "must not be set in mode: session, where each program has a pod; set generateName");
    }
}

fn pod_name(section: &Section<'_>, metadata: Option<&Tree>, completeness: Completeness) -> Option<PodName> {
    match metadata?.get("name") {
        Some(Value::String(name)) if !name.is_empty() => {
            let parsed = PodName::parse(name);
            parsed.map_err(|why| section.error("metadata.name", why.to_string())).ok()
        }
        Some(Value::String(_) | Value::Null) | None => {
            if completeness == Completeness::Whole {
                section.error("metadata.name", "is not set; mode: persistent needs the name of the pod");
            }
            None
        }
        Some(_) => {
            section.error("metadata.name", "must be a string");
            None
        }
    }
}

/// Reads `exposeAuthMetadataAs…` and reports mistakes.
pub(super) fn exposed_metadata(section: &Section<'_>) -> ExposedMetadata {
    let (env, left_out) = variables(section, "exposeAuthMetadataAsEnv");
    ExposedMetadata {
        env,
        left_out,
        labels: targets(section, "exposeAuthMetadataAsLabels", key),
        annotations: targets(section, "exposeAuthMetadataAsAnnotations", key),
    }
}

/// Reads the metadata that become variables. A name that is not valid in a shell is left out with a warning, as in a
/// webhook's answer.
fn variables(section: &Section<'_>, key: &'static str) -> (BTreeMap<String, EnvName>, NamesLeftOut) {
    let (mut env, mut left_out) = (BTreeMap::new(), NamesLeftOut::default());
    for (name, target) in section.table(key).unwrap_or_default() {
        if let Ok(target) = EnvName::parse(&target) {
            env.insert(name, target);
        } else {
            let text = format!("{} is left out: the name is not valid in a shell", quoted(&printable(&target, 64)));
            section.warning(&format!("{key}.{}", printable(&name, 64)), &text);
            left_out.add(target);
        }
    }
    (env, left_out)
}

fn targets<T>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, Invalid>,
) -> BTreeMap<String, T> {
    let mut targets = BTreeMap::new();
    for (name, target) in section.table(key).unwrap_or_default() {
        match parse(&target) {
            Ok(target) => drop(targets.insert(name, target)),
            Err(why) => section.error(&format!("{key}.{}", printable(&name, 64)), why.to_string()),
        }
    }
    targets
}

/// Parses a label or annotation and refuses Podgate's own: a pod's owner must not depend on user metadata.
fn key(text: &str) -> Result<MetadataKey, Invalid> {
    if text.starts_with(OURS) || SET.contains(&text) {
        return Err(Invalid("is set by Podgate itself".into()));
    }
    MetadataKey::parse(text)
}
