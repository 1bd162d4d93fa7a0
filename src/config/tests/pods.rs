//! Pods of files as ContainerSSH 0.6 takes them: every scalar as what its field is. The values beside them were read by
//! its YAML reader; where it made another text of what stands there, `--check-config` says so.

use crate::config::Config;
use crate::config::fixture::{MemoryFiles, has, minimal};
use crate::schema::{Format, migrate::migrate_text};
use crate::settings::{PodSettings, Settings};
use crate::types::Secret;
use serde_json::{Value, json};

fn with_pod(pod: &str) -> String {
    let mut tree = minimal();
    tree["kubernetes"] = json!("HERE");
    let file = crate::schema::yaml::write(tree.as_object().expect("a mapping"));
    let pod: String = pod.lines().map(|line| format!("    {line}\n")).collect();
    file.replace("kubernetes: HERE", &format!("kubernetes:\n  pod:\n{pod}"))
}

fn load(pod: &str) -> Config {
    let text = with_pod(pod);
    Config::parse(&text, Format::Yaml, &MemoryFiles::new()).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

fn pod(config: &Config) -> PodSettings {
    Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}")).kubernetes().pod
}

fn strict(config: &Config) -> Vec<&str> {
    config.strict.iter().map(|error| error.path.as_str()).collect()
}

fn container(rest: &str) -> String {
    format!("spec:\n  containers:\n  - name: a\n    image: i\n    {rest}")
}

/// Pod, where the value is, what it is read as.
fn read_as(cases: &[(String, &str, Value)], is_doubtful: bool) {
    for (text, pointer, expected) in cases {
        let config = load(text);
        let pod = pod(&config);
        let whole = json!({"metadata": pod.metadata, "spec": pod.spec});
        assert_eq!(whole.pointer(pointer), Some(expected), "{text}: {whole}");
        assert_eq!(!config.strict.is_empty(), is_doubtful, "{text}: {:?}", config.strict);
        let warned = config.notices.iter().any(|notice| notice.warn && notice.path.starts_with("kubernetes.pod."));
        assert!(warned, "{text}: {:?}", config.notices);
        // The file that `migrate` writes says the same, and nobody is in doubt about it.
        let migration = migrate_text(&with_pod(text), Format::Yaml).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(migration.decisions.is_empty(), !is_doubtful, "{text}: {:?}", migration.decisions);
        assert_eq!(migration.readings.is_empty(), is_doubtful, "{text}: {:?}", migration.readings);
        let again = Config::parse(&migration.to_yaml(), Format::Yaml, &MemoryFiles::new());
        let again = again.unwrap_or_else(|errors| panic!("{errors}"));
        assert!(again.strict.is_empty() && again.notices.iter().all(|notice| !notice.warn), "{}", migration.to_yaml());
        assert_eq!(self::pod(&again).spec, pod.spec, "{text}");
        assert_eq!(self::pod(&again).metadata, pod.metadata, "{text}");
    }
}

