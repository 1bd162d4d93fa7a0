//! The step from an identity to the rules and the guest of its connection: the config webhook's answer, then the settings. A
//! failure here is not a failed login (the client would ask for the password again): the connection gets a guest that refuses
//! its first request with the reason.

use super::client_output::ClientOutput;
use super::connection::ConnectionContext;
use super::entrance::{Entrance, WebhookPlace};
use crate::audit::{Event, Recorder};
use crate::auth::{ClientFacts, ENV_LEFT_OUT, Identity};
use crate::guest::{Arrival, Guest, OutputBudget, Refusal, Unavailable};
use crate::policy::{CertificateLimits, Rules};
use crate::registry::{NotServed, RegistryEntry};
use crate::schema::Errors;
use crate::session::OutputQueue;
use crate::settings::{BackendSettings, ConfigClient, ConfigServerError, ConnectionLimits, FileSections, Settings};
use crate::telemetry::{ConnectionLog, codes};
use crate::throttle::PenaltyCause;
use crate::types::Notices;
use bytes::Bytes;
use podgate_webhooks::wire::ConfigAnswer;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The rules and the guest of a logged-in connection.
pub(super) struct Admission {
    /// The `authenticatedUsername`, as the config webhook may have changed it.
    pub(super) identity: String,
    pub(super) rules: Rules,
    pub(super) guest: Arc<dyn Guest>,
    /// Set to the reason when the guest is gone or the connection is to end.
    pub(super) ending: watch::Receiver<Option<Refusal>>,
    pub(super) limits: ConnectionLimits,
    /// The way of what is sent to the client.
    pub(super) output: Arc<ClientOutput>,
    /// The last line for the connection's terminals.
    pub(super) notices: watch::Receiver<Notices>,
}

/// An admission, and the sender of its end for the connection's supervisor.
pub(super) struct Admitted {
    pub(super) admission: Arc<Admission>,
    pub(super) ending: watch::Sender<Option<Refusal>>,
}

