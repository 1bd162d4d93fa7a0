//! `auth`, `configserver` and what all HTTP clients share.

use super::{Denial, denied};
use crate::config::fixture::{MemoryFiles, has, load, minimal, set, with};
use crate::schema::Errors;
use crate::webhook::WebhookUrl;
use serde_json::{Value, json};
use std::time::Duration;

/// The smallest tree with its `auth` replaced.
fn auth(auth: &Value) -> Value {
    set(minimal(), "auth", auth.clone())
}

fn errors_of(block: &Value) -> Errors {
    load(&auth(block)).err().unwrap_or_else(|| panic!("{block} was taken"))
}

#[test]
fn file_without_a_way_to_log_in_is_refused() {
    for block in [
        json!({}),
        json!(null),
        json!({"authz": {"method": "webhook", "webhook": {"url": "https://a"}}}),
        json!({"password": {"method": "", "webhook": {"url": "https://a"}}}),
        json!({"password": true, "pubkey": true}),
        json!({"url": ""}),
    ] {
        let errors = errors_of(&block);
        assert!(has(&errors, "auth.password.method", "no way to log in"), "{block}: {errors}");
        assert_eq!(errors.0.len(), 1, "{block}: {errors}");
    }
}

#[test]
fn webhook_method_without_url_and_unknown_methods_are_refused() {
    denied(vec![
        ("auth.password.webhook.url", json!(""), "auth.password.webhook.url", "method: webhook needs it"),
        ("auth.authz.webhook.url", json!("https://a"), "auth.authz.method", "nobody would be asked"),
        ("auth.authz.method", json!("webhook"), "auth.authz.webhook.url", "method: webhook needs it"),
        ("auth.password.method", json!("ldap"), "auth.password.method", "\"ldap\" is not one of webhook, kerberos"),
        ("auth.publicKey.method", json!("kerberos"), "auth.publicKey.method", "is not one of webhook"),
    ]);
}

#[test]
fn wrong_client_blocks_are_refused() {
    let cases: Vec<Denial> = vec![
        ("auth.password.webhook.url", json!("http://auth.example"), "auth.password.webhook.url", "plain http"),
        ("auth.password.webhook.url", json!("auth.example"), "auth.password.webhook.url", "is not a URL"),
        ("auth.password.webhook.timeout", json!("99ms"), "auth.password.webhook.timeout", "at least 100ms"),
        ("auth.password.webhook.timeout", json!(2), "auth.password.webhook.timeout", "nanoseconds, write \"2s\""),
        ("auth.password.webhook.authTimeout", json!("0s"), "auth.password.webhook.authTimeout", "at least 100ms"),
        ("auth.password.webhook.tlsVersion", json!("1.1"), "auth.password.webhook.tlsVersion", "\"1.2\" or \"1.3\""),
        ("auth.password.webhook.tlsVersion", json!(["1.2"]), "auth.password.webhook.tlsVersion", "\"1.2\" or \"1.3\""),
        ("auth.password.webhook.cacert", json!("/missing.pem"), "auth.password.webhook.cacert", "cannot read"),
        ("auth.password.webhook.cacert", json!("/etc/podgate/token"), "auth.password.webhook.cacert", "no certificate"),
        ("auth.password.webhook.cert", json!("/etc/podgate/client.crt"), "auth.password.webhook.key", "is missing"),
        ("auth.password.webhook.key", json!("/etc/podgate/client.key"), "auth.password.webhook.cert", "is missing"),
        ("configserver.url", json!("http://10.0.0.1"), "configserver.url", "plain http"),
        ("configserver.curve", json!([]), "configserver.curve", "did you mean \"curves\"?"),
        ("metrics.curves", json!(["x448"]), "metrics.curves", "is not a known name"),
    ];
    denied(cases);
    let tree = set(minimal(), "auth.password.webhook.curves", json!("x25519:secp256r2:secp384r1:secp521r1"));
    let errors = load(&tree).expect_err("a curve");
    assert!(has(&errors, "auth.password.webhook.curves", "did you mean \"secp256r1\"?"), "{errors}");
}

#[test]
fn default_curves_and_suites_in_any_spelling_count_as_unset() {
    for (key, value) in [
        ("curves", json!(["x25519", "secp256r1", "secp384r1", "secp521r1"])),
        ("curves", json!("X25519:prime256v1:secp384r1:secp521r1")),
        ("curves", json!([])),
        ("curves", json!("")),
        (
            "cipher",
            json!([
                "TLS_AES_128_GCM_SHA256",
                "TLS_AES_256_GCM_SHA384",
                "TLS_CHACHA20_POLY1305_SHA256",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "TLS_ECDHE_ECDSA_AES_128_GCM_SHA256"
            ]),
        ),
    ] {
        assert!(with(&format!("auth.password.webhook.{key}"), value.clone()).is_ok(), "{key}: {value}");
    }
}

#[test]
fn client_block_is_read_whole() {
    let files = MemoryFiles::new();
    let (ca, key) = (files.text("ca.crt"), "/etc/podgate/client.key");
    let hook = json!({
        "url": "https://auth.example/x", "timeout": "1m0s", "authTimeout": 5_000_000_000_u64, "tlsVersion": 1.2,
        "cacert": ca, "cert": "/etc/podgate/client.crt", "key": key,
    });
    let config = load(&auth(&json!({
        "publicKey": {"method": "webhook", "webhook": hook},
        "authz": {"method": "webhook", "webhook": {"url": "unix:/run/a.sock"}},
    })))
    .expect("loads");
    assert!(config.auth.password.is_none());
    let public_key = config.auth.public_key.expect("publicKey");
    assert_eq!((public_key.client.timeout, public_key.auth_timeout), (Duration::from_secs(60), Duration::from_secs(5)));
    assert!(public_key.client.tls.tls12 && public_key.client.ca.is_some() && public_key.client.identity.is_some());
    let authz = config.auth.authz.expect("authz");
    assert_eq!(
        authz.client.url,
        WebhookUrl::Unix { socket: "/run/a.sock".into(), request: "http://localhost".parse().expect("a URL") }
    );
    assert_eq!((authz.client.timeout, authz.auth_timeout), (Duration::from_secs(20), Duration::from_secs(60)));
    assert!(authz.client.tls == crate::tls::TlsOptions::default());
}

