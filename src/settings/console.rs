//! `kubernetes.pod.image`, `resources` and `env`: the short way to change one thing of the console container, whatever
//! else the specification says. `image` is its image, `resources` is merged into its `resources` key by key, and `env`
//! into its `env` by name.

use crate::config::reader::Section;
use crate::schema::kind;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

type Tree = Map<String, Value>;

const IMAGE: &str = "image";
const RESOURCES: &str = "resources";
const ENV: &str = "env";

/// The values of the three keys. One of a wrong type is left out here; [`check`] reports it.
#[derive(Debug, Clone, Default)]
pub(super) struct Short {
    image: Option<String>,
    resources: Tree,
    env: Vec<Value>,
}

impl Short {
    /// The values that a `kubernetes.pod` has.
    pub(super) fn of(pod: &Tree) -> Self {
        let image = pod.get(IMAGE).and_then(Value::as_str).filter(|image| !image.is_empty());
        Self {
            image: image.map(str::to_owned),
            resources: pod.get(RESOURCES).and_then(Value::as_object).cloned().unwrap_or_default(),
            env: pod.get(ENV).and_then(Value::as_array).cloned().unwrap_or_default(),
        }
    }

    /// Takes the keys out of a `kubernetes.pod`.
    pub(super) fn take(pod: &mut Tree) -> Self {
        let short = Self::of(pod);
        for key in [IMAGE, RESOURCES, ENV] {
            pod.remove(key);
        }
        short
    }

    /// Puts the values over those of the container.
    pub(super) fn over(&self, container: &mut Tree) {
        if let Some(image) = &self.image {
            container.insert(IMAGE.to_owned(), image.as_str().into());
        }
        if !self.resources.is_empty()
            && let Some(resources) = mapping(container, RESOURCES)
        {
            super::overlay::merge(resources, self.resources.clone());
        }
        if !self.env.is_empty()
            && let Some(env) = list(container, ENV)
        {
            self.env.iter().for_each(|variable| put(env, variable.clone()));
        }
    }

    /// Puts the values where the container says nothing.
    pub(super) fn under(&self, container: &mut Tree) {
        let said = Self::of(container);
        self.over(container);
        said.over(container);
    }
}

/// The mapping at a key, made where there is none; `None` where something else stands, for the API server to judge.
fn mapping<'t>(container: &'t mut Tree, key: &str) -> Option<&'t mut Tree> {
    container.entry(key).or_insert_with(|| Value::Object(Tree::new())).as_object_mut()
}

fn list<'t>(container: &'t mut Tree, key: &str) -> Option<&'t mut Vec<Value>> {
    container.entry(key).or_insert_with(|| Value::Array(Vec::new())).as_array_mut()
}

/// A variable in the place of one of the same name, whole: a `value` never stands beside another's `valueFrom`.
fn put(env: &mut Vec<Value>, variable: Value) {
    match env.iter_mut().find(|other| other.get("name") == variable.get("name")) {
        Some(other) => *other = variable,
        None => env.push(variable),
    }
}

/// The container of a number in a specification.
pub(super) fn container(spec: &mut Tree, number: usize) -> Option<&mut Tree> {
    spec.get_mut("containers")?.get_mut(number)?.as_object_mut()
}

/// Reports what is wrong with the three keys.
pub(super) fn check(section: &Section<'_>) {
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
