//! From an identity to what its connection gets: the config webhook's answer, the settings, the rules, the guest. A
//! failure here is not a failed login (the client would ask for the password again): the connection gets a guest that
//! tells its first request why.

use super::Shared;
use crate::audit::{Event, Recorder};
use crate::auth::{ClientFacts, Identity, LEFT_OUT};
use crate::config::{Errors, Level};
use crate::guest::{Arrival, Guest, Refusal, State, Unavailable};
use crate::policy::Rules;
use crate::settings::{Answer, Base, Settings};
use crate::telemetry::ConnectionLog;
use crate::webhook::{ConfigClient, ConfigError};
use bytes::Bytes;
use podgate_webhooks::wire::ConfigAnswer;
use std::sync::Arc;
use tokio::sync::watch;

/// What a logged-in connection has.
pub(super) struct Admission {
    pub(super) rules: Rules,
    pub(super) guest: Arc<dyn Guest>,
    /// The guest's state, or the connection's end.
    pub(super) state: watch::Receiver<State>,
}

/// An admission, and the sender of its state for the connection's task.
pub(super) struct Admitted {
    pub(super) admission: Arc<Admission>,
    pub(super) state: watch::Sender<State>,
}

/// Why a connection cannot have what it came for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdmissionError {
    #[error("{0}")]
    Config(#[source] ConfigError),
    #[error("the settings for this connection are not valid: {}", .0.in_one_line())]
    Settings(#[source] Errors),
}

impl AdmissionError {
    /// What the client may read: no path and no value of the configuration.
    pub(crate) fn refusal(&self) -> Refusal {
        let reason = match self {
            Self::Config(ConfigError::Webhook(error)) => format!("the configuration server {}", error.predicate()),
            Self::Config(ConfigError::Denied { message: Some(message) }) => message.clone(),
            Self::Config(ConfigError::Denied { message: None }) => self.to_string(),
            Self::Settings(_) => "the configuration for this login is not valid; tell the operator".to_owned(),
        };
        Refusal { logged: true, ..Refusal::new(reason).detail(self.to_string()) }
    }

    /// Records the failure; a webhook that gave no answer has a line of its own.
    pub(crate) fn record(&self, audit: &Recorder) {
        let reason = self.to_string();
        audit.record(match self {
            Self::Config(ConfigError::Denied { message }) => Event::ConfigDenied { message: message.as_deref() },
            Self::Config(ConfigError::Webhook(_)) => Event::AdmissionFailed { reason: &reason, logged: true },
            Self::Settings(_) => Event::AdmissionFailed { reason: &reason, logged: false },
        });
    }
}

/// Makes an admission. Dropping the future cancels whatever it waits for.
pub(super) async fn admit(shared: &Shared, identity: Identity) -> Admitted {
    let (rules, guest) = match settle(shared, identity).await {
        Ok((settings, identity)) => {
            shared.log.set_level(settings.level);
            shared.audit.record(Event::Admitted);
            let settings = Arc::new(settings);
            let arrival = Arrival {
                id: shared.id,
                remote: shared.endpoints.client,
                identity,
                settings: settings.clone(),
                log: shared.log.clone(),
            };
            (settings.rules.clone(), shared.snapshot.backend.guest(arrival))
        }
        Err(error) => {
            error.record(&shared.audit);
            let guest: Arc<dyn Guest> = Arc::new(Unavailable::new(error.refusal()));
            (Rules::default(), guest)
        }
    };
    let (sender, state) = watch::channel(guest.state().borrow().clone());
    Admitted { admission: Arc::new(Admission { rules, guest, state }), state: sender }
}

async fn settle(shared: &Shared, mut identity: Identity) -> Result<(Settings, Identity), AdmissionError> {
    let origin = shared.snapshot.config.as_ref().map_or(Origin::File, Origin::Server);
    let answer = ask(origin, &mut identity, &shared.facts(), &shared.log).await?;
    Ok((resolve(&shared.snapshot.base, answer.as_ref(), &shared.log)?, identity))
}

/// The origin of what a connection's settings have beside the file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// Nothing: the file is all.
    File,
    /// The config webhook.
    Server(&'a ConfigClient),
    /// An answer of the config webhook that is there already, as its server would send it.
    Answer(&'a Bytes),
}

/// The config webhook's answer, understood; what it knows about the user is part of `identity` then.
pub(crate) async fn ask(
    origin: Origin<'_>,
    identity: &mut Identity,
    facts: &ClientFacts,
    log: &ConnectionLog,
) -> Result<Option<ConfigAnswer>, AdmissionError> {
    let answer = match origin {
        Origin::File => return Ok(None),
        Origin::Server(client) => client.fetch(identity, facts, log).await,
        Origin::Answer(body) => ConfigClient::read(body, identity, log),
    };
    answer.map(Some).map_err(AdmissionError::Config)
}

/// The settings of a connection, made of the file and the answer.
pub(crate) fn resolve(
    base: &Base,
    answer: Option<&ConfigAnswer>,
    log: &ConnectionLog,
) -> Result<Settings, AdmissionError> {
    let answer = answer.map(|answer| Answer { config: &answer.config, exact: answer.exact });
    let settings = Settings::resolve(base, answer).map_err(AdmissionError::Settings)?;
    if let Some(old_keys) = &settings.old_keys {
        let text = "the config webhook's answer has deprecated keys";
        log.write(Level::Warning, "CORE_CONFIG_NOTICE", text, &[("keys", old_keys)]);
    }
    if let Some(readings) = &settings.readings {
        let text = "the config webhook's answer has values of other types than Kubernetes expects";
        log.write(Level::Warning, "CORE_CONFIG_NOTICE", text, &[("keys", readings)]);
    }
    if let Some(names) = settings.kubernetes.pod.expose.left_out.shown() {
        log.write(Level::Warning, "CONFIG_ENV_LEFT_OUT", LEFT_OUT, &[("variables", &*names)]);
    }
    Ok(settings)
}
