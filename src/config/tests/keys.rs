//! Every key, one by one: it works, or it is taken without effect and listed, or it is refused and `docs/migration.md`
//! says what to do instead.

use crate::config::Config;
use crate::config::fixture::{MemoryFiles, has, set};
use crate::schema::get;
use crate::schema::keys::{self, ConfigKey, Effect, KeyKind, TakesEffect};
use crate::schema::{ConfigReport, Section};
use crate::schema::{Errors, Format, document};
use crate::settings::Settings;
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

mod refused;

const PAGE: &str = include_str!("../../../docs/migration.md");
const WRITTEN_BACK: &str = include_str!("../../../tests/data/config-written-back.yaml");

/// Files for every key that can name one.
fn files() -> &'static MemoryFiles {
    static FILES: std::sync::LazyLock<MemoryFiles> = std::sync::LazyLock::new(|| {
        let other = MemoryFiles::new();
        let kubeconfig = json!({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": "https://10.0.0.1:6443"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        MemoryFiles::new()
            .with("/etc/podgate/kubeconfig", &kubeconfig.to_string())
            .with("/etc/podgate/other.crt", &other.text("client.crt"))
            .with("/etc/podgate/other.key", &other.text("client.key"))
            .with("/etc/podgate/other.token", "0ther")
    });
    &FILES
}

/// What a key's test starts from: every block that takes a server has one.
fn ground(path: &str) -> Value {
    let hook = json!({"method": "webhook", "webhook": {"url": "https://a.example"}});
    let tree = json!({
        "ssh": {"hostkeys": ["/etc/podgate/hostkey"]},
        "auth": {"password": hook, "publicKey": hook, "authz": hook},
        "configserver": {"url": "https://c.example"},
        "backend": "kubernetes",
        "kubernetes": {"pod": {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}}},
    });
    let (block, key) = path.rsplit_once('.').unwrap_or(("", path));
    let beside = |key: &str, value: &str| set(tree.clone(), &format!("{block}.{key}"), json!(value));
    let pair = |cert: &str, key: &str, text: fn(&str) -> String| {
        let tree = beside(cert, &text("client.crt"));
        set(tree, &format!("{block}.{key}"), json!(text("client.key")))
    };
    let inline = |name: &str| files().text(name);
    let named = |name: &str| format!("/etc/podgate/{name}");
    match (block, key) {
        ("kubernetes.connection", "certFile" | "keyFile") => pair("certFile", "keyFile", named),
        ("kubernetes.connection", "username" | "password") => {
            set(beside("username", "u"), "kubernetes.connection.password", json!("p"))
        }
        (block, "cert" | "key")
            if block.ends_with("webhook") || ["configserver", "kubernetes.connection"].contains(&block) =>
        {
            pair("cert", "key", inline)
        }
        ("auth", "url") => json!({"ssh": {"hostkeys": ["/etc/podgate/hostkey"]}, "backend": "kubernetes"}),
        (block, "allowPlaintext") if block.ends_with("webhook") || block == "configserver" => {
            beside("url", "http://a.example")
        }
        (block, name) if path != "health.enable" && path != "metrics.enable" && served(block) => {
            let tree = set(tree.clone(), "metrics", json!({"enable": true}));
            let tree = set(tree, "health", json!({"enable": true, "client": {"url": "https://h.example"}}));
            let at = |key: &str| format!("{block}.{key}");
            let keys = ["cert", "key", "clientcacert", "tlsVersion", "curves", "cipher"];
            if !keys.contains(&name) || (block == "health.client" && !["cert", "key"].contains(&name)) {
                return tree;
            }
            set(set(tree, &at("cert"), json!(inline("client.crt"))), &at("key"), json!(inline("client.key")))
        }
        ("kubernetes.pod", "createMissingPods" | "shared") => {
            set(beside("mode", "persistent"), "kubernetes.pod.metadata", json!({"name": "den"}))
        }
        ("log.syslog", _) => set(tree, "log.destination", json!("syslog")),
        ("events", name) => set(tree, "events", json!({"enable": name != "enable", "file": "/var/log/podgate/events"})),
        ("traces" | "traces.otlp", name) => {
            let url = if name == "allowPlaintext" { "http://a.example" } else { "https://a.example" };
            let tree = set(tree, "traces", json!({"enable": name != "enable", "otlp": {"url": url}}));
            if !["cert", "key"].contains(&name) {
                return tree;
            }
            let tree = set(tree, "traces.otlp.cert", json!(inline("client.crt")));
            set(tree, "traces.otlp.key", json!(inline("client.key")))
        }
        ("geoip", "maxmind-geoip2-file") => beside("provider", "maxmind"),
        ("log", "file") => beside("destination", "file"),
        ("audit" | "audit.file" | "audit.intercept", _) => recorded(&tree, key != "enable"),
        _ => tree,
    }
}

