//! `health` and `metrics`: what is served to the operator's own machinery; `admin`: what operators may do. Off means that nothing
//! listens.

use super::address::listen;
use super::http_client::ClientKeys;
use super::http_server::{HttpServerConfig, ServerKeys};
use crate::schema::{ConfigReport, Disk, Errors, Files, Format, Section, document, get};
use crate::webhook::HttpClientConfig;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

const URL_MISSING: &str = "is missing; with TLS it names the host that the certificate is for";
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
    let url = server.as_ref().and_then(|server| own_url(&server.listen, server.tls.is_some()));
    let client = client.public(url.as_deref());
    if server.is_some() && !client.has_url() {
        block.error("url", URL_MISSING);
    }
    let client = client.build(&block, files);
    Some(HealthConfig { server: server?, client: client?, check_interval: check_interval? })
}

/// Reads how `--healthcheck` asks, of a file whose other sections may be wrong, and opens no file but those of
/// `health.client`. `None` where the endpoint is off.
///
/// # Errors
/// A file that cannot be read or parsed, and every mistake of `health`, if one of them leaves nothing to ask.
pub fn health_client(path: &Path) -> Result<Option<HttpClientConfig>, Errors> {
    read_client(&document::text_of(path)?, Format::of(path), &Disk)
}

/// Reads how `--healthcheck` asks from a file's text.
pub(super) fn read_client(text: &str, format: Format, files: &dyn Files) -> Result<Option<HttpClientConfig>, Errors> {
    let (tree, _) = document::read(text, format)?;
    let report = ConfigReport::default();
    let client = {
        let health = Section::root(&tree, &report).section("health");
        match health.switch("enable") {
            Some(false) => return Ok(None),
            Some(true) => client(&health, files),
            None => None,
        }
    };
    match report.finish(None::<()>) {
        Err(Errors(mistakes)) if client.is_none() => {
            Err(Errors(mistakes.into_iter().filter(|mistake| mistake.path.starts_with("health")).collect()))
        }
        _ => Ok(client),
    }
}

fn client(health: &Section<'_>, files: &dyn Files) -> Option<HttpClientConfig> {
    // Known here, and judged where the gateway starts.
    let _ = (ServerKeys::read(health), health.written("checkInterval"));
    let listen = listen(health);
    let url = own_url(&listen?, health.text("cert").is_some());
    let block = health.section("client");
    let client = ClientKeys::read(&block).public(url.as_deref());
    if !client.has_url() {
        block.error("url", URL_MISSING);
    }
    client.build(&block, files)
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
fn own_url(listen: &str, has_tls: bool) -> Option<String> {
    let (host, port) = listen.rsplit_once(':')?;
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    (!has_tls).then(|| format!("http://{host}:{port}/"))
}

/// Longest path of a Unix socket, in bytes (unix(7)).
const SOCKET_PATH: usize = 107;

/// `admin`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorConfig {
    /// `socket`, an absolute path; `None` is off.
    pub socket: Option<PathBuf>,
    /// `lockDirectory`, where the locked users are kept.
    pub lock_directory: Option<PathBuf>,
}

/// Reads `admin`; `None` was reported.
pub(super) fn operators(section: &Section<'_>) -> Option<OperatorConfig> {
    let absolute = |key: &'static str| match section.text(key).map(PathBuf::from) {
        Some(path) if !path.is_absolute() => {
            section.error(key, "must be an absolute path");
            None
        }
        path => Some(path),
    };
    let (socket, lock_directory) = (absolute("socket"), absolute("lockDirectory"));
    if socket.iter().flatten().any(|path| path.as_os_str().len() > SOCKET_PATH) {
        section.error("socket", format!("is longer than the {SOCKET_PATH} bytes that the path of a socket may have"));
    }
    Some(OperatorConfig { socket: socket?, lock_directory: lock_directory? })
}

/// Reads `admin.socket` of a file alone, whatever else is wrong with it.
///
/// # Errors
/// A file that cannot be read, or is no configuration at all.
pub fn admin_socket(path: &Path) -> Result<Option<PathBuf>, Errors> {
    let (tree, _) = document::read(&document::text_of(path)?, Format::of(path))?;
    Ok(get(&tree, "admin.socket").and_then(Value::as_str).filter(|path| !path.is_empty()).map(PathBuf::from))
}
