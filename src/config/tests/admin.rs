//! `health`, `metrics` and `log.syslog`: denials, then what is switched on.

use super::denied;
use crate::config::Config;
use crate::config::admin::read_client;
use crate::config::fixture::{MemoryFiles, has, load, minimal, set, with};
use crate::schema::Format;
use crate::telemetry::{LogDestination, SyslogDestination};
use crate::webhook::{HttpClientConfig, WebhookUrl};
use serde_json::{Value, json};

/// The smallest file with a section switched on.
fn on(section: &str, more: Value) -> Value {
    let mut block = more;
    block["enable"] = json!(true);
    set(minimal(), section, block)
}

fn loaded(tree: &Value) -> Config {
    load(tree).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn server_that_cannot_be_is_refused_where_it_is_switched_on() {
    let (certificate, key) = ("/etc/podgate/client.crt", "/etc/podgate/client.key");
    for section in ["health", "metrics"] {
        for (block, key, part) in [
            (json!({"listen": "9100"}), "listen", "host:port"),
            (json!({"listen": "0.0.0.0:70000"}), "listen", "host:port"),
            (json!({"cert": certificate}), "key", "is missing; cert is set"),
            (json!({"key": key}), "cert", "is missing; key is set"),
            (json!({"clientcacert": certificate}), "cert", "is missing; clientcacert is set"),
            (json!({"cert": key, "key": key}), "cert", "holds no certificate"),
            (json!({"cert": certificate, "key": certificate}), "key", "holds no private key"),
            (json!({"cert": certificate, "key": key, "clientcacert": "/none"}), "clientcacert", "cannot read"),
            (json!({"tlsVersion": "1.1"}), "tlsVersion", "must be"),
        ] {
            let errors = load(&on(section, block.clone())).expect_err("refused");
            assert!(has(&errors, &format!("{section}.{key}"), part), "{section} {block}: {errors}");
        }
    }
}

#[test]
fn probe_depends_on_the_section_health_alone() {
    let files = MemoryFiles::new();
    let read = |tree: &Value| read_client(&tree.to_string(), Format::Json, &files);
    let url = |tree: &Value| match read(tree).unwrap_or_else(|errors| panic!("{tree}: {errors}")) {
        Some(HttpClientConfig { url: WebhookUrl::Http(url), .. }) => Some(url.to_string()),
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    let wrong = json!({
        "health": {"enable": true, "listen": ":7001", "checkInterval": "x", "other": 1},
        "ssh": {"hostkeys": ["/none"]}, "auth": 7, "kubernetes": {"connection": {"kubeconfig": "/none"}}, "sh": {},
    });
    assert_eq!(url(&wrong).as_deref(), Some("http://[::1]:7001/"));
    assert_eq!(url(&json!({"auth": 7})), None);
    assert_eq!(url(&json!({"health": {"enable": false, "listen": "x"}})), None);
    // The server's certificate is not the client's to read.
    let tls = json!({"enable": true, "cert": "/none", "key": "/none", "client": {"url": "https://h.example:7000/"}});
    assert_eq!(url(&json!({"health": tls})).as_deref(), Some("https://h.example:7000/"));
    for (health, path) in [
        (json!({"enable": "maybe"}), "health.enable"),
        (json!({"enable": true, "listen": "x"}), "health.listen"),
        (json!({"enable": true, "cert": "/none", "key": "/none"}), "health.client.url"),
        (json!({"enable": true, "client": {"url": "https://h.example/", "cacert": "/none"}}), "health.client.cacert"),
    ] {
        let errors = read(&json!({"health": health, "auth": 7})).expect_err(path);
        assert_eq!(errors.0.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), [path]);
    }
}

#[test]
fn section_that_is_off_opens_nothing_and_says_so() {
    for (section, block) in [
        ("health", json!({"enable": false})),
        ("health", json!({"listen": "nonsense", "client": {"url": "nonsense"}})),
        ("metrics", json!({"enable": false, "clientcacert": "/none"})),
    ] {
        let config = loaded(&set(minimal(), section, block));
        assert!(config.health.is_none() && config.metrics.is_none());
        let at = format!("{section}.enable");
        assert!(config.notices.iter().any(|notice| notice.path == at && !notice.warn), "{:?}", config.notices);
    }
    denied(vec![("metrics.path", json!("metrics"), "metrics.path", "path of a URL")]);
}

#[test]
fn endpoints_listen_where_containerssh_listens_unless_told_otherwise() {
    let health = loaded(&on("health", json!({}))).health.expect("on");
    assert_eq!((health.server.listen.as_str(), health.server.tls.is_none()), ("0.0.0.0:7000", true));
    let metrics = loaded(&on("metrics", json!({}))).metrics.expect("on");
    assert_eq!((metrics.server.listen.as_str(), metrics.path.as_str()), ("0.0.0.0:9100", "/metrics"));
    let own = json!({"listen": ":9200", "path": "/m", "cert": "/etc/podgate/client.crt",
        "key": "/etc/podgate/client.key", "clientcacert": "/etc/podgate/ca.crt", "tlsVersion": "1.2"});
    let metrics = loaded(&on("metrics", own)).metrics.expect("on");
    assert_eq!((metrics.server.listen.as_str(), metrics.path.as_str()), ("[::]:9200", "/m"));
    let tls = metrics.server.tls.expect("TLS");
    assert!(tls.options.tls12 && tls.client_ca.is_some());
}

#[test]
fn healthcheck_asks_its_url_or_the_endpoint_itself() {
    let asked = |block: Value| match loaded(&on("health", block)).health.expect("on").client.url {
        WebhookUrl::Http(url) => url.to_string(),
        WebhookUrl::Unix { .. } => panic!("a URL"),
    };
    for (block, url) in [
        (json!({}), "http://127.0.0.1:7000/"),
        (json!({"listen": ":7001"}), "http://[::1]:7001/"),
        (json!({"listen": "192.0.2.7:7001"}), "http://192.0.2.7:7001/"),
        (json!({"listen": "0.0.0.0:7001", "client": {"url": "http://127.0.0.1:7000/"}}), "http://127.0.0.1:7000/"),
        (json!({"client": {"url": "https://podgate.example/x"}}), "https://podgate.example/x"),
    ] {
        assert_eq!(asked(block.clone()), url, "{block}");
    }
    let tls = json!({"cert": "/etc/podgate/client.crt", "key": "/etc/podgate/client.key"});
    let errors = load(&on("health", tls)).expect_err("which name?");
    assert!(has(&errors, "health.client.url", "the host that the certificate is for"), "{errors}");
}

#[test]
fn syslog_that_cannot_be_is_refused() {
    denied(vec![
        ("log.syslog.destination", json!("dev/log"), "log.syslog.destination", "path of a socket, or host:port"),
        ("log.syslog.destination", json!("logs.example"), "log.syslog.destination", "path of a socket, or host:port"),
        ("log.syslog.facility", json!("local8"), "log.syslog.facility", "is not one of kern, user"),
        ("log.syslog.tag", json!("a b"), "log.syslog.tag", "one printable word"),
        ("log.syslog.tag", json!("a:"), "log.syslog.tag", "one printable word"),
        ("log.syslog.tag", json!("x".repeat(49)), "log.syslog.tag", "at most 48"),
        ("log.syslog.pid", json!("1"), "log.syslog.pid", "must be true or false"),
    ]);
}

#[test]
fn syslog_has_containerssh_s_defaults_and_takes_every_facility() {
    let to = |more: Value| {
        let tree = set(set(minimal(), "log.destination", json!("syslog")), "log.syslog", more);
        match loaded(&tree).log.destination {
            LogDestination::Syslog(syslog) => syslog,
            other => panic!("{other:?}"),
        }
    };
    let usual = to(json!({}));
    assert_eq!(usual.destination, SyslogDestination::Socket("/dev/log".into()));
    assert_eq!((usual.facility, usual.tag.as_str(), usual.pid), (4, "ContainerSSH", false));
    let udp = to(json!({"destination": "192.0.2.7:514", "facility": "local7", "tag": "podgate", "pid": true}));
    assert_eq!(udp.destination, SyslogDestination::Udp("192.0.2.7:514".into()));
    assert_eq!((udp.facility, udp.tag.as_str(), udp.pid), (23, "podgate", true));
    for (facility, number) in [("kern", 0), ("authpriv", 10), ("clock", 15), ("local0", 16)] {
        assert_eq!(to(json!({"facility": facility})).facility, number);
    }
    let unused = with("log.syslog.tag", json!("x")).expect("loads");
    assert!(unused.notices.iter().any(|notice| notice.path == "log.syslog.destination"), "{:?}", unused.notices);
}