/// The same with recordings, switched on or not.
fn recorded(tree: &Value, on: bool) -> Value {
    let audit = json!({"enable": on, "format": "binary", "storage": "file"});
    set(tree.clone(), "audit", audit)
}

fn served(block: &str) -> bool {
    ["health", "health.client", "metrics"].contains(&block)
}

/// A value other than the default.
fn sample(key: &ConfigKey) -> Value {
    let (block, name) = key.path.rsplit_once('.').unwrap_or(("", &key.path));
    Value::from(match (block, name) {
        ("ssh" | "health" | "metrics", "listen") => "127.0.0.1:22",
        ("metrics", "path") | ("admin", _) => "/other",
        ("log.syslog", "destination") => "127.0.0.1:514",
        ("ssh", "serverVersion") => "SSH-2.0-x",
        ("ssh", "ciphers") => return json!(["aes128-ctr"]),
        ("ssh", "kex") => return json!(["ecdh-sha2-nistp256"]),
        ("ssh", "macs") => return json!(["hmac-sha2-512"]),
        ("ssh", "pubkeyAcceptedAlgorithms") => return json!(["ssh-ed25519"]),
        ("ssh", "requiredRSASize") => return json!(4096),
        ("ssh", "hostCertificates" | "trustedUserCAKeys") => return json!(["ssh-ed25519 AAAA"]),
        ("ssh", "maxStartups") => "5:50:50",
        ("ssh", "perSourceMaxStartups") => "5",
        ("ssh", "perSourceNetBlockSize") => "24:48",
        ("ssh", "perSourceConnectionRate") => "1:2",
        ("ssh", "perSourcePenalties") => "no",
        ("ssh", "perSourcePenaltyExemptList") => return json!(["10.0.0.0/8"]),
        ("ssh", "nat64Prefixes") => return json!(["2001:db8:64::/96"]),
        ("auth.gssapi", "method") => "kerberos",
        ("auth.keyboardInteractive", "method") => "oauth2",
        (_, "method") => "",
        (_, "provider") if block == "geoip" => "maxmind",
        ("log", "level") => "debug",
        ("log", "format" | "destination") if name == "format" => "text",
        ("log", "destination") => "file",
        ("log.syslog", "facility") => "local0",
        ("kubernetes.pod", "mode") => "session",
        ("kubernetes.pod", "merge") => "strategic",
        ("", "backend") => "sshproxy",
        ("kubernetes.connection", "kubeconfig") => "/etc/podgate/kubeconfig",
        ("kubernetes.connection", "cacertFile") => "/etc/podgate/ca.crt",
        ("kubernetes.connection", "certFile") => "/etc/podgate/other.crt",
        ("kubernetes.connection", "keyFile") => "/etc/podgate/other.key",
        ("kubernetes.connection", "bearerTokenFile") => "/etc/podgate/token",
        (_, "url") => "https://b.example",
        (_, "tlsVersion") => "1.2",
        (_, "curves") => return json!(["secp256r1"]),
        (_, "cipher") => return json!("TLS_AES_128_GCM_SHA256"),
        (block, _) if block.starts_with("security") && (name == "mode" || name.ends_with("Mode")) => "filter",
        ("security.forwarding", "allow" | "deny") => return json!(["db.internal:5432"]),
        ("kubernetes.pod", "spec") => return json!({"containers": [{"name": "z", "image": "z"}]}),
        _ => match key.kind {
            KeyKind::Text | KeyKind::OptionalText | KeyKind::TextOrNumber | KeyKind::File => "other",
            KeyKind::Secret | KeyKind::Url | KeyKind::Host => "other",
            KeyKind::Words(words) => words.last().expect("a word"),
            KeyKind::Pem => return json!(files().text("other.crt")),
            KeyKind::PrivateKey => return json!(files().text("other.key")),
            KeyKind::PrivateKeys => return json!([files().text("hostkey")]),
            KeyKind::Flag => return json!(key.default != Some(json!(true))),
            KeyKind::Integer(..) => return json!(1),
            KeyKind::Number => return json!(1.5),
            KeyKind::Duration(_) => return json!("90s"),
            KeyKind::ByteSize(..) => return json!("1MiB"),
            KeyKind::Texts | KeyKind::Names => return json!(["x"]),
            KeyKind::Mapping | KeyKind::TextMap | KeyKind::SecretMapping => return json!({"x": "y"}),
            KeyKind::Sections => return json!([{"address": "127.0.0.1:22"}]),
            KeyKind::Variables => return json!([{"name": "X", "value": "y"}]),
        },
    })
}

fn load(tree: &Value) -> Result<Config, Errors> {
    Config::parse(&tree.to_string(), Format::Json, files())
}

