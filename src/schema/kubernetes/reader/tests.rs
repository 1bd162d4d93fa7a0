//! What a pod's values are read as, beside what ContainerSSH 0.6 read (`sigs.k8s.io/yaml` 1.6.0 into Kubernetes 1.36's
//! types, run on each).

use super::*;
use crate::schema::kubernetes::{METADATA, POD_SPEC};
use serde_json::json;

fn file(kind: &Type, value: &Value) -> (Value, TypedReading) {
    read(TypedReader::new(ValueAuthor::File(&UnquotedTexts::default())), kind, value)
}

fn answer(kind: &Type, value: &Value) -> (Value, TypedReading) {
    read(TypedReader::new(ValueAuthor::Server), kind, value)
}

fn read(mut reader: TypedReader<'_>, kind: &Type, value: &Value) -> (Value, TypedReading) {
    let mut value = value.clone();
    reader.read(&mut value, kind, &ValuePath::default());
    (value, reader.finish())
}

fn container(key: &str, value: Value) -> Value {
    json!({"containers": [{"name": "a", "image": "i", key: value}]})
}

/// What strict field validation refuses is a mistake with a path, and stays as it is.
fn refused(kind: &Type, cases: &[(Value, &str, &str)]) {
    for (value, path, part) in cases {
        let (read, reading) = file(kind, value);
        assert_eq!(read, *value);
        assert_eq!((reading.changes.len(), reading.doubts.len()), (0, 0), "{value}: {reading:?}");
        let paths: Vec<_> = reading.mistakes.iter().map(|note| note.path.as_str()).collect();
        assert_eq!(paths, [*path], "{value}");
        assert!(reading.mistakes[0].text.contains(part), "{value}: {:?}", reading.mistakes);
    }
}

#[test]
fn what_a_strict_server_refuses_of_a_container_is_a_mistake_and_stays_as_it_is() {
    let whole = "must be an integer, not a string";
    let ports = |port: Value| json!([{ "containerPort": port }]);
    let cases: Vec<(&str, Value, &str, &str)> = vec![
        ("imagePullPolice", json!("Always"), "imagePullPolice", "did you mean \"imagePullPolicy\""),
        ("bogusField", json!({"a": 1}), "bogusField", "unknown to Kubernetes (up to 1.37)"),
        ("env", json!({"A": "b"}), "env", "must be a list, not a mapping"),
        ("env", json!(["A=b"]), "env[0]", "must be a mapping, not a string"),
        ("env", json!([{"name": "A", "value": ["b"]}]), "env[0].value", "must be a string, not a list"),
        ("env", json!([{"name": "A", "valeu": "b"}]), "env[0].valeu", "did you mean \"value\""),
        ("command", json!("sleep 5"), "command", "must be a list, not a string"),
        ("tty", json!(1), "tty", "must be true or false, not a number"),
        ("tty", json!("true"), "tty", "must be true or false, not a string"),
        ("tty", json!("maybe"), "tty", "must be true or false, not a string"),
        ("ports", ports(json!("80")), "ports[0].containerPort", whole),
        ("ports", ports(json!(1.5)), "ports[0].containerPort", "must be an integer, not a number"),
        ("ports", ports(json!(3_000_000_000_u32)), "ports[0].containerPort", "must be -2147483648 to 2147483647"),
        ("resources", json!({"limits": {"cpu": "much"}}), "resources.limits.cpu", "is not a quantity"),
        ("resources", json!({"limits": {"cpu": true}}), "resources.limits.cpu", "must be an amount"),
        ("resources", json!({"limits": ["1"]}), "resources.limits", "must be a mapping"),
        ("livenessProbe", json!({"httpGet": {"port": true}}), "livenessProbe.httpGet.port", "an integer or a string"),
        ("securityContext", json!({"runAsUser": "root"}), "securityContext.runAsUser", whole),
    ];
    for (key, value, path, part) in cases {
        refused(&POD_SPEC, &[(container(key, value), &format!("containers[0].{path}"), part)]);
    }
}

