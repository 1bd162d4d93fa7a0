//! The manifest: what is added, what is kept, what is refused.

mod agent;
mod idle;

use super::spec::{AGENT_OR, IDLE_SCRIPT};
use super::*;
use crate::kubernetes::fixtures::{self, object};
use podgate_webhooks::wire;
use std::collections::BTreeMap;
use std::sync::Arc;

fn request(settings: &KubernetesSettings, identity: &Identity) -> PodRequest {
    fixtures::request(settings.clone(), identity.clone(), "[2001:db8::1]:5".parse().unwrap())
}

fn made(settings: &KubernetesSettings, identity: &Identity) -> Result<Manifest, ManifestError> {
    manifest(&request(settings, identity), ConsoleCommand::Idle)
}

fn with_environment(entries: &[(&str, &str, bool)]) -> Identity {
    let environment = entries
        .iter()
        .map(|&(name, value, sensitive)| (name.to_owned(), wire::Value { value: value.to_owned(), sensitive }))
        .collect::<BTreeMap<_, _>>();
    fixtures::identity_with("alice", wire::Known { environment, ..wire::Known::default() })
}

#[test]
fn variable_that_env_would_read_as_an_option_is_refused() {
    for name in ["--split-string=sh", "A B", "", "1A"] {
        let error = made(&fixtures::settings(), &with_environment(&[(name, "x", false)])).unwrap_err().to_string();
        assert!(error.contains("cannot be set"), "{error}");
    }
    assert!(made(&fixtures::settings(), &with_environment(&[("A", "x\0", false)])).is_err());
}

#[test]
fn sensitive_variable_is_never_in_the_spec() {
    let manifest =
        made(&fixtures::settings(), &with_environment(&[("TOKEN", "hidden", true), ("B", "2", false)])).unwrap();
    assert!(!manifest.json.to_string().contains("hidden"));
    let sensitive: Vec<_> = manifest.sensitive.iter().map(|variable| variable.name().as_str()).collect();
    assert_eq!((manifest.notices, sensitive), (Vec::new(), vec!["TOKEN"]));
    assert_eq!(manifest.json["spec"]["containers"][0]["env"], json!([{"name": "B", "value": "2"}]));
}

/// Someone of whom the webhooks know this: name, value, whether it is sensitive.
fn with_metadata(entries: &[(&str, &str, bool)]) -> Identity {
    let metadata = entries
        .iter()
        .map(|&(name, value, sensitive)| (name.to_owned(), wire::Value { value: value.to_owned(), sensitive }))
        .collect();
    let environment = [("TEAM".to_owned(), wire::Value { value: "from environment".into(), sensitive: false })].into();
    fixtures::identity_with("alice", wire::Known { metadata, environment, ..wire::Known::default() })
}

fn exposing() -> KubernetesSettings {
    let mut settings = fixtures::settings();
    let key = |text: &str| crate::types::MetadataKey::parse(text).unwrap();
    settings.pod.expose = crate::settings::ExposedMetadata {
        env: [("team".to_owned(), crate::types::EnvName::parse("TEAM").unwrap())].into(),
        left_out: crate::types::NamesLeftOut::default(),
        labels: [("team".to_owned(), key("example.com/team")), ("absent".to_owned(), key("absent"))].into(),
        annotations: [("note".to_owned(), key("note"))].into(),
    };
    settings
}

#[test]
fn sensitive_metadata_is_exposed_nowhere() {
    let identity = with_metadata(&[("team", "hidden-1", true), ("note", "hidden-2", true)]);
    let manifest = made(&exposing(), &identity).unwrap();
    let text = manifest.json.to_string();
    assert!(!text.contains("hidden") && !text.contains("from environment"), "{text}");
    let left = |kind, name: &str| ManifestNotice::SensitiveLeftOut { kind, name: name.into() };
    let expected = [left("label", "example.com/team"), left("annotation", "note")];
    assert_eq!(manifest.notices, expected);
    // Over the link it can be had.
    assert_eq!(manifest.sensitive.iter().map(EnvVar::value).collect::<Vec<_>>(), ["hidden-1"]);
}