/// Everything that a configuration means, but for secrets.
fn meaning(config: &Config) -> String {
    let settings = Settings::resolve(&config.base, None);
    // Some keys are about an answer alone.
    let answer = json!({"kubernetes": {"pod": {"spec": {"containers": [{"name": "b", "image": "other"}]}}}});
    let answer = ConfigAnswer {
        config: answer.as_object().expect("a mapping").clone(),
        exact: false,
        ..ConfigAnswer::default()
    };
    let answered = Settings::resolve(&config.base, Some(&answer));
    // What a connection starts from is judged by what comes out of it.
    let shown = (&config.ssh, &config.auth, &config.configserver, &config.log, &config.health, &config.metrics);
    let lease = crate::settings::GatewayHome::of(&config.base).map(|home| home.lease);
    let operated = (
        &config.admin,
        &config.shutdown,
        &config.audit,
        &config.events,
        &config.traces,
        &config.geoip,
        config.reloads_on_change,
    );
    format!("{shown:?} {operated:?} {settings:?} {answered:?} {lease:?}")
}

fn walk(wanted: impl Fn(Effect) -> bool, judge: impl Fn(&ConfigKey, &Value, &Value)) {
    let mut walked = 0;
    for key in keys::all().iter().filter(|key| wanted(key.effect)) {
        let ground = ground(&key.path);
        let is_on = ["audit.format", "audit.storage"].contains(&key.path.as_str());
        let value = if is_on { json!("none") } else { sample(key) };
        judge(key, &ground, &set(ground.clone(), &key.path, value));
        walked += 1;
    }
    assert!(walked >= 5, "{walked}");
}

#[test]
fn refused_key_is_an_error_that_the_page_lists_with_what_to_do() {
    let listed: Vec<String> = refused::refusals().into_iter().map(|(path, _)| path).collect();
    walk(
        |effect| effect == Effect::Refused,
        |key, ground, changed| {
            assert!(load(ground).is_ok(), "{}", key.path);
            let errors = load(changed).err().unwrap_or_else(|| panic!("{} was taken", key.path));
            assert!(errors.0.iter().any(|error| error.path == key.path), "{}: {errors}", key.path);
            let name = key.path.rsplit('.').next().expect("a name");
            let found = listed.iter().any(|path| *path == key.path || path.strip_prefix("*.") == Some(name));
            assert!(found, "{} is not in docs/migration.md", key.path);
        },
    );
}

#[test]
fn key_at_rest_changes_nothing_and_is_listed() {
    walk(
        |effect| effect == Effect::Ignored,
        |key, ground, changed| {
            let before = load(ground).unwrap_or_else(|errors| panic!("{}: {errors}", key.path));
            let after = load(changed).unwrap_or_else(|errors| panic!("{}: {errors}", key.path));
            assert_eq!(meaning(&before), meaning(&after), "{}", key.path);
            let covers = |notice: &str| {
                let section = notice.rsplit_once('.').map_or("", |(section, _)| section);
                notice == key.path || key.path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
            };
            let new = after.notices.iter().filter(|notice| !before.notices.contains(notice));
            assert!(new.clone().any(|notice| covers(&notice.path)), "{}: {:?}", key.path, after.notices);
        },
    );
}

#[test]
fn key_that_works_changes_what_holds() {
    walk(Effect::works, |key, ground, changed| {
        if key.path == "health.client.allowPlaintext" {
            // Nothing secret travels to it: plain http is taken there anyway.
            return;
        }
        let before = match load(ground) {
            Ok(before) => before,
            // What makes a file whole.
            Err(_) if key.path == "auth.url" || key.path.ends_with("allowPlaintext") => {
                return assert!(load(changed).is_ok(), "{}", key.path);
            }
            Err(errors) => panic!("{}: {errors}", key.path),
        };
        let after = match (key.kind, load(changed)) {
            // What is never shown is known to be read because it is judged.
            (KeyKind::PrivateKey, _) if !key.path.starts_with("kubernetes") => {
                let errors = load(&set(ground.clone(), &key.path, json!("-----x"))).expect_err(&key.path);
                return assert!(has(&errors, &key.path, "no private key"), "{}: {errors}", key.path);
            }
            (_, Err(errors)) if key.path == "auth.authz.method" => {
                return assert!(has(&errors, "auth.authz.method", "nobody would be asked"), "{errors}");
            }
            (_, Err(errors)) if key.path == "ssh.hostkeyDirectory" => {
                return assert!(has(&errors, &key.path, "stands beside ssh.hostkeys"), "{errors}");
            }
            (_, Err(errors)) if key.path == "backend" => {
                return assert!(has(&errors, "backend", "not built yet"), "{errors}");
            }
            (_, after) => after.unwrap_or_else(|errors| panic!("{}: {errors}", key.path)),
        };
        if key.path.starts_with("kubernetes.connection") {
            let cluster = |config: &Config| {
                Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}")).kubernetes().cluster
            };
            return assert_ne!(cluster(&before), cluster(&after), "{}", key.path);
        }
        let noticed = after.notices.iter().any(|notice| notice.path == key.path);
        let base = |config: &Config| (config.base.exact_values, config.base.allow_connection);
        assert!(
            meaning(&before) != meaning(&after) || base(&before) != base(&after) || noticed,
            "{} does nothing",
            key.path
        );
    });
}

