//! The list of refusals in `docs/migration.md`: what is on it is refused, and nothing else of what ContainerSSH takes.

use super::*;

/// What the page's list of refusals names: path and value. `*.key` is the key of every client.
pub(super) fn refusals() -> Vec<(String, Value)> {
    let list = PAGE.split("## Refused settings").nth(1).expect("the list").split("\n## ").next().expect("its end");
    let rows = list.lines().filter(|line| line.starts_with("| `"));
    let values = rows.flat_map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        assert_eq!(cells.len(), 5, "{row}: what to do instead");
        cells[1].split('`').skip(1).step_by(2)
    });
    let read = |key: &str| {
        let (path, value) = key.split_once(": ").expect(key);
        let value = document::parse(&format!("v: {value}"), Format::Yaml).expect(key);
        (path.to_owned(), get(&value, "v").cloned().unwrap_or_default())
    };
    values.map(read).collect()
}

/// What ContainerSSH takes for keys that take a word, or a list of words: each of them.
const WORDS: &[(&str, &[&str])] = &[
    (
        "ssh.ciphers",
        &[
            "chacha20-poly1305@openssh.com",
            "aes256-gcm@openssh.com",
            "aes128-gcm@openssh.com",
            "aes256-ctr",
            "aes192-ctr",
            "aes128-ctr",
            "aes128-cbc",
            "arcfour256",
            "arcfour128",
            "arcfour",
            "tripledescbcID",
        ],
    ),
    (
        "ssh.kex",
        &[
            "curve25519-sha256@libssh.org",
            "ecdh-sha2-nistp521",
            "ecdh-sha2-nistp384",
            "ecdh-sha2-nistp256",
            "diffie-hellman-group14-sha1",
            "diffie-hellman-group1-sha1",
        ],
    ),
    ("ssh.macs", &["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256", "hmac-sha1", "hmac-sha1-96"]),
    ("*.tlsVersion", &["1.2", "1.3"]),
    ("*.curves", &["x25519", "X25519", "secp256r1", "prime256v1", "secp384r1", "secp521r1"]),
    (
        "*.cipher",
        &[
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "TLS_ECDHE_RSA_AES_128_GCM_SHA256",
        ],
    ),
    ("auth.password.method", &["webhook", "kerberos"]),
    ("auth.publicKey.method", &["webhook"]),
    ("auth.authz.method", &["webhook"]),
    ("auth.gssapi.method", &["kerberos"]),
    ("auth.keyboardInteractive.method", &["oauth2"]),
    ("auth.keyboardInteractive.oauth2.provider", &["github", "oidc", "generic"]),
    ("log.level", &["debug", "info", "notice", "warning", "error", "crit", "alert", "emerg"]),
    ("log.format", &["ljson", "text"]),
    ("log.destination", &["stdout", "file", "syslog"]),
    (
        "log.syslog.facility",
        &[
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
            "ntp", "logaudit", "logalert", "clock", "local0", "local1", "local2", "local3", "local4", "local5",
            "local6", "local7",
        ],
    ),
    ("log.syslog.tag", &["ContainerSSH", "my gateway"]),
    ("metrics.path", &["/metrics", "metrics"]),
    ("geoip.provider", &["dummy", "maxmind"]),
    ("audit.format", &["none", "binary", "asciinema"]),
    ("audit.storage", &["none", "file", "s3"]),
    ("security.defaultMode", &["enable", "filter", "disable"]),
    ("security.env.mode", &["enable", "filter", "disable"]),
    ("security.command.mode", &["enable", "filter", "disable"]),
    ("security.shell.mode", &["enable", "filter", "disable"]),
    ("security.subsystem.mode", &["enable", "filter", "disable"]),
    ("security.tty.mode", &["enable", "filter", "disable"]),
    ("security.signal.mode", &["enable", "filter", "disable"]),
    ("security.forwarding.forwardingMode", &["enable", "filter", "disable", "disabled"]),
    ("security.forwarding.reverseForwardingMode", &["enable", "filter", "disable"]),
    ("security.forwarding.socketForwardingMode", &["enable", "filter", "disable"]),
    ("security.forwarding.socketListenMode", &["enable", "filter", "disable"]),
    ("security.forwarding.x11ForwardingMode", &["enable", "filter", "disable"]),
    ("security.forwarding.agentForwardingMode", &["enable", "filter", "disable"]),
    ("backend", &["docker", "dockerrun", "kubernetes", "kuberun", "sshproxy"]),
    ("docker.execution.mode", &["connection", "session"]),
    ("docker.execution.imagePullPolicy", &["IfNotPresent", "Always", "Never"]),
    ("kubernetes.pod.mode", &["connection", "session"]),
    ("kubernetes.connection.path", &["/api", "/k8s"]),
    ("kubernetes.connection.host", &["10.0.0.1:6443", "https://k.example", "http://10.0.0.1:8080", "k.example/k8s"]),
];

