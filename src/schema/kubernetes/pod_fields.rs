//! The types of the fields of a pod's metadata and specification, as `k8s-openapi` has them: the newest Kubernetes that
//! it knows, so that the check knows every field that a cluster may have.
//!
//! A later Kubernetes can have fields that are not here. They are unknown to the check alone; the API server is sent
//! them as they are.

use super::field_type::Type;
use super::type_tracer::trace;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::sync::LazyLock;

/// The type of a pod's `metadata`.
pub(crate) static METADATA: LazyLock<Type> = LazyLock::new(trace::<ObjectMeta>);

/// The type of a pod's `spec`.
pub(crate) static POD_SPEC: LazyLock<Type> = LazyLock::new(trace::<PodSpec>);

k8s_openapi::k8s_if_1_37! {
    /// The newest Kubernetes whose fields are known.
    pub(super) const KUBERNETES: &str = "1.37";
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The type at a path; `[]` is a list's element, `*` a mapping's value.
    fn at<'t>(mut at: &'t Type, path: &str) -> Option<&'t Type> {
        for step in path.split('.').filter(|step| !step.is_empty()) {
            at = match (at, step) {
                (Type::List(inner), "[]") | (Type::Map(inner), "*") => inner,
                (Type::Object(fields), name) => &fields.iter().find(|(field, _)| *field == name)?.1,
                _ => return None,
            };
        }
        Some(at)
    }

    #[test]
    fn fields_of_a_pod_have_the_types_that_kubernetes_gives_them() {
        let text_map = || Type::Map(Box::new(Type::Text));
        let quantities = || Type::Map(Box::new(Type::Quantity));
        let texts = || Type::List(Box::new(Type::Text));
        for (root, path, expected) in [
            (&METADATA, "labels", text_map()),
            (&METADATA, "annotations", text_map()),
            (&METADATA, "finalizers", texts()),
            (&METADATA, "creationTimestamp", Type::Time),
            (&METADATA, "generation", Type::Integer64),
            (&METADATA, "managedFields.[].fieldsV1", Type::Any),
            (&METADATA, "ownerReferences.[].blockOwnerDeletion", Type::Flag),
            (&POD_SPEC, "activeDeadlineSeconds", Type::Integer64),
            (&POD_SPEC, "priority", Type::Integer32),
            (&POD_SPEC, "nodeSelector", text_map()),
            (&POD_SPEC, "overhead", quantities()),
            (&POD_SPEC, "hostUsers", Type::Flag),
            (&POD_SPEC, "hostnameOverride", Type::Text),
            (&POD_SPEC, "securityContext.supplementalGroups", Type::List(Box::new(Type::Integer64))),
            (&POD_SPEC, "containers.[].env.[].value", Type::Text),
            (&POD_SPEC, "containers.[].command", texts()),
            (&POD_SPEC, "containers.[].tty", Type::Flag),
            (&POD_SPEC, "containers.[].resources.limits", quantities()),
            (&POD_SPEC, "containers.[].ports.[].containerPort", Type::Integer32),
            (&POD_SPEC, "containers.[].livenessProbe.httpGet.port", Type::IntegerOrText),
            (&POD_SPEC, "initContainers.[].restartPolicy", Type::Text),
            (&POD_SPEC, "ephemeralContainers.[].targetContainerName", Type::Text),
            (&POD_SPEC, "volumes.[].emptyDir.sizeLimit", Type::Quantity),
            (&POD_SPEC, "volumes.[].secret.defaultMode", Type::Integer32),
            (&POD_SPEC, "volumes.[].csi.volumeAttributes", text_map()),
            (&POD_SPEC, "volumes.[].ephemeral.volumeClaimTemplate.metadata.labels", text_map()),
            (
                &POD_SPEC,
                "affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution.[].weight",
                Type::Integer32,
            ),
        ] {
            assert_eq!(at(root, path), Some(&expected), "{path}");
        }
    }

    /// Every object's fields, counted: a type that was not followed to its end would be missing here.
    #[test]
    fn every_object_has_fields_and_nothing_but_managed_fields_is_untyped() {
        fn walk(at: &Type, path: &str, untyped: &mut Vec<String>, objects: &mut usize) {
            match at {
                Type::List(inner) | Type::Map(inner) => walk(inner, path, untyped, objects),
                Type::Object(fields) => {
                    *objects += 1;
                    assert!(!fields.is_empty(), "{path} has no fields");
                    fields.iter().for_each(|(name, field)| walk(field, &format!("{path}.{name}"), untyped, objects));
                }
                Type::Any => untyped.push(path.to_owned()),
                _ => {}
            }
        }
        let (mut untyped, mut objects) = (Vec::new(), 0);
        walk(&METADATA, "metadata", &mut untyped, &mut objects);
        walk(&POD_SPEC, "spec", &mut untyped, &mut objects);
        let claim = "spec.volumes.ephemeral.volumeClaimTemplate.metadata.managedFields.fieldsV1";
        assert_eq!(untyped, ["metadata.managedFields.fieldsV1", claim]);
        assert!(objects > 200, "{objects}");
    }
}