#[test]
fn scalars_of_a_file_are_what_containerssh_read() {
    let env = |value: &str| container(&format!("env: [{{name: X, value: {value}}}]"));
    let label = |value: &str| format!("metadata:\n  labels:\n    a: {value}\n");
    let value = "/spec/containers/0/env/0/value";
    let of = |key: &str, value: &str| container(&format!("{key}: {value}"));
    let at = "/spec/containers/0";
    let port = of("ports", "[{containerPort: 1e3, name: 5}]");
    let probe = of("livenessProbe", "{httpGet: {port: 8_080, path: 1}}");
    let at_key = |key: &str| -> &'static str { format!("{at}/{key}").leak() };
    read_as(
        &[
            (env("8080"), value, json!("8080")),
            (env("-1"), value, json!("-1")),
            (env("1.5"), value, json!("1.5")),
            (env("true"), value, json!("true")),
            (env("false"), value, json!("false")),
            (env("18446744073709551615"), value, json!("18446744073709551615")),
            (label("1.5"), "/metadata/labels/a", json!("1.5")),
            (label("false # a comment"), "/metadata/labels/a", json!("false")),
            (label("~"), "/metadata/labels/a", json!("")),
            (label(""), "/metadata/labels/a", json!("")),
            ("metadata:\n  Annotations: {a: x}\n".into(), "/metadata/annotations/a", json!("x")),
            ("metadata: {annotations: {a/b: false}}".into(), "/metadata/annotations/a~1b", json!("false")),
            (of("tty", "yes"), at_key("tty"), json!(true)),
            (of("tty", "Off"), at_key("tty"), json!(false)),
            (of("stdin", "y"), at_key("stdin"), json!(true)),
            (of("imagePullpolicy", "Always"), at_key("imagePullPolicy"), json!("Always")),
            (of("COMMAND", "[sleep, 3600, true, ~, 1.5]"), at_key("command"), json!(["sleep", "3600", "true", "", "1.5"])),
            (port, at_key("ports"), json!([{"containerPort": 1000, "name": "5"}])),
            (probe, at_key("livenessProbe"), json!({"httpGet": {"port": 8080, "path": "1"}})),
            (of("securityContext", "{runAsUser: 1000.0, privileged: no}"), at_key("securityContext"), json!({"runAsUser": 1000, "privileged": false})),
            (of("resources", "{limits: {cpu: 0x10, Memory: 1_000}, Requests: {cpu: 1}}"), at_key("resources"), json!({"limits": {"cpu": 16, "Memory": 1000}, "requests": {"cpu": 1}})),
            ("spec: {containers: [{name: a, image: i}], nodeSelector: {8080: a, b: ~}}".into(), "/spec/nodeSelector", json!({"8080": "a", "b": ""})),
            ("spec: {containers: [{name: a, image: i}], activeDeadlineSeconds: 1e2}".into(), "/spec/activeDeadlineSeconds", json!(100)),
            ("spec: {containers: [{name: a, image: i}], volumes: [{name: v, secret: {secretName: 1, defaultMode: 0644}}]}".into(), "/spec/volumes/0/secret", json!({"secretName": "1", "defaultMode": 420})),
            ("spec: {containers: [{name: a, image: i}], securityContext: {sysctls: [{name: net.x, value: 0}]}}".into(), "/spec/securityContext/sysctls/0/value", json!("0")),
            ("spec: {containers: [{name: a, image: i}], nodeSelector: {b: &v 8080, a: *v}}".into(), "/spec/nodeSelector/a", json!("8080")),
        ],
        false,
    );
}

#[test]
fn scalars_that_containerssh_read_as_another_text_are_taken_as_written_and_refused_by_the_check() {
    let label = |value: &str| format!("metadata:\n  labels:\n    a: {value}\n");
    let cases: Vec<_> = [
        "1.0",
        "1.10",
        "0755",
        "010",
        "08",
        "0x10",
        "0o17",
        "0b11",
        "1_000",
        "1e3",
        "1E3",
        "+1",
        ".5",
        "1.",
        "3.14159265358979",
        "yes",
        "Yes",
        "no",
        "on",
        "OFF",
        "y",
        "N",
        "True",
        "FALSE",
        "99999999999999999999",
        "1.0 # a comment",
    ]
    .into_iter()
    .map(|text| (label(text), "/metadata/labels/a", json!(text.split(' ').next().expect("a word"))))
    .collect();
    read_as(&cases, true);
    // Among a list's items, and in a key.
    let list = container("args: [yes, 1.0, \"yes\", '1.0', !!str 1.0, plain]");
    let config = load(&list);
    assert_eq!(pod(&config).spec["containers"][0]["args"], json!(["yes", "1.0", "yes", "1.0", "1.0", "plain"]));
    assert_eq!(
        strict(&config),
        ["kubernetes.pod.spec.containers[0].args[0]", "kubernetes.pod.spec.containers[0].args[1]"]
    );
    let config = load("spec: {containers: [{name: a, image: i}], nodeSelector: {on: a, \"off\": b, 1.0: c, 10: d}}");
    assert_eq!(strict(&config), ["kubernetes.pod.spec.nodeSelector.1.0", "kubernetes.pod.spec.nodeSelector.on"]);
}

