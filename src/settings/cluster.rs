//! `kubernetes.connection`: a cluster and the credentials for it. Always https, always verified, at most one kind of HTTP
//! credentials.
//!
//! A config webhook's answer may change it only if the file allows that, and only with values of its own: an answer never
//! names files of the gateway, and the file's credentials are never sent to a cluster that an answer chose.

use crate::schema::keys::{self, ConfigKey, Effect, KeyKind};
use crate::schema::pem::{self, ACCOUNT_CA, Check, Files, Material};
use crate::schema::{ConfigReport, Section, Tree, mapping_at};
use crate::tls::TlsRole;
use crate::types::Secret;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::path::{Path, PathBuf};
use url::Url;

/// Largest `qps`: it limits nothing any more, and arithmetic with it is exact.
const MOST_QPS: f64 = 1_000_000.0;

/// Path of the section.
const CONNECTION: &str = "kubernetes.connection";

/// `kubernetes.connection`. Equal clusters share one client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cluster {
    /// `host`: `https://host[:port]`, always https.
    pub host: url::Url,
    /// `serverName`: the name in the certificate, if it is not the host's.
    pub server_name: Option<String>,
    /// `cacert` or `cacertFile`; `None` means the machine's own CAs.
    pub ca: Option<InlineOrFile>,
    /// `cert` and `key`, or `certFile` and `keyFile`.
    pub client_certificate: Option<(InlineOrFile, InlineOrFile)>,
    /// `bearerToken` or `bearerTokenFile`; a file is read again when it changes.
    pub bearer_token: Option<InlineOrFile>,
    /// `username` and `password`, for HTTP's basic authentication.
    pub basic: Option<(String, Secret)>,
    /// `qps` in thousandths: REST requests a second and connection.
    pub qps_milli: u64,
    pub burst: u32,
    /// True if a config webhook's answer changed any of this.
    pub from_webhook: bool,
}

impl Cluster {
    /// The files of the credentials, which are read again by themselves.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let pair = self.client_certificate.as_ref().map(|(certificate, key)| [certificate, key]);
        let sources = self.ca.iter().chain(pair.into_iter().flatten()).chain(&self.bearer_token);
        sources.filter_map(|source| match source {
            InlineOrFile::File(file) => Some(file.as_path()),
            InlineOrFile::Inline(_) => None,
        })
    }
}

/// A PEM text or token, in the configuration itself or in a file, which is checked to be readable at start-up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum InlineOrFile {
    Inline(Secret),
    File(PathBuf),
}

/// Reads the section; `None` if a mistake was reported.
pub(super) fn read(section: &Section<'_>) -> Option<Cluster> {
    // The module `kubeconfig` has already replaced it by the other keys.
    let _ = section.text("kubeconfig");
    let host = host(section);
    let server_name = server_name(section);
    if section.text("path").is_some_and(|path| !matches!(path, "/api" | "/api/")) {
        section.error("path", "only /api is supported; leave it out");
    }
    let ca = source(section, "cacert", "cacertFile", pem::certificates_in);
    let certificate = source(section, "cert", "certFile", pem::certificates_in);
    let key = source(section, "key", "keyFile", pem::private_key_in);
    let client_certificate = pair(section, certificate, key);
    let bearer_token = source(section, "bearerToken", "bearerTokenFile", token_in);
    let basic = basic(section, bearer_token.as_ref().is_ok_and(Option::is_some));
    let qps_milli = qps(section);
    let burst = section.integer("burst").filter(|burst| *burst != 0).or_else(|| section.default("burst")?.as_i64());
    Some(Cluster {
        host: host?,
        server_name: server_name.ok()?,
        ca: ca.ok()?,
        client_certificate: client_certificate.ok()?,
        bearer_token: bearer_token.ok()?,
        basic,
        qps_milli: qps_milli?,
        burst: u32::try_from(burst?).ok()?,
        from_webhook: false,
    })
}

/// A mistake that was reported.
struct Reported;

fn host(section: &Section<'_>) -> Option<Url> {
    match host_url(section.text("host")?) {
        Ok(url) => Some(url),
        Err(why) => {
            section.error("host", why);
            None
        }
    }
}

