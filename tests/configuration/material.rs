//! Mistakes in the keys and certificates that a configuration names: `--check-config` and the start find them all before
//! anything is asked over the network, in the same words and with the same exit code.

use super::{minimal, podgate};
use crate::support::gateway::{Gateway, SOON};
use crate::support::keys::Key;
use crate::support::scripted_webhook::Authority;
use crate::support::world::merge;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// Only the certificate: its key is needed by nobody.
const VERSION_1: &str = include_str!("../data/x509-version-1.crt");

/// A folder with certificates, keys and a token.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let it = Self { folder: tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder") };
        let (ours, other) = (Authority::new(), Authority::new());
        let (certificate, key) = ours.issue("localhost");
        let (_, strange) = other.issue("localhost");
        let texts = [
            ("ca.crt", ours.pem()),
            ("tls.crt", certificate),
            ("tls.key", key),
            ("strange.key", strange),
            (
                "encrypted.key",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n".into(),
            ),
            ("version-1.crt", VERSION_1.to_owned()),
            ("token", "t0ken".to_owned()),
        ];
        texts.iter().for_each(|(name, text)| it.write(name, text));
        let key = it.path("passphrase");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "secret", "-f"]).arg(key).output();
        assert!(made.expect("ssh-keygen").status.success());
        it.write("public.pub", &Key::make(it.folder.path(), "public").public);
        it
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).expect("a mode");
    }

    /// A client block with these files.
    fn client(&self, ca: &str, certificate: &str, key: &str) -> Value {
        let [ca, certificate, key] = [ca, certificate, key].map(|name| self.path(name));
        json!({"url": "https://localhost:1", "cacert": ca, "cert": certificate, "key": key})
    }

    /// A whole configuration with something changed, in a file.
    fn config(&self, change: Value) -> PathBuf {
        let mut config = minimal(self.folder.path());
        merge(&mut config, json!({"kubernetes": {"connection": {"host": "127.0.0.1:1"}}}));
        merge(&mut config, change);
        let file = self.path("podgate.json");
        fs::write(&file, config.to_string()).expect("a file");
        file
    }

    /// A text with the folder in place of `@`.
    fn said(&self, text: &str) -> String {
        text.replace('@', &self.folder.path().display().to_string())
    }
}

/// Checks and starts a configuration that is wrong in one way or more, and compares what both say.
async fn refused(files: &Files, change: Value, lines: &[&str]) {
    let file = files.config(change);
    let name = file.to_string_lossy();
    let lines: Vec<String> = lines.iter().map(|line| files.said(line)).collect();
    let told = format!("{name}: the configuration is not valid\n{}\n", lines.join("\n"));
    let check = podgate(&["--config", &name, "--check-config"]).await;
    assert_eq!((check.status, check.stdout.as_str(), check.stderr), (Some(64), "", told.clone()));
    let start = podgate(&["--config", &name]).await;
    assert_eq!((start.status, start.stderr), (Some(64), told));
}

