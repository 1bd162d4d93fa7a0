//! The keys that every HTTP server of the configuration has.

use super::address::listen;
use super::http_client::accepted;
use super::tls::TlsKeys;
use crate::schema::{Files, Section, pem};
use crate::tls::{TlsOptions, TlsRole};
use crate::types::Secret;

/// An HTTP server block (`listen`, TLS keys), certificates read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpServerConfig {
    /// `listen`, `host:port`.
    pub listen: String,
    /// TLS, where there is a certificate; without it, plain http.
    pub tls: Option<ServerTlsConfig>,
}

/// A server's certificate, and whose certificates it asks its clients for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTlsConfig {
    /// `cert`: the chain, PEM text.
    pub certificate: String,
    /// `key`, PEM text.
    pub key: Secret,
    /// `clientcacert`: clients must show a certificate of it, PEM text.
    pub client_ca: Option<String>,
    /// `tlsVersion`, `curves`, `cipher`.
    pub options: TlsOptions,
}

/// The keys of a server block, typed, not yet judged together.
pub(super) struct ServerKeys<'a> {
    certificate: Option<&'a str>,
    key: Option<&'a str>,
    client_ca: Option<&'a str>,
    tls: TlsKeys,
}

impl<'a> ServerKeys<'a> {
    /// Reads the keys of a block and checks their types.
    pub(super) fn read(section: &Section<'a>) -> Self {
        // Read here so that it is known, judged where it is used.
        let _ = section.text("listen");
        Self {
            certificate: section.text("cert"),
            key: section.text("key"),
            client_ca: section.text("clientcacert"),
            tls: TlsKeys::read(section),
        }
    }

    /// Judges the block of a server that is switched on; `None` was reported.
    pub(super) fn build(self, section: &Section<'_>, files: &dyn Files) -> Option<HttpServerConfig> {
        let listen = listen(section);
        let tls = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(self.tls(section, (certificate, key), files)?),
            (Some(_), None) => return missing(section, "key", "cert is set, and TLS needs both"),
            (None, Some(_)) => return missing(section, "cert", "key is set, and TLS needs both"),
            (None, None) if self.client_ca.is_some() => {
                return missing(section, "cert", "clientcacert is set, and clients send certificates only with TLS");
            }
            (None, None) => None,
        };
        Some(HttpServerConfig { listen: listen?, tls })
    }

    fn tls(
        self,
        section: &Section<'_>,
        (certificate, key): (&str, &str),
        files: &dyn Files,
    ) -> Option<ServerTlsConfig> {
        let tls = self.tls.judge(section);
        let identity = pem::identity(section, (certificate, key), TlsRole::Server, files);
        let client_ca = self.client_ca.map(|value| pem::ca(section, "clientcacert", value, files));
        let (client_ca, (certificate, key)) = (accepted(client_ca)?, identity?);
        Some(ServerTlsConfig { certificate, key, client_ca, options: tls? })
    }
}

fn missing<T>(section: &Section<'_>, key: &str, why: &str) -> Option<T> {
    section.error(key, format!("is missing; {why}"));
    None
}
