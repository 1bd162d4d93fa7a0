//! The NetworkPolicies that select guests (`networking.k8s.io/v1`), and whether they let anything out. Pure.

use serde_json::Value;

/// Labels that every pod has, with values of its own.
const OF_EACH: [&str; 3] = ["podgate/instance", "containerssh_connection_id", "containerssh_username"];

/// Traffic that guests may send. The names are those of the policies that limit it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Egress {
    Open,
    Limited(Vec<String>),
    Closed(Vec<String>),
}

/// Judges the policies of a namespace for a pod. Policies that select by what only a user's pod has are passed over.
pub(super) fn egress(policies: &[Value], pod: &Value) -> Egress {
    let limiting = policies.iter().filter(|policy| limits_egress(policy) && selects(policy, pod));
    let limiting: Vec<&Value> = limiting.collect();
    let name = |policy: &&Value| policy.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("?").to_owned();
    let names: Vec<String> = limiting.iter().map(name).collect();
    let allows = |policy: &&Value| !list(policy, "/spec/egress").is_empty();
    match (names.is_empty(), limiting.iter().any(allows)) {
        (true, _) => Egress::Open,
        (false, true) => Egress::Limited(names),
        (false, false) => Egress::Closed(names),
    }
}

/// True for a policy on what is sent. Without `policyTypes`, one is that has rules for it.
fn limits_egress(policy: &Value) -> bool {
    match policy.pointer("/spec/policyTypes").and_then(Value::as_array) {
        Some(types) => types.iter().any(|kind| kind == "Egress"),
        None => !list(policy, "/spec/egress").is_empty(),
    }
}

fn selects(policy: &Value, pod: &Value) -> bool {
    let label = |key: &str| pod.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let has = |key: &str| label(key).is_some() || OF_EACH.contains(&key);
    let exact = policy.pointer("/spec/podSelector/matchLabels").and_then(Value::as_object);
    let exact = exact.into_iter().flatten().all(|(key, value)| label(key) == value.as_str() && value.is_string());
    let expression = |rule: &Value| {
        let key = rule.get("key").and_then(Value::as_str).unwrap_or_default();
        let listed = label(key).is_some_and(|value| list(rule, "/values").iter().any(|one| one == value));
        match rule.get("operator").and_then(Value::as_str) {
            Some("In") => listed,
            Some("NotIn") => !listed,
            Some("Exists") => has(key),
            Some("DoesNotExist") => !has(key),
            _ => false,
        }
    };
    exact && list(policy, "/spec/podSelector/matchExpressions").iter().all(expression)
}

fn list<'a>(of: &'a Value, pointer: &str) -> &'a [Value] {
    of.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn guests_are_closed_by_policies_that_select_them_and_allow_nothing() {
        let pod = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "podgate", "team": "a"}}});
        let policy = |spec: Value| json!({"metadata": {"name": "p"}, "spec": spec});
        let named = || vec!["p".to_owned()];
        let mine = json!({"matchLabels": {"app.kubernetes.io/managed-by": "podgate"}});
        let expression = |key: &str, operator: &str, values: Value| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
        for (spec, expected) in [
            (json!({"podSelector": {}, "policyTypes": ["Ingress"]}), Egress::Open),
            (json!({"podSelector": {}, "ingress": []}), Egress::Open),
            (json!({"podSelector": {"matchLabels": {"app": "other"}}, "policyTypes": ["Egress"]}), Egress::Open),
            (json!({"podSelector": {}, "policyTypes": ["Egress"]}), Egress::Closed(named())),
            (json!({"podSelector": mine, "policyTypes": ["Ingress", "Egress"], "egress": []}), Egress::Closed(named())),
            (json!({"podSelector": mine, "egress": [{}]}), Egress::Limited(named())),
            (
                json!({"podSelector": expression("team", "In", json!(["a"])), "policyTypes": ["Egress"]}),
                Egress::Closed(named()),
            ),
            (
                json!({"podSelector": expression("team", "NotIn", json!(["a"])), "policyTypes": ["Egress"]}),
                Egress::Open,
            ),
            (
                json!({"podSelector": expression("podgate/instance", "Exists", json!([])), "policyTypes": ["Egress"]}),
                Egress::Closed(named()),
            ),
            (
                json!({"podSelector": expression("team", "DoesNotExist", json!([])), "policyTypes": ["Egress"]}),
                Egress::Open,
            ),
        ] {
            assert_eq!(egress(&[policy(spec.clone())], &pod), expected, "{spec}");
        }
        let both = [
            policy(json!({"podSelector": {}, "policyTypes": ["Egress"]})),
            policy(json!({"podSelector": {}, "egress": [{}]})),
        ];
        assert_eq!(egress(&both, &pod), Egress::Limited(vec!["p".to_owned(), "p".to_owned()]));
    }
}
