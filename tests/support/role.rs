//! Rights on a cluster, written once for both: as a Role's rules and as a development token's.

use podgate_devcluster::Rule;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const DEPLOY: &str = include_str!("../../deploy/kubernetes.yaml");

/// Rights as the rules of a Role.
#[derive(Debug, Clone)]
pub struct Rights(Vec<Value>);

impl Rights {
    /// Verbs on resources, `*` for every verb.
    pub fn of(rights: &[(&str, &str)]) -> Self {
        let rule = |(verb, resource): &(&str, &str)| json!({"apiGroups": [group(resource)], "resources": [resource], "verbs": [verb]});
        Self(rights.iter().map(rule).collect())
    }

    /// The rights that `deploy/kubernetes.yaml` grants the gateway in a namespace of guests.
    pub fn gateway() -> Self {
        Self::granted_by(DEPLOY)
    }

    /// The rights that it grants when it is edited for mode session.
    pub fn session() -> Self {
        Self::granted_by(&for_session(DEPLOY))
    }

    fn granted_by(file: &str) -> Self {
        let documents = file.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
        Self::of_role(&documents.into_iter().find(|object| object["kind"] == "Role").expect("a role"))
    }

    /// The rights that a Role grants.
    pub fn of_role(role: &Value) -> Self {
        Self(role["rules"].as_array().expect("rules").clone())
    }

    /// The same without a verb on a resource.
    pub fn without(&self, verb: &str, resource: &str) -> Self {
        let kept = self.each().into_iter().filter(|right| *right != (verb.to_owned(), resource.to_owned()));
        let kept: Vec<_> = kept.collect();
        Self::of(&kept.iter().map(|(verb, resource)| (verb.as_str(), resource.as_str())).collect::<Vec<_>>())
    }

    /// Each verb on each resource.
    pub fn each(&self) -> BTreeSet<(String, String)> {
        self.rules().into_iter().map(|rule| (rule.verb, rule.resource)).collect()
    }

    /// The same without what concerns a resource.
    pub fn without_all(mut self, resource: &str) -> Self {
        self.0.retain(|rule| rule["resources"][0] != resource);
        self
    }

    /// The rules of a Role.
    pub fn role_rules(&self) -> Value {
        json!(self.0)
    }

    /// The rules of a development token.
    pub fn rules(&self) -> Vec<Rule> {
        let words = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let each = |rule: &Value| {
            let (resources, verbs) = (words(&rule["resources"]), words(&rule["verbs"]));
            resources
                .into_iter()
                .flat_map(move |resource| verbs.clone().into_iter().map(move |verb| Rule::new(&verb, &resource)))
        };
        self.0.iter().flat_map(each).collect()
    }
}

/// `deploy/kubernetes.yaml` as an operator edits it for mode session: what it says of it is no comment any more.
pub fn for_session(file: &str) -> String {
    let ours = ["- apiGroups: ", "  resources: ", "  verbs: ", "mode: session "];
    let edited = file.lines().map(|line| match line.split_once("# ") {
        Some((indent, rest)) if indent.trim().is_empty() && ours.iter().any(|ours| rest.starts_with(ours)) => {
            format!("{indent}{rest}\n")
        }
        _ => format!("{line}\n"),
    });
    edited.collect()
}

/// The API group of a resource.
pub fn group(resource: &str) -> &'static str {
    if resource == "leases" { "coordination.k8s.io" } else { "" }
}
