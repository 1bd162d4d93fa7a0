//! Files that ContainerSSH runs with and writes, and what its Go library sends.

use crate::config::dump::dump;
use crate::config::fixture::MemoryFiles;
use crate::config::{Config, Kex, Mac};
use crate::policy::{Forwarding, Rules};
use crate::schema::{Format, migrate::migrate_text};
use crate::settings::{InlineOrFile, Settings};
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::Value;

const HAND_WRITTEN: &str = include_str!("../../../tests/data/config-hand-written.yaml");
const WRITTEN_BACK: &str = include_str!("../../../tests/data/config-written-back.yaml");
const ALL_ZERO: &str = include_str!("../../../tests/data/config-answer-all-zero.json");

/// The files that the samples name, under the names that they use.
fn files() -> MemoryFiles {
    let usual = MemoryFiles::new();
    let certificate = usual.text("ca.crt");
    MemoryFiles::new()
        .with("/etc/containerssh/hostkey", &usual.text("hostkey"))
        .with("/etc/containerssh/ca.crt", &certificate)
        .with("/etc/containerssh/admin.crt", &certificate)
        .with("/etc/containerssh/admin.key", &usual.text("client.key"))
}

fn hand_written() -> Config {
    Config::parse(HAND_WRITTEN, Format::Yaml, &files()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The sample leaves its generated host key out.
fn written_back_text() -> String {
    WRITTEN_BACK.replace(
        "(here: a PKCS#1 PEM block, \"BEGIN RSA PRIVATE KEY\", 4096 bits)",
        "-----BEGIN RSA PRIVATE KEY-----\n          x\n          -----END RSA PRIVATE KEY-----",
    )
}

fn written_back() -> Config {
    Config::parse(&written_back_text(), Format::Yaml, &files()).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn hand_written_sample_without_its_files_names_each_of_them() {
    let errors = Config::parse(HAND_WRITTEN, Format::Yaml, &MemoryFiles::default()).expect_err("no files");
    let paths: Vec<_> = errors.0.iter().map(|error| error.path.as_str()).collect();
    let connection = ["cacertFile", "certFile", "keyFile"].map(|key| format!("kubernetes.connection.{key}"));
    assert_eq!(paths, ["ssh.hostkeys[0]", &connection[0], &connection[1], &connection[2]]);
}

#[test]
fn hand_written_sample_loads() {
    let config = hand_written();
    assert_eq!(config.ssh.listeners[0].address.to_string(), "127.0.0.1:2222");
    assert!(config.auth.password.is_some() && config.auth.public_key.is_some() && config.configserver.is_some());
    assert!(config.notices.is_empty(), "{:?}", config.notices);
    let settings = Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(settings.kubernetes().cluster.host.as_str(), "https://10.99.0.2:6443/");
    assert_eq!(settings.kubernetes().cluster.ca, Some(InlineOrFile::File("/etc/containerssh/ca.crt".into())));
    assert_eq!(settings.kubernetes().pod.console_name.as_str(), "shell");
    assert_eq!(settings.rules, Rules::default());
}

#[test]
fn written_back_sample_means_what_the_hand_written_one_means() {
    let config = written_back();
    assert_eq!(config.ssh.kex[..3], [Kex::MlKem768X25519, Kex::Curve25519, Kex::Curve25519Libssh]);
    assert_eq!(config.ssh.kex[3..], [Kex::NistP521, Kex::NistP384, Kex::NistP256]);
    assert_eq!(config.ssh.macs.first(), Some(&Mac::Sha256Etm));
    assert_eq!(config.ssh.macs.len(), 3);
    assert!(config.auth.authz.is_none());
    assert!(config.notices.iter().all(|notice| !notice.warn), "{:?}", config.notices);
    let (back, hand) = (Settings::resolve(&config.base, None), Settings::resolve(&hand_written().base, None));
    let (back, hand) = (back.expect("written back"), hand.expect("hand-written"));
    assert_eq!(back.kubernetes().pod.idle_command, None);
    assert_eq!(back.kubernetes().cluster, hand.kubernetes().cluster);
    assert_eq!(back.rules.max_sessions, None);
    assert_eq!(back.kubernetes().pod.subsystems, hand.kubernetes().pod.subsystems);
    assert_eq!(back.kubernetes().pod.namespace, hand.kubernetes().pod.namespace);
}

#[test]
fn all_zero_answer_changes_nothing() {
    let answer: Value = serde_json::from_str(ALL_ZERO).expect("JSON");
    let answer = ConfigAnswer {
        config: answer["config"].as_object().expect("a mapping").clone(),
        exact: false,
        ..ConfigAnswer::default()
    };
    for config in [hand_written(), written_back()] {
        let without = Settings::resolve(&config.base, None).expect("resolves");
        let with = Settings::resolve(&config.base, Some(&answer)).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(format!("{with:?}"), format!("{without:?}"));
        assert_eq!(with.kubernetes().cluster, without.kubernetes().cluster);
    }
}

#[test]
fn dump_of_a_sample_means_what_the_sample_means() {
    let meaning = |text: &str| {
        let config = Config::parse(text, Format::Yaml, &files()).unwrap_or_else(|errors| panic!("{errors}\n{text}"));
        let settings = Settings::resolve(&config.base, None).unwrap_or_else(|errors| panic!("{errors}"));
        let kubernetes = settings.kubernetes();
        // What a rule for forwarding leaves unset is `disable`, and is dumped as that.
        let rules = Rules { forwarding: Forwarding::default(), ..settings.rules };
        let shown = (&config.ssh, &config.auth, &config.configserver, &config.log, settings.level);
        format!("{shown:?} {rules:?} {kubernetes:?}")
    };
    for text in [HAND_WRITTEN.to_owned(), written_back_text()] {
        let dumped = dump(&text, Format::Yaml).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(meaning(&text), meaning(&dumped), "{dumped}");
    }
}

#[test]
fn samples_need_no_rewriting() {
    // ContainerSSH writes its 2 s, which is little for a password that is asked about once.
    let written_back = ["auth.password.webhook.timeout"];
    for (text, decisions) in [(HAND_WRITTEN.to_owned(), &[][..]), (written_back_text(), &written_back)] {
        let migration = migrate_text(&text, Format::Yaml).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(migration.changes.is_empty() && migration.refusals.is_empty());
        let paths: Vec<_> = migration.decisions.iter().map(|decision| decision.path.as_str()).collect();
        assert_eq!(paths, decisions);
    }
}