/// Parses a host, `host:port` or https URL. The error never shows the text.
pub(super) fn host_url(text: &str) -> Result<Url, String> {
    let full = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&full).map_err(|e| format!("is not a host, host:port or https URL ({e})"))?;
    if url.scheme() == "http" {
        return Err("plain http is never used for the Kubernetes API; use https".into());
    }
    if url.scheme() != "https" || url.host().is_none() {
        return Err("must be a host, host:port or https URL".into());
    }
    if !matches!(url.path(), "" | "/") {
        return Err("must not have a path: the API must be at the root of the host".into());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("must be a host and port alone; credentials have keys of their own".into());
    }
    Ok(url)
}

fn server_name(section: &Section<'_>) -> Result<Option<String>, Reported> {
    let Some(text) = section.text("serverName") else { return Ok(None) };
    if ServerName::try_from(text).is_err() {
        section.error("serverName", "is not a DNS name or IP address");
        return Err(Reported);
    }
    Ok(Some(text.to_owned()))
}

/// Reads a value that is inline under one key or in a file that another key names.
fn source(
    section: &Section<'_>,
    inline: &'static str,
    file: &'static str,
    check: Check,
) -> Result<Option<InlineOrFile>, Reported> {
    match (section.text(inline), section.text(file)) {
        (Some(_), Some(_)) => {
            section.error(file, format!("cannot be combined with {inline}; keep one of them"));
            Err(Reported)
        }
        (Some(text), None) => match check(text.trim()) {
            Ok(()) => Ok(Some(InlineOrFile::Inline(Secret::new(text.trim())))),
            Err(why) => {
                section.error(inline, format!("{why}; a file is named by {file}"));
                Err(Reported)
            }
        },
        (None, Some(path)) => Ok(Some(InlineOrFile::File(PathBuf::from(path)))),
        (None, None) => Ok(None),
    }
}

type Pair = Option<(InlineOrFile, InlineOrFile)>;

fn pair(
    section: &Section<'_>,
    certificate: Result<Option<InlineOrFile>, Reported>,
    key: Result<Option<InlineOrFile>, Reported>,
) -> Result<Pair, Reported> {
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(InlineOrFile::File(path)), None) if path == Path::new(ACCOUNT_CA) => {
            section.notice(
                "certFile",
                "is the service account's CA; without a key it is not used as a client certificate",
            );
            Ok(None)
        }
        (Some(_), None) => {
            section.error("key", "is missing (or keyFile); a client certificate needs both");
            Err(Reported)
        }
        (None, Some(_)) => {
            section.error("cert", "is missing (or certFile); a client certificate needs both");
            Err(Reported)
        }
    }
}

/// Checks that a header can carry the token (a little wider than RFC 6750 section 2.1).
fn token_in(text: &str) -> Result<(), &'static str> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err("is not a bearer token")
}

fn basic(section: &Section<'_>, has_token: bool) -> Option<(String, Secret)> {
    match (section.text("username"), section.secret("password")) {
        (Some(_), Some(_)) if has_token => {
            section.error("username", "cannot be combined with a bearer token; keep one of them");
            None
        }
        (Some(username), Some(password)) => Some((username.to_owned(), password)),
        (Some(_), None) => {
            section.error("password", "is missing; username needs it");
            None
        }
        (None, Some(_)) => {
            section.error("username", "is missing; password needs it");
            None
        }
        (None, None) => None,
    }
}

