//! `health` and `metrics`: what is served to the operator's own machinery. Off means that nothing listens.

use super::http_client::ClientKeys;
use super::http_server::{HttpServerConfig, ServerKeys};
use crate::schema::{Files, Section};
use crate::webhook::HttpClientConfig;
use std::time::Duration;

const OFF: &str = "is not true: this section has no effect";

/// `health`, switched on.
#[derive(Debug, Clone)]
pub struct HealthConfig {
    /// The server that answers health checks.
    pub server: HttpServerConfig,
    /// `client`: how `--healthcheck` asks.
    pub client: HttpClientConfig,
    /// `checkInterval`: the time between two questions whether a server can be reached.
    pub check_interval: Duration,
}

/// `metrics`, switched on.
#[derive(Debug, Clone)]
pub struct MetricsConfig {
    /// The server that answers scrapes.
    pub server: HttpServerConfig,
    /// `path`, beginning with `/`.
    pub path: String,
}

/// Reads `health`; `None` where it is off or was reported.
pub(super) fn health(section: &Section<'_>, files: &dyn Files) -> Option<HealthConfig> {
    let on = section.flag("enable");
    let server = ServerKeys::read(section);
    let block = section.section("client");
    let client = ClientKeys::read(&block);
    let check_interval = section.duration("checkInterval");
    if !on {
        off(section);
        return None;
    }
    let server = server.build(section, files);
    let url = server.as_ref().and_then(own_url);
    let client = client.public(url.as_deref());
    if server.is_some() && !client.has_url() {
        block.error("url", "is missing; with TLS it names the host that the certificate is for");
    }
    let client = client.build(&block, files);
    Some(HealthConfig { server: server?, client: client?, check_interval: check_interval? })
}

/// Reads `metrics`; `None` where it is off or was reported.
pub(super) fn metrics(section: &Section<'_>, files: &dyn Files) -> Option<MetricsConfig> {
    let on = section.flag("enable");
    let server = ServerKeys::read(section);
    let path = section.text("path");
    let fits =
        |path: &str| path.starts_with('/') && !path.contains(['?', '#']) && path.chars().all(|c| c.is_ascii_graphic());
    if path.is_some_and(|path| !fits(path)) {
        section.error("path", "must be the path of a URL, for example /metrics");
    }
    if !on {
        off(section);
        return None;
    }
    Some(MetricsConfig { server: server.build(section, files)?, path: path?.to_owned() })
}

fn off(section: &Section<'_>) {
    if section.is_set() {
        section.notice("enable", OFF);
    }
}

/// URL of a server for this machine itself; `None` if its certificate needs a name.
fn own_url(server: &HttpServerConfig) -> Option<String> {
    let (host, port) = server.listen.rsplit_once(':')?;
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    server.tls.is_none().then(|| format!("http://{host}:{port}/"))
}
