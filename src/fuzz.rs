//! Everything that parses what others made, as functions of bytes that panic where something does not hold that must.
//! For the fuzzer (feature `fuzzing`) and a short run of the same in the tests; never in the gateway.

mod destinations;
mod link;
mod proxy_header;
mod requests;

use crate::audit::fuzz_sftp_trail;
use crate::auth::{IssuedCertificate, RevokedKeys, check_user_data};
use crate::config::Config;
use crate::kubernetes::fuzz as kubernetes;
use crate::schema::{Files, Format};
use crate::settings::{BackendSettings, FileSections, Settings};
use crate::ssh::fuzz as ssh;
use crate::types::{ContainerName, EnvName, Namespace, PodName, Username, is_hidden, printable};
use podgate_webhooks::wire::{AuthAnswer, ConfigReply};
use serde_json::{Map, Value, json};
use std::io;
use std::path::Path;

/// Panics where something that was made of the bytes does not hold.
pub type FuzzTarget = fn(&[u8]);

/// Every target by name.
pub const TARGETS: &[(&str, FuzzTarget)] = &[
    ("agent-forward-server", podgate_agent::fuzz::forward_server),
    ("agent-scp", podgate_agent::fuzz::scp),
    ("agent-sftp", podgate_agent::fuzz::sftp),
    ("answers", answers),
    ("certificates", ssh::certificates),
    ("configuration", configuration),
    ("destinations", destinations::destinations),
    ("forward-packets", kubernetes::forward_packets),
    ("frames", kubernetes::frames),
    ("handshake", kubernetes::handshake),
    ("link", link::link),
    ("link-handshake", link::handshake),
    ("link-messages", link::messages),
    ("names", names),
    ("packets", ssh::packets),
    ("proxy-header", proxy_header::proxy_header),
    ("recording", podgate_recording::fuzz),
    ("recording-chain", podgate_recording::fuzz_chain),
    ("requests", requests::requests),
    ("revoked-keys", revoked_keys),
    ("sftp-trail", fuzz_sftp_trail),
    ("status", kubernetes::status),
    ("stream", kubernetes::stream),
];

/// The smallest file's part that a connection's settings come from.
fn base() -> FileSections {
    let sections = json!({
        "backend": "kubernetes",
        "kubernetes": {"connection": {"host": "10.0.0.1:6443", "bearerToken": "t"}, "pod": {"metadata": {"namespace": "a"}}},
    });
    let sections = match sections {
        Value::Object(sections) => sections,
        _other => Map::new(),
    };
    FileSections { sections, exact_values: false, allow_connection: false, allow_shared: false, kuberun: false }
}

/// A webhook's answer, to either question.
fn answers(data: &[u8]) {
    if let Ok(mut answer) = AuthAnswer::parse(data) {
        if check_user_data(answer.authenticated_username.as_deref(), &mut answer.known).is_ok() {
            assert!(answer.known.environment.keys().all(|name| EnvName::parse(name).is_ok()));
        }
        if answer.is_yes() {
            assert!(String::from_utf8_lossy(data).to_ascii_lowercase().contains("true"));
        }
    }
    let Ok(ConfigReply::Given(answer)) = ConfigReply::parse(data) else { return };
    let base = base();
    let file = Settings::resolve(&base, None).ok();
    if let (Some(file), Ok(settings)) = (file, Settings::resolve(&base, Some(&answer))) {
        let BackendSettings::Kubernetes(file) = file.backend;
        let BackendSettings::Kubernetes(settings) = settings.backend;
        // An answer has no say in which cluster is used, or as whom.
        assert!(!settings.cluster.from_webhook);
        assert_eq!(settings.cluster.host, file.cluster.host);
        assert_eq!(format!("{:?}", settings.cluster), format!("{:?}", file.cluster));
    }
}

/// A file of revoked keys.
fn revoked_keys(data: &[u8]) {
    let Ok(revoked) = RevokedKeys::parse(data) else { return };
    for (key, serial) in [(data, 0), (data.get(..51).unwrap_or_default(), 300), (b"key", u64::MAX)] {
        let issued = IssuedCertificate { key, authority: key, serial, key_id: "stolen" };
        assert!(!revoked.has_key(key) || revoked.has_certificate(issued));
    }
}

/// Files that hold something for every path.
struct Anything;

impl Files for Anything {
    fn read(&self, _: &Path) -> io::Result<String> {
        Ok("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n".to_owned())
    }
}

/// A configuration file; the first byte says in which format.
fn configuration(data: &[u8]) {
    let Some((format, text)) = data.split_first() else { return };
    let format = if format % 2 == 0 { Format::Yaml } else { Format::Json };
    let text = String::from_utf8_lossy(text);
    match Config::parse(&text, format, &Anything) {
        Ok(config) if config.configserver.is_none() => {
            // What the start-up found whole is enough for a connection.
            let settings = Settings::resolve(&config.base, None);
            assert!(settings.is_ok(), "{:?}", settings.err());
        }
        Ok(_) => {}
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

/// Names that end up in URLs, manifests and logs.
fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if Namespace::parse(&text).is_ok() || ContainerName::parse(&text).is_ok() {
        assert!((1..=63).contains(&text.len()) && text.chars().all(plain));
    }
    if PodName::parse(&text).is_ok() {
        assert!((1..=253).contains(&text.len()) && text.chars().all(|c| plain(c) || c == '.'));
    }
    if let Ok(name) = EnvName::parse(&text) {
        assert!(!name.as_str().starts_with(['-', '=']) && !name.as_str().contains(['=', '\0', '\n']));
    }
    if Username::parse(&text).is_ok() {
        assert!(!text.trim().is_empty() && text.len() <= 1024 && !text.chars().any(is_hidden));
    }
    let shown = printable(&text, 40);
    assert!(!shown.chars().any(is_hidden), "{shown:?}");
}

#[cfg(test)]
mod tests;
