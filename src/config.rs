//! The file's configuration, typed. One schema, ContainerSSH's keys; what a value means is decided here once, for the
//! file and for the config webhook's answers alike.
//!
//! What varies from connection to connection (`backend`, `kubernetes`, `security`, `log.level`) is not here but in
//! [`crate::settings`], made from [`Base`] and the webhook's answer by the same parser.

mod admin;
mod algorithms;
mod auth;
pub(crate) mod document;
mod dump;
mod duration;
mod endpoint;
mod errors;
mod http;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod migrate;
pub(crate) mod pem;
pub(crate) mod pods;
pub(crate) mod reader;
mod ssh;
mod texts;
mod tls;
mod unbuilt;
pub(crate) mod yaml;

pub use algorithms::AlgorithmList;
pub use document::Format;
pub use dump::dump_file;
pub(crate) use dump::masked_spec;
pub use errors::{ConfigError, Errors};
pub use migrate::{Became, Change, Decision, Migration};
pub use pem::{Disk, Files};

use crate::settings::{self, Base};
use crate::tls::Choice;
use crate::types::Secret;
use reader::{Report, Section};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The whole file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ssh`.
    pub ssh: Ssh,
    /// `auth`.
    pub auth: Auth,
    /// `configserver`; absent without a `url`.
    pub configserver: Option<ConfigServer>,
    /// `log`.
    pub log: Log,
    /// `health`, where it is on.
    pub health: Option<Health>,
    /// `metrics`, where they are on.
    pub metrics: Option<Metrics>,
    /// What every connection's settings start from.
    pub base: Base,
    /// Keys that are accepted without effect, and warnings for each start.
    pub notices: Vec<Notice>,
    /// Certificates and keys that were read and that nothing can start with.
    pub unusable: Vec<ConfigError>,
    /// Mistakes in pods that `--check-config` refuses. At a start each is a warning, and the API server decides.
    pub strict: Vec<ConfigError>,
}

impl Config {
    /// Reads and checks a file: JSON where its name ends in `.json`, else YAML.
    ///
    /// # Errors
    /// Every mistake of the file, and of the files that it names, in one run.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        Self::parse(&text_of(path)?, Format::of(path), &Disk)
    }

    /// Checks a text; the files that it names are read from `files`.
    ///
    /// # Errors
    /// Every mistake of the text, and of the files that it names.
    pub fn parse(text: &str, format: Format, files: &dyn Files) -> Result<Self, Errors> {
        let (tree, reading) = document::read(text, format)?;
        let strict = pods::strict(&reading);
        let mut migration = migrate::migrate(tree);
        let mut tree = std::mem::take(&mut migration.document);
        let report = Report::default();
        report.old(&migration);
        report.pods(&reading);
        settings::expand(&mut tree, files, &report);
        let parts = read(&Section::root(&tree, &report), files);
        let unusable = report.faults();
        let (parts, notices) =
            report.finish(parts).map_err(|errors| errors.and(unusable.clone()).and(strict.clone()))?;
        let Parts { ssh, auth, configserver, log, health, metrics } = parts;
        let (exact, connection) =
            configserver.as_ref().map_or((false, false), |server| (server.exact_values, server.allow_connection));
        let base = settings::base(tree, exact, connection, migration.is_kuberun());
        Ok(Self { ssh, auth, configserver, log, health, metrics, base, notices, unusable, strict })
    }
}

/// A configuration file's text.
fn text_of(path: &Path) -> Result<String, Errors> {
    // Not only regular files: a shell's `<(…)` is a pipe.
    podgate_webhooks::text::read(path)
        .map_err(|error| Errors::whole(format!("cannot read {}: {error}", path.display())))
}

/// Everything but what varies from connection to connection.
struct Parts {
    ssh: Ssh,
    auth: Auth,
    configserver: Option<ConfigServer>,
    log: Log,
    health: Option<Health>,
    metrics: Option<Metrics>,
}

/// Reads all parts; what varies from connection to connection is checked and kept as it is. `None` was reported.
fn read(root: &Section<'_>, files: &dyn Files) -> Option<Parts> {
    let ssh = ssh::read(&root.section("ssh"), files);
    let auth = auth::read(&root.section("auth"), files);
    let (has_config_server, configserver) = auth::config_server(&root.section("configserver"), files);
    let log = log::read(&root.section("log"));
    let health = admin::health(&root.section("health"), files);
    let metrics = admin::metrics(&root.section("metrics"), files);
    settings::check(root, has_config_server, files);
    unbuilt::read(root);
    Some(Parts { ssh: ssh?, auth: auth?, configserver, log, health, metrics })
}

/// Something about a key that the operator should know but that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The key's path, `a.b.c`.
    pub path: String,
    /// One sentence.
    pub text: String,
    /// Logged as a warning at each start (true), or only shown by `--check-config` (false).
    pub warn: bool,
}

/// `ssh`.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// `listen`, `host:port`.
    pub listen: String,
    /// `serverVersion`, sent verbatim.
    pub server_version: String,
    /// `banner`.
    pub banner: Option<String>,
    /// `hostkeys`: private keys in PEM, read; at least one.
    pub host_keys: Vec<HostKey>,
    /// `ciphers`, ours by default.
    pub ciphers: Vec<Cipher>,
    /// `kex`, ours by default.
    pub kex: Vec<Kex>,
    /// `macs`, ours by default.
    pub macs: Vec<Mac>,
    /// `clientAliveInterval`.
    pub client_alive_interval: Option<Duration>,
    /// `clientAliveCountMax`.
    pub client_alive_count_max: u32,
}

/// A host key: where the file names it (for messages), and its PEM text.
#[derive(Debug, Clone)]
pub struct HostKey {
    /// The key's path in the file, and the file it came from.
    pub origin: String,
    /// The PEM text.
    pub pem: Secret,
}

/// A cipher that we offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cipher {
    /// `aes256-gcm@openssh.com`
    Aes256Gcm,
    /// `aes128-gcm@openssh.com`
    Aes128Gcm,
    /// `chacha20-poly1305@openssh.com`
    ChaCha20Poly1305,
    /// `aes256-ctr`
    Aes256Ctr,
    /// `aes192-ctr`
    Aes192Ctr,
    /// `aes128-ctr`
    Aes128Ctr,
}

/// A key exchange that we offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kex {
    /// `mlkem768x25519-sha256`
    MlKem768X25519,
    /// `curve25519-sha256`
    Curve25519,
    /// `curve25519-sha256@libssh.org`
    Curve25519Libssh,
    /// `ecdh-sha2-nistp256`
    NistP256,
    /// `ecdh-sha2-nistp384`
    NistP384,
    /// `ecdh-sha2-nistp521`
    NistP521,
}

/// A MAC that we offer for the counter-mode ciphers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mac {
    /// `hmac-sha2-256-etm@openssh.com`
    Sha256Etm,
    /// `hmac-sha2-512-etm@openssh.com`
    Sha512Etm,
    /// `hmac-sha2-256`
    Sha256,
    /// `hmac-sha2-512`
    Sha512,
}

/// `auth`: the methods that are configured, and no others.
#[derive(Debug, Clone)]
pub struct Auth {
    /// `password.webhook`
    pub password: Option<AuthWebhook>,
    /// `publicKey.webhook`
    pub public_key: Option<AuthWebhook>,
    /// `authz.webhook`
    pub authz: Option<AuthWebhook>,
}

/// A webhook of a login step.
#[derive(Debug, Clone)]
pub struct AuthWebhook {
    /// Where and how.
    pub client: HttpClient,
    /// `authTimeout`: all tries together.
    pub auth_timeout: Duration,
}

/// `configserver`.
#[derive(Debug, Clone)]
pub struct ConfigServer {
    /// Where and how.
    pub client: HttpClient,
    /// `transmitSensitiveMetadata`
    pub transmit_sensitive: bool,
    /// `exactValues`: every answer is read as if it said `"exact": true`.
    pub exact_values: bool,
    /// `allowConnection`: an answer may change `kubernetes.connection` (inline values only).
    pub allow_connection: bool,
}

/// An HTTP client block (`url`, `timeout`, TLS keys), certificates read.
#[derive(Debug, Clone)]
pub struct HttpClient {
    /// Where.
    pub endpoint: Endpoint,
    /// `timeout`: one try.
    pub timeout: Duration,
    /// CA certificates, PEM text; `None` is the machine's own.
    pub ca: Option<String>,
    /// Client certificate and key, PEM text.
    pub identity: Option<(String, Secret)>,
    /// `tlsVersion`, `curves`, `cipher`.
    pub tls: Choice,
}

/// Where a webhook is. Anything else was refused by the parser.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `https://…`, `http://` to loopback, or `http://` with `allowPlaintext: true`.
    Url(url::Url),
    /// `unix:SOCKET` or `unix:SOCKET:/PATH`.
    Unix {
        /// The socket.
        socket: PathBuf,
        /// `http://localhost` with the request's path and query, before a step's path is joined to it.
        request: url::Url,
    },
}