#[test]
fn what_a_strict_server_refuses_elsewhere_is_a_mistake_and_stays_as_it_is() {
    let twice = "differs from restartPolicy only in upper and lower case";
    refused(
        &POD_SPEC,
        &[
            (json!({"nodeSelector": {"a": {"b": 1}}}), "nodeSelector.a", "must be a string, not a mapping"),
            (json!({"hostNetwork": "true"}), "hostNetwork", "must be true or false"),
            (json!({"restartPolicy": "Never", "restartpolicy": "Always"}), "restartpolicy", twice),
        ],
    );
    refused(
        &METADATA,
        &[
            (json!({"labels": [1]}), "labels", "must be a mapping, not a list"),
            (json!({"lables": {}}), "lables", "did you mean \"labels\""),
            (json!({"creationTimestamp": 5}), "creationTimestamp", "is not a time"),
            (json!({"creationTimestamp": "yesterday"}), "creationTimestamp", "is not a time"),
            (json!({"finalizers": "a"}), "finalizers", "must be a list"),
        ],
    );
}

/// What Kubernetes takes as it is stays without a word.
#[test]
fn right_values_are_left_alone() {
    for (kind, value) in [
        (&*METADATA, json!({"name": "a", "labels": {"a": "1.0", "b": "yes"}, "annotations": null, "generation": 1})),
        (&*METADATA, json!({"creationTimestamp": null, "managedFields": [{"fieldsV1": {"f:a": {".": {}}}}]})),
        (&*METADATA, json!({"creationTimestamp": "2024-01-01T00:00:00Z"})),
        (
            &*POD_SPEC,
            container("env", json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}])),
        ),
        (
            &*POD_SPEC,
            container("resources", json!({"limits": {"cpu": 1, "memory": 512, "x": 0.5, "y": "1e3", "z": "500m"}})),
        ),
        (&*POD_SPEC, container("livenessProbe", json!({"httpGet": {"port": 80}, "tcpSocket": {"port": "http"}}))),
        (&*POD_SPEC, json!({"futureField": null, "schedulerName": null, "priority": -5, "hostUsers": false})),
        (&*POD_SPEC, json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "hostPath": {"path": "/"}}]})),
    ] {
        let mut reading_of_null = Vec::new();
        for (read, reading) in [file(kind, &value), answer(kind, &value)] {
            assert_eq!(read, value);
            assert_eq!((reading.changes.len(), reading.doubts.len()), (0, 0), "{value}: {reading:?}");
            reading_of_null.extend(reading.mistakes.into_iter().map(|note| note.path));
        }
        assert!(reading_of_null.iter().all(|path| path == "futureField"), "{value}: {reading_of_null:?}");
    }
}

#[test]
fn answers_are_read_as_their_fields_types() {
    for (kind, value, expected) in [
        (
            &*POD_SPEC,
            container("env", json!([{"name": "A", "value": 8080}])),
            container("env", json!([{"name": "A", "value": "8080"}])),
        ),
        (
            &*POD_SPEC,
            container("env", json!([{"name": 1, "value": false}])),
            container("env", json!([{"name": "1", "value": "false"}])),
        ),
        (
            &*POD_SPEC,
            container("command", json!(["sleep", 3600, true, null])),
            container("command", json!(["sleep", "3600", "true", ""])),
        ),
        (&*POD_SPEC, container("tty", json!("yes")), container("tty", json!(true))),
        (&*POD_SPEC, container("tty", json!("Off")), container("tty", json!(false))),
        (&*POD_SPEC, container("tty", json!("TRUE")), container("tty", json!(true))),
        (&*POD_SPEC, container("ImagePullpolicy", json!("Never")), container("imagePullPolicy", json!("Never"))),
        (
            &*POD_SPEC,
            container("ports", json!([{"containerPort": "0120"}, {"containerPort": 8080.0}])),
            container("ports", json!([{"containerPort": 80}, {"containerPort": 8080}])),
        ),
        (
            &*POD_SPEC,
            container("resources", json!({"Limits": {"cpu": "0x10", "memory": 512}})),
            container("resources", json!({"limits": {"cpu": 16, "memory": 512}})),
        ),
        (&*POD_SPEC, json!({"nodeSelector": {"a": null, "b": 1}}), json!({"nodeSelector": {"a": "", "b": "1"}})),
        (&*POD_SPEC, json!({"hostAliases": [{"hostnames": [1]}]}), json!({"hostAliases": [{"hostnames": ["1"]}]})),
        (
            &*POD_SPEC,
            json!({"volumes": [{"name": 1, "secret": {"secretName": 2, "defaultMode": "0644"}}]}),
            json!({"volumes": [{"name": "1", "secret": {"secretName": "2", "defaultMode": 420}}]}),
        ),
        (&*METADATA, json!({"Labels": {"A": 1}}), json!({"labels": {"A": "1"}})),
        (
            &*METADATA,
            json!({"annotations": {"a": false, "b": 1.5}}),
            json!({"annotations": {"a": "false", "b": "1.5"}}),
        ),
    ] {
        let (read, reading) = answer(kind, &value);
        assert_eq!(read, expected, "{value}");
        assert!(!reading.changes.is_empty() && reading.mistakes.is_empty(), "{value}: {reading:?}");
        assert!(reading.doubts.is_empty(), "{value}: {reading:?}");
        let (again, reading) = answer(kind, &read);
        assert_eq!((again, reading), (read, TypedReading::default()), "{value}");
    }
}

