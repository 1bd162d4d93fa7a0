//! What an answer may say about the cluster.

use super::given;
use crate::config::fixture::{MemoryFiles, has, load, minimal, set};
use crate::schema::Errors;
use crate::settings::Settings;
use serde_json::{Value, json};

fn resolve(connection: &Value, answer: &Value, allow: bool) -> Result<Settings, Errors> {
    let tree = set(minimal(), "configserver", json!({"url": "https://config.example", "allowConnection": allow}));
    let base = load(&set(tree, "kubernetes.connection", connection.clone())).unwrap_or_else(|e| panic!("{e}")).base;
    let answer = json!({"kubernetes": {"connection": answer}});
    Settings::resolve(&base, Some(&given(&answer, false)))
}

fn file() -> Value {
    json!({"host": "10.0.0.1:6443", "cacertFile": "/etc/podgate/ca.crt", "bearerTokenFile": "/etc/podgate/token", "qps": 5})
}

fn refused(answer: &Value, allow: bool, key: &str, part: &str) {
    let errors = resolve(&file(), answer, allow).err().unwrap_or_else(|| panic!("{answer} was taken"));
    assert!(has(&errors, &format!("kubernetes.connection.{key}"), part), "{answer}: {errors}");
}

#[test]
fn answer_that_changes_the_connection_is_refused_unless_allowed() {
    let ca = MemoryFiles::new().text("ca.crt");
    for (key, value) in [
        ("host", json!("10.0.0.2:6443")),
        ("serverName", json!("x.example")),
        ("path", json!("/x")),
        ("cacert", json!(ca)),
        ("cacertFile", json!("/etc/shadow")),
        ("certFile", json!("/etc/podgate/client.crt")),
        ("bearerToken", json!("x")),
        ("bearerTokenFile", json!("/etc/shadow")),
        ("kubeconfig", json!("/root/.kube/config")),
        ("username", json!("x")),
        ("qps", json!(6)),
        ("burst", json!(100)),
    ] {
        refused(&json!({key: value}), false, key, "configserver.allowConnection: true");
    }
}

#[test]
fn allowed_answer_names_no_files_and_gets_no_credentials_of_the_file() {
    let ca = MemoryFiles::new().text("ca.crt");
    for key in ["cacertFile", "certFile", "keyFile", "bearerTokenFile", "kubeconfig"] {
        refused(&json!({key: "/etc/shadow"}), true, key, "may not name files");
    }
    refused(&json!({"host": "10.0.0.2"}), true, "host", "send the credentials");
    refused(&json!({"serverName": "x"}), true, "serverName", "send the credentials");
    refused(&json!({"cacert": ca}), true, "cacert", "send the credentials");
    refused(&json!({"host": "http://10.0.0.2", "bearerToken": "x"}), true, "host", "plain http");
    refused(&json!({"hots": "x"}), true, "hots", "did you mean \"host\"?");
    refused(&json!({"hots": "x"}), false, "hots", "did you mean \"host\"?");
}

#[test]
fn equal_connection_changes_nothing() {
    let plain = resolve(&file(), &json!({}), false).expect("resolves").kubernetes().cluster;
    for answer in [
        file(),
        json!({"qps": 5.0, "burst": 10, "path": "/api"}),
        json!({"host": "", "cacert": "", "qps": 0, "insecure": false}),
        json!({"bearerTokenFile": "/etc/podgate/token"}),
    ] {
        let cluster = resolve(&file(), &answer, false).unwrap_or_else(|errors| panic!("{answer}: {errors}"));
        assert_eq!(cluster.kubernetes().cluster, plain, "{answer}");
        assert!(!cluster.kubernetes().cluster.from_webhook);
    }
    let silent = resolve(&json!({}), &json!({"host": "kubernetes.default.svc"}), false).expect("resolves");
    assert!(!silent.kubernetes().cluster.from_webhook);
}

#[test]
fn allowed_answer_replaces_the_files_credentials() {
    let ca = MemoryFiles::new().text("ca.crt");
    let answer = json!({"host": "10.0.0.2", "cacert": ca, "username": "u", "password": "p"});
    let cluster = resolve(&file(), &answer, true).unwrap_or_else(|errors| panic!("{errors}")).kubernetes().cluster;
    assert!(cluster.from_webhook && cluster.bearer_token.is_none() && cluster.basic.is_some());
    assert_eq!(cluster.host.as_str(), "https://10.0.0.2/");
    let limits = resolve(&file(), &json!({"qps": 50}), true).expect("resolves").kubernetes().cluster;
    assert!(limits.from_webhook && limits.bearer_token.is_some());
    assert_eq!(limits.qps_milli, 50_000);
}