/// `log`.
#[derive(Debug, Clone)]
pub struct Log {
    /// `level`
    pub level: Level,
    /// `format`
    pub format: LogFormat,
    /// `destination` with its own keys.
    pub destination: LogDestination,
}

/// `health`, switched on.
#[derive(Debug, Clone)]
pub struct Health {
    /// Where it is served.
    pub server: HttpServer,
    /// `client`: how `--healthcheck` asks.
    pub client: HttpClient,
}

/// `metrics`, switched on.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are served.
    pub server: HttpServer,
    /// `path`, beginning with `/`.
    pub path: String,
}

/// An HTTP server block (`listen`, TLS keys), certificates read.
#[derive(Debug, Clone)]
pub struct HttpServer {
    /// `listen`, `host:port`.
    pub listen: String,
    /// TLS, where there is a certificate; without it, plain http.
    pub tls: Option<ServerTls>,
}

/// A server's certificate, and whose certificates it asks its clients for.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// `cert`: the chain, PEM text.
    pub certificate: String,
    /// `key`, PEM text.
    pub key: Secret,
    /// `clientcacert`: clients must show a certificate of it, PEM text.
    pub client_ca: Option<String>,
    /// `tlsVersion`, `curves`, `cipher`.
    pub choice: Choice,
}

/// A log level, RFC 5424's, most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 0
    Emergency,
    /// 1
    Alert,
    /// 2
    Critical,
    /// 3
    Error,
    /// 4
    Warning,
    /// 5
    Notice,
    /// 6
    Info,
    /// 7
    Debug,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Ljson,
    /// For people.
    Text,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard output.
    Stdout,
    /// Appended to a file, which is opened again at SIGHUP.
    File(PathBuf),
    /// A syslog daemon.
    Syslog(Syslog),
}

/// `log.syslog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// `destination`
    pub destination: SyslogDestination,
    /// `facility` by its number (RFC 5424 section 6.2.1).
    pub facility: u8,
    /// `tag`: one printable word of 1 to 48 characters without `:` and `[`.
    pub tag: String,
    /// `pid`: whether lines carry the process's id.
    pub pid: bool,
}

/// `log.syslog.destination`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogDestination {
    /// A Unix socket, datagram or stream.
    Socket(PathBuf),
    /// `host:port`.
    Udp(String),
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
