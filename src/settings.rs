//! What one connection gets: the file's `backend`, `kubernetes`, `security` and `log.level`, overlaid by the config
//! webhook's answer, typed by the same parser as the file.

use crate::config::Level;
use crate::policy::Rules;
use crate::types::{ContainerName, Namespace, Secret};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What the file says, untyped where an answer may still fill it: JSON objects of the sections that vary.
#[derive(Debug, Clone)]
pub struct Base {
    /// `backend`, `kubernetes`, `security`, `log` (level) as the file has them; nulls removed.
    pub sections: serde_json::Map<String, serde_json::Value>,
    /// `configserver.exactValues`
    pub exact_values: bool,
    /// `configserver.allowConnection`
    pub allow_connection: bool,
}

/// One connection's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `security`
    pub rules: Rules,
    /// `kubernetes`; `backend` is `kubernetes`, there is no other yet.
    pub kubernetes: Kubernetes,
    /// `log.level` of this connection's lines.
    pub level: Level,
}

/// `kubernetes`.
#[derive(Debug, Clone)]
pub struct Kubernetes {
    /// `connection`
    pub cluster: Cluster,
    /// `pod`
    pub pod: Pod,
    /// `timeouts`
    pub timeouts: Timeouts,
}

/// `kubernetes.connection`: equal clusters share one client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// `host`: `https://host[:port]`, always https.
    pub host: url::Url,
    /// `serverName`: the name in the certificate, where it is not the host's.
    pub server_name: Option<String>,
    /// `cacert` or `cacertFile`; `None` is the machine's own CAs.
    pub ca: Option<Source>,
    /// `cert` and `key`, or `certFile` and `keyFile`.
    pub client_certificate: Option<(Source, Source)>,
    /// `bearerToken` or `bearerTokenFile`; a file is read again as it changes.
    pub bearer_token: Option<Source>,
    /// `username` and `password`.
    pub basic: Option<(String, Secret)>,
    /// `qps` in thousandths: REST requests a second and connection.
    pub qps_milli: u64,
    /// `burst`
    pub burst: u32,
    /// Whether the answer of a config webhook changed any of this.
    pub from_webhook: bool,
}

/// A PEM text or token, inline or in a file. Files are checked to be readable at start-up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// In the configuration itself.
    Inline(Secret),
    /// In a file.
    File(PathBuf),
}

/// `kubernetes.pod`.
#[derive(Debug, Clone)]
pub struct Pod {
    /// `metadata.namespace`
    pub namespace: Namespace,
    /// `metadata` whole, as JSON, sent as it is beside what Podgate adds.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// `spec` whole, as JSON; has at least one container, each with name and image.
    pub spec: serde_json::Map<String, serde_json::Value>,
    /// `consoleContainerNumber`, an index into `spec.containers` that exists.
    pub console: usize,
    /// The name of that container.
    pub console_name: ContainerName,
    /// `idleCommand`; `None` is the default one.
    pub idle_command: Option<Vec<String>>,
    /// `shellCommand`, not empty.
    pub shell_command: Vec<String>,
    /// `execCommand`: the program and arguments that an exec request's string is appended to; `/bin/sh -c`.
    pub exec_command: Vec<String>,
    /// `subsystems`: name to program.
    pub subsystems: BTreeMap<String, String>,
    /// `agentPath`
    pub agent_path: String,
    /// `disableAgent`
    pub disable_agent: bool,
}

/// `kubernetes.timeouts`: each bounds its own step.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// `podStart`: from the request to create to Ready.
    pub pod_start: Duration,
    /// `podStop`: all tries to remove the pod.
    pub pod_stop: Duration,
    /// `commandStart`: from the request to exec to the started stream.
    pub command_start: Duration,
    /// `signal`
    pub signal: Duration,
    /// `window`
    pub window: Duration,
    /// `http`: one REST call.
    pub http: Duration,
}