fn qps(section: &Section<'_>) -> Option<u64> {
    let qps = match section.float("qps")? {
        // As in Kubernetes' own client library.
        0.0 => section.default("qps")?.as_f64()?,
        qps => qps,
    };
    if !(0.001..=MOST_QPS).contains(&qps) {
        section.error("qps", format!("must be 0.001 to {MOST_QPS} requests a second"));
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just above")]
    let milli = (qps * 1000.0).round() as u64;
    Some(milli)
}

/// Checks all certificates, keys and tokens of a connection, and the files that it names. Only at start-up: later they are
/// read at their use.
pub(super) fn check_files(section: &Section<'_>, files: &dyn Files) {
    let ca = material(section, ("cacert", "cacertFile"), pem::certificates_in, files);
    // Reported or accepted by its own rule where it stands alone.
    let pair = [("cert", "certFile"), ("key", "keyFile")];
    if pair.iter().all(|(inline, file)| section.has_text(inline) || section.has_text(file)) {
        let [certificate, key] = pair;
        let certificate = material(section, certificate, pem::certificates_in, files);
        let key = material(section, key, pem::private_key_in, files).map(|key| key.with_warning(files));
        if let (Some(certificate), Some(key)) = (certificate, key) {
            certificate.judge_with(&key, TlsRole::Client);
        }
    }
    if let Some(ca) = ca {
        ca.judge_ca();
    }
    let token = material(section, ("bearerToken", "bearerTokenFile"), token_in, files);
    drop(token.map(|token| token.with_warning(files)));
}

/// Reads a valid value under one of two keys. A mistake in an inline value was reported before.
fn material<'a>(
    section: &'a Section<'a>,
    (inline, file): (&'static str, &'static str),
    check: Check,
    files: &dyn Files,
) -> Option<Material<'a>> {
    match (section.plain_text(inline), section.plain_text(file)) {
        (Some(text), None) => check(text.trim()).is_ok().then(|| Material::inline(section, inline, text)),
        (None, Some(path)) => Material::file(section, file, path, files)?.checked(check),
        _ => None,
    }
}

/// Overlays the answer's connection on the file's where the file allows it, and returns whether it changes anything.
/// Unknown keys stay in `over`, and the reader reports them.
pub(super) fn overlay_connection(merged: &mut Tree, over: &mut Tree, allowed: bool, report: &ConfigReport) -> bool {
    let Some(Value::Object(kubernetes)) = over.get_mut("kubernetes") else { return false };
    let Some(Value::Object(answer)) = kubernetes.get_mut("connection") else { return false };
    let Some(base) = mapping_at(merged, &["kubernetes", "connection"]) else { return false };
    answer.retain(|key, value| effective(base, key).as_ref() != Some(value) && !same_number(base, key, value));
    let changed: Vec<&ConfigKey> = answer.keys().filter_map(|key| key_of(key)).collect();
    for key in &changed {
        if !allowed {
            let text = "a config server may not change the connection, unless the file says configserver.allowConnection: true";
            report.error(&key.path, text);
        } else if key.kind == KeyKind::File {
            report.error(&key.path, "a config server may not name files of the gateway; send the value itself");
        }
    }
    let is_changed = |key: &&ConfigKey| changed.iter().any(|other| other.path == key.path);
    let target = keys::of_section(CONNECTION).find(|key| is_target(key) && is_changed(key));
    let brings_credentials = changed.iter().any(|key| key.effect == Effect::Credential);
    if let Some(target) = target.filter(|_| !brings_credentials && allowed) {
        let text = "a config server that changes it must also send the credentials for it; those in the file are not \
                    sent there";
        report.error(&target.path, text);
    }
    if target.is_some() || brings_credentials {
        let credentials = keys::of_section(CONNECTION).filter(|key| key.effect == Effect::Credential);
        credentials.for_each(|key| drop(base.remove(key.name())));
    }
    if changed.iter().any(|key| key.name() == "cacert") {
        base.remove("cacertFile");
    }
    !changed.is_empty()
}

fn key_of(name: &str) -> Option<&'static ConfigKey> {
    keys::find(&format!("{CONNECTION}.{name}"))
}

/// True for a value that says where credentials go or what is trusted there; the name of a file never does.
fn is_target(key: &ConfigKey) -> bool {
    key.effect == Effect::Target && key.kind != KeyKind::File
}

/// The file's value, or the one that holds where the file has none.
fn effective(base: &Tree, name: &str) -> Option<Value> {
    let written = base.get(name).filter(|value| value.as_str() != Some(""));
    written.cloned().or_else(|| Some(key_of(name)?.default.clone().unwrap_or_else(|| "".into())))
}

/// Compares as numbers: 5 and 5.0 are two values in JSON.
fn same_number(base: &Tree, key: &str, value: &Value) -> bool {
    let base = effective(base, key).and_then(|value| value.as_f64());
    base.is_some() && base == value.as_f64()
}