#[test]
fn quoted_texts_are_texts_without_a_word() {
    let config = load(concat!(
        "metadata:\n  labels: {a: \"1.0\", b: 'yes', c: \"8080\", d: \"\"}\n  annotations:\n    e: |\n      yes\n    f: >- # folded\n      1.0\n    g: |-\n      no\n",
        "spec:\n  containers: [{name: a, image: i}]\n  nodeSelector: {a: 2024-01-01, b: 12:30:45, c: 1.2.3, d: tRuE, e: !!str yes, f: 'null'}",
    ));
    assert!(config.strict.is_empty() && config.notices.is_empty(), "{:?} {:?}", config.strict, config.notices);
    let pod = pod(&config);
    assert_eq!(pod.metadata["labels"], json!({"a": "1.0", "b": "yes", "c": "8080", "d": ""}));
    assert_eq!(pod.metadata["annotations"], json!({"e": "yes\n", "f": "1.0", "g": "no"}));
    assert_eq!(pod.spec["nodeSelector"]["e"], json!("yes"));
}

#[test]
fn our_own_keys_of_a_pod_are_read_likewise() {
    let config = load(concat!(
        "idlecommand: [sleep, 3600]\nshellCommand: [/bin/sh, -c, true]\nexecCommand: [/bin/sh, 1]\nsubsystems: {sftp: 1, x: ~}\n",
        "AgentPath: 5\ndisableAgent: Yes\nconsoleContainerNumber: 0.0\nexposeAuthMetadataAsLabels: {1: a, b: 2}\n",
    ));
    assert!(config.strict.is_empty(), "{:?}", config.strict);
    let pod = pod(&config);
    assert_eq!(pod.idle_command, Some(vec!["sleep".into(), "3600".into()]));
    assert_eq!(pod.shell_command, Some(vec!["/bin/sh".into(), "-c".into(), "true".into()]));
    assert_eq!(pod.exec_command, ["/bin/sh", "1"]);
    assert_eq!(pod.subsystems, [("sftp".to_owned(), "1".to_owned())].into());
    assert_eq!((pod.agent_path.as_str(), pod.disable_agent, pod.console), ("5", true, 0));
    assert_eq!(pod.expose.labels.len(), 2);
    let paths: Vec<_> = config.notices.iter().map(|notice| notice.path.as_str()).collect();
    for path in [
        "idlecommand",
        "idlecommand[1]",
        "shellCommand[2]",
        "execCommand[1]",
        "subsystems.sftp",
        "AgentPath",
        "disableAgent",
    ] {
        assert!(paths.contains(&format!("kubernetes.pod.{path}").as_str()), "{path}: {paths:?}");
    }
    let migration = migrate_text(&with_pod("idleCommand: [sleep, 3600]"), Format::Yaml).expect("a file");
    let shown: Vec<_> = migration.readings.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["kubernetes.pod.idleCommand[1] is read as if it were in quotes"]);
}

