//! What ContainerSSH has and Podgate has not yet. Every key is known and typed, its value is taken as long as it
//! switches nothing on, and the operator is told that it has no effect.

use super::http::{self, ClientKeys};
use super::reader::Section;
use std::time::Duration;

const NOT_BUILT: &str = "is not built yet: this section has no effect";

/// The sections at the root.
pub(super) fn read(root: &Section<'_>) {
    geoip(&root.section("geoip"));
    audit(&root.section("audit"));
    docker(&root.section("docker"));
    sshproxy(&root.section("sshproxy"));
}

fn tell(section: &Section<'_>, key: &str, text: &str) {
    if section.is_set() {
        section.notice(key, text);
    }
}

fn texts(section: &Section<'_>, keys: &[&'static str]) {
    for key in keys {
        let _ = section.text(key);
    }
}

fn flags(section: &Section<'_>, keys: &[&'static str]) {
    for key in keys {
        let _ = section.flag(key);
    }
}

fn lists(section: &Section<'_>, keys: &[&'static str]) {
    for key in keys {
        let _ = section.texts(key);
    }
}

fn durations(section: &Section<'_>, keys: &[&'static str]) {
    for key in keys {
        let _ = section.duration(key, Duration::ZERO);
    }
}

fn geoip(section: &Section<'_>) {
    if section.choice("provider", &[("dummy", false), ("maxmind", true)]) == Some(true) {
        section.error("provider", "maxmind is not built yet; use dummy");
    }
    texts(section, &["maxmind-geoip2-file"]);
    tell(section, "provider", NOT_BUILT);
}

fn audit(section: &Section<'_>) {
    section.off("enable", "the audit log is not built yet; set it to false");
    let _ = section.choice("format", &[("none", ()), ("binary", ()), ("asciinema", ())]);
    let _ = section.choice("storage", &[("none", ()), ("file", ()), ("s3", ())]);
    texts(&section.section("file"), &["directory"]);
    let s3 = section.section("s3");
    texts(&s3, &["local", "accessKey", "secretKey", "bucket", "region", "endpoint", "acl", "cacert"]);
    flags(&s3, &["pathStyleAccess"]);
    let _ = s3.integer("uploadPartSize", 0..=i64::MAX);
    let _ = s3.integer("parallelUploads", 0..=i64::MAX);
    flags(&s3.section("metadata"), &["ip", "username"]);
    flags(&section.section("intercept"), &["stdin", "stdout", "stderr", "passwords", "forwarding"]);
    tell(section, "enable", NOT_BUILT);
}

/// `auth.*.kerberos`.
pub(super) fn kerberos(section: &Section<'_>) {
    texts(section, &["keytab", "acceptor", "credentialCachePath", "configPath"]);
    flags(section, &["enforceUsername"]);
    durations(section, &["clockSkew"]);
    tell(section, "keytab", NOT_BUILT);
}

/// `auth.keyboardInteractive.oauth2`.
pub(super) fn oauth2(section: &Section<'_>) {
    let redirect = section.section("redirect");
    http::check_server(&redirect);
    texts(&redirect, &["webroot"]);
    texts(section, &["clientId", "clientSecret"]);
    let _ = section.choice("provider", &[("github", ()), ("oidc", ()), ("generic", ())]);
    lists(section, &["qrCodeClients", "deviceFlowClients"]);
    durations(section, &["authTimeout"]);
    let github = section.section("github");
    texts(&github, &["url", "apiurl", "cacert", "cert", "key", "requireOrgMembership"]);
    flags(&github, &["enforceUsername", "require2FA", "enforceScopes"]);
    lists(&github, &["extraScopes"]);
    durations(&github, &["timeout"]);
    http::check_tls(&github);
    let oidc = section.section("oidc");
    let _ = ClientKeys::read(&oidc);
    flags(&oidc, &["deviceFlow", "authorizationCodeFlow", "enforceScopes"]);
    texts(&oidc, &["usernameField", "redirectURI"]);
    lists(&oidc, &["extraScopes"]);
    let generic = section.section("generic");
    texts(&generic, &["authorizeEndpointURL", "redirectURI"]);
    let _ = ClientKeys::read(&generic.section("tokenEndpoint"));
}

fn docker(section: &Section<'_>) {
    texts(&section.section("connection"), &["host", "cacert", "cert", "key"]);
    let execution = section.section("execution");
    for key in ["container", "host", "network", "platform", "auth"] {
        let _ = execution.object(key);
    }
    texts(&execution, &["containername", "agentPath"]);
    lists(&execution, &["idleCommand", "shellCommand"]);
    flags(&execution, &["disableAgent", "exposeAuthMetadataAsEnv"]);
    let _ = execution.choice("mode", &[("connection", ()), ("session", ())]);
    let _ = execution.choice("imagePullPolicy", &[("IfNotPresent", ()), ("Always", ()), ("Never", ())]);
    let _ = execution.table("subsystems");
    let timeouts = section.section("timeouts");
    durations(&timeouts, &["containerStart", "containerStop", "commandStart", "signal", "window", "http"]);
    tell(section, "execution", "has no effect beside backend: kubernetes");
}

fn sshproxy(section: &Section<'_>) {
    texts(section, &["server", "username", "password", "privateKey", "clientVersion"]);
    let _ = section.integer("port", 0..=65535);
    flags(section, &["usernamePassThrough"]);
    lists(section, &["allowedHostKeyFingerprints", "ciphers", "kex", "macs", "hostKeyAlgos"]);
    durations(section, &["timeout"]);
    tell(section, "server", "has no effect beside backend: kubernetes");
}
