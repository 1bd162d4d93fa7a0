//! Every key that a file may hold: its type, its default, and what it does today. The parser decides what a value means;
//! this table is what people and `--dump-config` see of it, and tests hold the two together.

use serde_json::Value;

/// What stands at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text, or one of a few words.
    Text,
    /// A text that is not shown.
    Secret,
    /// A URL, whose credentials are not shown.
    Url,
    /// A host, host:port or URL, whose credentials are not shown.
    Host,
    /// Certificates in PEM, or (but for Kubernetes) the name of a file of them.
    Pem,
    /// A private key in PEM, or (but for Kubernetes) the name of a file of it.
    PrivateKey,
    /// A list of private keys or files.
    PrivateKeys,
    /// True or false.
    Flag,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A duration.
    Duration,
    /// A list of texts.
    Texts,
    /// A list of texts, or one text with colons between them.
    Names,
    /// A mapping of the operator's own names.
    Mapping,
    /// A list of Kubernetes' `EnvVar`, whose values are not shown.
    Variables,
}

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Today {
    /// What it says.
    Works,
    /// Nothing, and `--check-config` says so.
    Rests,
    /// It is an error where it would switch something on.
    Refused,
}

use Kind::{
    Duration, Flag, Host, Integer, Mapping, Names, Number, Pem, PrivateKey, PrivateKeys, Secret, Text, Texts, Url,
    Variables,
};
use Today::{Refused, Rests, Works};

/// One key.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its path, `a.b.c`.
    pub(crate) path: String,
    /// Its type.
    pub(crate) kind: Kind,
    /// What holds without it, where that is one value.
    pub(crate) default: Option<Value>,
    /// What it does.
    pub(crate) today: Today,
}

/// Path, type, default in JSON (or nothing), and what it does.
type Row = (&'static str, Kind, &'static str, Today);

