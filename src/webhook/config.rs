//! The config webhook: what does this identity get? Asked once a connection, after the login.

use super::answer::Body;
use super::client::{Answered, Call, WebhookClient, tell_failure, understood};
use super::error::{WebhookBuildError, WebhookError};
use crate::auth::{ClientFacts, Identity, LEFT_OUT, message, usable};
use crate::config::{ConfigServer, Level};
use crate::telemetry::ConnectionLog;
use crate::telemetry::metrics::{Outcome, Question};
use crate::types::NamesLeftOut;
use bytes::Bytes;
use podgate_webhooks::wire::{ConfigAnswer, ConfigReply, ConfigRequest};
use std::time::Duration;

/// All tries together.
const LIMIT: Duration = Duration::from_secs(60);

/// The config server, ready to be asked.
#[derive(Debug)]
pub struct ConfigClient {
    client: WebhookClient,
    transmit_sensitive: bool,
    limit: Duration,
}

impl ConfigClient {
    /// Makes the client of `configserver`, which posts to exactly its URL.
    ///
    /// # Errors
    /// As [`WebhookClient::new`].
    pub fn new(server: &ConfigServer) -> Result<Self, WebhookBuildError> {
        let client = WebhookClient::new(&server.client, "", Question::Config)?;
        Ok(Self { client, transmit_sensitive: server.transmit_sensitive, limit: LIMIT })
    }

    /// The same, asking no longer than `limit` where that is shorter.
    #[must_use]
    pub fn within(self, limit: Duration) -> Self {
        Self { limit: self.limit.min(limit), ..self }
    }

    /// A line about the server, where it cannot be reached.
    pub async fn unreachable(&self) -> Option<String> {
        let failure = self.client.reach().await.err()?;
        Some(format!("configserver: {} cannot be reached: {failure}", self.client.place()))
    }

    /// Asks for the connection's configuration. What the answer knows about the user (name, metadata, environment,
    /// files) becomes part of `identity`, the answer winning. Values marked sensitive are asked with only under
    /// `transmitSensitiveMetadata`. Takes at most 60 s; dropping it cancels the call.
    ///
    /// # Errors
    /// The server gave no answer, or none that is understood, which is logged already; or it refused this user.
    pub async fn fetch(
        &self,
        identity: &mut Identity,
        facts: &ClientFacts,
        log: &ConnectionLog,
    ) -> Result<ConfigAnswer, ConfigError> {
        let known =
            if self.transmit_sensitive { identity.known().clone() } else { identity.known().without_sensitive() };
        let question = ConfigRequest {
            connection: facts.connection_as(identity.username(), known),
            authenticated_username: Some(identity.authenticated().to_owned()),
        };
        let timer = log.metrics().step(Question::Config.step());
        let call = Call { limit: self.limit, log };
        let answer = self.client.ask(call, &question, parse).await;
        timer.end(match &answer {
            Ok(Answered { answer: Reply::Given(..), .. }) => Outcome::Success,
            Ok(Answered { answer: Reply::Denied { .. }, .. }) => Outcome::Refused,
            Err(_) => Outcome::Failed,
        });
        learn(answer.map_err(ConfigError::Webhook)?.answer, self.client.place(), identity, log)
    }

    /// Takes in an answer from elsewhere, as [`ConfigClient::fetch`] takes in a server's.
    ///
    /// # Errors
    /// An answer that is not understood, which is logged already; or one that refuses this user.
    pub fn read(body: &Bytes, identity: &mut Identity, log: &ConnectionLog) -> Result<ConfigAnswer, ConfigError> {
        let body = Body { bytes: body.clone(), content_type: None };
        let reply = understood(&body, parse).inspect_err(|error| tell_failure(log, Question::Config, &[], error, ""));
        learn(reply.map_err(ConfigError::Webhook)?, "file", identity, log)
    }
}

/// Makes what an answer knows about the user part of `identity`.
fn learn(reply: Reply, place: &str, identity: &mut Identity, log: &ConnectionLog) -> Result<ConfigAnswer, ConfigError> {
    let (answer, left_out) = match reply {
        Reply::Given(answer, left_out) => (answer, left_out),
        Reply::Denied { message } => return Err(ConfigError::Denied { message }),
    };
    identity.learn(answer.authenticated_username.clone(), answer.known.clone());
    log.name_user(identity.username().as_str(), Some(identity.authenticated()));
    let text = "the settings of this connection were received";
    log.write(Level::Debug, "CONFIG_RESPONSE", text, &[("url", place)]);
    if let Some(names) = left_out.shown() {
        let details = [("url", place), ("variables", &*names)];
        log.write(Level::Warning, "CONFIG_ENV_LEFT_OUT", LEFT_OUT, &details);
    }
    Ok(answer)
}

/// Reason why a connection has no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There was no answer that is understood; logged already.
    #[error("no settings from the configuration server: {0}")]
    Webhook(#[source] WebhookError),
    /// The server says that this user gets nothing.
    #[error("the configuration server refused this login")]
    Denied {
        /// Its reason for the user: one printable line.
        message: Option<String>,
    },
}

/// An answer that is understood.
#[derive(Debug)]
enum Reply {
    /// The configuration, and the variables that nobody gets.
    Given(ConfigAnswer, NamesLeftOut),
    /// A no.
    Denied { message: Option<String> },
}

fn parse(body: &[u8]) -> Result<Reply, String> {
    match ConfigReply::parse(body).map_err(|error| error.to_string())? {
        ConfigReply::Given(mut answer) => {
            let left_out = usable(answer.authenticated_username.as_deref(), &mut answer.known)?;
            Ok(Reply::Given(answer, left_out))
        }
        ConfigReply::Denied(denial) => Ok(Reply::Denied { message: message(denial.message.as_deref()) }),
    }
}
