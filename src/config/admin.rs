//! `health` and `metrics`: what is served to the operator's own machinery. Off means that nothing listens.

use super::http::{ClientKeys, TIMEOUT, accepted};
use super::pem::{self, Files};
use super::reader::Section;
use super::ssh::listen;
use super::tls::Tls;
use super::{Health, HttpServer, Metrics, ServerTls};
use crate::tls::End;

const HEALTH: &str = "0.0.0.0:7000";
const METRICS: &str = "0.0.0.0:9100";
const PATH: &str = "/metrics";
const OFF: &str = "is not true: this section has no effect";

/// Reads `health`; `None` where it is off or was reported.
pub(super) fn health(section: &Section<'_>, files: &dyn Files) -> Option<Health> {
    let on = section.flag("enable").unwrap_or(false);
    let server = ServerKeys::read(section);
    let block = section.section("client");
    let client = ClientKeys::read(&block);
    if !on {
        off(section);
        return None;
    }
    let server = server.build(section, HEALTH, files);
    let url = server.as_ref().and_then(own_url);
    let client = client.public(url.as_deref());
    if server.is_some() && !client.has_url() {
        block.error("url", "is missing; with TLS it names the host that the certificate is for");
    }
    let client = client.build(&block, TIMEOUT, files);
    Some(Health { server: server?, client: client? })
}

/// Reads `metrics`; `None` where it is off or was reported.
pub(super) fn metrics(section: &Section<'_>, files: &dyn Files) -> Option<Metrics> {
    let on = section.flag("enable").unwrap_or(false);
    let server = ServerKeys::read(section);
    let path = section.text("path").unwrap_or(PATH).to_owned();
    if !path.starts_with('/') || path.contains(['?', '#']) || !path.chars().all(|c| c.is_ascii_graphic()) {
        section.error("path", "must be the path of a URL, for example /metrics");
    }
    if !on {
        off(section);
        return None;
    }
    Some(Metrics { server: server.build(section, METRICS, files)?, path })
}

fn off(section: &Section<'_>) {
    if section.is_set() {
        section.notice("enable", OFF);
    }
}

/// Where this machine finds a server of its own, unless it takes the name in a certificate.
fn own_url(server: &HttpServer) -> Option<String> {
    let (host, port) = server.listen.rsplit_once(':')?;
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    server.tls.is_none().then(|| format!("http://{host}:{port}/"))
}

/// The keys of a server block, typed, not yet judged together.
struct ServerKeys<'a> {
    certificate: Option<&'a str>,
    key: Option<&'a str>,
    client_ca: Option<&'a str>,
    tls: Tls,
}

impl<'a> ServerKeys<'a> {
    fn read(section: &Section<'a>) -> Self {
        // Read here so that it is known, judged where it is used.
        let _ = section.text("listen");
        Self {
            certificate: section.text("cert"),
            key: section.text("key"),
            client_ca: section.text("clientcacert"),
            tls: Tls::read(section),
        }
    }

    /// Judges the block of a server that is switched on; `None` was reported.
    fn build(self, section: &Section<'_>, default: &str, files: &dyn Files) -> Option<HttpServer> {
        let listen = listen(section, default);
        let tls = match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Some(self.tls(section, (certificate, key), files)?),
            (Some(_), None) => return missing(section, "key", "cert is set, and TLS needs both"),
            (None, Some(_)) => return missing(section, "cert", "key is set, and TLS needs both"),
            (None, None) if self.client_ca.is_some() => {
                return missing(section, "cert", "clientcacert is set, and clients send certificates only with TLS");
            }
            (None, None) => None,
        };
        Some(HttpServer { listen: listen?, tls })
    }

    fn tls(self, section: &Section<'_>, (certificate, key): (&str, &str), files: &dyn Files) -> Option<ServerTls> {
        let tls = self.tls.judge(section);
        let identity = pem::identity(section, (certificate, key), End::Server, files);
        let client_ca = self.client_ca.map(|value| pem::ca(section, "clientcacert", value, files));
        let (client_ca, (certificate, key)) = (accepted(client_ca)?, identity?);
        Some(ServerTls { certificate, key, client_ca, choice: tls? })
    }
}

fn missing<T>(section: &Section<'_>, key: &str, why: &str) -> Option<T> {
    section.error(key, format!("is missing; {why}"));
    None
}
