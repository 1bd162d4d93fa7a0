//! The blocks that every HTTP client and server of the configuration shares. Types and names are checked wherever a
//! block stands; what a block means is checked only where it is used.

use super::pem::{self, Files};
use super::reader::{Section, nearest};
use super::{Endpoint, HttpClient};
use crate::types::printable;
use serde_json::Value;
use std::time::Duration;

const LEAST_TIMEOUT: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(2);

/// Every spelling of a curve, by its first one.
const CURVES: [&[&str]; 4] = [&["x25519", "X25519"], &["secp256r1", "prime256v1"], &["secp384r1"], &["secp521r1"]];

/// Every spelling of a cipher suite, by its first one. The first five are ContainerSSH's default.
const SUITES: [&[&str]; 9] = [
    &["TLS_AES_128_GCM_SHA256"],
    &["TLS_AES_256_GCM_SHA384"],
    &["TLS_CHACHA20_POLY1305_SHA256"],
    &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_AES_128_GCM_SHA256"],
    &["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_AES_128_GCM_SHA256"],
    &["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_AES_256_GCM_SHA384"],
    &["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_AES_256_GCM_SHA384"],
    &[
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_CHACHA20_POLY1305",
    ],
    &[
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_CHACHA20_POLY1305",
    ],
];

/// The keys of a client block, typed, not yet judged together.
pub(super) struct ClientKeys<'a> {
    url: Option<&'a str>,
    timeout: Duration,
    redirects: bool,
    plaintext: bool,
    public: bool,
    ca: Option<&'a str>,
    certificate: Option<&'a str>,
    key: Option<&'a str>,
    tls: Tls,
}

/// `tlsVersion`, `curves`, `cipher`.
pub(super) struct Tls {
    pub(super) tls12: bool,
    curves_restricted: bool,
    suites_restricted: bool,
}

impl<'a> ClientKeys<'a> {
    /// Reads a block.
    pub(super) fn read(section: &Section<'a>) -> Self {
        Self {
            url: section.text("url"),
            timeout: section.duration("timeout", LEAST_TIMEOUT).unwrap_or(TIMEOUT),
            redirects: section.flag("allowRedirects").unwrap_or(false),
            plaintext: section.flag("allowPlaintext").unwrap_or(false),
            public: false,
            ca: section.text("cacert"),
            certificate: section.text("cert"),
            key: section.text("key"),
            tls: Tls::read(section),
        }
    }

    /// The same for calls that carry nothing worth hiding, to `url` where the block names no other place.
    pub(super) fn public(self, url: Option<&'a str>) -> Self {
        Self { url: self.url.or(url), public: true, ..self }
    }

    /// Whether it says where to call.
    pub(super) fn has_url(&self) -> bool {
        self.url.is_some()
    }

    /// Judges the block where it is used; `None` was reported.
    pub(super) fn build(self, section: &Section<'_>, files: &dyn Files) -> Option<HttpClient> {
        if self.redirects {
            section.error("allowRedirects", "redirects are never followed; give the final URL and set it to false");
        }
        let endpoint =
            Endpoint::parse(self.url?, self.plaintext || self.public).map_err(|why| section.error("url", why)).ok()?;
        if endpoint.is_plaintext() && !self.public {
            section.warning("allowPlaintext", "passwords and settings travel in plain http beyond this machine");
        }
        if !endpoint.is_tls() {
            if self.ca.or(self.certificate).or(self.key).is_some() {
                section.notice("cacert", "TLS keys have no effect without an https URL");
            }
            let (timeout, tls12) = (self.timeout, self.tls.tls12);
            return Some(HttpClient { endpoint, timeout, ca: None, identity: None, tls12 });
        }
        self.tls.judge(section);
        let ca = match self.ca {
            Some(value) => Some(pem::certificates(section, "cacert", pem::read(section, "cacert", value, files)?)?),
            None => None,
        };
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => {
                let certificate = pem::read(section, "cert", certificate, files);
                let key = pem::read(section, "key", key, files);
                let certificate = certificate.and_then(|text| pem::certificates(section, "cert", text));
                let key = key.and_then(|text| pem::private_key(section, "key", text));
                Some((certificate?, key?))
            }
            (Some(_), None) => return missing(section, "key", "cert"),
            (None, Some(_)) => return missing(section, "cert", "key"),
            (None, None) => None,
        };
        Some(HttpClient { endpoint, timeout: self.timeout, ca, identity, tls12: self.tls.tls12 })
    }
}

fn missing<T>(section: &Section<'_>, key: &str, other: &str) -> Option<T> {
    section.error(key, format!("is missing; a client certificate takes both, and {other} is set"));
    None
}

/// Types and names of the block of a server that is not built yet.
pub(super) fn check_server(section: &Section<'_>) {
    for key in ["listen", "cert", "key", "clientcacert"] {
        let _ = section.text(key);
    }
    check_tls(section);
}

/// Types and names of the TLS keys alone.
pub(super) fn check_tls(section: &Section<'_>) {
    let _ = Tls::read(section);
}

impl Tls {
    pub(super) fn read(section: &Section<'_>) -> Self {
        Self {
            tls12: version(section) == Some("1.2"),
            curves_restricted: restricted(section, "curves", &CURVES, CURVES.len()),
            suites_restricted: restricted(section, "cipher", &SUITES, 5),
        }
    }

    pub(super) fn judge(&self, section: &Section<'_>) {
        for (restricted, key) in [(self.curves_restricted, "curves"), (self.suites_restricted, "cipher")] {
            if restricted {
                let text = "a list other than ContainerSSH's default is not built yet; leave it out (the choice is safe: \
                            TLS 1.3, and 1.2 only with tlsVersion: \"1.2\")";
                section.error(key, text);
            }
        }
    }
}

/// `tlsVersion`, which YAML may have read as a number.
fn version(section: &Section<'_>) -> Option<&'static str> {
    let found = match section.value("tlsVersion")? {
        Value::String(text) if text.is_empty() => return None,
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    match found.as_str() {
        "1.2" => Some("1.2"),
        "1.3" => Some("1.3"),
        _ => {
            section.error("tlsVersion", "must be \"1.2\" or \"1.3\"");
            None
        }
    }
}

/// Whether a list of names leaves out any of the first `default` ones. An empty list is unset.
fn restricted(section: &Section<'_>, key: &'static str, known: &[&[&str]], default: usize) -> bool {
    let names: Vec<&str> = match section.value(key) {
        Some(Value::String(text)) => text.split(':').filter(|name| !name.is_empty()).collect(),
        Some(_) => section.texts(key).unwrap_or_default(),
        None => return false,
    };
    let mut left_out = vec![true; known.len()];
    for name in &names {
        match known.iter().position(|spellings| spellings.contains(name)) {
            Some(index) => left_out[index] = false,
            None => {
                let near = nearest(name, known.iter().flat_map(|spellings| spellings.iter().copied()));
                let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                section.error(key, format!("{:?} is not a known name{hint}", printable(name, 64)));
            }
        }
    }
    !names.is_empty() && left_out.iter().take(default).any(|out| *out)
}
