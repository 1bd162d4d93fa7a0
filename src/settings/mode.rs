//! `kubernetes.pod.mode` with the keys that hang on it, and what of a user's metadata goes into a pod
//! (`exposeAuthMetadataAs…`).

use super::{Completeness, Expose, Mode};
use crate::config::reader::Section;
use crate::types::{EnvName, Invalid, MetadataKey, NamesLeftOut, PodName, printable, quoted};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The owner of the labels and annotations that Podgate decides by.
const OURS: &str = "podgate/";

/// Labels and annotations that every pod gets from Podgate, in ContainerSSH's names and the recommended ones.
const SET: [&str; 4] =
    ["containerssh_connection_id", "containerssh_username", "containerssh_ip", "app.kubernetes.io/managed-by"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Connection,
    Session,
    Persistent,
}

/// Reads the mode; `None` was reported, or waits for a config server's answer.
pub(super) fn read(
    section: &Section<'_>,
    metadata: Option<&Map<String, Value>>,
    spec: Option<&Map<String, Value>>,
    completeness: Completeness,
) -> Option<Mode> {
    let words = [("connection", Word::Connection), ("session", Word::Session), ("persistent", Word::Persistent)];
    let word = section.choice("mode", &words);
    let wrong = word.is_none() && section.has_text("mode");
    let waits = word.is_none() && completeness == Completeness::Part;
    let flag = |key| {
        let on = section.flag(key).unwrap_or(false);
        if on && word != Some(Word::Persistent) && !waits && !wrong {
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
        None | Some(Word::Connection) => Some(Mode::Connection),
        Some(Word::Session) => {
            restart_policy(section, spec);
            Some(Mode::Session)
        }
        Some(Word::Persistent) => {
            let name = pod_name(section, metadata, completeness)?;
            Some(Mode::Persistent { name, create_missing, shared })
        }
    }
}

/// A program whose end is the end of its session is not started again.
fn restart_policy(section: &Section<'_>, spec: Option<&Map<String, Value>>) {
    match spec.and_then(|spec| spec.get("restartPolicy")) {
        None | Some(Value::Null) => {}
        Some(Value::String(policy)) if policy.is_empty() || policy == "Never" => {}
        Some(_) => section.error("spec.restartPolicy", "must be Never in mode: session"),
    }
}

fn pod_name(
    section: &Section<'_>,
    metadata: Option<&Map<String, Value>>,
    completeness: Completeness,
) -> Option<PodName> {
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

/// Reads `exposeAuthMetadataAs…`; what is wrong was reported.
pub(super) fn expose(section: &Section<'_>) -> Expose {
    let (env, left_out) = variables(section, "exposeAuthMetadataAsEnv");
    Expose {
        env,
        left_out,
        labels: targets(section, "exposeAuthMetadataAsLabels", key),
        annotations: targets(section, "exposeAuthMetadataAsAnnotations", key),
    }
}

/// The metadata that become variables. As in a webhook's answer, one whose name no shell allows is left out with a warning.
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

/// A label or annotation that is not Podgate's own: whose pod it is must not hang on a user's metadata.
fn key(text: &str) -> Result<MetadataKey, Invalid> {
    if text.starts_with(OURS) || SET.contains(&text) {
        return Err(Invalid("is set by Podgate itself".into()));
    }
    MetadataKey::parse(text)
}