#[test]
fn check_refuses_what_a_strict_server_refuses_and_a_start_goes_on() {
    let config = load(&container("imagePullPolice: Always\n    ports: [{containerPort: \"80\"}]\n    tty: \"yes\""));
    let first = "kubernetes.pod.spec.containers[0]";
    assert_eq!(
        strict(&config),
        [format!("{first}.imagePullPolice"), format!("{first}.ports[0].containerPort"), format!("{first}.tty")]
    );
    for error in &config.strict {
        let notice = config.notices.iter().find(|notice| notice.path == error.path).expect("a warning");
        assert!(notice.warn && notice.text == format!("{}; the API server decides", error.text), "{notice:?}");
    }
    assert_eq!(pod(&config).spec["containers"][0]["imagePullPolice"], json!("Always"));
    // What no server can take stops a start, and the rest is told with it.
    let text =
        with_pod("idleComand: [a]\nspec:\n  containers:\n  - name: A_B\n    image: i\n    command: sleep\n  bogus: 1");
    let errors = Config::parse(&text, Format::Yaml, &MemoryFiles::new()).expect_err("a bad name");
    assert!(has(&errors, &format!("{first}.name"), "DNS label"), "{errors}");
    assert!(has(&errors, &format!("{first}.command"), "must be a list"), "{errors}");
    assert!(has(&errors, "kubernetes.pod.spec.bogus", "unknown to Kubernetes"), "{errors}");
    assert!(has(&errors, "kubernetes.pod.idleComand", "did you mean \"idleCommand\""), "{errors}");
    assert_eq!(errors.0.len(), 4, "{errors}");
}

#[test]
fn key_that_stands_there_twice_in_two_ways_of_writing_is_refused_by_the_check() {
    let config = load(&container("imagePullPolicy: Always\n    imagepullpolicy: Never"));
    assert_eq!(strict(&config), ["kubernetes.pod.spec.containers[0].imagepullpolicy"]);
    assert_eq!(pod(&config).spec["containers"][0]["imagePullPolicy"], json!("Always"));
    let text = with_pod("metadata:\n  labels: {a: b}\n  labels: {c: d}");
    assert!(Config::parse(&text, Format::Yaml, &MemoryFiles::new()).is_err(), "{text}");
}

#[test]
fn json_files_are_read_likewise() {
    let mut tree = minimal();
    tree["kubernetes"] = json!({"pod": {
        "idleCommand": ["sleep", 3600],
        "metadata": {"Labels": {"a": 1, "b": false}},
        "spec": {"containers": [{"name": 7, "image": "i", "env": [{"name": "X", "value": 8080}], "tty": "yes"}]},
    }});
    let config = Config::parse(&tree.to_string(), Format::Json, &MemoryFiles::new()).expect("loads");
    assert_eq!(strict(&config), ["kubernetes.pod.spec.containers[0].tty"]);
    let pod = pod(&config);
    assert_eq!(pod.console_name.as_str(), "7");
    assert_eq!(pod.metadata["labels"], json!({"a": "1", "b": "false"}));
    assert_eq!(pod.spec["containers"][0]["env"][0]["value"], json!("8080"));
}

#[test]
fn blocks_of_kuberun_are_read_likewise() {
    let text = concat!(
        "ssh: {hostkeys: [/etc/podgate/hostkey]}\nauth: {url: https://auth.example, password: true}\nbackend: kuberun\n",
        "kuberun:\n  connection: {host: 10.0.0.1}\n  pod:\n    namespace: 5\n    shellCommand: [/bin/sh, 1]\n    podSpec:\n",
        "      containers:\n      - name: a\n        image: 1.10\n        tty: yes\n        env:\n        - name: X\n          value: 8080\n",
        "        - name: Y\n          value: 1.0\n      volumes:\n      - name: v\n        volumesource:\n          secret: {secretname: 3, defaultmode: 0644}\n",
        "      - name: w\n        bogus: 1\n",
    );
    let config = Config::parse(text, Format::Yaml, &MemoryFiles::new()).unwrap_or_else(|errors| panic!("{errors}"));
    let pod = pod(&config);
    let container = &pod.spec["containers"][0];
    assert_eq!((&container["image"], &container["tty"]), (&json!("1.10"), &json!(true)));
    assert_eq!(container["env"], json!([{"name": "X", "value": "8080"}, {"name": "Y", "value": "1.0"}]));
    assert_eq!(pod.spec["volumes"][0], json!({"name": "v", "secret": {"secretName": "3", "defaultMode": 420}}));
    assert_eq!((pod.namespace.as_str(), pod.shell_command), ("5", Some(vec!["/bin/sh".into(), "1".into()])));
    assert_eq!(strict(&config), ["kuberun.pod.podSpec.volumes[1].bogus"]);
    let migration = migrate_text(text, Format::Yaml).expect("a file");
    let read: Vec<_> = migration.readings.iter().map(|change| change.path.as_str()).collect();
    assert!(read.contains(&"kuberun.pod.podSpec.containers[0].env[0].value"), "{read:?}");
    assert!(read.contains(&"kuberun.pod.podSpec.volumes[0].volumesource.secret.secretname"), "{read:?}");
}

