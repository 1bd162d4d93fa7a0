//! `pod.mode` and the keys that hang on it; what of a user's metadata goes into a pod.

use super::*;
use crate::settings::PodMode;
use crate::types::{EnvName, MetadataKey, PodName};

fn refused(pod: Value, at: &str, part: &str) {
    let errors = with("kubernetes.pod", pod.clone()).err().unwrap_or_else(|| panic!("{pod} was taken"));
    assert!(has(&errors, &format!("kubernetes.pod.{at}"), part), "{pod}: {errors}");
    assert_eq!(errors.0.len(), 1, "{pod}: {errors}");
}

fn pod(pod: Value) -> crate::settings::PodSettings {
    settings("kubernetes.pod", pod).kubernetes().pod
}

#[test]
fn keys_of_another_mode_are_refused() {
    for mode in [json!(null), json!("connection"), json!("session")] {
        for key in ["createMissingPods", "shared"] {
            refused(json!({"mode": mode, key: true}), key, "is only for mode: persistent");
        }
    }
}

#[test]
fn session_whose_program_would_be_started_again_is_refused() {
    let spec = |policy: Value| json!({"mode": "session", "spec": {"containers": [{"name": "a", "image": "i"}], "restartPolicy": policy}});
    for policy in [json!("Always"), json!("OnFailure"), json!(1)] {
        refused(spec(policy), "spec.restartPolicy", "must be Never");
    }
    for policy in [json!("Never"), json!(""), json!(null)] {
        assert_eq!(pod(spec(policy)).mode, PodMode::Session);
    }
}

#[test]
fn persistent_pod_without_a_usable_name_is_refused() {
    for (metadata, part) in [
        (json!({}), "needs the name of the pod"),
        (json!({"name": ""}), "needs the name of the pod"),
        (json!({"name": "../x"}), "DNS label"),
        (json!({"name": [1]}), "must be a string"),
    ] {
        refused(json!({"mode": "persistent", "metadata": metadata}), "metadata.name", part);
    }
    let made = pod(json!({"mode": "persistent", "metadata": {"name": "den"}, "createMissingPods": true}));
    let name = PodName::parse("den").expect("a name");
    assert_eq!(made.mode, PodMode::Persistent { name, create_missing: true, shared: false });
}

#[test]
fn name_of_a_persistent_pod_may_come_with_the_answer() {
    let server = json!({"url": "https://config.example"});
    let tree = set(set(minimal(), "kubernetes.pod.mode", json!("persistent")), "configserver", server);
    let config = load(&tree).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(Settings::resolve(&config.base, None).is_err());
    let answer = json!({"kubernetes": {"pod": {"metadata": {"name": "den"}}}});
    let answer = given(&answer, false);
    let pod = Settings::resolve(&config.base, Some(&answer)).expect("whole").kubernetes().pod;
    assert!(matches!(pod.mode, PodMode::Persistent { name, .. } if name.as_str() == "den"));
}

#[test]
fn shared_pods_are_warned_of_at_each_start() {
    let tree = set(minimal(), "kubernetes.pod", json!({"mode": "persistent", "metadata": {"name": "den"}}));
    assert!(load(&tree).expect("loads").notices.iter().all(|notice| !notice.warn));
    let config = load(&set(tree, "kubernetes.pod.shared", json!(true))).expect("loads");
    let warned: Vec<_> = config.notices.iter().filter(|notice| notice.warn).map(|notice| &*notice.path).collect();
    assert_eq!(warned, ["kubernetes.pod.shared"]);
}

#[test]
fn only_the_file_opens_a_pod_for_several_identities() {
    let file = |shared: bool| {
        let server = set(minimal(), "configserver", json!({"url": "https://config.example"}));
        load(&set(server, "kubernetes.pod.shared", json!(shared))).unwrap_or_else(|errors| panic!("{errors}")).base
    };
    let answered = |shared: bool, pod: Value| {
        let answer = given(&json!({"kubernetes": {"pod": pod}}), true);
        Settings::resolve(&file(shared), Some(&answer)).map(|settings| settings.kubernetes().pod.mode)
    };
    let den = |shared: bool| json!({"mode": "persistent", "metadata": {"name": "den"}, "shared": shared});
    let errors = answered(false, den(true)).expect_err("a pod that the file does not share");
    assert!(has(&errors, "kubernetes.pod.shared", "only if the gateway's file says it"), "{errors}");
    let is_shared = |mode: Result<PodMode, Errors>| matches!(mode, Ok(PodMode::Persistent { shared: true, .. }));
    assert!(!is_shared(answered(false, den(false))));
    assert!(is_shared(answered(true, den(true))));
    assert!(!is_shared(answered(true, den(false))));
    assert!(is_shared(answered(true, json!({"mode": "persistent", "metadata": {"name": "den"}}))));
    // What the file permits is no mistake of an answer that does not need it.
    assert_eq!(answered(true, json!({})).ok(), Some(PodMode::Connection));
}