#[test]
fn metadata_is_exposed_where_it_is_asked_for_and_nothing_else() {
    let identity = with_metadata(&[("team", "Blue Team!", false), ("note", "a\nb: é", false), ("other", "x", false)]);
    let json = made(&exposing(), &identity).unwrap().json;
    assert_eq!(json["spec"]["containers"][0]["env"], json!([{"name": "TEAM", "value": "Blue Team!"}]));
    assert_eq!(json["metadata"]["labels"]["example.com/team"], "Blue-Team");
    assert_eq!(json["metadata"]["annotations"]["example.com/team"], "Blue Team!", "whole, where the label is not");
    assert_eq!(json["metadata"]["annotations"]["note"], "a\nb: é");
    assert!(json["metadata"]["labels"].get("absent").is_none());
    let fits = made(&exposing(), &with_metadata(&[("team", "blue", false)])).unwrap().json;
    assert_eq!(fits["metadata"]["labels"]["example.com/team"], "blue");
    assert!(fits["metadata"]["annotations"].get("example.com/team").is_none());
}

fn program(command: Option<&[&str]>, terminal: bool) -> MainProcess {
    let command = command.map(|words| words.iter().map(|word| (*word).to_owned()).collect());
    let var = crate::types::EnvVar::new(crate::types::EnvName::parse("A").unwrap(), "client's $(B) $$").unwrap();
    MainProcess { command, env: vec![var], terminal }
}

fn spec_of(settings: &KubernetesSettings, main: &MainProcess) -> Value {
    let identity = with_environment(&[("A", "1", false), ("B", "2", false)]);
    manifest(&request(settings, &identity), ConsoleCommand::Program(main)).unwrap().json["spec"].clone()
}

#[test]
fn main_process_reaches_kubernetes_with_nothing_left_for_it_to_expand() {
    let mut settings = fixtures::settings();
    settings.pod.spec = object(json!({"containers": [
        {"name": "shell", "image": "i", "command": ["image"], "args": ["--image"]}, {"name": "side", "image": "i"}
    ]}));
    let spec = spec_of(&settings, &program(Some(&["sh", "-c", "echo $$ $(A) $HOME"]), true));
    let console = &spec["containers"][0];
    assert_eq!(console["command"], json!(["sh", "-c", "echo $$$$ $$(A) $$HOME"]));
    assert!(console.get("args").is_none(), "they are the image's own program's");
    assert_eq!((&console["stdin"], &console["stdinOnce"], &console["tty"]), (&json!(true), &json!(true), &json!(true)));
    let own = json!({"name": "B", "value": "2"});
    assert_eq!(console["env"], json!([own, {"name": "A", "value": "client's $$(B) $$$$"}]));
    assert_eq!(spec["containers"][1]["env"], json!([{"name": "A", "value": "1"}, own]));
    assert_eq!(spec["restartPolicy"], "Never");
}

#[test]
fn images_own_program_keeps_its_command_line() {
    let mut settings = fixtures::settings();
    settings.pod.spec = object(json!({"containers": [{"name": "shell", "image": "i", "args": ["--image"]}]}));
    let console = spec_of(&settings, &program(None, false))["containers"][0].clone();
    assert_eq!((console.get("command"), &console["args"]), (None, &json!(["--image"])));
    assert_eq!((&console["stdin"], &console["tty"]), (&json!(true), &json!(false)));
}

#[test]
fn persistent_pod_is_its_identitys_and_no_gateways() {
    let mut settings = fixtures::settings();
    Arc::make_mut(&mut settings.cluster).from_webhook = true;
    let name = PodName::parse("den").unwrap();
    settings.pod.mode = PodMode::Persistent { name, create_missing: true, shared: false };
    settings.pod.metadata.insert("name".into(), "den".into());
    let json = made(&settings, &fixtures::identity("a@x")).unwrap().json;
    let labels = &json["metadata"]["labels"];
    assert_eq!((labels.get(INSTANCE), labels.get(CONNECTION)), (None, None));
    assert_eq!(labels[IDENTITY], identity_label("a@x"));
    assert_eq!(json["metadata"]["annotations"][USERNAME], "a@x");
    assert!(json["spec"].get("activeDeadlineSeconds").is_none());
}

