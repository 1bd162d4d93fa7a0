//! `kubernetes.connection`: one cluster and how to prove oneself to it. Always https, always verified, at most one kind
//! of HTTP credentials.

use super::{Cluster, Source};
use crate::config::pem::{self, Check, Files, Material};
use crate::config::reader::Section;
use crate::tls::End;
use crate::types::Secret;
use rustls_pki_types::ServerName;
use std::path::{Path, PathBuf};
use url::Url;

/// Where a service account's CA is. Older files name it as the *client's* certificate, too, where nothing comes of it.
pub(crate) const ACCOUNT_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";
const HOST: &str = "kubernetes.default.svc";
const QPS: f64 = 5.0;
const BURST: i64 = 10;
/// Beyond this nothing is limited any more, and the arithmetic on it stays exact.
const MOST_QPS: f64 = 1_000_000.0;

/// Reads the section; `None` was reported.
pub(super) fn read(section: &Section<'_>) -> Option<Cluster> {
    // Its file was read in place of the other keys before (see the module `kubeconfig`).
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
    let burst = section.integer("burst", 0..=i64::from(u32::MAX)).filter(|burst| *burst != 0).unwrap_or(BURST);
    Some(Cluster {
        host: host?,
        server_name: server_name.ok()?,
        ca: ca.ok()?,
        client_certificate: client_certificate.ok()?,
        bearer_token: bearer_token.ok()?,
        basic,
        qps_milli: qps_milli?,
        burst: u32::try_from(burst).ok()?,
        from_webhook: false,
    })
}

/// A mistake that was reported.
struct Reported;

fn host(section: &Section<'_>) -> Option<Url> {
    match host_url(section.text("host").unwrap_or(HOST)) {
        Ok(url) => Some(url),
        Err(why) => {
            section.error("host", why);
            None
        }
    }
}

/// A bare host, `host:port` or a URL; always https. The error never shows the text.
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

/// A value that stands inline under one key or in a file named by another.
fn source(
    section: &Section<'_>,
    inline: &'static str,
    file: &'static str,
    check: Check,
) -> Result<Option<Source>, Reported> {
    match (section.text(inline), section.text(file)) {
        (Some(_), Some(_)) => {
            section.error(file, format!("cannot be combined with {inline}; keep one of them"));
            Err(Reported)
        }
        (Some(text), None) => match check(text.trim()) {
            Ok(()) => Ok(Some(Source::Inline(Secret::new(text.trim())))),
            Err(why) => {
                section.error(inline, format!("{why}; a file is named by {file}"));
                Err(Reported)
            }
        },
        (None, Some(path)) => Ok(Some(Source::File(PathBuf::from(path)))),
        (None, None) => Ok(None),
    }
}

type Pair = Option<(Source, Source)>;

fn pair(
    section: &Section<'_>,
    certificate: Result<Option<Source>, Reported>,
    key: Result<Option<Source>, Reported>,
) -> Result<Pair, Reported> {
    match (certificate?, key?) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (None, None) => Ok(None),
        (Some(Source::File(path)), None) if path == Path::new(ACCOUNT_CA) => {
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

/// What a header can carry (RFC 6750 section 2.1, a little wider).
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
    let qps = match section.float("qps") {
        // As in Kubernetes' own client library.
        None | Some(0.0) => QPS,
        Some(qps) => qps,
    };
    if !(0.001..=MOST_QPS).contains(&qps) {
        section.error("qps", format!("must be 0.001 to {MOST_QPS} requests a second"));
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just above")]
    let milli = (qps * 1000.0).round() as u64;
    Some(milli)
}

/// Checks the certificates, keys and tokens of a connection, all of them, and the files that it names. At start-up only:
/// afterwards they are read where they are used.
pub(super) fn check_files(section: &Section<'_>, files: &dyn Files) {
    let ca = material(section, ("cacert", "cacertFile"), pem::certificates_in, files);
    // Reported or accepted by its own rule where it stands alone.
    let pair = [("cert", "certFile"), ("key", "keyFile")];
    if pair.iter().all(|(inline, file)| section.has_text(inline) || section.has_text(file)) {
        let [certificate, key] = pair;
        let certificate = material(section, certificate, pem::certificates_in, files);
        let key = material(section, key, pem::private_key_in, files).map(|key| key.with_warning(files));
        if let (Some(certificate), Some(key)) = (certificate, key) {
            certificate.judge_with(&key, End::Client);
        }
    }
    if let Some(ca) = ca {
        ca.judge_ca();
    }
    let token = material(section, ("bearerToken", "bearerTokenFile"), token_in, files);
    drop(token.map(|token| token.with_warning(files)));
}

/// A value that stands under one of two keys and is what they ask for. What is wrong with an inline one was reported.
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