#[podgate_test::multi_thread]
async fn pipe_is_not_waited_for() {
    let files = Files::new();
    let made = Command::new("mkfifo").arg(files.path("pipe")).status();
    assert!(made.expect("mkfifo").success());
    let change = json!({
        "ssh": {"hostkeys": [files.path("pipe")]},
        "auth": {"password": {"webhook": {"url": "https://localhost:1", "cacert": files.path("pipe")}}},
        "kubernetes": {"connection": {"bearerTokenFile": files.path("pipe")}},
    });
    let lines = ["ssh.hostkeys[0]", "auth.password.webhook.cacert", "kubernetes.connection.bearerTokenFile"]
        .map(|key| format!("{key}: cannot read the file \"@/pipe\": it is not a regular file"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    tokio::time::timeout(SOON, refused(&files, change, &lines)).await.expect("an answer");
}

#[podgate_test::multi_thread]
async fn each_mistake_is_told_with_its_key_and_file_by_the_check_and_the_start() {
    let files = Files::new();
    let webhook = |client: Value| json!({"auth": {"password": {"webhook": client}}});
    let host_key = |name: &str| json!({"ssh": {"hostkeys": [files.path(name)]}});
    let cluster = |change: Value| json!({"kubernetes": {"connection": change}});
    for (change, line) in [
        (
            webhook(files.client("ca.crt", "version-1.crt", "tls.key")),
            "auth.password.webhook.cert: the file \"@/version-1.crt\" is of X.509 version 1, and TLS takes only version 3; \
             have it signed with an extension, such as extendedKeyUsage=clientAuth (openssl x509 -req -extfile FILE)",
        ),
        (
            json!({"metrics": {"enable": true, "listen": "127.0.0.1:0", "cert": VERSION_1, "key": files.path("tls.key")}}),
            "metrics.cert: is of X.509 version 1, and TLS takes only version 3; have it signed with an extension, such as \
             subjectAltName=DNS:NAME (openssl x509 -req -extfile FILE)",
        ),
        (
            cluster(json!({"certFile": files.path("version-1.crt"), "keyFile": files.path("tls.key")})),
            "kubernetes.connection.certFile: the file \"@/version-1.crt\" is of X.509 version 1, and TLS takes only version \
             3; have it signed with an extension, such as extendedKeyUsage=clientAuth (openssl x509 -req -extfile FILE)",
        ),
        (
            webhook(files.client("ca.crt", "tls.crt", "strange.key")),
            "auth.password.webhook.key: the file \"@/strange.key\" does not match the certificate",
        ),
        (
            cluster(json!({"certFile": files.path("tls.crt"), "keyFile": files.path("strange.key")})),
            "kubernetes.connection.keyFile: the file \"@/strange.key\" does not match the certificate",
        ),
        (
            webhook(files.client("ca.crt", "tls.crt", "encrypted.key")),
            "auth.password.webhook.key: the file \"@/encrypted.key\" is encrypted; it must be a private key without a \
             passphrase",
        ),
        (
            webhook(files.client("tls.key", "tls.crt", "tls.key")),
            "auth.password.webhook.cacert: the file \"@/tls.key\" holds no certificate in PEM (-----BEGIN CERTIFICATE-----)",
        ),
        (
            host_key("passphrase"),
            "ssh.hostkeys[0]: the file \"@/passphrase\" is encrypted; a host key has no passphrase (`ssh-keygen -p -N '' -f \
             FILE` removes it)",
        ),
        (
            host_key("encrypted.key"),
            "ssh.hostkeys[0]: the file \"@/encrypted.key\" is encrypted; a host key has no passphrase (`ssh-keygen -p -N '' \
             -f FILE` removes it)",
        ),
        (
            host_key("public.pub"),
            "ssh.hostkeys[0]: the file \"@/public.pub\" is a public key; name the private one, which has no .pub",
        ),
        (host_key("tls.crt"), "ssh.hostkeys[0]: the file \"@/tls.crt\" is not a private key in PEM or OpenSSH format"),
        (
            json!({"ssh": {"hostkeys": ["hostkey"]}}),
            "ssh.hostkeys[0]: cannot read the file that it names: No such file or directory (os error 2); make one with \
             `ssh-keygen -t ed25519 -N '' -f 'hostkey'`",
        ),
    ] {
        refused(&files, change, &[line]).await;
    }
}

#[podgate_test::multi_thread]
async fn every_file_that_cannot_be_read_is_told_in_one_run() {
    let files = Files::new();
    let none = |name: &str| files.path(&format!("none/{name}"));
    let client = files.client("none/ca", "none/cert", "none/key");
    let change = json!({
        "ssh": {"hostkeys": [none("host1"), none("host2")]},
        "auth": {"password": {"webhook": client}},
        "configserver": client,
        "metrics": {
            "enable": true, "listen": "127.0.0.1:0", "cert": none("cert"), "key": none("key"), "clientcacert": none("ca"),
        },
        "kubernetes": {"connection": {
            "cacertFile": none("ca"), "certFile": none("cert"), "keyFile": none("key"), "bearerTokenFile": none("token"),
            // One more mistake keeps none of the others back.
            "serverName": "not a name",
        }},
    });
    let file = files.config(change);
    let ran = podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await;
    let blocks: [(&str, &[(&str, &str)]); 5] = [
        ("ssh", &[("hostkeys[0]", "host1"), ("hostkeys[1]", "host2")]),
        ("auth.password.webhook", &[("cacert", "ca"), ("cert", "cert"), ("key", "key")]),
        ("configserver", &[("cacert", "ca"), ("cert", "cert"), ("key", "key")]),
        ("metrics", &[("cert", "cert"), ("key", "key"), ("clientcacert", "ca")]),
        (
            "kubernetes.connection",
            &[("cacertFile", "ca"), ("certFile", "cert"), ("keyFile", "key"), ("bearerTokenFile", "token")],
        ),
    ];
    let mut count = 2; // the file's own line, and that of the server name
    for (block, keys) in blocks {
        for (key, name) in keys {
            count += 1;
            let told = files
                .said(&format!("{block}.{key}: cannot read the file \"@/none/{name}\": No such file or directory"));
            assert!(ran.stderr.lines().any(|line| line.starts_with(&told)), "{told:?} is not in\n{}", ran.stderr);
        }
    }
    assert!(ran.stderr.contains("kubernetes.connection.serverName: is not a DNS name"), "{}", ran.stderr);
    assert_eq!((ran.status, ran.stderr.lines().count()), (Some(64), count), "{}", ran.stderr);
}

/// A certificate that a CA of that name signed.
fn signed_by(name: &str) -> String {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    leaf.signed_by(&KeyPair::generate().expect("a key"), &ca).expect("a certificate").pem()
}

/// A certificate that signs itself, changed, and its key.
fn certificate(change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    change(&mut params);
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[podgate_test::multi_thread]
async fn what_only_the_other_end_or_a_stranger_would_mind_is_a_warning_of_the_check_and_of_each_start() {
    let files = Files::new();
    for (name, pair) in [
        ("old", certificate(|params| params.not_after = date_time_ymd(2021, 3, 4))),
        ("early", certificate(|params| params.not_before = date_time_ymd(2093, 3, 4))),
        ("server", certificate(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])),
    ] {
        files.write(&format!("{name}.crt"), &pair.0);
        files.write(&format!("{name}.key"), &pair.1);
    }
    files.write("leaf.crt", &signed_by("Example CA"));
    let open = |name: &str| fs::set_permissions(files.path(name), Permissions::from_mode(0o644)).expect("a mode");
    fs::set_permissions(files.folder.path(), Permissions::from_mode(0o755)).expect("a mode");
    let change = json!({
        "log": {"level": "info"},
        "auth": {
            "password": {"webhook": files.client("old.crt", "old.crt", "old.key")},
            "publicKey": {"method": "webhook", "webhook": files.client("leaf.crt", "early.crt", "early.key")},
        },
        "configserver": files.client("ca.crt", "server.crt", "server.key"),
        "kubernetes": {"connection": {"bearerTokenFile": files.path("token")}},
    });
    let file = files.config(change);
    ["hostkey", "old.key", "token", "old.crt"].into_iter().for_each(open);
    let warnings = [
        ("ssh.hostkeys[0]", exposed("hostkey")),
        ("auth.password.webhook.cacert", "the file \"@/old.crt\" holds CN=rcgen self signed cert, which expired on \
                                          2021-03-04 00:00:00 UTC".to_owned()),
        ("auth.password.webhook.cert", "the file \"@/old.crt\" expired on 2021-03-04 00:00:00 UTC".to_owned()),
        ("auth.password.webhook.key", exposed("old.key")),
        (
            "auth.publicKey.webhook.cacert",
            "the file \"@/leaf.crt\" holds no CA's certificate, so only the very certificate CN=rcgen self signed cert is \
             trusted, until it is renewed; the CA that signed it is CN=Example CA"
                .to_owned(),
        ),
        (
            "auth.publicKey.webhook.cert",
            "the file \"@/early.crt\" is not valid before 2093-03-04 00:00:00 UTC; is the clock right?".to_owned(),
        ),
        (
            "configserver.cert",
            "the file \"@/server.crt\" is not for clients (extendedKeyUsage lacks clientAuth): the server may refuse it"
                .to_owned(),
        ),
        ("kubernetes.connection.bearerTokenFile", exposed("token")),
    ];
    let check = podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await;
    assert_eq!((check.status, check.stderr.as_str()), (Some(0), ""));
    let gateway = Gateway::start(&file).await;
    gateway.wait_for_line("SSH_AVAILABLE").await;
    let logged = gateway.lines("CORE_CONFIG_NOTICE");
    for (key, text) in &warnings {
        let text = files.said(text);
        let line = format!("warning: {key}: {text}");
        assert!(check.stdout.lines().any(|told| told.starts_with(&line)), "{line:?} is not in\n{}", check.stdout);
        let told = logged.iter().find(|line| line["details"]["key"] == **key).unwrap_or_else(|| panic!("{key}"));
        let message = told["message"].as_str().expect("a text");
        assert!(message.starts_with(&text) && told["level"] == "warning", "{told}");
    }
    assert_eq!(logged.len(), warnings.len(), "{logged:?}");
}

fn exposed(name: &str) -> String {
    format!(
        "the file \"@/{name}\" can be read by every user of this machine (mode 0644); let only the gateway's user read it \
         (chmod 600), or mount the Secret with defaultMode: 0440 and an fsGroup"
    )
}

#[podgate_test::multi_thread]
async fn secret_that_strangers_cannot_reach_is_no_warning_whatever_its_mode() {
    let files = Files::new();
    let file = files.config(json!({}));
    fs::set_permissions(files.folder.path(), Permissions::from_mode(0o700)).expect("a mode");
    fs::set_permissions(files.path("hostkey"), Permissions::from_mode(0o644)).expect("a mode");
    let check = podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await;
    assert_eq!((check.status, check.stdout.contains("warning")), (Some(0), false), "{}", check.stdout);
}

#[podgate_test::multi_thread]
async fn kubeconfig_that_every_user_can_read_is_a_warning() {
    let files = Files::new();
    let kubeconfig = json!({
        "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t0ken"}}],
    });
    files.write("kubeconfig", &kubeconfig.to_string());
    fs::set_permissions(files.folder.path(), Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(files.path("kubeconfig"), Permissions::from_mode(0o644)).expect("a mode");
    let connection = json!({"host": null, "kubeconfig": files.path("kubeconfig")});
    let file = files.config(json!({"kubernetes": {"connection": connection}}));
    let check = podgate(&["--config", &file.to_string_lossy(), "--check-config"]).await;
    let line = files.said(&format!("warning: kubernetes.connection.kubeconfig: {}\n", exposed("kubeconfig")));
    assert!(check.status == Some(0) && check.stdout.contains(&line), "{}{}", check.stdout, check.stderr);
}