/// The error of a connection that has logged in and cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    #[error("{0}")]
    Config(#[source] ConfigServerError),
    #[error("the settings for this connection are not valid: {}", .0.in_one_line())]
    Settings(#[source] Errors),
}

impl AdmissionError {
    /// The refusal for the client: no path and no value of the configuration.
    pub(crate) fn refusal(&self) -> Refusal {
        let reason = match self {
            Self::Config(ConfigServerError::Webhook(error)) => {
                format!("the configuration server {}", error.predicate())
            }
            Self::Config(ConfigServerError::Denied { message: Some(message) }) => message.clone(),
            Self::Config(ConfigServerError::Denied { message: None }) => self.to_string(),
            Self::Settings(_) => "the configuration for this login is not valid; tell the operator".to_owned(),
        };
        Refusal { logged: true, ..Refusal::new(reason).detail(self.to_string()) }
    }

    /// Records the failure; a webhook that gave no answer has a line of its own.
    pub(crate) fn record(&self, audit: &Recorder) {
        let reason = self.to_string();
        audit.note(match self {
            Self::Config(ConfigServerError::Denied { message }) => Event::ConfigDenied { message: message.as_deref() },
            Self::Config(ConfigServerError::Webhook(_)) => Event::AdmissionFailed { reason: &reason, logged: true },
            Self::Settings(_) => Event::AdmissionFailed { reason: &reason, logged: false },
        });
    }
}

/// Admits a connection, whose rules a certificate may limit. Dropping the future cancels the call that it waits for.
pub(super) async fn admit(
    context: &ConnectionContext,
    entry: &RegistryEntry,
    (identity, certificate): (Identity, Option<CertificateLimits>),
) -> Admitted {
    let before = identity.authenticated().to_owned();
    let (identity, rules, limits, guest) = match admit_settings(context, entry, identity).await {
        Ok(served) => served,
        Err(refusal) => {
            let guest: Arc<dyn Guest> = Arc::new(Unavailable::new(refusal));
            (before, Rules::default(), ConnectionLimits::default(), guest)
        }
    };
    let rules = certificate.iter().fold(rules, Rules::limited_by);
    let (ending, ends) = watch::channel(None);
    let queue = OutputQueue::of(context.queued.of(&identity), limits.max_queued);
    context.stream.account(queue.socket_buffer());
    let output = Arc::new(ClientOutput::new(limits.bandwidth_out, queue));
    let admission = Admission { identity, rules, guest, ending: ends, limits, output, notices: entry.notices() };
    Admitted { admission: Arc::new(admission), ending }
}

async fn admit_settings(
    context: &ConnectionContext,
    entry: &RegistryEntry,
    identity: Identity,
) -> Result<(String, Rules, ConnectionLimits, Arc<dyn Guest>), Refusal> {
    // The config webhook is not asked about a locked user; it may still name another who is.
    entry
        .identify(identity.username().as_str(), identity.names())
        .map_err(|not_served| refuse_service(context, &not_served))?;
    let (settings, identity) = resolve_settings(context, identity).await.map_err(|error| {
        error.record(&context.audit);
        if matches!(error, AdmissionError::Config(ConfigServerError::Denied { .. })) {
            context.penalise_source(PenaltyCause::RefuseConnection);
        }
        error.refusal()
    })?;
    if settings.has_own_level {
        context.log.set_level(settings.level);
    }
    entry
        .serve(identity.authenticated(), settings.limits.max_connections)
        .map_err(|not_served| refuse_service(context, &not_served))?;
    context.audit.set_on_failure(settings.on_failure);
    context.audit.record_effect(Event::Admitted).await?;
    let name = identity.authenticated().to_owned();
    let output = context.queued.of(&name).output_budget(settings.limits.max_queued);
    Ok((name, settings.rules, settings.limits, make_guest(context, (identity, output), settings.backend)))
}

/// Records that a user is not served, and returns the refusal.
fn refuse_service(context: &ConnectionContext, not_served: &NotServed) -> Refusal {
    let reason = match not_served {
        NotServed::Locked(lock) => {
            context.audit.note(Event::Locked);
            context.penalise_source(PenaltyCause::RefuseConnection);
            lock.text()
        }
        NotServed::TooMany => {
            context.audit.note(Event::LimitHit { limit: "limits.maxConnections" });
            "too many connections of this user are open".to_owned()
        }
    };
    Refusal { logged: true, ..Refusal::new(reason) }
}

fn make_guest(
    context: &ConnectionContext,
    (identity, output): (Identity, OutputBudget),
    settings: BackendSettings,
) -> Arc<dyn Guest> {
    context.snapshot.backend.guest(Arrival {
        id: context.id,
        remote: context.endpoints.client,
        identity,
        settings,
        log: context.log.clone(),
        output,
    })
}

async fn resolve_settings(
    context: &ConnectionContext,
    mut identity: Identity,
) -> Result<(Settings, Identity), AdmissionError> {
    let origin = context.snapshot.config.as_ref().map_or(ConfigOrigin::File, ConfigOrigin::Server);
    let place = place_for(origin, &context.entrance, context.endpoints.client.ip()).await;
    let answer = ask(origin, &mut identity, &context.facts(), &context.log).await?;
    drop(place);
    Ok((resolve(&context.snapshot.base, answer.as_ref(), &context.log)?, identity))
}

/// Waits for a place among the calls of webhooks where one is to be called: the file is asked at once.
async fn place_for(origin: ConfigOrigin<'_>, entrance: &Entrance, client: IpAddr) -> Option<WebhookPlace> {
    match origin {
        ConfigOrigin::Server(_) => Some(entrance.webhook_place(client).await),
        ConfigOrigin::File | ConfigOrigin::Answer(_) => None,
    }
}

/// The source of a connection's settings beside the configuration file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConfigOrigin<'a> {
    /// No source: the file has everything.
    File,
    /// The config webhook's server.
    Server(&'a ConfigClient),
    /// An answer that is there already, as the config webhook's server would send it.
    Answer(&'a Bytes),
}

/// Gets the config webhook's answer and parses it. The facts about the user in it become part of `identity`.
pub(crate) async fn ask(
    origin: ConfigOrigin<'_>,
    identity: &mut Identity,
    facts: &ClientFacts,
    log: &ConnectionLog,
) -> Result<Option<ConfigAnswer>, AdmissionError> {
    let answer = match origin {
        ConfigOrigin::File => return Ok(None),
        ConfigOrigin::Server(client) => client.fetch(identity, facts, log).await,
        ConfigOrigin::Answer(body) => ConfigClient::read(body, identity, log),
    };
    answer.map(Some).map_err(AdmissionError::Config)
}

/// Resolves the settings of a connection from the file and the answer.
pub(crate) fn resolve(
    base: &FileSections,
    answer: Option<&ConfigAnswer>,
    log: &ConnectionLog,
) -> Result<Settings, AdmissionError> {
    let settings = Settings::resolve(base, answer).map_err(AdmissionError::Settings)?;
    if let Some(old_keys) = &settings.old_keys {
        let text = "the config webhook's answer has deprecated keys";
        log.write(codes::CORE_CONFIG_NOTICE, text, &[("keys", old_keys)]);
    }
    if let Some(conversions) = &settings.conversions {
        let text = "the config webhook's answer has values of other types than Kubernetes expects";
        log.write(codes::CORE_CONFIG_NOTICE, text, &[("keys", conversions)]);
    }
    let BackendSettings::Kubernetes(kubernetes) = &settings.backend;
    if let Some(names) = kubernetes.pod.expose.left_out.shown() {
        log.write(codes::CONFIG_ENV_LEFT_OUT, ENV_LEFT_OUT, &[("variables", &*names)]);
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixture;
    use crate::descriptors::DescriptorShares;
    use crate::telemetry::{LogFormat, capture};
    use futures_util::FutureExt;

    #[tokio::test]
    async fn settings_of_the_file_wait_for_no_webhook_s_place() {
        let mut limits = fixture::load(&fixture::minimal()).unwrap().ssh.login;
        limits.webhook_calls = 1;
        let (log, _lines) = capture::log(LogFormat::Text);
        let entrance = Entrance::new(&limits, DescriptorShares::of(1024), log);
        let client = IpAddr::from([192, 0, 2, 1]);
        let _held = entrance.webhook_place(client).await;
        assert!(entrance.webhook_place(client).now_or_never().is_none(), "no place is free");
        assert!(matches!(place_for(ConfigOrigin::File, &entrance, client).now_or_never(), Some(None)));
    }
}
