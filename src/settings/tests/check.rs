//! An answer judged without a gateway's file: the same sentences as at a login.

use super::super::check_answer;
use serde_json::{Value, json};

fn mistakes(config: &Value) -> Vec<String> {
    let judged = check_answer(config.as_object().expect("a mapping"));
    judged.mistakes.iter().map(ToString::to_string).collect()
}

fn notices(config: &Value) -> Vec<String> {
    let judged = check_answer(config.as_object().expect("a mapping"));
    assert_eq!(judged.mistakes, [], "{config}");
    judged.notices.iter().map(|notice| format!("{}: {}", notice.path, notice.text)).collect()
}

#[test]
fn answer_that_a_login_refuses_is_refused_with_the_same_sentence() {
    for (config, expected) in [
        (
            json!({"security": {"forceComand": "x"}}),
            "security.forceComand: unknown key; did you mean \"forceCommand\"?",
        ),
        (json!({"security": []}), "security: must be a mapping, not a list"),
        (json!({"security": {"maxSessions": "5"}}), "security.maxSessions: must be an integer, not a string"),
        (json!({"kubernets": {"a": 1}}), "kubernets: unknown key; did you mean \"kubernetes\"?"),
        (json!({"kubernetes": {"pod": {"mode": "sesion"}}}), "kubernetes.pod.mode: \"sesion\" is not one of"),
        (json!({"kubernetes": {"pod": {"spec": {"containers": 7}}}}), "kubernetes.pod.spec.containers"),
        (json!({"kubernetes": {"pod": {"metadata": {"namespace": "A"}}}}), "kubernetes.pod.metadata.namespace: "),
        (json!({"kubernetes": {"timeouts": {"http": "5"}}}), "kubernetes.timeouts.http: \"5\" is not a duration"),
        (
            json!({"kubernetes": {"connection": {"cacertFile": "/ca"}}}),
            "kubernetes.connection.cacertFile: a config server may not name files of the gateway",
        ),
        (json!({"log": {"level": "loud"}}), "log.level: \"loud\" is not one of"),
        (json!({"backend": "docker"}), "backend: "),
    ] {
        let said = mistakes(&config);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{config}: {said:?}");
    }
    let both = json!({"security": {"a": 1}, "kubernetes": {"pod": {"b": 1}}});
    assert_eq!(mistakes(&both).len(), 2);
    let pod = json!({"shelCommand": ["x"], "spec": {"contaners": []}});
    let said = mistakes(&json!({"kubernetes": {"pod": pod}, "security": {"shell": {"mode": "of"}}}));
    let about = |part: &str| said.iter().any(|mistake| mistake.starts_with(part));
    let all = ["kubernetes.pod.shelCommand", "kubernetes.pod.spec.contaners", "security.shell.mode"];
    assert!(said.len() == 3 && all.into_iter().all(about), "{said:?}");
}

#[test]
fn part_of_a_configuration_is_enough() {
    for config in [
        json!({}),
        json!({"security": {"maxSessions": 0, "forceCommand": ""}}),
        json!({"backend": "kubernetes", "log": {"level": "debug"}}),
        json!({"kubernetes": {"pod": {"mode": "persistent"}}}),
        json!({"kubernetes": {"pod": {"spec": {"containers": [{"name": "shell", "image": "debian:13"}]}}}}),
    ] {
        assert_eq!(notices(&config), [""; 0], "{config}");
    }
}

#[test]
fn directive_of_a_strategic_merge_is_no_field_that_is_unknown() {
    let patch = json!({
        "merge": "strategic",
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["example.org/a"]},
        "spec": {
            "containers": [{"name": "shell", "image": "a"}, {"name": "old", "$patch": "delete"}],
            "securityContext": {"$patch": "replace", "runAsUser": 1},
            "volumes": [{"$retainKeys": ["name", "emptyDir"], "name": "home", "emptyDir": {}}],
        },
    });
    assert_eq!(notices(&json!({"kubernetes": {"pod": patch}})), [""; 0]);
    let patch = json!({"merge": "strategic", "spec": {"securityContext": {"$path": "replace"}}});
    let said = mistakes(&json!({"kubernetes": {"pod": patch}}));
    assert!(
        said.len() == 1 && said[0].starts_with("kubernetes.pod.spec.securityContext.$path: is no directive"),
        "{said:?}"
    );
    let patch = json!({"merge": "strategic", "spec": {"containers": [{"name": "shell", "volumeMounts": []}]}});
    assert_eq!(notices(&json!({"kubernetes": {"pod": patch}})), [""; 0]);
}

#[test]
fn what_no_login_refuses_and_an_operator_should_know_is_a_notice() {
    for (config, expected) in [
        (json!({"docker": {"a": 1}}), "docker: has no effect for a single connection"),
        (json!({"log": {"format": "text"}}), "log.format: has no effect for a single connection"),
        (
            json!({"kubernetes": {"connection": {"host": "https://k", "bearerToken": "t"}}}),
            "kubernetes.connection: is refused by a gateway whose file does not say configserver.allowConnection: true",
        ),
        (
            json!({"security": {"forwarding": {"forwardingMode": "filter"}}}),
            "security.forwarding.forwardingMode: is the same as disable",
        ),
        (
            json!({"kubernetes": {"pod": {"spec": {"containers": [{"name": "a", "image": "b", "comand": []}]}}}}),
            "kubernetes.pod.spec.containers[0].comand: ",
        ),
    ] {
        let said = notices(&config);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{config}: {said:?}");
    }
}
