//! The file: denials first, then what loads.

mod admin;
mod auth;
mod docs;
mod dump;
mod keys;
mod migrate;
mod pods;
mod samples;

use super::fixture::{MemoryFiles, has, load, minimal, set, with};
use super::*;
use crate::telemetry::{Level, LogDestination, LogFormat};
use serde_json::{Value, json};
use std::time::Duration;

/// `(path, value, path of the error, part of its text)`
type Denial = (&'static str, Value, &'static str, &'static str);

fn denied(cases: Vec<Denial>) {
    for (path, value, at, part) in cases {
        let errors = with(path, value.clone()).err().unwrap_or_else(|| panic!("{path}: {value} was taken"));
        assert!(has(&errors, at, part), "{path}: {value}: {errors}");
        assert_eq!(errors.0.len(), 1, "{path}: {value}: {errors}");
    }
}

#[test]
fn unknown_keys_are_errors_that_name_the_nearest_known_key() {
    denied(vec![
        ("kubernetes.pod.sepc", json!({}), "kubernetes.pod.sepc", "unknown key; did you mean \"spec\"?"),
        ("shs", json!({}), "shs", "did you mean \"ssh\"?"),
        ("securty", json!({}), "securty", "did you mean \"security\"?"),
        ("ssh.hostKeys", json!([]), "ssh.hostKeys", "did you mean \"hostkeys\"?"),
        ("ssh.xyzzy", json!(1), "ssh.xyzzy", "unknown key"),
        ("auth.password.webhook.curve", json!([]), "auth.password.webhook.curve", "did you mean \"curves\"?"),
        ("auth.publickey", json!({}), "auth.publickey", "did you mean \"publicKey\"?"),
        ("security.env.alow", json!([]), "security.env.alow", "did you mean \"allow\"?"),
        ("security.command.deny", json!([]), "security.command.deny", "unknown key"),
        ("security.forwarding.forwardMode", json!(""), "security.forwarding.forwardMode", "unknown key"),
        ("kubernetes.connection.hots", json!(""), "kubernetes.connection.hots", "did you mean \"host\"?"),
        ("kubernetes.timeouts.podstart", json!("1s"), "kubernetes.timeouts.podstart", "did you mean \"podStart\"?"),
        ("metrics.enabled", json!(false), "metrics.enabled", "did you mean \"enable\"?"),
        ("audit.s3.metadata.ipp", json!(false), "audit.s3.metadata.ipp", "did you mean \"ip\"?"),
        ("docker.execution.immage", json!(""), "docker.execution.immage", "unknown key"),
        ("sshproxy.hostKeyAlgorithms", json!([]), "sshproxy.hostKeyAlgorithms", "unknown key"),
    ]);
}

#[test]
fn wrong_types_are_errors_everywhere() {
    denied(vec![
        ("security", json!("x"), "security", "must be a mapping, not a string"),
        ("ssh.banner", json!(5), "ssh.banner", "must be a string, not a number; put it in quotes"),
        ("ssh.ciphers", json!("aes256-ctr"), "ssh.ciphers", "must be a list of strings"),
        ("ssh.macs", json!(["hmac-sha2-256", 1]), "ssh.macs[1]", "must be a string"),
        ("auth.publicKey", json!([]), "auth.publicKey", "must be a mapping"),
        ("auth.pubkey", json!(1), "auth.pubkey", "must be true or false"),
        ("configserver.exactValues", json!("true"), "configserver.exactValues", "must be true or false"),
        ("log", json!([]), "log", "must be a mapping"),
        ("log.level", json!([]), "log.level", "must be a name"),
        ("security.env.allow", json!("PATH"), "security.env.allow", "must be a list of strings"),
        ("security.maxSessions", json!("1"), "security.maxSessions", "must be an integer"),
        ("security.maxSessions", json!(1.5), "security.maxSessions", "must be an integer"),
        ("kubernetes.connection.qps", json!("5"), "kubernetes.connection.qps", "must be a number"),
        ("kubernetes.pod.metadata", json!([]), "kubernetes.pod.metadata", "must be a mapping"),
        ("kubernetes.pod.spec", json!("x"), "kubernetes.pod.spec", "must be a mapping"),
        ("kubernetes.pod.subsystems", json!(["sftp"]), "kubernetes.pod.subsystems", "must be a mapping of strings"),
        ("kubernetes.pod.subsystems", json!({"sftp": [1]}), "kubernetes.pod.subsystems.sftp", "must be a string"),
        ("kubernetes.timeouts.http", json!("15"), "kubernetes.timeouts.http", "is not a duration"),
        ("metrics.path", json!(1), "metrics.path", "must be a string"),
        ("audit.s3.uploadPartSize", json!("5M"), "audit.s3.uploadPartSize", "must be an integer"),
        ("audit.format", json!("xml"), "audit.format", "is not one of none, binary, asciinema"),
        ("docker.timeouts.http", json!(true), "docker.timeouts.http", "is not a duration"),
        ("docker.execution.container", json!("x"), "docker.execution.container", "must be a mapping"),
        ("sshproxy.port", json!(65536), "sshproxy.port", "must be 0 to 65535"),
        ("health.client.timeout", json!("1ms"), "health.client.timeout", "must be at least 100ms"),
    ]);
}

#[test]
fn what_is_not_built_is_refused_when_it_is_switched_on() {
    denied(vec![
        ("auth.password.method", json!("kerberos"), "auth.password.method", "not built yet"),
        ("auth.gssapi.method", json!("kerberos"), "auth.gssapi.method", "not built yet"),
        ("auth.keyboardInteractive.method", json!("oauth2"), "auth.keyboardInteractive.method", "not built yet"),
        ("backend", json!("docker"), "backend", "not built yet"),
        ("backend", json!("sshproxy"), "backend", "not built yet"),
        ("auth.password.webhook.allowRedirects", json!(true), "auth.password.webhook.allowRedirects", "never followed"),
    ]);
}

#[test]
fn unverified_tls_is_refused_everywhere_and_its_absence_is_taken() {
    for (section, key) in [
        ("kubernetes.connection", "insecure"),
        ("kubernetes.connection", "insecure-skip-tls-verify"),
        ("kubernetes.connection", "insecureSkipTLSVerify"),
        ("auth.password.webhook", "insecureSkipVerify"),
        ("auth", "insecure"),
        ("configserver", "skipVerify"),
        ("ssh", "insecure"),
        ("docker.connection", "insecure"),
        ("kubernetes", "tls-skip-verify"),
    ] {
        let path = format!("{section}.{key}");
        for value in [json!(true), json!("yes"), json!(1), json!("false")] {
            let errors = with(&path, value.clone()).expect_err(&path);
            assert!(has(&errors, &path, "certificates are always verified"), "{path}: {value}: {errors}");
        }
        for value in [json!(false), json!(null), json!("no")] {
            assert!(with(&path, value.clone()).is_ok(), "{path}: {value}");
        }
    }
}

#[test]
fn wrong_ssh_values_are_refused() {
    denied(vec![
        ("ssh.listen", json!("2222"), "ssh.listen", "must be host:port"),
        ("ssh.listen", json!("0.0.0.0:99999"), "ssh.listen", "must be host:port"),
        ("ssh.listen", json!("0.0.0.0:+22"), "ssh.listen", "must be host:port"),
        ("ssh.listen", json!("::1:22:"), "ssh.listen", "must be host:port"),
        ("ssh.listen", json!("http://a:22"), "ssh.listen", "must be host:port"),
        ("ssh.serverVersion", json!("OpenSSH"), "ssh.serverVersion", "must be SSH-2.0-"),
        ("ssh.serverVersion", json!("SSH-1.99-x"), "ssh.serverVersion", "must be SSH-2.0-"),
        ("ssh.serverVersion", json!("SSH-2.0-"), "ssh.serverVersion", "must be SSH-2.0-"),
        ("ssh.serverVersion", json!("SSH-2.0-a-b"), "ssh.serverVersion", "must be SSH-2.0-"),
        ("ssh.serverVersion", json!("SSH-2.0-a "), "ssh.serverVersion", "must be SSH-2.0-"),
        ("ssh.serverVersion", json!("SSH-2.0-a\r\n"), "ssh.serverVersion", "must be SSH-2.0-"),
        ("ssh.serverVersion", json!(format!("SSH-2.0-{}", "a".repeat(246))), "ssh.serverVersion", "253"),
        (
            "ssh.hostkeys",
            json!([]),
            "ssh.hostkeys",
            "`ssh-keygen -t ed25519 -N '' -f /etc/podgate/ssh_host_ed25519_key`",
        ),
        ("ssh.hostkeys", json!(["/x/key"]), "ssh.hostkeys[0]", "`ssh-keygen -t ed25519 -N '' -f '/x/key'`"),
        ("ssh.hostkeys", json!(["hostkey"]), "ssh.hostkeys[0]", "`ssh-keygen -t ed25519 -N '' -f 'hostkey'`"),
        (
            "ssh.hostkeys",
            json!(["keys/host.key"]),
            "ssh.hostkeys[0]",
            "`ssh-keygen -t ed25519 -N '' -f 'keys/host.key'`",
        ),
        ("ssh.hostkeys", json!(["/etc/podgate/token"]), "ssh.hostkeys[0]", "is not a private key"),
        ("ssh.hostkeys", json!(["-----BEGIN ENCRYPTED PRIVATE KEY-----"]), "ssh.hostkeys[0]", "is encrypted"),
        ("ssh.clientAliveInterval", json!("500ms"), "ssh.clientAliveInterval", "at least 1s"),
        ("ssh.clientAliveInterval", json!(15), "ssh.clientAliveInterval", "nanoseconds"),
        ("ssh.clientAliveInterval", json!("-1s"), "ssh.clientAliveInterval", "negative"),
        ("ssh.clientAliveCountMax", json!(0), "ssh.clientAliveCountMax", "must be 1 to"),
    ]);
}

#[test]
fn algorithms_that_are_not_offered_are_refused_by_name() {
    denied(vec![
        (
            "ssh.ciphers",
            json!(["aes128-cbc"]),
            "ssh.ciphers",
            "CBC mode is broken in SSH), and nothing else is named; use aes256-gcm@openssh.com",
        ),
        ("ssh.ciphers", json!(["arcfour256"]), "ssh.ciphers", "RC4"),
        ("ssh.ciphers", json!(["none"]), "ssh.ciphers", "protects nothing"),
        ("ssh.ciphers", json!(["aes256-gcm"]), "ssh.ciphers", "did you mean \"aes256-gcm@openssh.com\"?"),
        ("ssh.ciphers", json!(["aes256-crt"]), "ssh.ciphers", "did you mean \"aes256-ctr\"?"),
        (
            "ssh.kex",
            json!(["diffie-hellman-group14-sha1"]),
            "ssh.kex",
            "SHA-1 and MD5 are broken), and nothing else is named; use mlkem768x25519-sha256",
        ),
        ("ssh.kex", json!(["diffie-hellman-group18-sha512"]), "ssh.kex", "costs the server"),
        ("ssh.macs", json!(["hmac-sha1"]), "ssh.macs", "use hmac-sha2-256-etm@openssh.com"),
        ("ssh.macs", json!(["hmac-sha2-265"]), "ssh.macs", "did you mean \"hmac-sha2-256\"?"),
    ]);
}

#[test]
fn all_mistakes_of_a_file_are_reported_in_one_run() {
    let tree = json!({
        "ssh": {"listen": "x", "kex": ["a"]},
        "auth": {"password": {"method": "webhook", "webhook": {"url": "http://10.0.0.1"}}},
        "security": {"env": {"mode": "enabled"}, "forwarding": {"forwardingMode": "disabled"}, "maxSessions": -2},
        "kubernetes": {"pod": {"metadata": {"namespace": "A/b"}, "spec": {"containers": []}}, "pdo": 1},
        "metrics": {"enable": true, "listen": "x"},
    });
    let errors = load(&tree).expect_err("many mistakes");
    for (path, part) in [
        ("ssh.listen", "host:port"),
        ("ssh.kex", "available are"),
        ("ssh.hostkeys", "ssh-keygen"),
        ("auth.password.webhook.url", "plain http"),
        ("security.env.mode", "\"enabled\" is not one of enable, filter, disable"),
        ("security.forwarding.forwardingMode", "is not one of"),
        ("security.maxSessions", "must be -1 to"),
        ("kubernetes.pod.metadata.namespace", "DNS label"),
        ("kubernetes.pod.spec.containers", "at least one container"),
        ("kubernetes.pdo", "did you mean \"pod\"?"),
        ("metrics.listen", "host:port"),
        ("backend", "write backend: kubernetes"),
    ] {
        assert!(has(&errors, path, part), "{path}: {errors}");
    }
    assert_eq!(errors.0.len(), 12, "{errors}");
    assert_eq!(errors.to_string().lines().count(), 12);
    assert!(errors.to_string().contains("kubernetes.pdo: unknown key; did you mean \"pod\"?"));
}

#[test]
fn no_error_shows_a_secret() {
    let secret = "MC4CAQAwBQYDK2VwBCIEIs3cret";
    for path in [
        "ssh.hostkeys",
        "auth.password.webhook.key",
        "auth.password.webhook.url",
        "kubernetes.connection.bearerTokenFile",
        "kubernetes.connection.keyFile",
        "kubernetes.connection.kubeconfig",
        "kubernetes.connection.key",
        "kubernetes.connection.cacert",
        "kubernetes.connection.host",
    ] {
        let value = match path {
            "ssh.hostkeys" => json!([secret]),
            "auth.password.webhook.url" => json!(format!("http://user:{secret}@10.0.0.1/")),
            "kubernetes.connection.host" => json!(format!("https://user:{secret}@10.0.0.1/")),
            _ => json!(secret),
        };
        let errors = with(path, value).expect_err(path).to_string();
        assert!(!errors.contains(secret), "{path}: {errors}");
    }
    let tree = set(minimal(), "auth.password.webhook.cert", json!("/etc/podgate/client.crt"));
    let tree = set(tree, "auth.password.webhook.key", json!("-----BEGIN PRIVATE KEY-----\ns3cret"));
    let errors = load(&tree).expect_err("a broken key").to_string();
    assert!(errors.contains("auth.password.webhook.key") && !errors.contains("s3cret"), "{errors}");
}

#[test]
fn smallest_file_has_the_documented_defaults() {
    let config = load(&minimal()).expect("loads");
    assert_eq!(config.ssh.listeners[0].address.to_string(), "0.0.0.0:2222");
    assert_eq!(config.ssh.server_version, "SSH-2.0-Podgate");
    assert_eq!(config.ssh.banner, None);
    assert_eq!(config.ssh.kex, [Kex::MlKem768X25519, Kex::Curve25519, Kex::Curve25519Libssh]);
    assert_eq!(config.ssh.ciphers, [Cipher::Aes256Gcm, Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305, Cipher::Aes256Ctr]);
    assert_eq!(config.ssh.openssh_ciphers, [Cipher::Aes256Gcm, Cipher::Aes128Gcm]);
    assert_eq!(config.ssh.macs, [Mac::Sha256Etm, Mac::Sha512Etm]);
    assert_eq!(
        (config.ssh.client_alive_interval, config.ssh.client_alive_count_max),
        (Some(Duration::from_secs(60)), 3)
    );
    assert_eq!((config.log.level, config.log.format), (Level::Info, LogFormat::Ljson));
    assert_eq!(config.log.destination, LogDestination::Stdout);
    assert!(config.configserver.is_none() && config.notices.is_empty(), "{:?}", config.notices);
    assert!(config.ssh.host_keys[0].origin.contains("/etc/podgate/hostkey"));
}

#[test]
fn ssh_values_are_taken_as_written() {
    for (listen, taken) in [(":2222", "[::]:2222"), ("[::1]:0", "[::1]:0"), ("localhost:22", "localhost:22")] {
        let config = with("ssh.listen", json!(listen)).expect(listen);
        assert_eq!(config.ssh.listeners[0].address.to_string(), taken);
    }
    for version in ["SSH-2.0-x", "SSH-2.0-OpenSSH_9.6p1 Debian-5", "SSH-2.0-a_b.c"] {
        assert_eq!(with("ssh.serverVersion", json!(version)).expect(version).ssh.server_version, version);
    }
    for (value, seconds) in
        [(json!("15s"), Some(15)), (json!(15_000_000_000_u64), Some(15)), (json!(0), None), (json!("0s"), None)]
    {
        let interval = with("ssh.clientAliveInterval", value).expect("interval").ssh.client_alive_interval;
        assert_eq!(interval, seconds.map(Duration::from_secs));
    }
}

#[test]
fn log_levels_are_names_or_numbers() {
    for (value, level) in [
        (json!("debug"), Level::Debug),
        (json!(7), Level::Debug),
        (json!("5"), Level::Notice),
        (json!("notice"), Level::Notice),
        (json!("crit"), Level::Critical),
        (json!("emerg"), Level::Emergency),
        (json!(0), Level::Emergency),
        (json!(""), Level::Info),
        (json!(null), Level::Info),
    ] {
        assert_eq!(with("log.level", value.clone()).expect("level").log.level, level, "{value}");
    }
    for value in [json!("verbose"), json!(8), json!(-1), json!(true)] {
        let errors = with("log.level", value.clone()).expect_err("level");
        assert!(has(&errors, "log.level", "7") && errors.0.len() == 1, "{value}: {errors}");
    }
}

#[test]
fn log_goes_to_the_named_file_only_when_told_to() {
    let tree = set(minimal(), "log.file", json!("/var/log/podgate.log"));
    let quiet = load(&tree).expect("loads");
    assert_eq!(quiet.log.destination, LogDestination::Stdout);
    assert!(quiet.notices.iter().any(|notice| notice.path == "log.file" && !notice.warn));
    let config = load(&set(tree, "log.destination", json!("file"))).expect("loads");
    assert_eq!(config.log.destination, LogDestination::File("/var/log/podgate.log".into()));
}

#[test]
fn features_at_rest_are_taken_and_named_as_without_effect() {
    for (path, value, at) in [
        ("audit.intercept.stdin", json!(true), "audit.enable"),
        ("geoip.maxmind-geoip2-file", json!("/x.mmdb"), "geoip.provider"),
        ("docker.execution.container", json!({"image": "x"}), "docker.execution"),
        ("sshproxy.server", json!("x"), "sshproxy.server"),
        ("auth.gssapi.kerberos.keytab", json!("/x"), "auth.gssapi.method"),
        ("auth.keyboardInteractive.oauth2.clientId", json!("x"), "auth.keyboardInteractive.method"),
    ] {
        let config = with(path, value).expect(path);
        assert!(config.notices.iter().any(|notice| notice.path == at && !notice.warn), "{path}: {:?}", config.notices);
    }
}

#[test]
fn debug_output_of_a_configuration_shows_no_secret() {
    let tree = set(minimal(), "kubernetes.connection.bearerToken", json!("s3cret"));
    let tree = set(tree, "auth.password.webhook.url", json!("https://user:s3cret@auth.example"));
    let config = load(&tree).expect("loads");
    assert!(!format!("{config:?}").contains("s3cret"));
    assert!(MemoryFiles::new().text("token").contains("t0ken"));
}

#[test]
fn file_on_disk_is_read_by_its_suffix() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let missing = Config::load(&at("none.yaml")).expect_err("no such file").to_string();
    assert!(missing.starts_with("cannot read ") && missing.contains("none.yaml"), "{missing}");
    std::fs::write(at("hostkey"), MemoryFiles::new().text("hostkey")).expect("written");
    let tree = set(minimal(), "ssh.hostkeys", json!([at("hostkey").to_string_lossy()]));
    for name in ["config.json", "config.yaml"] {
        std::fs::write(at(name), tree.to_string()).expect("written");
        assert!(Config::load(&at(name)).is_ok(), "{name}");
    }
    std::fs::write(at("yaml.json"), "ssh: {}").expect("written");
    let errors = Config::load(&at("yaml.json")).expect_err("no JSON").to_string();
    assert!(errors.starts_with("cannot be parsed: "), "{errors}");
}