/// What Go's YAML library makes of a PodSpec, as ContainerSSH before 0.5 wrote its file back: no tag of Kubernetes is obeyed.
const WRITTEN_BACK: &str = include_str!("../../../tests/data/kuberun-podspec-written-back.yaml");

#[test]
fn podspec_that_was_written_back_is_understood_whole() {
    let spec: String = WRITTEN_BACK.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "ssh: {{hostkeys: [/etc/podgate/hostkey]}}\nauth: {{url: https://auth.example, password: true}}\nbackend: kuberun\n\
         kuberun:\n  connection: {{host: 10.0.0.1}}\n  pod:\n{spec}",
    );
    let config = Config::parse(&text, Format::Yaml, &MemoryFiles::new()).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(config.strict.is_empty(), "{:?}", config.strict);
    let spec = pod(&config).spec;
    for (pointer, expected) in [
        ("/containers/0/env/0/value", json!("8080")),
        ("/containers/0/env/1/valueFrom/secretKeyRef", json!({"name": "x", "key": "k"})),
        ("/containers/0/ports/0/containerPort", json!(80)),
        ("/containers/0/livenessProbe/httpGet/port", json!(80)),
        ("/containers/0/livenessProbe/tcpSocket/port", json!("http")),
        ("/containers/0/securityContext", json!({"privileged": true, "runAsUser": 1000})),
        ("/volumes/0/secret/defaultMode", json!(420)),
        ("/tolerations/0/tolerationSeconds", json!(1000)),
        ("/nodeSelector/a", json!("1.0")),
    ] {
        assert_eq!(at(&spec, pointer), Some(&expected), "{pointer}");
    }
    let migration = migrate_text(&text, Format::Yaml).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(migration.readings.is_empty(), "{:?}", migration.readings);
    let again = Config::parse(&migration.to_yaml(), Format::Yaml, &MemoryFiles::new());
    let again = again.unwrap_or_else(|errors| panic!("{errors}\n{}", migration.to_yaml()));
    assert!(again.strict.is_empty(), "{:?}", again.strict);
}

fn at<'t>(tree: &'t serde_json::Map<String, Value>, pointer: &str) -> Option<&'t Value> {
    let (first, rest) = pointer.trim_start_matches('/').split_once('/')?;
    tree.get(first)?.pointer(&format!("/{rest}"))
}