/// The keys of an HTTP client, with the default of its `timeout`.
const fn client(timeout: &'static str) -> [Row; 10] {
    [
        ("url", Url, "", Works),
        ("timeout", Duration, timeout, Works),
        ("allowRedirects", Flag, "false", Refused),
        ("allowPlaintext", Flag, "false", Works),
        ("cacert", Pem, "", Works),
        ("cert", Pem, "", Works),
        ("key", PrivateKey, "", Works),
        ("tlsVersion", Text, r#""1.3""#, Works),
        ("curves", Names, "", Works),
        ("cipher", Names, "", Works),
    ]
}

const CLIENT: [Row; 10] = client(r#""2s""#);
/// The client of a question that is repeated.
const REPEATED: [Row; 10] = client(r#""20s""#);
/// The client of a question that is asked once; see [`follows`].
const ONCE: [Row; 10] = client(r#""1m0s""#);

/// The TLS keys alone.
const TLS: [Row; 3] = [("tlsVersion", Text, "", Works), ("curves", Names, "", Works), ("cipher", Names, "", Works)];

/// The keys of an HTTP server.
const SERVER: [Row; 7] = [
    ("listen", Text, "", Works),
    ("cert", Pem, "", Works),
    ("key", PrivateKey, "", Works),
    ("clientcacert", Pem, "", Works),
    TLS[0],
    TLS[1],
    TLS[2],
];

const KERBEROS: [Row; 6] = [
    ("keytab", Text, "", Rests),
    ("acceptor", Text, "", Rests),
    ("enforceUsername", Flag, "", Rests),
    ("credentialCachePath", Text, "", Rests),
    ("configPath", Text, "", Rests),
    ("clockSkew", Duration, "", Rests),
];

/// Blocks that stand in several places: where, what, and whether it does something there.
const BLOCKS: &[(&str, &[Row], bool)] = &[
    ("auth.password.webhook", &ONCE, true),
    ("auth.publicKey.webhook", &REPEATED, true),
    ("auth.authz.webhook", &REPEATED, true),
    ("configserver", &REPEATED, true),
    ("auth", CLIENT.split_at(1).1, false),
    ("auth.password.kerberos", &KERBEROS, false),
    ("auth.gssapi.kerberos", &KERBEROS, false),
    ("auth.keyboardInteractive.oauth2.redirect", &SERVER, false),
    ("auth.keyboardInteractive.oauth2.github", &TLS, false),
    ("auth.keyboardInteractive.oauth2.oidc", &CLIENT, false),
    ("auth.keyboardInteractive.oauth2.generic.tokenEndpoint", &CLIENT, false),
    ("metrics", SERVER.split_at(1).1, true),
    ("health", SERVER.split_at(1).1, true),
    ("health.client", &CLIENT, true),
];

/// Every key that stands in one place.
const ROWS: &[Row] = &[
    ("ssh.listen", Text, r#""0.0.0.0:2222""#, Works),
    ("ssh.serverVersion", Text, r#""SSH-2.0-Podgate""#, Works),
    ("ssh.ciphers", Texts, r#"["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "aes256-ctr"]"#, Works),
    ("ssh.kex", Texts, r#"["mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org"]"#, Works),
    (
        "ssh.macs",
        Texts,
        r#"["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512"]"#,
        Works,
    ),
    ("ssh.banner", Text, "", Works),
    ("ssh.hostkeys", PrivateKeys, "", Works),
    ("ssh.clientAliveInterval", Duration, r#""0s""#, Works),
    ("ssh.clientAliveCountMax", Integer, "3", Works),
    ("auth.url", Url, "", Works),
    ("auth.password.method", Text, "", Works),
    ("auth.password.webhook.authTimeout", Duration, r#""1m0s""#, Works),
    ("auth.publicKey.method", Text, "", Works),
    ("auth.publicKey.webhook.authTimeout", Duration, r#""1m0s""#, Works),
    ("auth.authz.method", Text, "", Works),
    ("auth.authz.webhook.authTimeout", Duration, r#""1m0s""#, Works),
    ("auth.gssapi.method", Text, "", Refused),
    ("auth.keyboardInteractive.method", Text, "", Refused),
    ("configserver.transmitSensitiveMetadata", Flag, "false", Works),
    ("configserver.exactValues", Flag, "false", Works),
    ("configserver.allowConnection", Flag, "false", Works),
    ("log.level", Text, r#""info""#, Works),
    ("log.format", Text, r#""ljson""#, Works),
    ("log.destination", Text, r#""stdout""#, Works),
    ("log.file", Text, r#""/var/log/containerssh/containerssh.log""#, Works),
    ("log.syslog.destination", Text, r#""/dev/log""#, Works),
    ("log.syslog.facility", Text, r#""auth""#, Works),
    ("log.syslog.tag", Text, r#""ContainerSSH""#, Works),
    ("log.syslog.pid", Flag, "false", Works),
    ("metrics.enable", Flag, "", Works),
    ("metrics.listen", Text, r#""0.0.0.0:9100""#, Works),
    ("metrics.path", Text, r#""/metrics""#, Works),
    ("health.enable", Flag, "", Works),
    ("health.listen", Text, r#""0.0.0.0:7000""#, Works),
    ("security.defaultMode", Text, "", Works),
    ("security.forceCommand", Text, "", Works),
    ("security.env.mode", Text, "", Works),
    ("security.env.allow", Texts, "[]", Works),
    ("security.env.deny", Texts, "[]", Works),
    ("security.command.mode", Text, "", Works),
    ("security.command.allow", Texts, "[]", Works),
    ("security.shell.mode", Text, "", Works),
    ("security.subsystem.mode", Text, "", Works),
    ("security.subsystem.allow", Texts, "[]", Works),
    ("security.subsystem.deny", Texts, "[]", Works),
    ("security.tty.mode", Text, "", Works),
    ("security.signal.mode", Text, "", Works),
    ("security.signal.allow", Texts, "[]", Works),
    ("security.signal.deny", Texts, "[]", Works),
    ("security.forwarding.reverseForwardingMode", Text, r#""disable""#, Works),
    ("security.forwarding.forwardingMode", Text, r#""disable""#, Works),
    ("security.forwarding.socketForwardingMode", Text, r#""disable""#, Works),
    ("security.forwarding.socketListenMode", Text, r#""disable""#, Works),
    ("security.forwarding.x11ForwardingMode", Text, r#""disable""#, Works),
    ("security.maxSessions", Integer, "-1", Works),
    ("backend", Text, "", Works),
    ("kubernetes.connection.kubeconfig", Text, "", Works),
    ("kubernetes.connection.host", Host, r#""kubernetes.default.svc""#, Works),
    ("kubernetes.connection.path", Text, r#""/api""#, Refused),
    ("kubernetes.connection.serverName", Text, "", Works),
    ("kubernetes.connection.cacert", Pem, "", Works),
    ("kubernetes.connection.cacertFile", Text, "", Works),
    ("kubernetes.connection.cert", Pem, "", Works),
    ("kubernetes.connection.certFile", Text, "", Works),
    ("kubernetes.connection.key", PrivateKey, "", Works),
    ("kubernetes.connection.keyFile", Text, "", Works),
    ("kubernetes.connection.bearerToken", Secret, "", Works),
    ("kubernetes.connection.bearerTokenFile", Text, "", Works),
    ("kubernetes.connection.username", Text, "", Works),
    ("kubernetes.connection.password", Secret, "", Works),
    ("kubernetes.connection.qps", Number, "5", Works),
    ("kubernetes.connection.burst", Integer, "10", Works),
    ("kubernetes.pod.metadata", Mapping, r#"{"namespace": "default", "generateName": "containerssh-"}"#, Works),
    (
        "kubernetes.pod.spec",
        Mapping,
        r#"{"containers": [{"name": "shell", "image": "containerssh/containerssh-guest-image"}]}"#,
        Works,
    ),
    ("kubernetes.pod.image", Text, "", Works),
    ("kubernetes.pod.resources", Mapping, "", Works),
    ("kubernetes.pod.env", Variables, "", Works),
    ("kubernetes.pod.merge", Text, r#""replace""#, Works),
    ("kubernetes.pod.consoleContainerNumber", Integer, "0", Works),
    ("kubernetes.pod.mode", Text, r#""connection""#, Works),
    ("kubernetes.pod.createMissingPods", Flag, "false", Works),
    ("kubernetes.pod.shared", Flag, "false", Works),
    ("kubernetes.pod.exposeAuthMetadataAsEnv", Mapping, "", Works),
    ("kubernetes.pod.exposeAuthMetadataAsLabels", Mapping, "", Works),
    ("kubernetes.pod.exposeAuthMetadataAsAnnotations", Mapping, "", Works),
    ("kubernetes.pod.idleCommand", Texts, "", Works),
    ("kubernetes.pod.shellCommand", Texts, r#"["/bin/bash"]"#, Works),
    ("kubernetes.pod.execCommand", Texts, r#"["/bin/sh", "-c"]"#, Works),
    ("kubernetes.pod.subsystems", Mapping, r#"{"sftp": "/usr/lib/openssh/sftp-server"}"#, Works),
    ("kubernetes.pod.agentPath", Text, r#""/usr/bin/containerssh-agent""#, Works),
    ("kubernetes.pod.disableAgent", Flag, "false", Works),
    ("kubernetes.timeouts.podStart", Duration, r#""1m0s""#, Works),
    ("kubernetes.timeouts.podStop", Duration, r#""1m0s""#, Works),
    ("kubernetes.timeouts.commandStart", Duration, r#""1m0s""#, Works),
    ("kubernetes.timeouts.signal", Duration, r#""1m0s""#, Works),
    ("kubernetes.timeouts.window", Duration, r#""1m0s""#, Works),
    ("kubernetes.timeouts.http", Duration, r#""15s""#, Works),
    ("kubernetes.leaseDuration", Duration, r#""30s""#, Works),
];

/// Every key of what is not built yet. Those that would switch it on are refused.
const RESTING: &[Row] = &[
    ("auth.authTimeout", Duration, "", Rests),
    ("auth.pubkey", Flag, "", Rests),
    ("auth.keyboardInteractive.oauth2.redirect.webroot", Text, "", Rests),
    ("auth.keyboardInteractive.oauth2.clientId", Text, "", Rests),
    ("auth.keyboardInteractive.oauth2.clientSecret", Secret, "", Rests),
    ("auth.keyboardInteractive.oauth2.provider", Text, "", Rests),
    ("auth.keyboardInteractive.oauth2.qrCodeClients", Texts, "", Rests),
    ("auth.keyboardInteractive.oauth2.deviceFlowClients", Texts, "", Rests),
    ("auth.keyboardInteractive.oauth2.authTimeout", Duration, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.url", Url, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.apiurl", Url, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.cacert", Pem, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.cert", Pem, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.key", PrivateKey, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.enforceUsername", Flag, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.requireOrgMembership", Text, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.require2FA", Flag, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.extraScopes", Texts, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.enforceScopes", Flag, "", Rests),
    ("auth.keyboardInteractive.oauth2.github.timeout", Duration, "", Rests),
    ("auth.keyboardInteractive.oauth2.oidc.deviceFlow", Flag, "", Rests),
    ("auth.keyboardInteractive.oauth2.oidc.authorizationCodeFlow", Flag, "", Rests),
    ("auth.keyboardInteractive.oauth2.oidc.usernameField", Text, "", Rests),
    ("auth.keyboardInteractive.oauth2.oidc.redirectURI", Url, "", Rests),
    ("auth.keyboardInteractive.oauth2.oidc.extraScopes", Texts, "", Rests),
    ("auth.keyboardInteractive.oauth2.oidc.enforceScopes", Flag, "", Rests),
    ("auth.keyboardInteractive.oauth2.generic.authorizeEndpointURL", Url, "", Rests),
    ("auth.keyboardInteractive.oauth2.generic.redirectURI", Url, "", Rests),
    ("geoip.provider", Text, "", Refused),
    ("geoip.maxmind-geoip2-file", Text, "", Rests),
    ("audit.enable", Flag, "", Refused),
    ("audit.format", Text, "", Rests),
    ("audit.storage", Text, "", Rests),
    ("audit.file.directory", Text, "", Rests),
    ("audit.s3.local", Text, "", Rests),
    ("audit.s3.accessKey", Text, "", Rests),
    ("audit.s3.secretKey", Secret, "", Rests),
    ("audit.s3.bucket", Text, "", Rests),
    ("audit.s3.region", Text, "", Rests),
    ("audit.s3.endpoint", Url, "", Rests),
    ("audit.s3.acl", Text, "", Rests),
    ("audit.s3.cacert", Pem, "", Rests),
    ("audit.s3.pathStyleAccess", Flag, "", Rests),
    ("audit.s3.uploadPartSize", Integer, "", Rests),
    ("audit.s3.parallelUploads", Integer, "", Rests),
    ("audit.s3.metadata.ip", Flag, "", Rests),
    ("audit.s3.metadata.username", Flag, "", Rests),
    ("audit.intercept.stdin", Flag, "", Rests),
    ("audit.intercept.stdout", Flag, "", Rests),
    ("audit.intercept.stderr", Flag, "", Rests),
    ("audit.intercept.passwords", Flag, "", Rests),
    ("audit.intercept.forwarding", Flag, "", Rests),
    ("kubernetes.pod.agentImage", Text, "", Refused),
    ("docker.connection.host", Host, "", Rests),
    ("docker.connection.cacert", Pem, "", Rests),
    ("docker.connection.cert", Pem, "", Rests),
    ("docker.connection.key", PrivateKey, "", Rests),
    ("docker.execution.container", Mapping, "", Rests),
    ("docker.execution.host", Mapping, "", Rests),
    ("docker.execution.network", Mapping, "", Rests),
    ("docker.execution.platform", Mapping, "", Rests),
    ("docker.execution.containername", Text, "", Rests),
    ("docker.execution.auth", Secret, "", Rests),
    ("docker.execution.mode", Text, "", Rests),
    ("docker.execution.idleCommand", Texts, "", Rests),
    ("docker.execution.shellCommand", Texts, "", Rests),
    ("docker.execution.agentPath", Text, "", Rests),
    ("docker.execution.disableAgent", Flag, "", Rests),
    ("docker.execution.subsystems", Mapping, "", Rests),
    ("docker.execution.imagePullPolicy", Text, "", Rests),
    ("docker.execution.exposeAuthMetadataAsEnv", Flag, "", Rests),
    ("docker.timeouts.containerStart", Duration, "", Rests),
    ("docker.timeouts.containerStop", Duration, "", Rests),
    ("docker.timeouts.commandStart", Duration, "", Rests),
    ("docker.timeouts.signal", Duration, "", Rests),
    ("docker.timeouts.window", Duration, "", Rests),
    ("docker.timeouts.http", Duration, "", Rests),
    ("sshproxy.server", Text, "", Rests),
    ("sshproxy.port", Integer, "", Rests),
    ("sshproxy.usernamePassThrough", Flag, "", Rests),
    ("sshproxy.username", Text, "", Rests),
    ("sshproxy.password", Secret, "", Rests),
    ("sshproxy.privateKey", PrivateKey, "", Rests),
    ("sshproxy.allowedHostKeyFingerprints", Texts, "", Rests),
    ("sshproxy.ciphers", Texts, "", Rests),
    ("sshproxy.kex", Texts, "", Rests),
    ("sshproxy.macs", Texts, "", Rests),
    ("sshproxy.hostKeyAlgos", Texts, "", Rests),
    ("sshproxy.timeout", Duration, "", Rests),
    ("sshproxy.clientVersion", Text, "", Rests),
];

/// Every key.
pub(crate) fn all() -> Vec<Key> {
    let single = ROWS.iter().chain(RESTING).map(|row| key("", *row, true));
    let blocks = BLOCKS.iter().flat_map(|(block, rows, works)| rows.iter().map(move |row| key(block, *row, *works)));
    single.chain(blocks).collect()
}

/// The key whose value is the default of this one, before its own.
pub(crate) fn follows(path: &str) -> Option<&'static str> {
    (path == "auth.password.webhook.timeout").then_some("auth.password.webhook.authTimeout")
}

fn key(block: &str, (name, kind, default, today): Row, works: bool) -> Key {
    let path = if block.is_empty() { name.to_owned() } else { format!("{block}.{name}") };
    let default = if works { serde_json::from_str(default).ok() } else { None };
    Key { path, kind, default, today: if works { today } else { Rests } }
}
