//! The config webhook: what does this identity get? Asked once a connection, after the login.

use super::answer::Body;
use super::client::{Call, WebhookClient, tell_failure, understood};
use super::error::{WebhookBuildError, WebhookError};
use crate::auth::{ClientFacts, Identity, LEFT_OUT, usable};
use crate::config::{ConfigServer, Level};
use crate::telemetry::ConnectionLog;
use crate::telemetry::metrics::{Outcome, Question};
use crate::types::NamesLeftOut;
use bytes::Bytes;
use podgate_webhooks::wire::{ConfigAnswer, ConfigRequest};
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
    /// The server gave no answer, or none that is understood; logged already.
    pub async fn fetch(
        &self,
        identity: &mut Identity,
        facts: &ClientFacts,
        log: &ConnectionLog,
    ) -> Result<ConfigAnswer, WebhookError> {
        let known =
            if self.transmit_sensitive { identity.known().clone() } else { identity.known().without_sensitive() };
        let question = ConfigRequest {
            connection: facts.connection_as(identity.username(), known),
            authenticated_username: Some(identity.authenticated().to_owned()),
        };
        let timer = log.metrics().step(Question::Config.step());
        let call = Call { limit: self.limit, log };
        let answer = self.client.ask(call, &question, parse).await;
        timer.end(if answer.is_ok() { Outcome::Success } else { Outcome::Failed });
        Ok(learn(answer?.answer, self.client.place(), identity, log))
    }

    /// Takes an answer in that nobody was asked for, as [`ConfigClient::fetch`] takes in the body of a server's.
    ///
    /// # Errors
    /// An answer that is not understood; logged already.
    pub fn read(body: &Bytes, identity: &mut Identity, log: &ConnectionLog) -> Result<ConfigAnswer, WebhookError> {
        let body = Body { bytes: body.clone(), content_type: None };
        let answer = understood(&body, parse).inspect_err(|error| tell_failure(log, Question::Config, &[], error))?;
        Ok(learn(answer, "file", identity, log))
    }
}

/// Makes what an answer knows about the user part of `identity`.
fn learn(
    (answer, left_out): (ConfigAnswer, NamesLeftOut),
    place: &str,
    identity: &mut Identity,
    log: &ConnectionLog,
) -> ConfigAnswer {
    identity.learn(answer.authenticated_username.clone(), answer.known.clone());
    log.name_user(identity.username().as_str(), Some(identity.authenticated()));
    let text = "the configuration of this connection is there";
    log.write(Level::Debug, "CONFIG_RESPONSE", text, &[("url", place)]);
    if let Some(names) = left_out.shown() {
        let details = [("url", place), ("variables", &*names)];
        log.write(Level::Warning, "CONFIG_ENV_LEFT_OUT", LEFT_OUT, &details);
    }
    answer
}

/// The answer, and the variables of it that nobody gets.
fn parse(body: &[u8]) -> Result<(ConfigAnswer, NamesLeftOut), String> {
    let mut answer = ConfigAnswer::parse(body).map_err(|error| error.to_string())?;
    let left_out = usable(answer.authenticated_username.as_deref(), &mut answer.known)?;
    Ok((answer, left_out))
}
