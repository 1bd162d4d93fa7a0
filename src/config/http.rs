//! The blocks that every HTTP client and server of the configuration shares. Types and names are checked wherever a
//! block stands; what a block means is checked only where it is used.

use super::pem::{self, Files};
use super::reader::Section;
use super::tls::Tls;
use super::{Endpoint, HttpClient};
use crate::tls::{Choice, End};
use std::time::Duration;

const LEAST_TIMEOUT: Duration = Duration::from_millis(100);
/// ContainerSSH's limit of a try.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);
/// The limit of a try of a question that is repeated: a slow directory answers within it, and a server that hangs leaves
/// time for another try.
pub(super) const REPEATED_TIMEOUT: Duration = Duration::from_secs(20);

/// The keys of a client block, typed, not yet judged together.
pub(super) struct ClientKeys<'a> {
    url: Option<&'a str>,
    timeout: Option<Duration>,
    redirects: bool,
    plaintext: bool,
    public: bool,
    ca: Option<&'a str>,
    certificate: Option<&'a str>,
    key: Option<&'a str>,
    tls: Tls,
}

impl<'a> ClientKeys<'a> {
    /// Reads a block.
    pub(super) fn read(section: &Section<'a>) -> Self {
        Self {
            url: section.text("url"),
            timeout: section.duration("timeout", LEAST_TIMEOUT),
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

    /// Judges the block where it is used; `timeout` is that of a try where the block names none. `None` was reported.
    pub(super) fn build(self, section: &Section<'_>, timeout: Duration, files: &dyn Files) -> Option<HttpClient> {
        let timeout = self.timeout.unwrap_or(timeout);
        if self.redirects {
            section.error("allowRedirects", "redirects are never followed; give the final URL and set it to false");
        }
        let endpoint =
            Endpoint::parse(self.url?, self.plaintext || self.public).map_err(|why| section.error("url", why)).ok()?;
        if endpoint.is_plaintext() && !self.public {
            section.warning("allowPlaintext", "passwords and settings are sent over plain http to another machine");
        }
        if !endpoint.is_tls() {
            if self.ca.or(self.certificate).or(self.key).is_some() {
                section.notice("cacert", "TLS keys have no effect without an https URL");
            }
            return Some(HttpClient { endpoint, timeout, ca: None, identity: None, tls: Choice::default() });
        }
        let tls = self.tls.judge(section);
        // Each is read before the first mistake ends it: one run tells them all.
        let ca = self.ca.map(|value| pem::ca(section, "cacert", value, files));
        let identity = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(pem::identity(section, (certificate, key), End::Client, files)),
            (Some(_), None) => Some(missing(section, "key", "cert")),
            (None, Some(_)) => Some(missing(section, "cert", "key")),
            (None, None) => None,
        };
        let (ca, identity) = (accepted(ca)?, accepted(identity)?);
        Some(HttpClient { endpoint, timeout, ca, identity, tls: tls? })
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
