//! `kubernetes.connection.kubeconfig`.

use crate::config::Config;
use crate::config::fixture::{MemoryFiles, has, minimal, set};
use crate::schema::{Errors, Format};
use crate::settings::{Cluster, InlineOrFile, Settings};
use crate::types::Secret;
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::sync::Arc;

const PATH: &str = "/etc/podgate/kubeconfig";

fn kubeconfig(cluster: &Value, user: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": "here",
        "contexts": [
            {"name": "there", "context": {"cluster": "far", "user": "nobody"}},
            {"name": "here", "context": {"cluster": "near", "user": "me", "namespace": "x"}},
        ],
        "clusters": [{"name": "near", "cluster": cluster}],
        "users": [{"name": "me", "user": user}],
    })
}

fn load_with(text: &str, connection: Value) -> Result<Cluster, Errors> {
    let tree =
        set(set(minimal(), "kubernetes.connection", connection), "kubernetes.connection.kubeconfig", json!(PATH));
    let config = Config::parse(&tree.to_string(), Format::Json, &MemoryFiles::new().with(PATH, text))?;
    Settings::resolve(&config.base, None).map(|settings| Arc::unwrap_or_clone(settings.kubernetes().cluster))
}

fn load(kubeconfig: &Value) -> Result<Cluster, Errors> {
    load_with(&kubeconfig.to_string(), json!({}))
}

#[test]
fn kubeconfigs_that_weaken_the_connection_are_refused_by_name() {
    let server = json!({"server": "https://10.0.0.1"});
    let user = json!({"token": "t0ken"});
    for (cluster, user, part) in [
        (
            json!({"server": "https://a", "insecure-skip-tls-verify": true}),
            user.clone(),
            "cluster \"near\": insecure-skip-tls-verify is refused",
        ),
        (json!({"server": "http://a"}), user.clone(), "cluster \"near\": server plain http"),
        (json!({"server": "https://a", "proxy-url": "http://p"}), user.clone(), "proxy-url"),
        (json!({}), user.clone(), "has no server"),
        (
            json!({"server": "https://a", "certificate-authority-data": "%"}),
            user,
            "certificate-authority-data is not PEM",
        ),
        (server.clone(), json!({"exec": {"command": "aws"}}), "user \"me\": the exec plugin \"aws\""),
        (server.clone(), json!({"auth-provider": {"name": "gcp"}}), "the auth-provider \"gcp\""),
        (server.clone(), json!({"token": "t", "as": "admin"}), "as (impersonation)"),
        (server.clone(), json!({"token": "t", "as-groups": ["x"]}), "as-groups (impersonation)"),
        (server.clone(), json!({"token": 4711}), "user \"me\": token must be a string, not a number; put it in quotes"),
        (server.clone(), json!({"username": "a", "password": 4711}), "password must be a string, not a number"),
        (server, json!({"token": true}), "token must be a string, not true or false"),
        (json!({"server": "https://a", "tls-server-name": 1.5}), json!({}), "tls-server-name must be a string"),
    ] {
        let errors = load(&kubeconfig(&cluster, &user)).expect_err(part);
        assert!(has(&errors, "kubernetes.connection.kubeconfig", part), "{errors}");
        assert!(!errors.to_string().contains("t0ken") && !errors.to_string().contains("4711"), "{errors}");
    }
}

#[test]
fn kubeconfig_is_one_document_with_or_without_a_byte_order_mark() {
    let whole = kubeconfig(&json!({"server": "https://10.0.0.1"}), &json!({"token": "t0ken"})).to_string();
    for text in [format!("\u{feff}---\n{whole}\n"), format!("{whole}\n---\n# nothing\n"), format!("{whole}\n...\n")] {
        assert_eq!(load_with(&text, json!({})).expect(&text).host.as_str(), "https://10.0.0.1/");
    }
    let errors = load_with(&format!("{whole}\n---\n{whole}\n"), json!({})).expect_err("two documents");
    assert!(has(&errors, "kubernetes.connection.kubeconfig", "has 2 YAML documents"), "{errors}");
}

#[test]
fn broken_kubeconfigs_are_refused() {
    let whole = kubeconfig(&json!({"server": "https://a"}), &json!({}));
    for (text, part) in [
        ("".to_owned(), "no current-context"),
        ("a: [".to_owned(), "cannot be parsed"),
        (set(whole.clone(), "current-context", json!("gone")).to_string(), "has no context \"gone\""),
        (set(whole.clone(), "current-context", json!("there")).to_string(), "has no cluster \"far\""),
        (set(whole, "users", json!([])).to_string(), "has no user \"me\""),
    ] {
        let errors = load_with(&text, json!({})).expect_err(part);
        assert!(has(&errors, "kubernetes.connection.kubeconfig", part), "{errors}");
    }
    let tree = set(minimal(), "kubernetes.connection.kubeconfig", json!("/missing/kubeconfig"));
    let errors = Config::parse(&tree.to_string(), Format::Json, &MemoryFiles::new()).expect_err("missing");
    assert!(
        has(&errors, "kubernetes.connection.kubeconfig", "cannot read the file \"/missing/kubeconfig\""),
        "{errors}"
    );
}

#[test]
fn kubeconfig_beside_the_keys_that_it_replaces_is_refused() {
    let text = kubeconfig(&json!({"server": "https://a"}), &json!({"token": "t"})).to_string();
    let connection =
        json!({"host": "b", "bearerTokenFile": "/etc/podgate/token", "qps": 7, "path": "/api", "cert": ""});
    let errors = load_with(&text, connection).expect_err("both");
    assert!(has(&errors, "kubernetes.connection.host", "cannot be combined with kubeconfig"), "{errors}");
    assert!(has(&errors, "kubernetes.connection.bearerTokenFile", "cannot be combined with kubeconfig"), "{errors}");
    assert_eq!(errors.0.len(), 2, "{errors}");
}

#[test]
fn current_context_becomes_the_connection() {
    let files = MemoryFiles::new();
    let data = |name: &str| BASE64.encode(files.text(name).as_bytes());
    let cluster = json!({
        "server": "https://10.0.0.1:6443", "certificate-authority-data": data("ca.crt"), "tls-server-name": "api.example",
        "insecure-skip-tls-verify": false,
    });
    let user = json!({"client-certificate": "client.crt", "client-key": "/etc/podgate/client.key"});
    let found =
        load_with(&kubeconfig(&cluster, &user).to_string(), json!({"qps": 7})).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((found.host.as_str(), found.server_name.as_deref()), ("https://10.0.0.1:6443/", Some("api.example")));
    assert!(matches!(found.ca, Some(InlineOrFile::Inline(_))));
    let files = ("/etc/podgate/client.crt".into(), "/etc/podgate/client.key".into());
    assert_eq!(found.client_certificate, Some((InlineOrFile::File(files.0), InlineOrFile::File(files.1))));
    assert_eq!((found.qps_milli, found.from_webhook), (7000, false));
    let server = json!({"server": "https://a"});
    let token = load(&kubeconfig(&server, &json!({"token": "t"}))).expect("token");
    assert_eq!(token.bearer_token, Some(InlineOrFile::Inline(Secret::new("t"))));
    let file = load(&kubeconfig(&server, &json!({"token": "t", "tokenFile": "token"}))).expect("tokenFile");
    assert_eq!(file.bearer_token, Some(InlineOrFile::File("/etc/podgate/token".into())));
    let basic = load(&kubeconfig(&server, &json!({"username": "u", "password": "p"}))).expect("basic");
    assert_eq!(basic.basic, Some(("u".into(), Secret::new("p"))));
}