#[test]
fn persistent_pod_has_no_variables_of_one_user_and_a_shared_one_no_owner() {
    let mut settings = fixtures::settings();
    let identity = with_environment(&[("TEAM", "blue", false)]);
    let connections = made(&settings, &identity).unwrap().json;
    assert!(connections.to_string().contains("blue"), "{connections}");
    for shared in [false, true] {
        let name = PodName::parse("den").unwrap();
        settings.pod.mode = PodMode::Persistent { name, create_missing: true, shared };
        let made = made(&settings, &identity).unwrap();
        assert!(!made.json.to_string().contains("blue"), "{}", made.json);
        assert_eq!(made.variables.len(), 1);
        assert_eq!(made.json["metadata"]["labels"].get(IDENTITY).is_none(), shared);
        assert_eq!(made.json["metadata"]["annotations"].get(USERNAME).is_none(), shared);
    }
}

#[test]
fn wrong_shapes_are_errors_with_their_path() {
    for (metadata, spec, path) in [
        (json!({"labels": []}), json!({"containers": [{}]}), "metadata.labels"),
        (json!({"annotations": "x"}), json!({"containers": [{}]}), "metadata.annotations"),
        (json!({}), json!({"containers": {}}), "spec.containers"),
        (json!({}), json!({"containers": ["x"]}), "spec.containers[0]"),
        (json!({}), json!({"containers": []}), "consoleContainerNumber"),
        (json!({}), json!({"containers": [{}], "initContainers": 1}), "spec.initContainers"),
        (json!({"generateName": "Not/a/name"}), json!({"containers": [{}]}), "metadata has no usable name"),
        (json!({"name": "Not/a/name"}), json!({"containers": [{}]}), "metadata has no usable name"),
    ] {
        let mut settings = fixtures::settings();
        settings.pod.metadata = object(metadata);
        settings.pod.spec = object(spec);
        let error = made(&settings, &fixtures::identity("a")).unwrap_err().to_string();
        assert!(error.contains(path), "{error}");
    }
}

#[test]
fn what_is_configured_is_sent_as_it_is() {
    let mut settings = fixtures::settings();
    settings.pod.metadata = object(json!({
        "generateName": "lab-", "labels": {"team": "x", "containerssh_username": "forged"}, "annotations": null,
        "ownerReferences": [{"uid": "1"}]
    }));
    settings.pod.spec = object(json!({
        "futureField": {"a": false}, "restartPolicy": "Always",
        "containers": [
            {"name": "side", "image": "s:1", "command": ["keep"]},
            {"name": "shell", "image": "g:1", "args": ["--x"], "securityContext": {"allowPrivilegeEscalation": false}}
        ]
    }));
    settings.pod.console = 1;
    let manifest = made(&settings, &fixtures::identity("a@x")).unwrap();
    let (metadata, spec) = (&manifest.json["metadata"], &manifest.json["spec"]);
    assert_eq!(metadata["name"], manifest.name.as_str());
    assert!(manifest.name.as_str().starts_with("lab-"));
    assert!(metadata.get("generateName").is_none());
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["ownerReferences"], json!([{"uid": "1"}]));
    assert_eq!(metadata["labels"]["team"], "x");
    assert_eq!(metadata["labels"]["containerssh_username"], "a-x");
    assert_eq!(metadata["labels"]["app.kubernetes.io/managed-by"], "podgate");
    assert_eq!(metadata["annotations"], json!({"containerssh_ip": "2001-db8--1", "podgate/username": "a@x"}));
    assert_eq!(spec["futureField"], json!({"a": false}));
    assert_eq!(spec["restartPolicy"], "Always");
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert!(spec.get("activeDeadlineSeconds").is_none());
    assert_eq!(spec["containers"][0], json!({"name": "side", "image": "s:1", "command": ["keep"]}));
    assert!(spec["containers"][1].get("args").is_none(), "they are the image's own program's");
    assert_eq!(spec["containers"][1]["securityContext"], json!({"allowPrivilegeEscalation": false}));
    assert_eq!(spec["containers"][1]["command"][0], "/bin/sh");
}

