//! Checks of the cluster and the webhooks before the first login. Each start logs tolerable findings as warnings and fails
//! on fatal ones.

use crate::auth::Authenticator;
use crate::config::Config;
use crate::kubernetes::Backend;
use crate::kubernetes::inspect::{DecidedByFile, Severity};
use crate::settings::{BackendSettings, ConfigClient, KubernetesSettings, Settings};
use crate::telemetry::{Level, Log, codes};
use futures_util::future::OptionFuture;
use podgate_webhooks::wire::ConfigAnswer;
use serde_json::{Map, Value, json};

pub(super) struct StartupChecks<'a> {
    pub(super) config: &'a Config,
    pub(super) backend: &'a Backend,
    pub(super) auth: &'a Authenticator,
    pub(super) config_client: Option<&'a ConfigClient>,
    pub(super) log: &'a Log,
}

impl StartupChecks<'_> {
    /// Runs every check and returns the faults that prevent the start, one line each.
    pub(super) async fn run(&self) -> Vec<String> {
        let ((), fatal) = tokio::join!(self.webhooks(), self.cluster());
        fatal
    }

    async fn webhooks(&self) {
        let config_server = OptionFuture::from(self.config_client.map(ConfigClient::look));
        let (auth, config_server) = tokio::join!(self.auth.look(), config_server);
        for finding in auth.into_iter().chain(config_server.flatten()) {
            self.log.write(finding.code, &finding.text, &[]);
        }
    }

    /// Checks the cluster, and returns the faults.
    pub(super) async fn cluster(&self) -> Vec<String> {
        let Some(settings) = kubernetes_of_file(self.config) else {
            let text =
                "the file alone is not a complete configuration: permissions and pod are not checked at the start";
            self.log.write(codes::KUBERNETES_NOT_INSPECTED, text, &[]);
            return Vec::new();
        };
        let mut fatal = Vec::new();
        for finding in self.backend.inspect(&settings, decided(self.config)).await {
            match finding.severity {
                Severity::Fatal => fatal.push(finding.text),
                Severity::Warning => self.log.write(codes::KUBERNETES_INSPECTED, &finding.text, &[]),
                Severity::Notice => self.log.write(codes::KUBERNETES_INSPECTED.at(Level::Notice), &finding.text, &[]),
            }
        }
        fatal
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
