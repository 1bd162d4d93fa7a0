//! The config webhook: what does this identity get? Asked once a connection, after the login.

use super::client::{Call, WebhookClient};
use super::error::{WebhookBuildError, WebhookError};
use crate::auth::{ClientFacts, Identity, LEFT_OUT, usable};
use crate::config::{ConfigServer, Level};
use crate::telemetry::ConnectionLog;
use crate::telemetry::metrics::{Outcome, Question};
use crate::types::NamesLeftOut;
use podgate_webhooks::wire::{ConfigAnswer, ConfigRequest};
use std::time::Duration;

/// All tries together.
const LIMIT: Duration = Duration::from_secs(60);

/// The config server, ready to be asked.
#[derive(Debug)]
pub struct ConfigClient {
    client: WebhookClient,
    transmit_sensitive: bool,
}

impl ConfigClient {
    /// Makes the client of `configserver`, which posts to exactly its URL.
    ///
    /// # Errors
    /// As [`WebhookClient::new`].
    pub fn new(server: &ConfigServer) -> Result<Self, WebhookBuildError> {
        let client = WebhookClient::new(&server.client, "", Question::Config)?;
        Ok(Self { client, transmit_sensitive: server.transmit_sensitive })
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
        let call = Call { limit: LIMIT, log };
        let answer = self.client.ask(call, &question, parse).await;
        timer.end(if answer.is_ok() { Outcome::Success } else { Outcome::Failed });
        let (answer, left_out) = answer?.answer;
        identity.learn(answer.authenticated_username.clone(), answer.known.clone());
        log.name_user(identity.username().as_str(), Some(identity.authenticated()));
        log.write(
            Level::Debug,
            "CONFIG_RESPONSE",
            "the settings of this connection were received",
            &[("url", self.client.place())],
        );
        if let Some(names) = left_out.shown() {
            let details = [("url", self.client.place()), ("variables", &*names)];
            log.write(Level::Warning, "CONFIG_ENV_LEFT_OUT", LEFT_OUT, &details);
        }
        Ok(answer)
    }
}

/// The answer, and the variables of it that nobody gets.
fn parse(body: &[u8]) -> Result<(ConfigAnswer, NamesLeftOut), String> {
    let mut answer = ConfigAnswer::parse(body).map_err(|error| error.to_string())?;
    let left_out = usable(answer.authenticated_username.as_deref(), &mut answer.known)?;
    Ok((answer, left_out))
}
