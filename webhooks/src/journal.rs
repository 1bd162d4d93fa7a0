//! Events of a webhook server, for the operator's log: one for each request (who asked, from where, what came of it and
//! why). Never a password, a key or a setting.
//!
//! Always true: a request never waits for its line, as [`Journal::write`] does not.

use crate::toolkit::{self, Decide, Decision, HttpRefusal, NoConfig};
use crate::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection};
use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{Next, from_fn};
use std::sync::Arc;

/// Texts that clients make up are cut at this many characters, and all others too.
const TEXT_LIMIT: usize = 255;

/// Importance of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalLevel {
    /// Something that has to be mended before the server does what its file says.
    Error,
    /// Something that is probably not meant.
    Warning,
    /// Normal operation: a decision, a file that was read.
    Info,
    /// Details for the search for a fault.
    Debug,
}

/// One event, which is one line of a log.
#[derive(Debug, Clone, Copy)]
pub struct JournalEvent<'a> {
    /// Importance of the event.
    pub level: JournalLevel,
    /// Stable name of the kind of event, `WEBHOOKS_…`.
    pub code: &'static str,
    /// One sentence for people.
    pub message: &'a str,
    /// Names and values, in the order of the line.
    pub details: &'a [(&'a str, &'a str)],
}

/// A log that events are written to.
pub trait Journal: Send + Sync + 'static {
    /// Takes an event; never waits.
    fn write(&self, event: JournalEvent<'_>);
}

/// The webhooks of a decider ([`toolkit::router`]), with an event for each request: decided, or refused before that.
pub fn router<D: Decide>(decider: D, journal: Arc<dyn Journal>) -> Router {
    let journaled = Journaled { decider, journal: Arc::clone(&journal) };
    toolkit::router(journaled).layer(from_fn(move |request: Request, next: Next| {
        let journal = Arc::clone(&journal);
        async move {
            let (method, path) = (request.method().clone(), cut(request.uri().path()));
            let response = next.run(request).await;
            if let Some(refusal) = response.extensions().get() {
                journal.write_refusal(&method, &path, refusal);
            }
            response
        }
    }))
}

impl dyn Journal {
    fn write_refusal(&self, method: &Method, path: &str, refusal: &HttpRefusal) {
        // A gateway asks so at its start whether a server is there; any answer is a yes.
        if method == Method::HEAD {
            let (code, message) = ("WEBHOOKS_REACHED", "somebody asks whether the server is there");
            return self.write(JournalEvent { level: JournalLevel::Debug, code, message, details: &[("path", path)] });
        }
        let (status, reason) = (refusal.status.as_u16().to_string(), cut(&refusal.reason));
        let (code, message) = ("WEBHOOKS_REQUEST_REFUSED", "the request is not one of the webhooks'");
        let details = [("path", path), ("status", &status), ("reason", &reason)];
        self.write(JournalEvent { level: JournalLevel::Warning, code, message, details: &details });
    }
}

/// Result of a request.
struct DecisionOutcome<'a> {
    level: JournalLevel,
    code: &'static str,
    message: &'static str,
    reason: Option<&'a str>,
    authenticated: Option<&'a str>,
}

impl<'a> DecisionOutcome<'a> {
    fn of(decision: &'a Decision) -> Self {
        match decision {
            Decision::Allow(grant) => Self {
                level: JournalLevel::Info,
                code: "WEBHOOKS_ALLOWED",
                message: "the step of the login is allowed",
                reason: None,
                authenticated: grant.authenticated_username.as_deref(),
            },
            Decision::Deny(reason) => Self {
                level: JournalLevel::Info,
                code: "WEBHOOKS_DENIED",
                message: "the step of the login is denied",
                reason: Some(reason.as_ref()),
                authenticated: None,
            },
            Decision::Unavailable(reason) => Self::undecided(reason),
        }
    }

    fn undecided(reason: &'a str) -> Self {
        let (code, message) = ("WEBHOOKS_UNDECIDED", "no decision can be made now");
        Self { level: JournalLevel::Error, code, message, reason: Some(reason), authenticated: None }
    }

    fn of_config(answer: &'a Result<ConfigAnswer, NoConfig>, authenticated: Option<&'a str>) -> Self {
        let (code, message, reason) = match answer {
            Ok(_) => ("WEBHOOKS_CONFIG_GIVEN", "the configuration of the connection is given", None),
            Err(NoConfig::Refused(reason)) => {
                ("WEBHOOKS_CONFIG_DENIED", "the user gets no configuration", Some(reason.as_ref()))
            }
            Err(NoConfig::Unavailable(reason)) => return Self { authenticated, ..Self::undecided(reason) },
        };
        Self { level: JournalLevel::Info, code, message, reason, authenticated }
    }
}

/// A decider whose decisions are written down.
struct Journaled<D> {
    decider: D,
    journal: Arc<dyn Journal>,
}

impl<D> Journaled<D> {
    fn note(&self, path: &str, connection: &Connection, outcome: &DecisionOutcome<'_>) {
        let texts = [
            ("connectionId", Some(connection.connection_id.as_str())),
            ("remoteAddr", Some(&connection.remote_address)),
            ("username", Some(&connection.username)),
            ("authenticatedUsername", outcome.authenticated),
            ("path", Some(path)),
            ("reason", outcome.reason),
            ("idempotencyKey", connection.idempotency_key.as_deref()),
        ];
        let texts = texts.into_iter().filter_map(|(name, text)| Some((name, cut(text?))));
        let texts: Vec<_> = texts.filter(|(_, text)| !text.is_empty()).collect();
        let details: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let DecisionOutcome { level, code, message, .. } = *outcome;
        self.journal.write(JournalEvent { level, code, message, details: &details });
    }
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_LIMIT).collect()
}

impl<D: Decide> Decide for Journaled<D> {
    async fn password(&self, connection: &Connection, password: &[u8]) -> Decision {
        let decision = self.decider.password(connection, password).await;
        self.note("/password", connection, &DecisionOutcome::of(&decision));
        decision
    }

    async fn public_key(&self, connection: &Connection, key: &str) -> Decision {
        let decision = self.decider.public_key(connection, key).await;
        self.note("/pubkey", connection, &DecisionOutcome::of(&decision));
        decision
    }

    async fn authorize(&self, request: &AuthzRequest) -> Decision {
        let decision = self.decider.authorize(request).await;
        self.note("/authz", &request.connection, &DecisionOutcome::of(&decision));
        decision
    }

    async fn config(&self, request: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
        let answer = self.decider.config(request).await;
        let outcome = DecisionOutcome::of_config(&answer, request.authenticated_username.as_deref());
        self.note("/config", &request.connection, &outcome);
        answer
    }
}

#[cfg(test)]
pub(crate) mod capture;
#[cfg(test)]
mod tests;
