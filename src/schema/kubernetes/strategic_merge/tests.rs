//! Refusals first; then the cases of `tests/data/strategic-merge.json`, whose results are `kubectl patch`'s own, to
//! which `tests/pods/merged.rs` holds them.

use super::*;
use serde_json::json;

const CASES: &str = include_str!("../../../../tests/data/strategic-merge.json");

fn cases(part: &str) -> (Value, Vec<Value>) {
    let mut all: Value = serde_json::from_str(CASES).expect("JSON");
    let cases = all[part].take();
    (all["object"].take(), cases.as_array().expect("cases").clone())
}

/// The object with both halves of a patch merged, and what is wrong with them.
fn merged(object: &Value, patch: &Value) -> (Value, Vec<ValueNote>) {
    let mut merged = object.clone();
    let mut mistakes = Vec::new();
    for (part, rules) in [("metadata", &METADATA_RULES), ("spec", &POD_SPEC_RULES)] {
        let Some(patch) = patch.get(part) else { continue };
        let into = merged[part].as_object_mut().expect("a mapping");
        mistakes.extend(merge(
            into,
            patch.as_object().expect("a mapping").clone(),
            rules,
            &ValuePath::default().key(part),
        ));
    }
    (merged, mistakes)
}

fn mistake(patch: Value) -> String {
    let (object, _) = cases("cases");
    let (_, mistakes) = merged(&object, &patch);
    let [mistake] = mistakes.as_slice() else { panic!("{patch}: {mistakes:?}") };
    format!("{} {}", mistake.path, mistake.text)
}

#[test]
fn what_kubectl_refuses_is_refused() {
    let (object, refused) = cases("refused");
    assert!(refused.len() >= 6, "{}", refused.len());
    for case in refused {
        let (_, mistakes) = merged(&object, &case["patch"]);
        assert_eq!(mistakes.len(), 1, "{}: {mistakes:?}", case["name"]);
    }
}

#[test]
fn directives_that_would_be_lost_are_refused_with_their_place() {
    for (patch, expected) in [
        (
            json!({"spec": {"$setElementOrder/containers": [{"name": "side"}]}}),
            "spec.$setElementOrder/containers is not supported; ",
        ),
        (
            json!({"spec": {"tolerations": [{"key": "a", "$patch": "delete"}]}}),
            "spec.tolerations[0].$patch is in a list that Kubernetes replaces whole",
        ),
        (
            json!({"spec": {"containers": [{"name": "shell", "$patch": "replace", "image": "x"}]}}),
            "spec.containers[0].$patch replaces the whole list; ",
        ),
        (
            json!({"spec": {"securityContext": {"$patch": "delete", "runAsUser": 1}}}),
            "spec.securityContext.runAsUser has no effect beside $patch: delete",
        ),
        (json!({"spec": {"$path": "delete"}}), "spec.$path is no directive that is known "),
        (
            json!({"spec": {"volumes": [{"name": "home", "$retainKeys": "name"}]}}),
            "spec.volumes[0].$retainKeys must be ",
        ),
        (
            json!({"spec": {"$deleteFromPrimitiveList/containers": ["shell"]}}),
            "spec.$deleteFromPrimitiveList/containers is for lists of texts and numbers alone",
        ),
        (json!({"spec": {"containers": [{"name": null, "image": "x"}]}}), "spec.containers[0] has no name, by which "),
    ] {
        let mistake = mistake(patch);
        assert!(mistake.starts_with(expected), "{mistake}");
    }
}

#[test]
fn first_directive_of_a_value_is_found_wherever_it_stands() {
    for (value, expected) in [
        (json!({"a": [{"b": {"$patch": "delete"}}]}), Some("a[0].b.$patch")),
        (json!({"$setElementOrder/containers": []}), Some("$setElementOrder/containers")),
        (json!({"a": "$patch", "labels": {"$other": "x"}}), None),
    ] {
        assert_eq!(directive(&value, &ValuePath::default()).as_ref().map(ValuePath::shown), expected, "{value}");
    }
}

#[test]
fn patches_give_what_kubectl_gives() {
    let (object, cases) = cases("cases");
    assert!(cases.len() > 30, "{}", cases.len());
    for case in cases {
        let (merged, mistakes) = merged(&object, &case["patch"]);
        assert_eq!(mistakes, [], "{}", case["name"]);
        for part in ["metadata", "spec"] {
            let mut expected = object[part].as_object().expect("a mapping").clone();
            for (key, value) in case["changed"][part].as_object().into_iter().flatten() {
                expected.insert(key.clone(), value.clone());
            }
            expected.retain(|_, value| !value.is_null());
            assert_eq!(printed(merged[part].clone()), printed(Value::Object(expected)), "{}", case["name"]);
        }
    }
}

/// A value without empty lists, which kubectl does not print, and nulls in new elements, which it does.
fn printed(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null() && *value != json!([]));
            kept.map(|(key, value)| (key, printed(value))).collect::<Tree>().into()
        }
        Value::Array(items) => items.into_iter().map(printed).collect(),
        value => value,
    }
}

#[test]
fn replacement_of_what_is_not_there_sets_it() {
    let (object, _) = cases("cases");
    let (merged, mistakes) = merged(&object, &json!({"spec": {"overhead": {"$patch": "replace", "cpu": "1"}}}));
    assert_eq!((mistakes, &merged["spec"]["overhead"]), (Vec::new(), &json!({"cpu": "1"})));
}
