//! The way to a webhook's server, step by step, for `podgate doctor`.

use super::client::tls_config;
use super::url::{HttpClientConfig, WebhookUrl};
use crate::tls::{ConfigBlock, TlsTrial, Trial, TrialPart};
use crate::types::{Diagnosis, DoctorCheck, RunningCheck};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Days before a certificate's end from which on it is a warning.
const SOON: i64 = 14;

/// The webhook of an examination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WebhookTrial<'a> {
    /// Its section in the configuration.
    pub(crate) section: &'a str,
    pub(crate) client: &'a HttpClientConfig,
    /// The path of its requests below the URL.
    pub(crate) path: &'a str,
}

/// Connects to a webhook's server. Each step takes at most `limit`, and one that fails is the last one.
pub(crate) async fn examine(webhook: WebhookTrial<'_>, limit: Duration) -> Vec<Diagnosis> {
    match &webhook.client.url {
        WebhookUrl::Unix { socket, .. } => {
            let check = RunningCheck::begin(DoctorCheck::WebhookTcp, webhook.section);
            let connected = timeout(limit, UnixStream::connect(socket)).await;
            let done = match connected {
                Ok(Ok(_stream)) => check.ok(format!("connected to {}", socket.display())),
                Ok(Err(error)) => check.failed(unreachable(webhook, "no connection", &error.to_string()), SOCKET),
                Err(_elapsed) => check.failed(unreachable(webhook, "no connection", "no answer in time"), SOCKET),
            };
            vec![done]
        }
        WebhookUrl::Http(url) => {
            let trial = match trial(webhook.client, url) {
                Ok(trial) => trial,
                Err(error) => {
                    let check = RunningCheck::begin(DoctorCheck::WebhookTls, webhook.section);
                    return vec![check.failed(format!("{}: {error}", webhook.section), "correct this key")];
                }
            };
            let steps = trial.run(limit).await;
            steps.into_iter().map(|step| diagnosis(webhook, step)).collect()
        }
    }
}

const SOCKET: &str = "start the webhook server, and let the gateway's user write to its socket";

fn trial(client: &HttpClientConfig, url: &url::Url) -> Result<Trial, String> {
    let host = match url.host() {
        Some(url::Host::Domain(name)) => name.to_owned(),
        Some(url::Host::Ipv4(address)) => address.to_string(),
        Some(url::Host::Ipv6(address)) => address.to_string(),
        None => return Err("the URL has no host".to_owned()),
    };
    let tls = if client.url.is_tls() {
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let config = tls_config(client).map_err(|error| error.to_string())?;
        Some(TlsTrial { name, config: Arc::new(config), block: ConfigBlock::Webhook })
    } else {
        None
    };
    Ok(Trial { host, port: url.port_or_known_default().unwrap_or(443), tls })
}

fn diagnosis(webhook: WebhookTrial<'_>, step: crate::tls::TrialStep) -> Diagnosis {
    let (check, kind, fix) = match step.part {
        TrialPart::Name => {
            let fix = "correct the host in url, or let the gateway's DNS know it";
            (DoctorCheck::WebhookName, "no connection", fix)
        }
        TrialPart::Tcp => {
            let fix =
                "start the webhook server, correct the port in url, or open the way there (firewall, NetworkPolicy)";
            (DoctorCheck::WebhookTcp, "no connection", fix)
        }
        TrialPart::Tls => {
            let fix = "do what the line says: the CA of the server's certificate belongs in cacert, one of the certificate's \
                       names in url; a certificate that has ended is renewed on the server (docs/webhooks.md, TLS and Unix \
                       sockets)";
            (DoctorCheck::WebhookTls, "TLS", fix)
        }
    };
    let running = RunningCheck::begin(check, webhook.section);
    let done = match &step.result {
        Err(reason) => running.failed(unreachable(webhook, kind, reason), fix),
        Ok(text) if step.days.is_some_and(|days| days < SOON) => {
            running.warning(text, "renew the server's certificate")
        }
        Ok(text) => running.ok(text),
    };
    Diagnosis { took: step.took, ..done }
}

fn unreachable(WebhookTrial { section, client, path }: WebhookTrial<'_>, kind: &str, reason: &str) -> String {
    format!("{section}: {} cannot be reached: {kind}: {reason}", client.url.shown(path))
}
