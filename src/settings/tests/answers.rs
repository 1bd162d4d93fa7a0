//! The config webhook's answer over the file.

use super::given;
use crate::config::Config;
use crate::config::fixture::{has, load, minimal, set};
use crate::policy::RuleMode;
use crate::schema::Errors;
use crate::settings::Settings;
use crate::telemetry::Level;
use serde_json::{Value, json};

/// The file that the answers are laid over.
fn file() -> Value {
    let tree = set(minimal(), "configserver", json!({"url": "https://config.example"}));
    let tree = set(
        tree,
        "security",
        json!({"forceCommand": "/bin/force", "env": {"mode": "filter", "allow": ["A"]}, "maxSessions": 4, "shell": {"mode": "disable"}}),
    );
    set(
        tree,
        "kubernetes",
        json!({
            "pod": {
                "metadata": {"namespace": "guests", "labels": {"a": "1", "b": "2"}},
                "spec": {
                    "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}],
                    "nodeSelector": {"x": "y"}, "automountServiceAccountToken": true,
                },
                "consoleContainerNumber": 1, "disableAgent": true, "subsystems": {"sftp": "/sftp"},
                "shellCommand": ["/bin/zsh"],
            },
            "timeouts": {"podStart": "5s"},
        }),
    )
}

fn config() -> Config {
    load(&file()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn resolve(answer: &Value, exact: bool) -> Result<Settings, Errors> {
    Settings::resolve(&config().base, Some(&given(answer, exact)))
}

fn resolved(answer: &Value, exact: bool) -> Settings {
    resolve(answer, exact).unwrap_or_else(|errors| panic!("{answer}: {errors}"))
}

#[test]
fn mistakes_of_an_answer_are_named_by_path() {
    for (answer, path, part) in [
        (json!({"kubernetes": {"pod": {"sepc": {"a": 1}}}}), "kubernetes.pod.sepc", "did you mean \"spec\"?"),
        (json!({"security": {"env": {"alow": ["x"]}}}), "security.env.alow", "did you mean \"allow\"?"),
        (json!({"securty": {"forceCommand": "x"}}), "securty", "did you mean \"security\"?"),
        (json!({"kubernetes": "x"}), "kubernetes", "must be a mapping"),
        (json!({"security": {"env": {"mode": "enabled"}}}), "security.env.mode", "is not one of"),
        (json!({"backend": "docker"}), "backend", "not built yet"),
        (json!({"log": {"level": "loud"}}), "log.level", "is not one of"),
        (json!({"kubernetes": {"pod": {"mode": "persistent"}}}), "kubernetes.pod.metadata.name", "is not set"),
        (
            json!({"kubernetes": {"pod": {"consoleContainerNumber": 2}}}),
            "kubernetes.pod.consoleContainerNumber",
            "has 2",
        ),
        (
            json!({"kubernetes": {"pod": {"metadata": {"namespace": "A/b"}}}}),
            "kubernetes.pod.metadata.namespace",
            "DNS label",
        ),
        (
            json!({"kubernetes": {"pod": {"metadata": {"namespace": ""}}}}),
            "kubernetes.pod.metadata.namespace",
            "DNS label",
        ),
        (
            json!({"kubernetes": {"pod": {"spec": {"containers": []}}}}),
            "kubernetes.pod.spec.containers",
            "at least one",
        ),
        (
            json!({"kubernetes": {"pod": {"spec": {"containers": [{"name": "a"}]}}}}),
            "kubernetes.pod.spec.containers[0].image",
            "is missing",
        ),
        (
            json!({"kubernetes": {"connection": {"insecure": true}}}),
            "kubernetes.connection.insecure",
            "always verified",
        ),
        (json!({"kubernetes": {"timeouts": {"podStart": "-1s"}}}), "kubernetes.timeouts.podStart", "negative"),
    ] {
        for exact in [false, true] {
            let errors = resolve(&answer, exact).err().unwrap_or_else(|| panic!("{answer} was taken"));
            assert!(has(&errors, path, part), "{answer}: {errors}");
        }
    }
}

#[test]
fn unset_backend_is_an_error_of_the_connection() {
    let base = load(&set(file(), "backend", json!(""))).expect("loads").base;
    for answer in [None, Some(json!({})), Some(json!({"backend": ""}))] {
        let answer = answer.as_ref().map(|config| given(config, false));
        let errors = Settings::resolve(&base, answer.as_ref()).expect_err("no backend");
        assert!(has(&errors, "backend", "is not set"), "{errors}");
    }
    let answer = json!({"backend": "kubernetes"});
    let answer = given(&answer, false);
    assert!(Settings::resolve(&base, Some(&answer)).is_ok());
}

#[test]
fn zeros_of_our_structure_are_unset() {
    let zeros = json!({
        "backend": "", "log": {"level": "emerg"},
        "security": {
            "defaultMode": "", "forceCommand": "", "env": {"mode": "", "allow": [], "deny": null}, "maxSessions": 0,
            "shell": {"mode": ""}, "insecure": false,
        },
        "kubernetes": {
            "connection": {"host": "", "qps": 0, "insecure": false},
            "pod": {"metadata": {}, "spec": {"containers": null}, "consoleContainerNumber": 0, "disableAgent": false,
                "subsystems": {}, "shellCommand": [], "mode": ""},
            "timeouts": {"podStart": 0},
        },
    });
    let without = Settings::resolve(&config().base, None).expect("resolves");
    assert_eq!(format!("{:?}", resolved(&zeros, false)), format!("{without:?}"));
    assert_eq!(format!("{:?}", resolved(&json!({"log": {"level": 0}}), false)), format!("{without:?}"));
    assert_eq!(format!("{:?}", resolved(&json!({}), true)), format!("{without:?}"));
}

#[test]
fn zeros_of_an_exact_answer_are_values() {
    let exact = json!({
        "log": {"level": "emerg"},
        "security": {"forceCommand": "", "env": {"allow": []}, "maxSessions": 0},
        "kubernetes": {"pod": {"consoleContainerNumber": 0, "disableAgent": false, "shellCommand": []}},
    });
    let settings = resolved(&exact, true);
    let pod = settings.kubernetes().pod;
    assert_eq!((settings.level, settings.rules.max_sessions), (Level::Emergency, Some(0)));
    assert_eq!((settings.rules.force_command, settings.rules.env.allow.len()), (None, 0));
    assert_eq!((pod.console, pod.disable_agent, pod.shell_command), (0, false, Some(vec!["/bin/bash".to_owned()])));
    let base = load(&set(file(), "configserver.exactValues", json!(true))).expect("loads").base;
    let answer = given(&exact, false);
    assert_eq!(Settings::resolve(&base, Some(&answer)).expect("resolves").rules.max_sessions, Some(0));
}

#[test]
fn empty_modes_and_paths_never_lift_what_the_file_says() {
    let answer = json!({
        "security": {"env": {"mode": ""}, "shell": {"mode": ""}}, "backend": "",
        "kubernetes": {"pod": {"agentPath": "", "mode": ""}, "connection": {"host": "", "path": ""}},
    });
    let settings = resolved(&answer, true);
    assert_eq!((settings.rules.env.mode, settings.rules.shell), (RuleMode::Filter, RuleMode::Disable));
}

#[test]
fn nulls_are_absence_in_exact_answers_too() {
    let answer =
        json!({"security": {"forceCommand": null, "env": null}, "kubernetes": null, "backend": null, "foo": null});
    let settings = resolved(&answer, true);
    assert_eq!(settings.rules.force_command.as_deref(), Some("/bin/force"));
    assert_eq!(settings.rules.env.mode, RuleMode::Filter);
}

#[test]
fn zeros_of_kubernetes_objects_and_list_elements_are_values() {
    let answer = json!({"kubernetes": {"pod": {
        "metadata": {"labels": {"a": ""}},
        "spec": {
            "automountServiceAccountToken": false, "priority": 0, "nodeSelector": {},
            "containers": [{
                "name": "a", "image": "i", "env": [{"name": "X", "value": ""}],
                "securityContext": {"allowPrivilegeEscalation": false, "runAsUser": 0, "seLinuxOptions": null},
            }],
        },
        "consoleContainerNumber": 0,
    }}});
    let file_console_is_zero = set(answer.clone(), "kubernetes.pod.consoleContainerNumber", json!(0));
    let errors = resolve(&file_console_is_zero, false).expect_err("the file's 1 stays, the list has one");
    assert!(has(&errors, "kubernetes.pod.consoleContainerNumber", "has 1"), "{errors}");
    let pod = resolved(&answer, true).kubernetes().pod;
    let spec = json!({
        "automountServiceAccountToken": false, "priority": 0, "nodeSelector": {"x": "y"},
        "containers": [{
            "name": "a", "image": "i", "env": [{"name": "X", "value": ""}],
            "securityContext": {"allowPrivilegeEscalation": false, "runAsUser": 0},
        }],
    });
    assert_eq!(Value::Object(pod.spec), spec);
    assert_eq!(pod.metadata["labels"], json!({"a": "", "b": "2"}));
    assert_eq!(pod.namespace.as_str(), "guests");
}

#[test]
fn mappings_are_merged_and_lists_replaced() {
    let answer = json!({
        "security": {"env": {"allow": ["B", "C"]}},
        "kubernetes": {
            "pod": {
                "metadata": {"namespace": "other", "annotations": {"c": "3"}}, "subsystems": {"x": "/x"},
                "spec": {"nodeSelector": {"z": "w"}},
            },
            "timeouts": {"podStop": 1_000_000_000},
        },
    });
    let settings = resolved(&answer, false);
    let (pod, timeouts) = (settings.kubernetes().pod, settings.kubernetes().timeouts);
    assert_eq!((settings.rules.env.mode, settings.rules.env.allow), (RuleMode::Filter, vec!["B".into(), "C".into()]));
    assert_eq!(pod.spec["nodeSelector"], json!({"x": "y", "z": "w"}));
    assert_eq!(pod.spec["containers"].as_array().map(Vec::len), Some(2));
    assert_eq!((pod.namespace.as_str(), pod.subsystems.len()), ("other", 2));
    assert_eq!(pod.metadata["labels"], json!({"a": "1", "b": "2"}));
    assert_eq!((timeouts.pod_start.as_secs(), timeouts.pod_stop.as_secs()), (5, 1));
}

#[test]
fn answer_without_containers_adds_to_the_default_pod() {
    let base = load(&minimal()).expect("loads").base;
    let answer = json!({"kubernetes": {"pod": {"spec": {"nodeSelector": {"z": "w"}}}}});
    let answer = given(&answer, false);
    let pod = Settings::resolve(&base, Some(&answer)).expect("resolves").kubernetes().pod;
    assert_eq!((pod.console_name.as_str(), &pod.spec["nodeSelector"]), ("shell", &json!({"z": "w"})));
}

#[test]
fn sections_without_effect_for_a_connection_are_not_even_read() {
    let answer = json!({
        "ssh": 5, "configserver": [], "auth": {"password": {"insecure": true}}, "metrics": {"enable": true}, "geoip": "x",
        "audit": {"enable": true}, "health": 1, "docker": {"bogus": {}}, "sshproxy": true, "log": {"format": 7, "level": "debug"},
    });
    assert_eq!(resolved(&answer, false).level, Level::Debug);
    assert_eq!(resolved(&json!({"log": "x"}), true).level, Level::Info);
}

#[test]
fn pod_of_an_answer_is_read_as_kubernetes_types_want_it_and_told() {
    let env = |count: usize| -> Value { (0..count).map(|n| json!({"name": format!("V{n}"), "value": n})).collect() };
    let answer = |count: usize| {
        json!({"kubernetes": {"pod": {
            "metadata": {"Annotations": {"note": false}, "labels": {"b": null}},
            "spec": {"containers": [{"name": "a", "image": "i", "TTY": "yes", "env": env(count)}, {"name": "b", "image": "j"}]},
            "shellCommand": ["/bin/sh", 1], "DisableAgent": "on",
        }}})
    };
    let settings = resolved(&answer(1), false);
    let pod = &settings.kubernetes().pod;
    let shell = json!({"name": "a", "image": "i", "tty": true, "env": [{"name": "V0", "value": "0"}]});
    assert_eq!(pod.spec["containers"][0], shell);
    assert_eq!(pod.metadata["annotations"], json!({"note": "false"}));
    assert_eq!(pod.metadata["labels"], json!({"a": "1", "b": ""}));
    assert_eq!((pod.shell_command.as_deref(), pod.disable_agent), (Some(&["/bin/sh".into(), "1".into()][..]), true));
    let told = settings.conversions.expect("what was understood");
    assert!(told.contains("kubernetes.pod.spec.containers[0].TTY is read as tty; "), "{told}");
    // However much there is, it is one line of bounded length.
    let told = resolved(&answer(500), false).conversions.expect("what was understood");
    assert!(told.ends_with("; and 500 more") && told.len() < 1000, "{told}");
    assert_eq!(resolved(&json!({"kubernetes": {"pod": {"spec": {"priority": 0}}}}), true).conversions, None);
}
