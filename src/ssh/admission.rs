//! From an identity to what its connection gets: the config webhook's answer, the settings, the rules, the guest. A
//! failure here is not a failed login (the client would ask for the password again): the connection gets a guest that
//! tells its first request why.

use super::Shared;
use crate::audit::Event;
use crate::auth::{Identity, LEFT_OUT};
use crate::config::{Errors, Level};
use crate::guest::{Arrival, Guest, Refusal, State, Unavailable};
use crate::policy::Rules;
use crate::settings::{Answer, Settings};
use crate::webhook::ConfigError;
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
enum AdmissionError {
    #[error("{0}")]
    Config(#[source] ConfigError),
    #[error("the settings for this connection are not valid: {0}")]
    Settings(#[source] Errors),
}

impl AdmissionError {
    /// What the client may read: no path and no value of the configuration.
    fn refusal(&self) -> Refusal {
        let reason = match self {
            Self::Config(ConfigError::Webhook(error)) => format!("the configuration server {}", error.predicate()),
            Self::Config(ConfigError::Denied { message: Some(message) }) => message.clone(),
            Self::Config(ConfigError::Denied { message: None }) => self.to_string(),
            Self::Settings(_) => "the configuration for this login is not valid; tell the operator".to_owned(),
        };
        Refusal { logged: true, ..Refusal::new(reason).detail(self.to_string()) }
    }
}

/// Makes an admission. Dropping the future cancels whatever it waits for.
pub(super) async fn admit(shared: &Shared, identity: Identity) -> Admitted {
    let (rules, guest) = match settle(shared, identity).await {
        Ok((settings, identity)) => {
            shared.log.set_level(settings.level);
            shared.audit.record(Event::Admitted);
            if let Some(names) = settings.kubernetes.pod.expose.left_out.shown() {
                shared.log.write(Level::Warning, "CONFIG_ENV_LEFT_OUT", LEFT_OUT, &[("variables", &*names)]);
            }
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
            record(shared, &error);
            let guest: Arc<dyn Guest> = Arc::new(Unavailable::new(error.refusal()));
            (Rules::default(), guest)
        }
    };
    let (sender, state) = watch::channel(guest.state().borrow().clone());
    Admitted { admission: Arc::new(Admission { rules, guest, state }), state: sender }
}

fn record(shared: &Shared, error: &AdmissionError) {
    let reason = error.to_string();
    shared.audit.record(match error {
        AdmissionError::Config(ConfigError::Denied { message }) => Event::ConfigDenied { message: message.as_deref() },
        AdmissionError::Config(ConfigError::Webhook(_)) => Event::AdmissionFailed { reason: &reason, logged: true },
        AdmissionError::Settings(_) => Event::AdmissionFailed { reason: &reason, logged: false },
    });
}

async fn settle(shared: &Shared, mut identity: Identity) -> Result<(Settings, Identity), AdmissionError> {
    let Some(config) = &shared.snapshot.config else {
        let settings = Settings::resolve(&shared.snapshot.base, None).map_err(AdmissionError::Settings)?;
        return Ok((settings, identity));
    };
    let answer = config.fetch(&mut identity, &shared.facts(), &shared.log).await.map_err(AdmissionError::Config)?;
    let answer = Answer { config: &answer.config, exact: answer.exact };
    let settings = Settings::resolve(&shared.snapshot.base, Some(answer)).map_err(AdmissionError::Settings)?;
    if let Some(old_keys) = &settings.old_keys {
        let text = "the config webhook's answer has deprecated keys";
        shared.log.write(Level::Warning, "CORE_CONFIG_NOTICE", text, &[("keys", old_keys)]);
    }
    if let Some(readings) = &settings.readings {
        let text = "the config webhook's answer has values of other types than Kubernetes expects";
        shared.log.write(Level::Warning, "CORE_CONFIG_NOTICE", text, &[("keys", readings)]);
    }
    Ok((settings, identity))
}
