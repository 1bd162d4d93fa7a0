//! The blocks that every HTTP client and server of the configuration shares. Types and names are checked wherever a
//! block stands; what a block means is checked only where it is used.

use super::tls::TlsKeys;
use crate::schema::{Files, Section, pem};
use crate::tls::{TlsOptions, TlsRole};
use crate::webhook::{HttpClientConfig, WebhookUrl};
use std::time::Duration;

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
    tls: TlsKeys,
}

impl<'a> ClientKeys<'a> {
    /// Reads the keys of a block and checks their types.
    pub(super) fn read(section: &Section<'a>) -> Self {
        Self {
            url: section.text("url"),
            timeout: section.duration("timeout").unwrap_or_default(),
            redirects: section.flag("allowRedirects"),
            plaintext: section.flag("allowPlaintext"),
            public: false,
            ca: section.text("cacert"),
            certificate: section.text("cert"),
            key: section.text("key"),
            tls: TlsKeys::read(section),
        }
    }

    /// The same for calls that carry nothing worth hiding, to `url` where the block names no other place.
    pub(super) fn public(self, url: Option<&'a str>) -> Self {
        Self { url: self.url.or(url), public: true, ..self }
    }

    /// True if the block has a URL.
    pub(super) fn has_url(&self) -> bool {
        self.url.is_some()
    }

    /// Judges the block where it is used; `None` was reported.
    pub(super) fn build(self, section: &Section<'_>, files: &dyn Files) -> Option<HttpClientConfig> {
        let timeout = self.timeout;
        if self.redirects {
            section.error("allowRedirects", "redirects are never followed; give the final URL and set it to false");
        }
        let url = WebhookUrl::parse(self.url?, self.plaintext || self.public)
            .map_err(|why| section.error("url", why))
            .ok()?;
        if url.is_plaintext() && !self.public {
            section.warning("allowPlaintext", "what is sent goes over plain http to another machine");
        }
        if !url.is_tls() {
            if self.ca.or(self.certificate).or(self.key).is_some() {
                section.notice("cacert", "TLS keys have no effect without an https URL");
            }
            return Some(HttpClientConfig { url, timeout, ca: None, identity: None, tls: TlsOptions::default() });
        }
        let tls = self.tls.judge(section);
        // Each is read before the first mistake ends it: one run tells them all.
        let ca = self.ca.map(|value| pem::ca(section, "cacert", value, files));
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(pem::identity(section, (certificate, key), TlsRole::Client, files)),
            (Some(_), None) => Some(missing(section, "key", "cert")),
            (None, Some(_)) => Some(missing(section, "cert", "key")),
            (None, None) => None,
        };
        let (ca, identity) = (accepted(ca)?, accepted(identity)?);
        Some(HttpClientConfig { url, timeout, ca, identity, tls: tls? })
    }
}

/// The outcome of reading a value that need not be there; the outer `None` was reported.
pub(super) fn accepted<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        Some(read) => read.map(Some),
        None => Some(None),
    }
}

fn missing<T>(section: &Section<'_>, key: &str, other: &str) -> Option<T> {
    section.error(key, format!("is missing; a client certificate needs both, and {other} is set"));
    None
}