#[test]
fn slow_directory_has_the_time_that_the_question_allows() {
    let (long, short) = (json!("2m"), json!("5s"));
    // What the file says of `timeout` and `authTimeout`, and the time of a try in seconds: for a password, for the others.
    for (timeout, auth_timeout, password, other) in [
        (None, None, 60, 20),
        (None, Some(&long), 120, 20),
        (None, Some(&short), 5, 20),
        (Some(&short), None, 5, 5),
        (Some(&short), Some(&long), 5, 5),
    ] {
        let mut hook = json!({"url": "https://a.example"});
        for (key, value) in [("timeout", timeout), ("authTimeout", auth_timeout)] {
            if let Some(value) = value {
                hook[key] = value.clone();
            }
        }
        let block = json!({"method": "webhook", "webhook": hook});
        let config = load(&auth(&json!({"password": block, "publicKey": block, "authz": block}))).expect("loads");
        for (webhook, seconds) in
            [(config.auth.password, password), (config.auth.public_key, other), (config.auth.authz, other)]
        {
            assert_eq!(webhook.expect("configured").client.timeout, Duration::from_secs(seconds), "{block}");
        }
    }
    let config = with("configserver", json!({"url": "https://c.example"})).expect("loads");
    assert_eq!(config.configserver.expect("configured").client.timeout, Duration::from_secs(20));
}

#[test]
fn allowed_plaintext_is_a_warning_at_each_start() {
    let tree = set(minimal(), "auth.password.webhook.url", json!("http://auth.example"));
    let config = load(&set(tree, "auth.password.webhook.allowPlaintext", json!(true))).expect("loads");
    let warning = config.notices.iter().find(|notice| notice.warn).expect("a warning");
    assert_eq!(warning.path, "auth.password.webhook.allowPlaintext");
    let loopback = with("auth.password.webhook.url", json!("http://127.0.0.1:8080")).expect("loads");
    assert!(loopback.notices.is_empty());
}

#[test]
fn block_of_an_unused_method_is_typed_and_has_no_effect() {
    let block = json!({"webhook": {"url": "http://10.0.0.1", "cacert": "/missing", "allowRedirects": true}});
    let config = with("auth.publicKey", block).expect("loads");
    assert!(config.auth.public_key.is_none());
    assert!(config.notices.iter().any(|notice| notice.path == "auth.publicKey.webhook.url"));
}

#[test]
fn legacy_block_beside_the_new_ones_is_refused() {
    let new = json!({"method": "webhook", "webhook": {"url": "https://b"}});
    let errors = errors_of(&json!({"url": "https://a", "publicKey": new}));
    assert!(has(&errors, "auth.url", "cannot be combined with auth.publicKey.webhook"), "{errors}");
    let errors = errors_of(&json!({"url": "https://a", "password": new}));
    assert!(has(&errors, "auth.url", "cannot be combined with auth.password.webhook"), "{errors}");
    let errors = errors_of(&json!({"url": "https://a", "password": false, "pubkey": false}));
    assert!(has(&errors, "auth.url", "both false"), "{errors}");
    let errors = errors_of(&json!({"url": "http://10.0.0.1"}));
    assert!(has(&errors, "auth.url", "plain http"), "{errors}");
}

#[test]
fn legacy_block_makes_the_webhooks_that_it_asks_for() {
    for (password, pubkey, expected) in [
        (json!(null), json!(null), (true, true)),
        (json!(true), json!(false), (true, false)),
        (json!(false), json!(true), (false, true)),
        (json!({"method": ""}), json!(null), (true, true)),
    ] {
        let block = json!({
            "url": "https://a", "timeout": "3s", "authTimeout": "30s", "password": password, "pubkey": pubkey,
            "authz": {"method": "webhook", "webhook": {"url": "https://b"}},
        });
        let config = load(&auth(&block)).expect("loads");
        assert_eq!((config.auth.password.is_some(), config.auth.public_key.is_some()), expected, "{block}");
        let hook = config.auth.password.or(config.auth.public_key).expect("one");
        assert_eq!((hook.client.timeout, hook.auth_timeout), (Duration::from_secs(3), Duration::from_secs(30)));
        assert!(config.auth.authz.is_some());
        assert!(
            config
                .notices
                .iter()
                .any(|notice| notice.path == "auth" && notice.warn && notice.text.contains("auth.url"))
        );
    }
}

#[test]
fn config_server_is_there_only_with_a_url() {
    let none = with("configserver.exactValues", json!(true)).expect("loads");
    assert!(none.configserver.is_none() && !none.base.exact_values);
    assert!(none.notices.iter().any(|notice| notice.path == "configserver.url"));
    let tree = set(
        minimal(),
        "configserver",
        json!({"url": "unix:/run/c.sock:/config", "exactValues": true, "allowConnection": true}),
    );
    let config = load(&tree).expect("loads");
    let server = config.configserver.expect("configserver");
    assert!(server.exact_values && server.allow_connection && !server.transmit_sensitive);
    assert!(config.base.exact_values && config.base.allow_connection);
}
