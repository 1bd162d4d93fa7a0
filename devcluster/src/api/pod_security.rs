//! The Pod Security admission of a namespace that is labelled `pod-security.kubernetes.io/enforce: restricted`: of that
//! level the rules that are about a container's privileges and user, in the API server's words. Other levels, and the rules
//! about volumes, sysctls, host ports and SELinux, are not there.

use crate::objects::status::StatusError;
use serde_json::{Value, json};

const LABEL: &str = "pod-security.kubernetes.io/enforce";

/// Refuses a pod that the namespace's level does not admit.
pub(crate) fn admit(namespace: &Value, pod: &Value) -> Result<(), StatusError> {
    if namespace["metadata"]["labels"][LABEL] != "restricted" {
        return Ok(());
    }
    let violations = violations(&pod["spec"]);
    if violations.is_empty() {
        return Ok(());
    }
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let why = format!("violates PodSecurity \"restricted:latest\": {}", violations.join(", "));
    Err(StatusError::forbidden("pods", name, &why))
}

fn violations(spec: &Value) -> Vec<String> {
    let pod = &spec["securityContext"];
    let containers: Vec<&Value> =
        ["initContainers", "containers"].iter().filter_map(|list| spec[list].as_array()).flatten().collect();
    let mut found = Vec::new();
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        if spec[field] == true {
            found.push(format!("host namespaces ({field}=true)"));
        }
    }
    let mut each = |reason: &str, demand: &str, is_wrong: &dyn Fn(&Value) -> bool| {
        let wrong: Vec<String> = containers
            .iter()
            .filter(|container| is_wrong(&container["securityContext"]))
            .map(|container| container["name"].to_string())
            .collect();
        if !wrong.is_empty() {
            let (subject, demand) = match demand.strip_prefix("pod or ") {
                Some(demand) => ("pod or ", demand),
                None => ("", demand),
            };
            let containers = if wrong.len() == 1 { "container" } else { "containers" };
            found.push(format!("{reason} ({subject}{containers} {} {demand})", wrong.join(", ")));
        }
    };
    each("privileged", "must not set securityContext.privileged=true", &|own| own["privileged"] == true);
    each("allowPrivilegeEscalation != false", "must set securityContext.allowPrivilegeEscalation=false", &|own| {
        own["allowPrivilegeEscalation"] != false
    });
    each("unrestricted capabilities", "must set securityContext.capabilities.drop=[\"ALL\"]", &|own| {
        !own["capabilities"]["drop"].as_array().is_some_and(|dropped| dropped.contains(&json!("ALL")))
    });
    each("runAsNonRoot != true", "pod or must set securityContext.runAsNonRoot=true", &|own| {
        let own = if own["runAsNonRoot"].is_null() { pod } else { own };
        own["runAsNonRoot"] != true
    });
    each("runAsUser=0", "must not set runAsUser=0", &|own| own["runAsUser"] == 0);
    each(
        "seccompProfile",
        "pod or must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        &|own| {
            let own = if own["seccompProfile"].is_null() { pod } else { own };
            !matches!(own["seccompProfile"]["type"].as_str(), Some("RuntimeDefault" | "Localhost"))
        },
    );
    if pod["runAsUser"] == 0 {
        found.push("runAsUser=0 (pod must not set runAsUser=0)".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(level: &str, spec: &Value) -> Option<String> {
        let namespace = json!({"metadata": {"name": "n", "labels": {LABEL: level}}});
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        admit(&namespace, &pod).err().map(|error| error.message().to_owned())
    }

    #[test]
    fn bare_container_is_refused_with_everything_that_it_lacks() {
        let bare = json!({"containers": [{"name": "a", "image": "i"}]});
        let expected = "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": \
            allowPrivilegeEscalation != false (container \"a\" must set securityContext.allowPrivilegeEscalation=false), \
            unrestricted capabilities (container \"a\" must set securityContext.capabilities.drop=[\"ALL\"]), \
            runAsNonRoot != true (pod or container \"a\" must set securityContext.runAsNonRoot=true), \
            seccompProfile (pod or container \"a\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
            \"Localhost\")";
        assert_eq!(refusal("restricted", &bare).as_deref(), Some(expected));
        assert_eq!(refusal("privileged", &bare), None);
    }

    #[test]
    fn what_a_pod_sets_itself_is_refused_by_name() {
        let own = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
        let pod = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        let with = |key: &str, value: Value| {
            let mut own = own.clone();
            own[key] = value;
            let container = |name: &str| json!({"name": name, "image": "i", "securityContext": own});
            let spec = json!({"securityContext": pod, "containers": [container("a"), container("b")]});
            refusal("restricted", &spec).unwrap_or_default()
        };
        assert_eq!(with("readOnlyRootFilesystem", json!(true)), "");
        for (key, value, part) in [
            ("privileged", json!(true), "privileged (containers \"a\", \"b\" must not set"),
            ("runAsNonRoot", json!(false), "runAsNonRoot != true (pod or containers \"a\", \"b\" must set"),
            ("runAsUser", json!(0), "runAsUser=0 (containers \"a\", \"b\" must not set runAsUser=0)"),
            ("seccompProfile", json!({"type": "Unconfined"}), "seccompProfile (pod or containers"),
            ("capabilities", json!({"drop": ["KILL"]}), "unrestricted capabilities (containers"),
        ] {
            assert!(with(key, value).contains(part), "{key}");
        }
        let host = json!({"hostPID": true, "securityContext": pod, "containers": []});
        assert!(refusal("restricted", &host).is_some_and(|why| why.ends_with("host namespaces (hostPID=true)")));
    }
}
