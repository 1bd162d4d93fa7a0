//! The known fields of pods and leases and their types, so far as users write them. What stands deeper than these tables
//! is not looked at.

use crate::kinds::Kind;
use crate::status::ApiError;
use serde_json::Value;

/// The type of a field; the text is how Go calls it.
#[derive(Clone, Copy)]
enum Shape {
    Any,
    Text,
    Integer,
    Flag,
    Map,
    Object(&'static [Field]),
    List(&'static Shape, &'static str),
}

use Shape::{Any, Flag, Integer, List, Map, Object, Text};

type Field = (&'static str, Shape);

const TEXTS: Shape = List(&Text, "[]string");
const ANYTHINGS: Shape = List(&Any, "[]interface {}");

const METADATA: &[Field] = &[
    ("annotations", Map),
    ("creationTimestamp", Any),
    ("deletionGracePeriodSeconds", Integer),
    ("deletionTimestamp", Any),
    ("finalizers", TEXTS),
    ("generateName", Text),
    ("generation", Integer),
    ("labels", Map),
    ("managedFields", ANYTHINGS),
    ("name", Text),
    ("namespace", Text),
    ("ownerReferences", ANYTHINGS),
    ("resourceVersion", Text),
    ("selfLink", Text),
    ("uid", Text),
];

const ENV: &[Field] = &[("name", Text), ("value", Text), ("valueFrom", Any)];

const MOUNT: &[Field] = &[
    ("mountPath", Text),
    ("mountPropagation", Text),
    ("name", Text),
    ("readOnly", Flag),
    ("recursiveReadOnly", Text),
    ("subPath", Text),
    ("subPathExpr", Text),
];

const PORT: &[Field] =
    &[("containerPort", Integer), ("hostIP", Text), ("hostPort", Integer), ("name", Text), ("protocol", Text)];

const RESOURCES: &[Field] = &[("claims", ANYTHINGS), ("limits", Map), ("requests", Map)];

const CONTAINER_SECURITY: &[Field] = &[
    ("allowPrivilegeEscalation", Flag),
    ("appArmorProfile", Any),
    ("capabilities", Any),
    ("privileged", Flag),
    ("procMount", Text),
    ("readOnlyRootFilesystem", Flag),
    ("runAsGroup", Integer),
    ("runAsNonRoot", Flag),
    ("runAsUser", Integer),
    ("seLinuxOptions", Any),
    ("seccompProfile", Any),
    ("windowsOptions", Any),
];

const CONTAINER: &[Field] = &[
    ("args", TEXTS),
    ("command", TEXTS),
    ("env", List(&Object(ENV), "[]v1.EnvVar")),
    ("envFrom", ANYTHINGS),
    ("image", Text),
    ("imagePullPolicy", Text),
    ("lifecycle", Any),
    ("livenessProbe", Any),
    ("name", Text),
    ("ports", List(&Object(PORT), "[]v1.ContainerPort")),
    ("readinessProbe", Any),
    ("resizePolicy", ANYTHINGS),
    ("resources", Object(RESOURCES)),
    ("restartPolicy", Text),
    ("restartPolicyRules", ANYTHINGS),
    ("securityContext", Object(CONTAINER_SECURITY)),
    ("startupProbe", Any),
    ("stdin", Flag),
    ("stdinOnce", Flag),
    ("terminationMessagePath", Text),
    ("terminationMessagePolicy", Text),
    ("tty", Flag),
    ("volumeDevices", ANYTHINGS),
    ("volumeMounts", List(&Object(MOUNT), "[]v1.VolumeMount")),
    ("workingDir", Text),
];

const CONTAINERS: Shape = List(&Object(CONTAINER), "[]v1.Container");

const SPEC: &[Field] = &[
    ("activeDeadlineSeconds", Integer),
    ("affinity", Any),
    ("automountServiceAccountToken", Flag),
    ("containers", CONTAINERS),
    ("dnsConfig", Any),
    ("dnsPolicy", Text),
    ("enableServiceLinks", Flag),
    ("ephemeralContainers", ANYTHINGS),
    ("hostAliases", ANYTHINGS),
    ("hostIPC", Flag),
    ("hostNetwork", Flag),
    ("hostPID", Flag),
    ("hostUsers", Flag),
    ("hostname", Text),
    ("hostnameOverride", Text),
    ("imagePullSecrets", ANYTHINGS),
    ("initContainers", CONTAINERS),
    ("nodeName", Text),
    ("nodeSelector", Map),
    ("os", Any),
    ("overhead", Map),
    ("preemptionPolicy", Text),
    ("priority", Integer),
    ("priorityClassName", Text),
    ("readinessGates", ANYTHINGS),
    ("resourceClaims", ANYTHINGS),
    ("resources", Object(RESOURCES)),
    ("restartPolicy", Text),
    ("runtimeClassName", Text),
    ("schedulerName", Text),
    ("schedulingGates", ANYTHINGS),
    ("securityContext", Any),
    ("serviceAccount", Text),
    ("serviceAccountName", Text),
    ("setHostnameAsFQDN", Flag),
    ("shareProcessNamespace", Flag),
    ("subdomain", Text),
    ("terminationGracePeriodSeconds", Integer),
    ("tolerations", ANYTHINGS),
    ("topologySpreadConstraints", ANYTHINGS),
    ("volumes", ANYTHINGS),
];

const POD: &[Field] =
    &[("apiVersion", Text), ("kind", Text), ("metadata", Object(METADATA)), ("spec", Object(SPEC)), ("status", Any)];

const LEASE_SPEC: &[Field] = &[
    ("acquireTime", Text),
    ("holderIdentity", Text),
    ("leaseDurationSeconds", Integer),
    ("leaseTransitions", Integer),
    ("preferredHolder", Text),
    ("renewTime", Text),
    ("strategy", Text),
];

const LEASE: &[Field] =
    &[("apiVersion", Text), ("kind", Text), ("metadata", Object(METADATA)), ("spec", Object(LEASE_SPEC))];

const OTHER: &[Field] = &[("metadata", Object(METADATA))];

/// Refuses fields of a wrong type, and unknown ones where the request asks for strictness.
pub(crate) fn fields(kind: Kind, object: &Value, strict: bool) -> Result<(), ApiError> {
    let (table, known) = match kind {
        Kind::Pod => (POD, true),
        Kind::Lease => (LEASE, true),
        Kind::Namespace | Kind::Event => (OTHER, false),
    };
    let mut unknown = Vec::new();
    if let Err((path, message)) = object_fields(object, table, "", &mut unknown) {
        let message = message.replace("FIELD", &format!("{}.{path}", kind.name()));
        return Err(ApiError::bad_request(format!(
            "{0} in version \"v1\" cannot be handled as a {0}: {message}",
            kind.name()
        )));
    }
    if !known {
        unknown.retain(|path: &String| path.starts_with("metadata."));
    }
    if !strict || unknown.is_empty() {
        return Ok(());
    }
    let listed: Vec<String> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    Err(ApiError::bad_request(format!(
        "{0} in version \"v1\" cannot be handled as a {0}: strict decoding error: {1}",
        kind.name(),
        listed.join(", ")
    )))
}

/// The path of a field of a wrong type, and the message with `FIELD` in the place of its full name.
type WrongType = (String, String);

fn object_fields(object: &Value, table: &[Field], path: &str, unknown: &mut Vec<String>) -> Result<(), WrongType> {
    for (name, value) in object.as_object().into_iter().flatten() {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match table.iter().find(|(known, _)| known == name) {
            Some((_, shape)) => check(value, *shape, &below, unknown)?,
            None => unknown.push(below),
        }
    }
    Ok(())
}

fn check(value: &Value, shape: Shape, path: &str, unknown: &mut Vec<String>) -> Result<(), WrongType> {
    let wrong = |expected: &str| {
        let given = match value {
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            Value::Array(_) => "array",
            Value::Object(_) | Value::Null => "object",
        };
        Err((path.to_owned(), format!("json: cannot unmarshal {given} into Go struct field FIELD of type {expected}")))
    };
    match (shape, value) {
        // Null is absence everywhere.
        (_, Value::Null) | (Any, _) | (Text, Value::String(_)) | (Flag, Value::Bool(_)) => Ok(()),
        (Integer, Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(()),
        (Map, Value::Object(map)) => {
            let text = |value: &Value| value.is_string() || value.is_number() && !path.contains("metadata");
            if map.values().all(text) { Ok(()) } else { wrong("string") }
        }
        (Object(table), Value::Object(_)) => object_fields(value, table, path, unknown),
        (List(item, _), Value::Array(items)) => {
            let mut each = items.iter().enumerate();
            each.try_for_each(|(index, value)| check(value, *item, &format!("{path}[{index}]"), unknown))
        }
        (Text, _) => wrong("string"),
        (Integer, _) => wrong("int64"),
        (Flag, _) => wrong("bool"),
        (Map, _) => wrong("map[string]string"),
        (Object(_), _) => wrong("struct"),
        (List(_, name), _) => wrong(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_types_are_400_whatever_the_strictness() {
        for (pod, expected) in [
            (
                json!({"spec": {"containers": "x"}}),
                "cannot unmarshal string into Go struct field Pod.spec.containers of type []v1.Container",
            ),
            (json!({"spec": {"containers": [{"tty": "yes"}]}}), "Pod.spec.containers[0].tty of type bool"),
            (json!({"metadata": {"labels": {"a": 1}}}), "Pod.metadata.labels of type string"),
            (json!({"spec": {"activeDeadlineSeconds": 1.5}}), "of type int64"),
        ] {
            let error = fields(Kind::Pod, &pod, false).unwrap_err();
            assert_eq!(error.code(), 400);
            assert!(error.message().contains(expected), "{}", error.message());
        }
    }

    #[test]
    fn unknown_fields_are_refused_only_when_strict() {
        let pod = json!({"spec": {"containers": [{"name": "c", "colour": 1}], "colour": 2}, "metadata": {"nam": "x"}});
        assert_eq!(fields(Kind::Pod, &pod, false), Ok(()));
        let message = fields(Kind::Pod, &pod, true).unwrap_err().message().to_owned();
        for path in ["\"spec.containers[0].colour\"", "\"spec.colour\"", "\"metadata.nam\""] {
            assert!(message.contains(path), "{message}");
        }
    }
}