#[test]
fn program_that_would_share_its_pod_with_another_is_refused() {
    refused(json!({"mode": "session", "metadata": {"name": "den"}}), "metadata.name", "set generateName");
    for metadata in [json!({"name": ""}), json!({"name": null}), json!({"generateName": "den-"})] {
        assert_eq!(pod(json!({"mode": "session", "metadata": metadata})).mode, PodMode::Session);
    }
}

#[test]
fn empty_shell_is_the_images_own_program_in_mode_session_alone() {
    assert_eq!(pod(json!({"mode": "session", "shellCommand": []})).shell_command, None);
    let bash = Some(vec!["/bin/bash".to_owned()]);
    assert_eq!(pod(json!({"mode": "session"})).shell_command, bash);
    assert_eq!(pod(json!({"shellCommand": []})).shell_command, bash);
}

#[test]
fn variable_whose_name_no_shell_allows_is_left_out_with_a_warning_in_file_and_answer() {
    for target in ["A-B", "", "--split-string=id", "a.b"] {
        let expose = json!({"exposeAuthMetadataAsEnv": {"team": target, "unit": "UNIT"}});
        let config = load(&set(minimal(), "kubernetes.pod", expose.clone())).expect("loads");
        let warned: Vec<_> = config.notices.iter().filter(|notice| notice.warn).map(|notice| &*notice.path).collect();
        assert_eq!(warned, ["kubernetes.pod.exposeAuthMetadataAsEnv.team"], "{target:?}");
        let server = set(minimal(), "configserver", json!({"url": "https://config.example"}));
        let base = load(&server).expect("loads").base;
        let answer = json!({"kubernetes": {"pod": expose}});
        let answer = given(&answer, true);
        for settings in [Settings::resolve(&config.base, None), Settings::resolve(&base, Some(&answer))] {
            let expose = settings.unwrap_or_else(|errors| panic!("{target:?}: {errors}")).kubernetes().pod.expose;
            assert_eq!(expose.env.keys().collect::<Vec<_>>(), ["unit"], "{target:?}");
            assert_eq!(expose.left_out.shown(), Some(format!("{target:?}")));
        }
    }
}

#[test]
fn metadata_cannot_become_what_podgate_decides_by() {
    for (key, target, part) in [
        ("exposeAuthMetadataAsLabels", "podgate/identity", "is set by Podgate itself"),
        ("exposeAuthMetadataAsLabels", "podgate/instance", "is set by Podgate itself"),
        ("exposeAuthMetadataAsLabels", "containerssh_connection_id", "is set by Podgate itself"),
        ("exposeAuthMetadataAsLabels", "app.kubernetes.io/managed-by", "is set by Podgate itself"),
        ("exposeAuthMetadataAsAnnotations", "podgate/username", "is set by Podgate itself"),
        ("exposeAuthMetadataAsAnnotations", "containerssh_ip", "is set by Podgate itself"),
        ("exposeAuthMetadataAsLabels", "a b", "is not the key of a label"),
        ("exposeAuthMetadataAsAnnotations", "/x", "DNS label"),
    ] {
        refused(json!({key: {"team": target}}), &format!("{key}.team"), part);
    }
    let expose = pod(json!({
        "exposeAuthMetadataAsEnv": {"a": "A"}, "exposeAuthMetadataAsLabels": {"b": "x.org/b"},
        "exposeAuthMetadataAsAnnotations": {"c": "c"},
    }))
    .expose;
    assert_eq!(expose.env.get("a"), Some(&EnvName::parse("A").expect("a name")));
    assert_eq!(expose.labels.get("b"), Some(&MetadataKey::parse("x.org/b").expect("a key")));
    assert_eq!(expose.annotations.get("c"), Some(&MetadataKey::parse("c").expect("a key")));
}
