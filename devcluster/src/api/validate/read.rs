//! Bodies of requests, read as the kinds that they must be: a field of a wrong type is refused, an unknown one is
//! dropped, or refused where the request asks for strictness.

use super::typed::{self, TypedObject, WrongType};
use crate::objects::kinds::ObjectKind;
use crate::objects::status::StatusError;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads an object that is to be created or to replace another one.
pub(crate) fn object(kind: ObjectKind, object: &Value, strict: bool) -> Result<Value, StatusError> {
    told(of_kind(kind, object), kind.name(), strict)
}

/// Reads what a patch made of an object.
pub(crate) fn patched(kind: ObjectKind, object: &Value, strict: bool) -> Result<Value, StatusError> {
    let read = of_kind(kind, object).map_err(|error| StatusError::invalid_patch(object, &error.to_string()))?;
    match strict_error(&read, strict) {
        Some(error) => Err(StatusError::invalid_patch(object, &error)),
        None => Ok(read.object),
    }
}

/// Reads the options of a deletion; null where there are none.
pub(crate) fn delete_options(body: &Value) -> Result<Value, StatusError> {
    if body.is_null() { Ok(Value::Null) } else { told(typed::read::<DeleteOptions>(body), "DeleteOptions", false) }
}

/// Reads a question about one's own rights.
pub(crate) fn access_review(body: &Value) -> Result<Value, StatusError> {
    told(typed::read::<SelfSubjectAccessReview>(body), "SelfSubjectAccessReview", false)
}

fn of_kind(kind: ObjectKind, object: &Value) -> Result<TypedObject, WrongType> {
    fn read<T: DeserializeOwned + Serialize>(object: &Value) -> Result<TypedObject, WrongType> {
        typed::read::<T>(object)
    }
    match kind {
        ObjectKind::Pod => read::<Pod>(object),
        ObjectKind::Lease => read::<Lease>(object),
        ObjectKind::Namespace => read::<Namespace>(object),
        ObjectKind::Event => read::<Event>(object),
    }
}

fn strict_error(read: &TypedObject, strict: bool) -> Option<String> {
    let listed = || read.unknown.iter().map(|path| format!("unknown field {path:?}")).collect::<Vec<_>>().join(", ");
    (strict && !read.unknown.is_empty()).then(|| format!("strict decoding error: {}", listed()))
}

