//! What a connection gets: denials first, then the file alone, then the file under an answer.

mod answers;
mod check;
mod config_server;
mod connections;
mod kubeconfigs;
mod merging;
mod migrated;
mod modes;
mod security;

use crate::config::fixture::{has, load, minimal, set, with};
use crate::policy::Rules;
use crate::policy::{EnvLimit, RuleMode};
use crate::schema::Errors;
use crate::schema::pem::ACCOUNT_CA;
use crate::settings::{CountLimits, ExposedMetadata, FileSections, InlineOrFile, PodSettings, Settings};
use crate::telemetry::Level;
use crate::types::Secret;
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::{Value, json};
use std::time::Duration;

/// A config webhook's answer with this `config`.
fn given(config: &Value, exact: bool) -> ConfigAnswer {
    let config = config.as_object().expect("a mapping").clone();
    ConfigAnswer { config, exact, ..ConfigAnswer::default() }
}

/// The settings of the smallest file with one value changed.
fn settings(path: &str, value: Value) -> Settings {
    let config = with(path, value).unwrap_or_else(|errors| panic!("{errors}"));
    Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn denied(cases: &[(&str, Value, &str, &str)]) {
    for (path, value, at, part) in cases {
        let errors = with(path, value.clone()).err().unwrap_or_else(|| panic!("{path}: {value} was taken"));
        assert!(has(&errors, at, part), "{path}: {value}: {errors}");
        assert_eq!(errors.0.len(), 1, "{path}: {value}: {errors}");
    }
}

#[test]
fn pods_that_cannot_be_are_refused() {
    let spec = "kubernetes.pod.spec";
    let containers = "kubernetes.pod.spec.containers";
    let first = |key: &str| format!("kubernetes.pod.spec.containers[0]{key}");
    let long = "a".repeat(64);
    denied(&[
        (spec, json!({}), containers, "at least one container"),
        (spec, json!({"restartPolicy": "Never"}), containers, "at least one container"),
        (containers, json!([]), containers, "at least one container"),
        (containers, json!({"name": "a"}), containers, "must be a list"),
        (containers, json!(["a"]), &first(""), "must be a mapping"),
        (containers, json!([{"image": "a"}]), &first(".name"), "is missing"),
        (containers, json!([{"name": "A", "image": "a"}]), &first(".name"), "DNS label"),
        (containers, json!([{"name": "a/b", "image": "a"}]), &first(".name"), "DNS label"),
        (containers, json!([{"name": long, "image": "a"}]), &first(".name"), "longer than 63"),
        (containers, json!([{"name": [1], "image": "a"}]), &first(".name"), "must be a string"),
        (containers, json!([{"name": "a"}]), &first(".image"), "is missing"),
        (containers, json!([{"name": "a", "image": " "}]), &first(".image"), "is empty"),
        (containers, json!([{"name": "a", "image": null}]), &first(".image"), "is missing"),
        (
            "kubernetes.pod.consoleContainerNumber",
            json!(1),
            "kubernetes.pod.consoleContainerNumber",
            "spec.containers has 1",
        ),
        ("kubernetes.pod.consoleContainerNumber", json!(-1), "kubernetes.pod.consoleContainerNumber", "at least 0"),
        ("kubernetes.pod.metadata.namespace", json!("A"), "kubernetes.pod.metadata.namespace", "DNS label"),
        ("kubernetes.pod.metadata.namespace", json!("../x"), "kubernetes.pod.metadata.namespace", "DNS label"),
        ("kubernetes.pod.metadata.namespace", json!(""), "kubernetes.pod.metadata.namespace", "DNS label"),
        ("kubernetes.pod.metadata.namespace", json!([1]), "kubernetes.pod.metadata.namespace", "must be a string"),
        (
            "kubernetes.pod.metadata.generateName",
            json!([1]),
            "kubernetes.pod.metadata.generateName",
            "must be a string",
        ),
        (
            "kubernetes.pod.mode",
            json!("conection"),
            "kubernetes.pod.mode",
            "is not one of connection, session, persistent",
        ),
        ("kubernetes.pod.shellCommand", json!([""]), "kubernetes.pod.shellCommand[0]", "is empty"),
        ("kubernetes.pod.execCommand", json!(["/bin/sh", "a\0"]), "kubernetes.pod.execCommand", "NUL"),
        ("kubernetes.pod.subsystems", json!({"sftp": ""}), "kubernetes.pod.subsystems.sftp", "names no program"),
        ("kubernetes.timeouts.podStart", json!("0s"), "kubernetes.timeouts.podStart", "at least 1ms"),
    ]);
}

#[test]
fn connections_that_cannot_be_are_refused() {
    let key = |key: &str| format!("kubernetes.connection.{key}");
    let at = |path: &str, value: Value, error: &str, part: &str| {
        let errors = with(&key(path), value.clone()).err().unwrap_or_else(|| panic!("{path}: {value} was taken"));
        assert!(has(&errors, &key(error), part) && errors.0.len() == 1, "{path}: {value}: {errors}");
    };
    at("host", json!("http://10.0.0.1:8080"), "host", "plain http is never used");
    at("host", json!("ftp://10.0.0.1"), "host", "https URL");
    at("host", json!("a b"), "host", "is not a host");
    at("host", json!("user@10.0.0.1"), "host", "host and port alone");
    at("host", json!("10.0.0.1:99999"), "host", "is not a host");
    at("host", json!("https://a?b"), "host", "host and port alone");
    at("path", json!("/k8s"), "path", "only /api");
    at("serverName", json!("a b"), "serverName", "is not a DNS name");
    at("cacert", json!("/etc/podgate/ca.crt"), "cacert", "a file is named by cacertFile");
    at("cacertFile", json!("/missing.crt"), "cacertFile", "cannot read");
    at("cacertFile", json!("/etc/podgate/token"), "cacertFile", "holds no certificate");
    at("certFile", json!("/etc/podgate/client.crt"), "key", "is missing");
    at("keyFile", json!("/etc/podgate/client.key"), "cert", "is missing");
    at("bearerTokenFile", json!("/missing/token"), "bearerTokenFile", "cannot read");
    at("bearerToken", json!("a b"), "bearerToken", "is not a bearer token");
    at("username", json!("a"), "password", "is missing");
    at("password", json!("a"), "username", "is missing");
    at("qps", json!(-1), "qps", "must be 0.001 to");
    at("qps", json!(1e9), "qps", "must be 0.001 to");
    at("burst", json!(-1), "burst", "must be 0 to");
    let both = set(minimal(), &key("bearerToken"), json!("a"));
    let errors = load(&set(both.clone(), &key("bearerTokenFile"), json!("/etc/podgate/token"))).expect_err("both");
    assert!(has(&errors, &key("bearerTokenFile"), "cannot be combined with bearerToken"), "{errors}");
    let errors = load(&set(set(both, &key("username"), json!("u")), &key("password"), json!("p"))).expect_err("both");
    assert!(has(&errors, &key("username"), "cannot be combined with a bearer token"), "{errors}");
}

#[test]
fn unknown_modes_are_refused_in_every_section() {
    for path in [
        "defaultMode",
        "env.mode",
        "command.mode",
        "shell.mode",
        "subsystem.mode",
        "tty.mode",
        "signal.mode",
        "forwarding.reverseForwardingMode",
        "forwarding.forwardingMode",
        "forwarding.socketForwardingMode",
        "forwarding.socketListenMode",
        "forwarding.x11ForwardingMode",
        "forwarding.agentForwardingMode",
    ] {
        let path = format!("security.{path}");
        let errors = with(&path, json!("disabled")).expect_err(&path);
        assert!(has(&errors, &path, "\"disabled\" is not one of enable, filter, disable"), "{errors}");
        assert!(with(&path, json!("disable")).is_ok() && with(&path, json!("")).is_ok(), "{path}");
    }
}

#[test]
fn file_alone_has_the_documented_defaults() {
    let settings = settings("log.level", json!("debug"));
    assert_eq!((settings.level, &settings.rules), (Level::Debug, &Rules::default()));
    let cluster = settings.kubernetes().cluster;
    assert_eq!(cluster.host.as_str(), "https://kubernetes.default.svc/");
    assert_eq!((cluster.qps_milli, cluster.burst, cluster.from_webhook), (5000, 10, false));
    assert!(cluster.ca.is_none() && cluster.client_certificate.is_none() && cluster.bearer_token.is_none());
    let pod = settings.kubernetes().pod;
    assert_eq!((pod.namespace.as_str(), pod.console, pod.console_name.as_str()), ("default", 0, "shell"));
    assert_eq!(pod.metadata.get("generateName"), Some(&json!("containerssh-")));
    assert_eq!(pod.spec["containers"][0]["image"], json!("containerssh/containerssh-guest-image"));
    assert_eq!((pod.idle_command, pod.disable_agent), (None, false));
    assert_eq!((pod.agent_image, pod.agent_push), (None, true));
    let shell = vec!["/bin/bash".to_owned()];
    assert_eq!((pod.shell_command, pod.exec_command), (Some(shell), vec!["/bin/sh".into(), "-c".into()]));
    assert_eq!((pod.mode, pod.expose), (super::PodMode::Connection, ExposedMetadata::default()));
    assert_eq!(pod.subsystems.get("sftp").map(String::as_str), Some("/usr/lib/openssh/sftp-server"));
    assert_eq!((pod.agent_path.as_str(), pod.agent_path_is_set), ("/usr/bin/containerssh-agent", false));
    let timeouts = settings.kubernetes().timeouts;
    assert_eq!((timeouts.pod_start, timeouts.pod_stop), (Duration::from_secs(60), Duration::from_secs(60)));
    assert_eq!((timeouts.command_start, timeouts.http), (Duration::from_secs(60), Duration::from_secs(15)));
}

#[test]
fn accounts_ca_in_the_certificates_place_is_nothing_without_a_key() {
    let connection = json!({"certFile": ACCOUNT_CA, "bearerToken": "t"});
    assert_eq!(settings("kubernetes.connection", connection).kubernetes().cluster.client_certificate, None);
    denied(&[
        (
            "kubernetes.connection",
            json!({"certFile": "/etc/podgate/ca.crt"}),
            "kubernetes.connection.key",
            "is missing",
        ),
        (
            "kubernetes.connection",
            json!({"certFile": ACCOUNT_CA, "keyFile": "/etc/podgate/client.key"}),
            "kubernetes.connection.certFile",
            "",
        ),
    ]);
}

#[test]
fn hosts_in_every_form_are_https() {
    for (host, url) in [
        ("10.0.0.1", "https://10.0.0.1/"),
        ("10.0.0.1:6443", "https://10.0.0.1:6443/"),
        ("https://api.example:6443", "https://api.example:6443/"),
        ("[::1]:6443", "https://[::1]:6443/"),
        ("", "https://kubernetes.default.svc/"),
    ] {
        assert_eq!(settings("kubernetes.connection.host", json!(host)).kubernetes().cluster.host.as_str(), url);
    }
    for path in ["", "/api", "/api/"] {
        let _ = settings("kubernetes.connection.path", json!(path));
    }
    for (qps, milli) in [(json!(0), 5000), (json!(0.5), 500), (json!(20), 20_000)] {
        assert_eq!(settings("kubernetes.connection.qps", qps).kubernetes().cluster.qps_milli, milli);
    }
}

#[test]
fn credentials_are_kept_with_where_they_come_from() {
    let token = settings("kubernetes.connection.bearerTokenFile", json!("/etc/podgate/token"));
    assert_eq!(token.kubernetes().cluster.bearer_token, Some(InlineOrFile::File("/etc/podgate/token".into())));
    let inline = settings("kubernetes.connection.bearerToken", json!("t0ken\n"));
    assert_eq!(inline.kubernetes().cluster.bearer_token, Some(InlineOrFile::Inline(Secret::new("t0ken"))));
    let tree = set(minimal(), "kubernetes.connection.username", json!("u"));
    let config = load(&set(tree, "kubernetes.connection.password", json!("p"))).expect("loads");
    let cluster = Settings::resolve(&config.base, None).expect("resolves").kubernetes().cluster;
    assert_eq!(cluster.basic, Some(("u".into(), Secret::new("p"))));
}

#[test]
fn zero_sessions_are_none_and_minus_one_is_no_limit() {
    for (value, limit) in [(json!(0), Some(0)), (json!(-1), None), (json!(3), Some(3)), (json!(null), None)] {
        assert_eq!(settings("security.maxSessions", value).rules.max_sessions, limit);
    }
}

#[test]
fn limits_of_a_connection_are_read_and_their_ranges_hold() {
    let limits = settings("limits", json!({"maxForwards": 7, "maxEnv": 3, "maxEnvSize": "1KiB"})).limits;
    assert_eq!(limits.counts, CountLimits { forwards: 7, ..CountLimits::default() });
    let rules = settings("limits.maxEnvSize", json!(9)).rules;
    assert_eq!((limits.env, rules.env_limit), (EnvLimit { count: 3, bytes: 1024 }, EnvLimit { count: 256, bytes: 9 }));
    for (value, bytes) in [(json!("0"), usize::MAX), (json!("1MiB"), 1 << 20), (json!(null), 64 << 20)] {
        assert_eq!(settings("limits.maxQueued", value).limits.max_queued, bytes);
    }
    let limits = settings("limits.bandwidth", json!({"in": "10MiB", "out": 0})).limits;
    assert_eq!((limits.bandwidth_in, limits.bandwidth_out), (Some(10 << 20), None));
    denied(&[
        ("limits.bandwidth.in", json!(1), "limits.bandwidth.in", "at least 1KiB"),
        ("limits.bandwidth.out", json!("fast"), "limits.bandwidth.out", "is not a size"),
        ("limits.maxQueued", json!("1023KiB"), "limits.maxQueued", "at least 1MiB"),
        ("limits.maxSessions", json!(-1), "limits.maxSessions", "0 to 4096"),
        ("limits.maxForwards", json!(65_537), "limits.maxForwards", "0 to 65536"),
        ("limits.maxListeners", json!(-1), "limits.maxListeners", "0 to 65536"),
        ("limits.maxChannels", json!("x"), "limits.maxChannels", "an integer"),
        ("limits.maxEnv", json!(4097), "limits.maxEnv", "0 to 4096"),
        ("limits.maxEnvSize", json!("2MiB"), "limits.maxEnvSize", "0 to 1MiB"),
        ("limits.maxEnvSize", json!("much"), "limits.maxEnvSize", "is not a size"),
        ("limits.maxEnvSize", json!(true), "limits.maxEnvSize", "is not a size"),
    ]);
}

#[test]
fn rules_are_read_whole() {
    let rules = settings(
        "security",
        json!({
            "defaultMode": "disable", "forceCommand": "/bin/x",
            "env": {"mode": "filter", "allow": ["A"], "deny": ["B"]},
            "command": {"mode": "filter", "allow": ["ls"]},
            "shell": {"mode": "enable"}, "subsystem": {"deny": ["sftp"]}, "tty": {"mode": "filter"},
            "signal": {"allow": ["SIGTERM", "INT"]},
            "forwarding": {"forwardingMode": "enable", "x11ForwardingMode": "disable", "agentForwardingMode": "enable"},
            "maxSessions": 2,
        }),
    )
    .rules;
    assert_eq!((rules.default_mode, rules.force_command.as_deref()), (RuleMode::Disable, Some("/bin/x")));
    assert_eq!(
        (rules.env.mode, rules.env.allow, rules.env.deny),
        (RuleMode::Filter, vec!["A".into()], vec!["B".into()])
    );
    assert_eq!((rules.command.mode, rules.command.allow), (RuleMode::Filter, vec!["ls".to_owned()]));
    assert_eq!(
        (rules.shell, rules.tty, rules.subsystem.deny),
        (RuleMode::Enable, RuleMode::Filter, vec!["sftp".to_owned()])
    );
    assert_eq!(rules.signal.allow, ["TERM", "INT"]);
    assert_eq!((rules.forwarding.direct, rules.forwarding.x11), (RuleMode::Enable, RuleMode::Disable));
    assert_eq!((rules.forwarding.reverse, rules.forwarding.agent), (RuleMode::Unset, RuleMode::Enable));
    assert_eq!(rules.max_sessions, Some(2));
}

#[test]
fn pod_keeps_what_only_kubernetes_knows() {
    let pod = settings(
        "kubernetes.pod",
        json!({
            "metadata": {"namespace": "guests", "labels": {"a": ""}, "creationTimestamp": null},
            "spec": {
                "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j", "resources": {}, "x": null}],
                "futureField": {"deep": [0, "", false]}, "automountServiceAccountToken": false,
            },
            "consoleContainerNumber": 1, "idleCommand": [], "shellCommand": ["/bin/sh", "-l"],
            "subsystems": {"x": "/bin/x"}, "disableAgent": true, "agentPath": "/agent", "execCommand": ["/bin/ash", "-c"],
            "agentImage": "registry.example/agent:1", "agentPush": false,
        }),
    )
    .kubernetes()
    .pod;
    assert_eq!((pod.namespace.as_str(), pod.console, pod.console_name.as_str()), ("guests", 1, "b"));
    let metadata = json!({"namespace": "guests", "generateName": "containerssh-", "labels": {"a": ""}});
    assert_eq!(Value::Object(pod.metadata), metadata);
    let spec = json!({
        "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j", "resources": {}}],
        "futureField": {"deep": [0, "", false]}, "automountServiceAccountToken": false,
    });
    assert_eq!(Value::Object(pod.spec), spec);
    assert_eq!((pod.idle_command, pod.disable_agent, pod.agent_path.as_str()), (None, true, "/agent"));
    assert_eq!((pod.agent_image.as_deref(), pod.agent_push), (Some("registry.example/agent:1"), false));
    assert!(pod.agent_path_is_set);
    assert_eq!(pod.shell_command, Some(vec!["/bin/sh".into(), "-l".into()]));
    assert_eq!(pod.exec_command, ["/bin/ash", "-c"]);
    assert_eq!(pod.subsystems.into_iter().collect::<Vec<_>>(), [("x".to_owned(), "/bin/x".to_owned())]);
}

#[test]
fn files_part_may_be_incomplete_only_beside_a_config_server() {
    let server = json!({"url": "https://config.example"});
    for (path, value) in [
        ("backend", json!("")),
        ("kubernetes.pod.spec", json!({"restartPolicy": "Never"})),
        ("kubernetes.pod.consoleContainerNumber", json!(3)),
    ] {
        let tree = set(minimal(), path, value);
        assert!(load(&tree).is_err(), "{path}");
        let config = load(&set(tree, "configserver", server.clone())).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(Settings::resolve(&config.base, None).is_err(), "{path}");
    }
    for (path, value) in [
        ("kubernetes.pod.mode", json!("x")),
        ("kubernetes.pod.spec", json!({"containers": [{"name": "A", "image": "i"}]})),
        ("security.env.mode", json!("x")),
        ("kubernetes.connection.cacertFile", json!("/missing.crt")),
        ("backend", json!("docker")),
    ] {
        let tree = set(set(minimal(), path, value), "configserver", server.clone());
        assert!(load(&tree).is_err(), "{path}");
    }
}