#[test]
fn changed_key_waits_for_the_next_start_only_if_the_table_says_so() {
    let mut waiting = 0;
    for key in keys::all().iter().filter(|key| key.effect.works()) {
        let ground = ground(&key.path);
        let changed = set(ground.clone(), &key.path, sample(key));
        // What makes a file whole, or is no value for it, is judged above.
        let (Ok(before), Ok(after)) = (load(&ground), load(&changed)) else { continue };
        let waits = key.takes_effect() == Some(TakesEffect::NextStart);
        waiting += usize::from(waits);
        let named = if waits { vec![key.path.clone()] } else { Vec::new() };
        assert_eq!(after.at_next_start(&before.at_start), named, "{}", key.path);
        assert_eq!(before.at_next_start(&after.at_start), named, "{}, and back", key.path);
        assert!(after.at_next_start(&after.at_start).is_empty());
    }
    assert!((3..=8).contains(&waiting), "few keys wait: {waiting}");
}

/// The keys that the reader asks for.
fn asked() -> BTreeSet<String> {
    let report = ConfigReport::default();
    let tree = Map::new();
    let _ = crate::config::read(&Section::root(&tree, &report), files());
    report.keys.take()
}

#[test]
fn table_names_every_key_that_is_read_and_every_key_of_a_written_file() {
    let known: BTreeSet<String> = keys::all().iter().map(|key| key.path.clone()).collect();
    assert_eq!(known.len(), keys::all().len(), "a key stands in the table twice");
    let asked = asked();
    let missing: Vec<_> = asked.difference(&known).collect();
    let invented: Vec<_> = known.difference(&asked).collect();
    assert!(missing.is_empty() && invented.is_empty(), "missing: {missing:#?}\ninvented: {invented:#?}");
    let tree = document::parse(WRITTEN_BACK, Format::Yaml).expect("parses");
    let mut leaves = Vec::new();
    collect(&tree, "", &known, &mut leaves);
    assert!(leaves.len() > 200, "{}", leaves.len());
    for leaf in leaves {
        assert!(known.contains(&leaf), "{leaf}");
    }
}

fn collect(tree: &Map<String, Value>, at: &str, known: &BTreeSet<String>, leaves: &mut Vec<String>) {
    for (key, value) in tree {
        let path = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
        match value {
            Value::Object(inner) if !known.contains(&path) => collect(inner, &path, known, leaves),
            _ => leaves.push(path),
        }
    }
}

#[test]
fn durations_are_taken_in_every_form_by_every_key() {
    let forms =
        [json!("90s"), json!("1m30s"), json!("1.5m"), json!("90000ms"), json!("0h1m30s"), json!(90_000_000_000_u64)];
    let mut durations = 0;
    for key in keys::all().iter().filter(|key| matches!(key.kind, KeyKind::Duration(_))) {
        let mut meant = BTreeSet::new();
        for form in &forms {
            let tree = set(ground(&key.path), &key.path, form.clone());
            for (text, format) in [
                (tree.to_string(), Format::Json),
                (crate::schema::yaml::write(tree.as_object().expect("a mapping")), Format::Yaml),
            ] {
                let config = Config::parse(&text, format, files());
                meant.insert(meaning(&config.unwrap_or_else(|errors| panic!("{}: {form}: {errors}", key.path))));
            }
        }
        assert_eq!(meant.len(), 1, "{}", key.path);
        durations += 1;
    }
    assert!(durations > 20, "{durations}");
}

#[test]
fn keys_and_certificates_are_taken_inline_in_every_form() {
    for key in keys::all() {
        let is_pem = matches!(key.kind, KeyKind::Pem | KeyKind::PrivateKey);
        if !is_pem || !key.effect.works() {
            continue;
        }
        let text = sample(key).as_str().expect("PEM").to_owned();
        let ground = ground(&key.path);
        // A certificate and its key go together; here they only have to be read.
        for form in [
            text.clone(),
            text.trim().to_owned(),
            format!("\n  {text}\n\n"),
            text.replace('\n', "\r\n"),
            format!("{text}{text}"),
        ] {
            let tree = set(ground.clone(), &key.path, json!(form));
            for text in [tree.to_string(), crate::schema::yaml::write(tree.as_object().expect("a mapping"))] {
                let read = Config::parse(&text, Format::Yaml, files());
                read.unwrap_or_else(|errors| panic!("{}: {form:?}: {errors}", key.path));
            }
        }
    }
}
