//! Checks of the cluster and the webhooks before the first login with a configuration. Tolerable findings are for the log once
//! the configuration is in force; it is not taken with fatal ones.

use crate::auth::Authenticator;
use crate::config::Config;
use crate::kubernetes::Backend;
use crate::kubernetes::inspect::{DecidedByFile, Severity};
use crate::settings::{BackendSettings, ConfigClient, KubernetesSettings, Settings};
use crate::telemetry::{Code, Level, codes};
use futures_util::future::OptionFuture;
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::{Map, Value, json};

pub(super) struct StartupChecks<'a> {
    pub(super) config: &'a Config,
    pub(super) backend: &'a Backend,
    pub(super) auth: &'a Authenticator,
    pub(super) config_client: Option<&'a ConfigClient>,
}

/// The findings of the checks.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The faults that prevent the start, one line each.
    pub(super) faults: Vec<String>,
    /// The lines for the log about a configuration that is in force.
    pub(super) told: Vec<(Code, String)>,
}

impl StartupChecks<'_> {
    /// Runs every check.
    pub(super) async fn run(&self) -> Findings {
        let (webhooks, mut findings) = tokio::join!(self.webhooks(), self.cluster());
        findings.told.extend(webhooks);
        findings
    }

    async fn webhooks(&self) -> Vec<(Code, String)> {
        let config_server = OptionFuture::from(self.config_client.map(ConfigClient::look));
        let (auth, config_server) = tokio::join!(self.auth.look(), config_server);
        auth.into_iter().chain(config_server.flatten()).map(|finding| (finding.code, finding.text)).collect()
    }

    async fn cluster(&self) -> Findings {
        let mut findings = Findings::default();
        let Some(settings) = kubernetes_of_file(self.config) else {
            let text =
                "the file alone is not a complete configuration: permissions and pod are not checked at the start";
            findings.told.push((codes::KUBERNETES_NOT_INSPECTED, text.to_owned()));
            return findings;
        };
        for finding in self.backend.inspect(&settings, decided(self.config)).await {
            match finding.severity {
                Severity::Fatal => findings.faults.push(finding.text),
                Severity::Warning => findings.told.push((codes::KUBERNETES_INSPECTED, finding.text)),
                Severity::Notice => {
                    findings.told.push((codes::KUBERNETES_INSPECTED.at(Level::Notice), finding.text));
                }
            }
        }
        findings
    }
}

/// The settings that no config webhook can change.
pub(super) fn decided(config: &Config) -> DecidedByFile {
    let alone = config.configserver.is_none();
    let namespace = config.base.says(&["kubernetes", "pod", "metadata", "namespace"]);
    DecidedByFile { connection: alone || !config.base.allow_connection, namespace: alone || namespace, spec: alone }
}

/// Kubernetes settings of a connection without a config webhook's answer; `None` if the file alone is incomplete. A missing
/// `backend` counts as `kubernetes`, the only one that an answer could set.
pub(super) fn kubernetes_of_file(config: &Config) -> Option<KubernetesSettings> {
    let backend: Map<String, Value> = [("backend".to_owned(), json!("kubernetes"))].into_iter().collect();
    let answer = ConfigAnswer { config: backend, ..ConfigAnswer::default() };
    let unset = !config.base.sections.contains_key("backend");
    let BackendSettings::Kubernetes(kubernetes) =
        Settings::resolve(&config.base, unset.then_some(&answer)).ok()?.backend;
    Some(kubernetes)
}
