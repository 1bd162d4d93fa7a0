//! Answers that still say `kuberun`.

use super::given;
use crate::config::fixture::{has, minimal, set};
use crate::schema::ConfigReport;
use crate::schema::{get, put};
use crate::settings::{FileSections, Settings, overlay};
use serde_json::{Map, Value, json};

/// The part of a file that answers are laid over.
fn file(tree: &Value, kuberun: bool) -> FileSections {
    FileSections::new(tree.as_object().expect("a mapping").clone(), false, false, kuberun)
}

/// What `podgate migrate` makes of kuberun's file.
fn rewritten() -> Value {
    let pod = json!({
        "metadata": {"namespace": "guests"}, "spec": {"containers": [{"name": "a", "image": "i"}], "nodeSelector": {"x": "y"}},
        "mode": "session", "disableAgent": true, "shellCommand": [],
    });
    set(set(minimal(), "kubernetes.pod", pod), "kubernetes.connection", json!({"bearerToken": "t"}))
}

/// The sections under an answer, or the paths and texts of its mistakes.
fn over(file: &FileSections, config: &Value) -> Result<Map<String, Value>, String> {
    let report = ConfigReport::default();
    let answer = given(config, false);
    let overlaid = overlay::overlay(file, Some(&answer), &report);
    report.finish(Some(overlaid.sections)).map(|(tree, _)| tree).map_err(|errors| errors.to_string())
}

#[test]
fn answer_that_does_not_fit_the_files_pods_is_refused() {
    let connection = file(&set(minimal(), "kubernetes.pod.mode", json!("connection")), false);
    let kuberun = file(&rewritten(), true);
    let forced = file(&set(rewritten(), "security.forceCommand", json!("/bin/a")), true);
    for (file, answer, told) in [
        (&connection, json!({"backend": "kuberun", "kuberun": {"timeout": "1s"}}), "backend: kuberun does not fit"),
        (&kuberun, json!({"backend": "kubernetes"}), "backend: does not fit the file"),
        (&kuberun, json!({"kubernetes": {"timeouts": {"http": "1s"}}}), "kubernetes: does not fit the file"),
        (&kuberun, json!({"kuberun": {"connection": {"insecure": true}}}), "kuberun.connection.insecure: certificates"),
        (
            &kuberun,
            json!({"kuberun": {"connection": {"host": "h"}}}),
            "kuberun.connection.host: a config server may not",
        ),
        (
            &kuberun,
            json!({"kuberun": {"pod": {"podSpc": {}, "podSpecc": {"a": 1}}}}),
            "kuberun.pod.podSpecc: unknown key",
        ),
        (&kuberun, json!({"backend": "dockerrun"}), "backend: dockerrun is not built yet"),
        (&forced, json!({"kuberun": {"pod": {"disableCommand": true}}}), "kuberun.pod.disableCommand: does not go"),
    ] {
        let errors = over(file, &answer).err().unwrap_or_else(|| panic!("{answer} was taken"));
        assert!(errors.contains(told), "{answer}: {errors}");
    }
}

#[test]
fn old_answer_means_what_it_meant_over_an_old_file_and_its_rewriting() {
    let answer = json!({
        "backend": "kuberun", "listen": "", "dockerrun": {"host": "", "config": {"disableCommand": false}},
        "kuberun": {
            "connection": {"host": "", "insecure": false, "qps": 0}, "timeout": 5_000_000_000_u64,
            "pod": {
                "namespace": "other", "consoleContainerNumber": 0, "disableCommand": true, "subsystems": null,
                "podSpec": {"containers": [{"name": "b", "image": "j", "securitycontext": {"runasuser": 0}}]},
            },
        },
    });
    for file in [file(&rewritten(), true), file(&rewritten(), false)] {
        let tree = over(&file, &answer).unwrap_or_else(|errors| panic!("{errors}"));
        for (path, value) in [
            ("backend", json!("kubernetes")),
            ("kubernetes.pod.mode", json!("session")),
            ("kubernetes.pod.metadata.namespace", json!("other")),
            ("kubernetes.pod.spec.nodeSelector", json!({"x": "y"})),
            (
                "kubernetes.pod.spec.containers",
                json!([{"name": "b", "image": "j", "securityContext": {"runAsUser": 0}}]),
            ),
            ("kubernetes.timeouts.podStart", json!(5_000_000_000_u64)),
            ("kubernetes.connection.bearerToken", json!("t")),
            ("security.command.mode", json!("disable")),
            ("security.subsystem.mode", json!("disable")),
        ] {
            assert_eq!(get(&tree, path), Some(&value), "{path}");
        }
        assert!(get(&tree, "kuberun").is_none() && get(&tree, "dockerrun").is_none());
    }
}

#[test]
fn what_an_old_answer_never_said_stays_as_the_file_has_it() {
    let own = set(rewritten(), "kubernetes.pod.shellCommand", json!(["/bin/zsh"]));
    let own = set(own, "kubernetes.pod.disableAgent", json!(false));
    let answer = json!({"backend": "kuberun", "kuberun": {"pod": {"namespace": "other"}}});
    let over_own = over(&file(&own, true), &answer).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(get(&over_own, "kubernetes.pod.shellCommand"), Some(&json!(["/bin/zsh"])));
    assert_eq!(get(&over_own, "kubernetes.pod.disableAgent"), Some(&json!(false)));
    let over_nothing = over(&file(&minimal(), false), &answer).unwrap_or_else(|errors| panic!("{errors}"));
    for (path, value) in [("mode", json!("session")), ("disableAgent", json!(true)), ("shellCommand", json!([]))] {
        assert_eq!(get(&over_nothing, &format!("kubernetes.pod.{path}")), Some(&value), "{path}");
    }
}

#[test]
fn old_block_without_a_backend_goes_by_the_file() {
    let answer = json!({"kuberun": {"pod": {"namespace": "other"}}});
    let namespace = |file: &FileSections| {
        let tree = over(file, &answer).unwrap_or_else(|errors| panic!("{errors}"));
        get(&tree, "kubernetes.pod.metadata.namespace").cloned()
    };
    assert_eq!(namespace(&file(&rewritten(), true)), Some(json!("other")));
    let mut connection = rewritten();
    put(connection.as_object_mut().expect("a mapping"), "kubernetes.pod.mode", json!("connection"));
    assert_eq!(namespace(&file(&connection, false)), Some(json!("guests")));
}

#[test]
fn mistakes_of_an_old_answer_are_named_where_they_stand() {
    let file = file(&rewritten(), true);
    let answer = json!({"kuberun": {"pod": {"podSpec": {"containers": [{"name": "A", "image": "i"}]}}}});
    let answer = given(&answer, false);
    let errors = Settings::resolve(&file, Some(&answer)).expect_err("a name");
    assert!(has(&errors, "kuberun.pod.podSpec.containers[0].name", "DNS label"), "{errors}");
}

#[test]
fn old_keys_of_an_answer_are_told_with_what_they_are_now() {
    let keys = |answer: &Value| {
        let answer = given(answer, false);
        overlay::overlay(&file(&rewritten(), true), Some(&answer), &ConfigReport::default()).old_keys
    };
    let told = keys(&json!({"backend": "kuberun", "kuberun": {"pod": {"namespace": "n"}}})).expect("told");
    for part in ["backend is now backend: kubernetes", "kuberun.pod.namespace is now kubernetes.pod.metadata.namespace"]
    {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(
        keys(
            &json!({"security": {"maxSessions": 3}, "kuberun": {"pod": {"namespace": ""}}, "dockerrun": {"host": "h"}})
        ),
        None
    );
}
