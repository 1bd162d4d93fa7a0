//! The client of the config webhook, which is asked once for each connection, after the login.

use crate::auth::{ClientFacts, ENV_LEFT_OUT, Identity, check_user_data, denial_message};
use crate::telemetry::metrics::{Question, StepOutcome};
use crate::telemetry::{ConnectionLog, codes};
use crate::types::NamesLeftOut;
use crate::webhook::{
    AskOptions, HttpClientConfig, StartFinding, WebhookAnswer, WebhookBuildError, WebhookClient, WebhookError,
    read_answer,
};
use bytes::Bytes;
use podgate_webhooks::wire::{ConfigAnswer, ConfigReply, ConfigRequest};
use std::time::Duration;

/// Limit of all tries together.
const LIMIT: Duration = Duration::from_secs(60);

/// The section `configserver`.
#[derive(Debug, Clone)]
pub struct ConfigServer {
    pub client: HttpClientConfig,
    /// `transmitSensitiveMetadata`: values marked sensitive are sent, too.
    pub transmit_sensitive: bool,
    /// `exactValues`: every answer is read as if it said `"exact": true`.
    pub exact_values: bool,
    /// `allowConnection`: an answer may change `kubernetes.connection` (inline values only).
    pub allow_connection: bool,
}

/// Client of the config webhook.
#[derive(Debug, Clone)]
pub(crate) struct ConfigClient {
    client: WebhookClient,
    transmit_sensitive: bool,
    limit: Duration,
}

impl ConfigClient {
    /// Creates the client. It posts to exactly the configured URL.
    ///
    /// # Errors
    /// As [`WebhookClient::new`].
    pub(crate) fn new(server: &ConfigServer) -> Result<Self, WebhookBuildError> {
        let client = WebhookClient::new(&server.client, "", Question::Config)?;
        Ok(Self { client, transmit_sensitive: server.transmit_sensitive, limit: LIMIT })
    }

    /// Shortens the limit of all tries to `limit`.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Self { limit: self.limit.min(limit), ..self }
    }

    /// The finding about the server at the start.
    pub(crate) async fn look(&self) -> Option<StartFinding> {
        self.client.look("configserver").await
    }

    /// The client, for questions whether the server can be reached.
    pub(crate) fn webhook(&self) -> WebhookClient {
        self.client.clone()
    }

    /// Asks for the connection's configuration. The answer's data about the user (name, metadata, environment, files) is
    /// merged into `identity` and takes precedence. Values marked sensitive are sent only with `transmitSensitiveMetadata`.
    /// Takes at most 60 s; dropping it cancels the call.
    ///
    /// # Errors
    /// A denial, no answer, or an answer that is not understood; the last two are already logged.
    pub(crate) async fn fetch(
        &self,
        identity: &mut Identity,
        facts: &ClientFacts,
        log: &ConnectionLog,
    ) -> Result<ConfigAnswer, ConfigServerError> {
        let known =
            if self.transmit_sensitive { identity.known().clone() } else { identity.known().without_sensitive() };
        let mut connection = facts.connection_as(identity.username(), known);
        connection.certificate = identity.certificate().cloned();
        let question = ConfigRequest { connection, authenticated_username: Some(identity.authenticated().to_owned()) };
        let timer = log.step(Question::Config.step());
        let call = AskOptions { limit: self.limit, log, step: &timer };
        let answer = self.client.ask(call, &question, parse).await;
        timer.end(match &answer {
            Ok(WebhookAnswer { answer: ConfigVerdict::Given(..), .. }) => StepOutcome::Success,
            Ok(WebhookAnswer { answer: ConfigVerdict::Denied { .. }, .. }) => StepOutcome::Refused,
            Err(_) => StepOutcome::Failed,
        });
        merge_answer(answer.map_err(ConfigServerError::Webhook)?.answer, self.client.place(), identity, log)
    }

    /// Reads an answer from a file, as [`ConfigClient::fetch`] reads a server's.
    ///
    /// # Errors
    /// A denial, or an answer that is not understood, which is already logged.
    pub(crate) fn read(
        body: &Bytes,
        identity: &mut Identity,
        log: &ConnectionLog,
    ) -> Result<ConfigAnswer, ConfigServerError> {
        let reply = read_answer(body.clone(), Question::Config, log, parse);
        merge_answer(reply.map_err(ConfigServerError::Webhook)?, "file", identity, log)
    }
}

/// Merges an answer's data about the user into `identity`.
fn merge_answer(
    reply: ConfigVerdict,
    place: &str,
    identity: &mut Identity,
    log: &ConnectionLog,
) -> Result<ConfigAnswer, ConfigServerError> {
    let (answer, left_out) = match reply {
        ConfigVerdict::Given(answer, left_out) => (answer, left_out),
        ConfigVerdict::Denied { message } => return Err(ConfigServerError::Denied { message }),
    };
    identity.merge(answer.authenticated_username.clone(), answer.known.clone());
    log.name_user(identity.username().as_str(), Some(identity.authenticated()));
    let text = "the settings of this connection were received";
    log.write(codes::CONFIG_RESPONSE, text, &[("url", place)]);
    if let Some(names) = left_out.shown() {
        let details = [("url", place), ("variables", &*names)];
        log.write(codes::CONFIG_ENV_LEFT_OUT, ENV_LEFT_OUT, &details);
    }
    Ok(answer)
}

/// Reason why a connection has no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigServerError {
    /// No answer, or one that is not understood; already logged.
    #[error("no settings from the configuration server: {0}")]
    Webhook(#[source] WebhookError),
    /// The server denied the login.
    #[error("the configuration server refused this login")]
    Denied {
        /// The server's reason for the user: one printable line.
        message: Option<String>,
    },
}

/// A valid answer.
#[derive(Debug)]
enum ConfigVerdict {
    /// The configuration, and the variables that are left out.
    Given(ConfigAnswer, NamesLeftOut),
    /// A denial with its reason for the user.
    Denied { message: Option<String> },
}

fn parse(body: &[u8]) -> Result<ConfigVerdict, String> {
    match ConfigReply::parse(body).map_err(|error| error.to_string())? {
        ConfigReply::Given(mut answer) => {
            let left_out = check_user_data(answer.authenticated_username.as_deref(), &mut answer.known)?;
            Ok(ConfigVerdict::Given(answer, left_out))
        }
        ConfigReply::Denied(denial) => Ok(ConfigVerdict::Denied { message: denial_message(denial.message.as_deref()) }),
    }
}