#[test]
fn number_whose_text_is_lost_is_a_doubt() {
    let (read, reading) = file(&METADATA, &json!({"labels": {"a": 1.0, "b": 1.5}}));
    assert_eq!(read, json!({"labels": {"a": "1.0", "b": "1.5"}}));
    assert_eq!(reading.doubts.iter().map(|note| note.path.as_str()).collect::<Vec<_>>(), ["labels.a"]);
    assert_eq!(reading.changes.iter().map(|note| note.path.as_str()).collect::<Vec<_>>(), ["labels.b"]);
}

#[test]
fn no_message_holds_a_value() {
    let value =
        container("env", json!([{"name": "A", "value": 4711}, {"name": "B", "value": [4711]}, {"value": 4711.0}]));
    let (_, reading) = file(&POD_SPEC, &value);
    assert_eq!((reading.changes.len(), reading.mistakes.len(), reading.doubts.len()), (1, 1, 1));
    assert!(!format!("{reading:?}").contains("4711"), "{reading:?}");
}

#[test]
fn amounts_are_those_of_kubernetes() {
    for text in [
        "0", "1", "1.5", "1.", ".5", "+1", "-1", "500m", "1Gi", "1Ki", "1E", "1e3", "1E3", "1e-3", "1e+21", "100n",
        "1k",
    ] {
        assert!(is_quantity(text), "{text}");
    }
    for text in ["", ".", "-", "a", "1K", "1gi", "1 Gi", "1e", "1ee3", "0x10", "1_000", "1.5.2", "true", "1mi", "Gi"] {
        assert!(!is_quantity(text), "{text}");
    }
}

#[test]
fn amounts_with_spaces_around_them_are_left_alone_as_kubernetes_does() {
    let value = container("resources", json!({"limits": {"cpu": " 500m ", "memory": "1Gi\n"}}));
    assert_eq!(file(&POD_SPEC, &value), (value.clone(), TypedReading::default()));
}

/// Go's `time.Parse` with its layout `RFC3339`.
#[test]
fn times_are_those_of_kubernetes() {
    for text in [
        "2024-02-29T12:00:00Z",
        "2024-01-01T00:00:00.123456789Z",
        "2024-01-01T00:00:00+05:30",
        "2024-01-01T00:00:00.5-00:00",
    ] {
        assert!(is_time(text), "{text}");
    }
    for text in [
        "",
        "yesterday",
        "2024-01-01",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00:00",
        "2024-01-01t00:00:00z",
        "2024-01-01T00:00Z",
        "20240101T000000Z",
        "2024-01-01T00:00:00+0530",
        "2024-01-01T00:00:00+05",
        "2024-01-01T00:00:00Z[UTC]",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:00:60Z",
        "2023-02-29T12:00:00Z",
        "2024-01-01T00:00:00Zä",
        "ääääääääääääää",
    ] {
        assert!(!is_time(text), "{text}");
    }
}
