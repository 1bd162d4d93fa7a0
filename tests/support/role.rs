//! Rights on a cluster, written once for both: as a Role's rules and as a development token's.

use podgate_devcluster::Rule;
use serde_json::{Value, json};

/// The gateway's resources, and its verbs on each.
const GATEWAY: &[(&str, &[&str])] = &[
    ("pods", &["create", "get", "list", "watch", "delete"]),
    ("pods/exec", &["get", "create"]),
    ("events", &["list"]),
];

/// What somebody may do: the rules of a Role.
#[derive(Debug, Clone)]
pub struct Rights(Vec<Value>);

impl Rights {
    /// Verbs on resources, `*` for every verb.
    pub fn of(rights: &[(&str, &str)]) -> Self {
        let rule = |(verb, resource): &(&str, &str)| json!({"apiGroups": [group(resource)], "resources": [resource], "verbs": [verb]});
        Self(rights.iter().map(rule).collect())
    }

    /// What the gateway needs in a namespace where it makes pods, and nothing more.
    pub fn gateway() -> Self {
        let each = |(resource, verbs): &(&'static str, &[&'static str])| {
            let resource = *resource;
            verbs.iter().map(|verb| (*verb, resource)).collect::<Vec<_>>()
        };
        Self::of(&GATEWAY.iter().flat_map(each).collect::<Vec<_>>())
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

fn group(resource: &str) -> &'static str {
    if resource == "leases" { "coordination.k8s.io" } else { "" }
}
