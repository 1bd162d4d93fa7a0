//! The lists of a pod that a strategic merge does not replace whole: `patchStrategy` and `patchMergeKey` of the types of
//! `k8s.io/api/core/v1` and `k8s.io/apimachinery/pkg/apis/meta/v1` at Kubernetes 1.37.

/// The merged lists of an object, and those of the objects in it.
#[derive(Debug)]
pub(crate) struct MergeRules {
    pub(super) lists: &'static [(&'static str, MergedList)],
    pub(super) objects: &'static [(&'static str, &'static Self)],
}

/// A list that is merged.
#[derive(Debug)]
pub(super) enum MergedList {
    /// Element by element, each known by this key.
    By(&'static str, &'static MergeRules),
    /// As a set of scalars.
    Set,
}

use MergedList::{By, Set};

/// Those of a pod's `metadata`.
pub(crate) static METADATA_RULES: MergeRules =
    MergeRules { lists: &[("ownerReferences", By("uid", &NONE)), ("finalizers", Set)], objects: &[] };

/// Those of a pod's `spec`.
pub(crate) static POD_SPEC_RULES: MergeRules = MergeRules {
    lists: &[
        ("containers", By("name", &CONTAINER)),
        ("initContainers", By("name", &CONTAINER)),
        ("ephemeralContainers", By("name", &CONTAINER)),
        ("volumes", By("name", &VOLUME)),
        ("imagePullSecrets", By("name", &NONE)),
        ("hostAliases", By("ip", &NONE)),
        ("topologySpreadConstraints", By("topologyKey", &NONE)),
        ("schedulingGates", By("name", &NONE)),
        ("resourceClaims", By("name", &NONE)),
        ("evictionResponders", By("name", &NONE)),
    ],
    objects: &[],
};

static CONTAINER: MergeRules = MergeRules {
    lists: &[
        ("ports", By("containerPort", &NONE)),
        ("env", By("name", &NONE)),
        ("volumeMounts", By("mountPath", &NONE)),
        ("volumeDevices", By("devicePath", &NONE)),
    ],
    objects: &[],
};

static VOLUME: MergeRules = MergeRules { lists: &[], objects: &[("ephemeral", &EPHEMERAL)] };
static EPHEMERAL: MergeRules = MergeRules { lists: &[], objects: &[("volumeClaimTemplate", &CLAIM_TEMPLATE)] };
static CLAIM_TEMPLATE: MergeRules = MergeRules { lists: &[], objects: &[("metadata", &METADATA_RULES)] };

/// An object all of whose lists are replaced whole.
static NONE: MergeRules = MergeRules { lists: &[], objects: &[] };

impl MergeRules {
    /// Merge rule of a list in the object; `None` replaces it whole.
    pub(super) fn list(&self, key: &str) -> Option<&'static MergedList> {
        self.lists.iter().find(|(name, _)| *name == key).map(|(_, list)| list)
    }

    /// Those of an object in it.
    pub(super) fn object(&self, key: &str) -> &'static Self {
        self.objects.iter().find(|(name, _)| *name == key).map_or(&NONE, |(_, rules)| rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::kubernetes::{METADATA, POD_SPEC, Type};

    fn walk(rules: &MergeRules, fields: &Type, at: &str, walked: &mut usize) {
        for (name, list) in rules.lists {
            *walked += 1;
            let Some(Type::List(element)) = fields.field(name) else { panic!("{at}.{name} is no list") };
            match list {
                Set => assert_eq!(**element, Type::Text, "{at}.{name}"),
                By(key, rules) => {
                    assert!(element.field(key).is_some(), "{at}.{name} has no {key}");
                    walk(rules, element, &format!("{at}.{name}"), walked);
                }
            }
        }
        for (name, rules) in rules.objects {
            let object = fields.field(name).unwrap_or_else(|| panic!("{at}.{name} is not there"));
            walk(rules, object, &format!("{at}.{name}"), walked);
        }
    }

    #[test]
    fn every_rule_is_about_a_list_that_kubernetes_has() {
        let mut walked = 0;
        walk(&METADATA_RULES, &METADATA, "metadata", &mut walked);
        walk(&POD_SPEC_RULES, &POD_SPEC, "spec", &mut walked);
        assert_eq!(walked, 2 + 10 + 3 * 4 + 2);
    }
}