fn told(read: Result<TypedObject, WrongType>, name: &str, strict: bool) -> Result<Value, StatusError> {
    let refused = |error: &str| {
        StatusError::bad_request(format!("{name} in version \"v1\" cannot be handled as a {name}: {error}"))
    };
    let read = read.map_err(|error| refused(&error.to_string()))?;
    match strict_error(&read, strict) {
        Some(error) => Err(refused(&error)),
        None => Ok(read.object),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: &Value, metadata: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    fn in_container(field: &str, value: Value) -> Value {
        let mut container = json!({"name": "c", "image": "i"});
        container[field] = value;
        pod(&json!({"containers": [container]}), &json!({}))
    }

    fn in_spec(field: &str, value: Value) -> Value {
        pod(&json!({field: value}), &json!({}))
    }

    /// An object, what is given, to which field, and what it must be.
    fn wrong_types() -> Vec<(Value, &'static str, &'static str, &'static str)> {
        vec![
            (
                in_container("env", json!([{"name": "A", "value": 8080}])),
                "number",
                "EnvVar.spec.containers.env.value",
                "string",
            ),
            (in_container("tty", json!("yes")), "string", "Container.spec.containers.tty", "bool"),
            (in_container("command", json!("sh")), "string", "Container.spec.containers.command", "[]string"),
            (in_container("command", json!(["sleep", 3600])), "number", "Container.spec.containers.command", "string"),
            (
                in_container("livenessProbe", json!("x")),
                "string",
                "Container.spec.containers.livenessProbe",
                "v1.Probe",
            ),
            (
                in_container("securityContext", json!({"runAsUser": "0"})),
                "string",
                "SecurityContext.spec.containers.securityContext.runAsUser",
                "int64",
            ),
            (
                in_container("ports", json!([{"containerPort": 1u64 << 40}])),
                "number 1099511627776",
                "ContainerPort.spec.containers.ports.containerPort",
                "int32",
            ),
            (in_container("env", json!({"A": "b"})), "object", "Container.spec.containers.env", "[]v1.EnvVar"),
            (
                in_container("resources", json!({"limits": {"cpu": true}})),
                "bool",
                "ResourceRequirements.spec.containers.resources.limits",
                "string",
            ),
            (in_spec("containers", json!("x")), "string", "PodSpec.spec.containers", "[]v1.Container"),
            (in_spec("containers", json!(["x"])), "string", "PodSpec.spec.containers", "v1.Container"),
            (
                in_spec("volumes", json!([{"name": "v", "emptyDir": []}])),
                "array",
                "Volume.spec.volumes.emptyDir",
                "v1.EmptyDirVolumeSource",
            ),
            (in_spec("nodeSelector", json!(["a"])), "array", "PodSpec.spec.nodeSelector", "map[string]string"),
            (in_spec("activeDeadlineSeconds", json!(1.5)), "number 1.5", "PodSpec.spec.activeDeadlineSeconds", "int64"),
            (
                pod(&json!({}), &json!({"annotations": {"a": false}})),
                "bool",
                "ObjectMeta.metadata.annotations",
                "string",
            ),
            (pod(&json!({}), &json!({"labels": {"a": 1.0}})), "number", "ObjectMeta.metadata.labels", "string"),
            (pod(&json!({}), &json!("x")), "string", "Pod.metadata", "v1.ObjectMeta"),
            (pod(&json!(5), &json!({})), "number", "Pod.spec", "v1.PodSpec"),
        ]
    }

    #[test]
    fn wrong_types_are_told_as_go_tells_them() {
        for (object, given, field, wanted) in wrong_types() {
            let error = super::object(ObjectKind::Pod, &object, false).unwrap_err();
            let told = format!(
                "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal {given} into Go struct field \
                 {field} of type {wanted}"
            );
            assert_eq!((error.code(), error.message()), (400, told.as_str()));
        }
    }

    #[test]
    fn texts_that_are_no_time_or_quantity_are_refused() {
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {"renewTime": "soon"}});
        let error = object(ObjectKind::Lease, &lease, false).unwrap_err();
        assert!(error.message().contains("parsing time \"soon\" as \"2006-01-02T15:04:05.000000Z07:00\""), "{error:?}");
        for (text, good) in
            [("1", true), ("1.5Gi", true), ("-2e3", true), ("100m", true), ("", false), ("Gi", false), ("1 G", false)]
        {
            let object =
                super::object(ObjectKind::Pod, &in_container("resources", json!({"limits": {"cpu": text}})), true);
            assert_eq!(object.is_ok(), good, "{text}");
        }
    }

    #[test]
    fn nulls_are_absent_and_numbers_that_are_quantities_become_texts() {
        let limits = json!({"limits": {"cpu": 1}, "requests": null});
        let read = object(ObjectKind::Pod, &in_container("resources", limits), true).unwrap();
        assert_eq!(read["spec"]["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
        let read = object(ObjectKind::Pod, &in_container("command", json!([null, "x"])), true).unwrap();
        assert_eq!(read["spec"]["containers"][0]["command"], json!(["", "x"]));
        let read = object(ObjectKind::Pod, &in_spec("containers", json!([null])), true).unwrap();
        assert_eq!(read["spec"]["containers"], json!([{"name": ""}]));
    }

    #[test]
    fn unknown_fields_are_refused_only_when_strict_and_stored_never() {
        let spec = json!({"containers": [{"name": "c", "imagePullpolicy": "Never"}], "colour": 2});
        let pod = pod(&spec, &json!({"nam": "x"}));
        let read = object(ObjectKind::Pod, &pod, false).unwrap();
        assert_eq!((&read["metadata"], &read["spec"]), (&json!({}), &json!({"containers": [{"name": "c"}]})));
        let told = object(ObjectKind::Pod, &pod, true).unwrap_err().message().to_owned();
        for path in ["\"spec.containers[0].imagePullpolicy\"", "\"spec.colour\"", "\"metadata.nam\""] {
            assert!(told.contains(&format!("unknown field {path}")), "{told}");
        }
    }
}