#[test]
fn own_texts_without_quotes_are_taken_as_they_are_written() {
    let text = concat!(
        "ssh: {hostkeys: [/etc/podgate/hostkey], banner: 1.10}\nbackend: kubernetes\nlog: {level: 7}\n",
        "auth: {password: {method: webhook, webhook: {url: https://auth.example, tlsVersion: 1.3}}}\n",
        "security: {forceCommand: true, command: {mode: filter, allow: [A, 0x10, yes]}, maxSessions: 3}\n",
        "kubernetes: {connection: {username: 007, password: 0123456, qps: 1.50}}\n",
    );
    let config = Config::parse(text, Format::Yaml, &MemoryFiles::new()).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!((config.ssh.banner.as_deref(), config.strict.len()), (Some("1.10"), 0));
    let settings = Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.kubernetes().cluster.basic, Some(("007".into(), Secret::new("0123456"))));
    assert_eq!((settings.kubernetes().cluster.qps_milli, settings.rules.max_sessions), (1500, Some(3)));
    assert_eq!(settings.rules.force_command.as_deref(), Some("true"));
    assert_eq!(settings.rules.command.allow, ["A", "0x10", "yes"]);
    let told: Vec<_> = config.notices.iter().map(|notice| notice.path.as_str()).collect();
    let connection = ["username", "password"].map(|key| format!("kubernetes.connection.{key}"));
    for path in ["ssh.banner", "security.forceCommand", "security.command.allow[1]", &connection[0], &connection[1]] {
        assert!(told.contains(&path), "{path}: {told:?}");
    }
    assert_eq!(told.len(), 5, "{told:?}");
    assert!(!format!("{:?}", config.notices).contains("0123456"));
    let migration = migrate_text(text, Format::Yaml).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(migration.to_yaml().contains("password: \"0123456\"\n"), "{}", migration.to_yaml());
    let old = text.replace("kubernetes: {", "kuberun: {").replace("backend: kubernetes", "backend: kuberun");
    let config = Config::parse(&old, Format::Yaml, &MemoryFiles::new()).unwrap_or_else(|errors| panic!("{errors}"));
    let settings = Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.kubernetes().cluster.basic, Some(("007".into(), Secret::new("0123456"))));
    // JSON says in which type it means a value.
    let tree = serde_json::json!({"ssh": {"hostkeys": ["/etc/podgate/hostkey"], "banner": 5}});
    let errors = Config::parse(&tree.to_string(), Format::Json, &MemoryFiles::new()).expect_err("a number");
    assert!(has(&errors, "ssh.banner", "must be a string, not a number; put it in quotes"), "{errors}");
}

#[test]
fn program_of_the_container_that_never_runs_is_noticed_once() {
    let both = "command: [sleep, \"1\"]\n    args: [x]";
    let idle = "\nidleCommand: [tini]";
    for (pod, path) in [
        (container(both), Some("kubernetes.pod.spec.containers[0].command")),
        (container("command: [sleep]") + "\nmode: connection", Some("kubernetes.pod.spec.containers[0].command")),
        (container("args: [x]"), Some("kubernetes.pod.spec.containers[0].args")),
        (container("args: [x]") + idle, None),
        (container("command: []") + idle, None),
        (container(both) + "\nmode: session", None),
        (container("tty: false"), None),
        ("spec:\n  containers:\n  - {name: a, image: i}\n  - {name: b, image: i, command: [x]}".to_owned(), None),
    ] {
        let config = load(&pod);
        let told: Vec<&str> = config.notices.iter().map(|notice| notice.path.as_str()).collect();
        assert_eq!(told, path.into_iter().collect::<Vec<_>>(), "{pod}");
    }
}

#[test]
fn name_that_no_image_has_is_a_mistake_of_the_file() {
    let name = "Debian:Bookworm Slim";
    for (pod, path) in [
        (format!("spec: {{containers: [{{name: a, image: '{name}'}}]}}"), "kubernetes.pod.spec.containers[0].image"),
        (
            format!("spec: {{initContainers: [{{name: b, image: '{name}'}}], containers: [{{name: a, image: i}}]}}"),
            "kubernetes.pod.spec.initContainers[0].image",
        ),
        (format!("image: '{name}'"), "kubernetes.pod.image"),
        (format!("agentImage: '{name}'"), "kubernetes.pod.agentImage"),
    ] {
        let text = with_pod(&pod);
        let errors = Config::parse(&text, Format::Yaml, &MemoryFiles::new()).expect_err(&text);
        assert!(has(&errors, path, "is not the name of an image: it has white space"), "{errors}");
        assert_eq!(errors.0.len(), 1, "{errors}");
    }
}