#[test]
fn args_of_the_container_follow_a_configured_idle_command_alone() {
    let mut settings = fixtures::settings();
    settings.pod.spec = object(json!({"containers": [
        {"name": "shell", "image": "g:1", "command": ["own"], "args": ["--x"]}
    ]}));
    for (idle_command, args) in [(None, Value::Null), (Some(vec!["tini".to_owned()]), json!(["--x"]))] {
        settings.pod.idle_command.clone_from(&idle_command);
        let spec = made(&settings, &fixtures::identity("a")).unwrap().json["spec"].clone();
        assert_ne!(spec["containers"][0]["command"], json!(["own"]), "{idle_command:?}");
        assert_eq!(spec["containers"][0]["args"], args, "{idle_command:?}");
    }
}

#[test]
fn configured_name_is_used_as_it_is() {
    let mut settings = fixtures::settings();
    settings.pod.metadata = object(json!({"name": "mine", "generateName": "x-"}));
    assert_eq!(made(&settings, &fixtures::identity("a")).unwrap().name.as_str(), "mine");
}

#[test]
fn spec_that_speaks_is_not_overruled() {
    let mut settings = fixtures::settings();
    Arc::make_mut(&mut settings.cluster).from_webhook = true;
    let spec = made(&settings, &fixtures::identity("a")).unwrap().json["spec"].clone();
    assert_eq!(spec["activeDeadlineSeconds"], 86400);
    settings.pod.spec.insert("activeDeadlineSeconds".into(), 60.into());
    settings.pod.spec.insert("automountServiceAccountToken".into(), true.into());
    let spec = made(&settings, &fixtures::identity("a")).unwrap().json["spec"].clone();
    assert_eq!((&spec["activeDeadlineSeconds"], &spec["automountServiceAccountToken"]), (&json!(60), &json!(true)));
}

#[test]
fn environment_replaces_and_reaches_every_container() {
    let mut settings = fixtures::settings();
    settings.pod.spec = object(json!({
        "containers": [
            {"name": "shell", "env": [{"name": "A", "valueFrom": {}}, {"name": "B", "value": "own"}]},
            {"name": "side", "env": null}
        ],
        "initContainers": [{"name": "init"}]
    }));
    let spec = made(&settings, &with_environment(&[("A", "new", false)])).unwrap().json["spec"].clone();
    let added = json!({"name": "A", "value": "new"});
    assert_eq!(spec["containers"][0]["env"], json!([{"name": "B", "value": "own"}, added]));
    assert_eq!(spec["containers"][1]["env"], json!([added]));
    assert_eq!(spec["initContainers"][0]["env"], json!([added]));
}

#[test]
fn idle_command_is_the_configured_one_then_the_agent_then_a_shell() {
    let mut settings = fixtures::settings();
    let command = |settings: &KubernetesSettings| {
        made(settings, &fixtures::identity("a")).unwrap().json["spec"]["containers"][0]["command"].clone()
    };
    assert_eq!(command(&settings), json!(["/bin/sh", "-c", IDLE_SCRIPT]));
    settings.pod.disable_agent = false;
    let agent = json!(["/usr/bin/containerssh-agent", "wait-signal", "--signal", "INT", "--signal", "TERM"]);
    let mut or_shell = json!(["/bin/sh", "-c", format!("{AGENT_OR}{IDLE_SCRIPT}")]);
    or_shell.as_array_mut().unwrap().extend(agent.as_array().unwrap().clone());
    assert_eq!(command(&settings), or_shell);
    // An image that has the agent may have no shell.
    settings.pod.agent_path_is_set = true;
    assert_eq!(command(&settings), agent);
    // An agent that nobody brings has to be there.
    (settings.pod.agent_path_is_set, settings.pod.agent_push) = (false, false);
    assert_eq!(command(&settings), agent);
    settings.pod.agent_image = Some("agent:1".into());
    settings.pod.agent_path_is_set = true;
    let copied = json!(["/.podgate/podgate-agent", "wait-signal", "--signal", "INT", "--signal", "TERM"]);
    assert_eq!(command(&settings), copied);
    settings.pod.idle_command = Some(vec!["sleep".into(), "9".into()]);
    assert_eq!(command(&settings), json!(["sleep", "9"]));
}
