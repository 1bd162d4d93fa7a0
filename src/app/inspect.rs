//! The look around before the first login: what the cluster and the webhooks would say to it. What can be lived with is
//! logged as a warning, at each start; what cannot is handed back.

use crate::auth::Authenticator;
use crate::config::{Config, Level};
use crate::kubernetes::Backend;
use crate::kubernetes::inspect::{Settled, Weight};
use crate::settings::{Answer, Settings};
use crate::telemetry::Log;
use crate::webhook::ConfigClient;
use futures_util::future::OptionFuture;
use serde_json::{Map, Value, json};

/// Who is asked.
pub(super) struct Look<'a> {
    pub(super) config: &'a Config,
    pub(super) backend: &'a Backend,
    pub(super) auth: &'a Authenticator,
    pub(super) config_client: Option<&'a ConfigClient>,
    pub(super) log: &'a Log,
}

impl Look<'_> {
    /// Everything that keeps the gateway from starting, a line each.
    pub(super) async fn around(&self) -> Vec<String> {
        let ((), fatal) = tokio::join!(self.webhooks(), self.cluster());
        fatal
    }

    async fn webhooks(&self) {
        let config_server = OptionFuture::from(self.config_client.map(ConfigClient::unreachable));
        let (auth, config_server) = tokio::join!(self.auth.unreachable(), config_server);
        for silent in auth.into_iter().chain(config_server.flatten()) {
            let text = format!("{silent}; logins fail until it can be reached");
            self.log.write(Level::Warning, "WEBHOOK_UNREACHABLE", &text, &[]);
        }
    }

    async fn cluster(&self) -> Vec<String> {
        let Some(settings) = settings_of_file(self.config) else {
            let text =
                "the file alone is not a complete configuration: permissions and pod are not checked at the start";
            self.log.write(Level::Info, "KUBERNETES_NOT_INSPECTED", text, &[]);
            return Vec::new();
        };
        let mut fatal = Vec::new();
        for finding in self.backend.inspect(&settings.kubernetes, self.settled()).await {
            match finding.weight {
                Weight::Fatal => fatal.push(finding.text),
                Weight::Warning => self.log.write(Level::Warning, "KUBERNETES_INSPECTED", &finding.text, &[]),
                Weight::Notice => self.log.write(Level::Notice, "KUBERNETES_INSPECTED", &finding.text, &[]),
            }
        }
        fatal
    }

    fn settled(&self) -> Settled {
        let alone = self.config.configserver.is_none();
        let namespace = self.config.base.says(&["kubernetes", "pod", "metadata", "namespace"]);
        Settled { connection: alone || !self.config.base.allow_connection, namespace: alone || namespace, spec: alone }
    }
}

/// A connection's settings as the file alone has them; the backend that a config server may still name is the only one
/// there is. Nothing where the file alone is no whole configuration.
pub(super) fn settings_of_file(config: &Config) -> Option<Settings> {
    let backend: Map<String, Value> = [("backend".to_owned(), json!("kubernetes"))].into_iter().collect();
    let answer = Answer { config: &backend, exact: false };
    let unset = !config.base.sections.contains_key("backend");
    Settings::resolve(&config.base, unset.then_some(answer)).ok()
}