/// Keys that ContainerSSH has not.
const OURS: &[&str] = &[
    "allowPlaintext",
    "leaseDuration",
    "loginGraceTime",
    "keyExchangeGraceTime",
    "maxWebhookCalls",
    "requiredRSASize",
    "listeners",
    "proxyHeaderTimeout",
    "hostCertificates",
    "trustedUserCAKeys",
    "revokedKeys",
    "checkInterval",
];

/// Halves of a pair, whose other half stands where they are tried: an empty one is a missing one.
const HALVES: &[&str] = &["url", "cert", "certFile", "key", "keyFile", "username", "password"];

/// Every word that ContainerSSH takes, and for every key its zero and its default.
fn everything_of_containerssh() -> Vec<(String, Value)> {
    let listed = |path: &str| {
        keys::all().iter().any(|key| key.path == path && matches!(key.kind, KeyKind::Texts | KeyKind::Names))
    };
    let mut all: Vec<(String, Value)> = Vec::new();
    for (path, words) in WORDS {
        let is_list = listed(&path.replace("*.", "configserver."));
        all.extend(words.iter().map(|word| ((*path).to_owned(), if is_list { json!([word]) } else { json!(word) })));
    }
    for key in keys::all() {
        let name = key.path.rsplit('.').next().expect("a name");
        if OURS.contains(&name) {
            continue;
        }
        // What a file has where its writer had nothing to say.
        let zeros = match key.kind {
            KeyKind::Flag => vec![json!(false)],
            KeyKind::Integer(..) | KeyKind::Number => vec![json!(0)],
            KeyKind::Duration(_) => vec![json!("0s"), json!(0)],
            KeyKind::Texts | KeyKind::PrivateKeys | KeyKind::Variables => vec![json!([])],
            KeyKind::Names => vec![json!([]), json!("")],
            KeyKind::Mapping | KeyKind::TextMap | KeyKind::SecretMapping => vec![json!({})],
            _ if HALVES.contains(&name) => Vec::new(),
            _ => vec![json!("")],
        };
        all.extend(zeros.into_iter().chain(key.default.clone()).map(|value| (key.path.clone(), value)));
    }
    all
}

#[test]
fn what_containerssh_takes_is_taken_or_on_the_list() {
    let listed = refusals();
    let is_listed = |path: &str, value: &Value| {
        let name = path.rsplit('.').next().expect("a name");
        // Zero is written in two ways.
        let value = if *value == json!("0s") { json!(0) } else { value.clone() };
        listed.iter().any(|(row, refused)| *refused == value && (row == path || row.strip_prefix("*.") == Some(name)))
    };
    let mut wrong = Vec::new();
    let everything = everything_of_containerssh();
    assert!(everything.len() > 500, "{}", everything.len());
    for (path, value) in everything {
        let at = path.replace("*.", "configserver.");
        if let Err(errors) = load(&set(ground(&at), &at, value.clone()))
            && !is_listed(&path, &value)
        {
            wrong.push(format!("{path}: {value}: {errors}"));
        }
    }
    assert!(wrong.is_empty(), "refused and not listed:\n{}", wrong.join("\n"));
}

#[test]
fn every_row_of_the_list_is_refused_as_it_says() {
    let rows = refusals();
    assert!(rows.len() >= 20, "{}", rows.len());
    for (path, value) in rows {
        let path = path.replace("*.", "auth.password.webhook.");
        let mut ground = ground(&path);
        if path.starts_with("kuberun") {
            ground = set(ground, "backend", json!("kuberun"));
        }
        if path == "auth.url" {
            ground = self::ground("auth");
        }
        let errors = load(&set(ground, &path, value.clone()));
        let errors = errors.err().unwrap_or_else(|| panic!("{path}: {value} was taken"));
        assert!(errors.0.iter().any(|error| error.path.starts_with(&path)), "{path}: {value}: {errors}");
    }
}
