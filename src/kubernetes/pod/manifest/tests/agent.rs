//! The copied agent: refused beside something of the user's own in its place, absent where nothing wants it, and else
//! admitted wherever the console container is.

use super::*;

fn settings() -> KubernetesSettings {
    let mut settings = fixtures::settings();
    settings.pod.disable_agent = false;
    settings.pod.agent_image = Some("registry.example/agent:1".into());
    settings
}

fn spec(settings: &KubernetesSettings) -> Value {
    made(settings, &with_environment(&[("A", "1", false)])).unwrap().json["spec"].clone()
}

#[test]
fn names_and_paths_of_the_copied_agent_are_refused_in_a_spec() {
    let console = |mount: &str| {
        let mounts = json!([{"name": "v", "mountPath": mount}]);
        json!({"containers": [{"name": "shell", "image": "i", "volumeMounts": mounts}]})
    };
    let with = |list: &str| {
        let mut spec = json!({"containers": [{"name": "shell", "image": "i"}]});
        spec[list] = json!([{"name": "podgate-agent", "image": "i"}]);
        spec
    };
    for (spec, path, taken) in [
        (with("volumes"), "spec.volumes", "podgate-agent"),
        (with("initContainers"), "spec.initContainers", "podgate-agent"),
        (with("containers"), "spec.containers", "podgate-agent"),
        (console("/.podgate"), "spec.containers[].volumeMounts", "/.podgate"),
        (console("//./.podgate/bin"), "spec.containers[].volumeMounts", "/.podgate"),
    ] {
        let mut settings = settings();
        settings.pod.spec = object(spec.clone());
        let told = made(&settings, &fixtures::identity("a")).unwrap_err().to_string();
        let expected = format!("kubernetes.pod.{path} has {taken}, which kubernetes.pod.agentImage uses; ");
        assert!(told.starts_with(&expected), "{spec}: {told}");
        // Without the image the names are free.
        settings.pod.agent_image = None;
        assert!(made(&settings, &fixtures::identity("a")).is_ok(), "{spec}");
    }
    let mut beside = settings();
    beside.pod.spec = object(console("/.podgate2"));
    assert!(made(&beside, &fixtures::identity("a")).is_ok());
    for list in ["volumes", "initContainers"] {
        let mut wrong = settings();
        wrong.pod.spec.insert(list.into(), json!("x"));
        assert!(made(&wrong, &fixtures::identity("a")).is_err(), "{list}");
    }
}

#[test]
fn pod_without_a_use_for_the_copied_agent_has_none() {
    let mut disabled = settings();
    disabled.pod.disable_agent = true;
    let mut session = settings();
    session.pod.mode = PodMode::Session;
    let mut unset = settings();
    unset.pod.agent_image = None;
    for settings in [disabled, session, unset] {
        assert_eq!(copied_agent(&settings.pod), None);
        let text = spec(&settings).to_string();
        assert!(!text.contains("agent:1") && !text.contains(".podgate"), "{text}");
    }
}

#[test]
fn copied_agent_stands_first_and_leaves_the_spec_as_it_is() {
    let mut settings = settings();
    settings.pod.spec = object(json!({
        "containers": [
            {"name": "side", "image": "s"},
            {"name": "shell", "image": "i", "volumeMounts": [{"name": "home", "mountPath": "/home"}]},
        ],
        "initContainers": [{"name": "first", "image": "f"}],
        "volumes": [{"name": "home", "emptyDir": {}}],
        "imagePullSecrets": [{"name": "registry"}],
    }));
    settings.pod.console = 1;
    let env = json!([{"name": "A", "value": "1"}]);
    assert_eq!(
        spec(&settings),
        json!({
            "automountServiceAccountToken": false,
            "containers": [
                {"name": "side", "image": "s", "env": env},
                {
                    "name": "shell", "image": "i", "env": env,
                    "command": ["/.podgate/podgate-agent", "wait-signal", "--signal", "INT", "--signal", "TERM"],
                    "volumeMounts": [
                        {"name": "home", "mountPath": "/home"},
                        {"name": "podgate-agent", "mountPath": "/.podgate", "readOnly": true},
                    ],
                },
            ],
            "initContainers": [
                {
                    "name": "podgate-agent",
                    "image": "registry.example/agent:1",
                    "command": ["podgate-agent", "install", "/.podgate/podgate-agent"],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": true,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "volumeMounts": [{"name": "podgate-agent", "mountPath": "/.podgate"}],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                },
                {"name": "first", "image": "f", "env": env},
            ],
            "volumes": [
                {"name": "home", "emptyDir": {}},
                {"name": "podgate-agent", "emptyDir": {"sizeLimit": "16Mi"}},
            ],
            "imagePullSecrets": [{"name": "registry"}],
        })
    );
    assert_eq!(copied_agent(&settings.pod), Some("/.podgate/podgate-agent"));
    assert_eq!(trial(&settings).unwrap()["spec"]["initContainers"][0]["name"], "podgate-agent");
}

#[test]
fn copied_agent_has_the_user_and_the_resources_of_the_console_and_no_privilege() {
    let mut settings = settings();
    settings.pod.spec = object(json!({"containers": [{
        "name": "shell",
        "image": "i",
        "securityContext": {
            "privileged": true, "runAsUser": 1000, "runAsGroup": 2000, "runAsNonRoot": true,
            "seLinuxOptions": {"level": "s0"}, "capabilities": {"add": ["SYS_ADMIN"]},
            "seccompProfile": {"type": "Unconfined"}, "readOnlyRootFilesystem": false, "procMount": "Unmasked",
        },
        "resources": {
            "requests": {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 1},
            "limits": {"memory": "1Gi", "ephemeral-storage": "2Gi", "nvidia.com/gpu": 1},
            "claims": [{"name": "x"}],
        },
    }]}));
    let spec = spec(&settings);
    let init = &spec["initContainers"][0];
    assert_eq!(
        init["securityContext"],
        json!({
            "runAsUser": 1000, "runAsGroup": 2000, "runAsNonRoot": true, "seLinuxOptions": {"level": "s0"},
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
            "seccompProfile": {"type": "RuntimeDefault"},
        })
    );
    assert_eq!(
        init["resources"],
        json!({
            "requests": {"cpu": "1", "memory": "1Gi"},
            "limits": {"memory": "1Gi", "ephemeral-storage": "2Gi"},
        })
    );
}
