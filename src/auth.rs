//! Who is this? The steps of a login, and the [`Identity`] that only an explicit yes of the operator's webhooks makes.
//!
//! Every attempt starts from nothing: what a webhook said about an earlier one is never seen again. A key that was only
//! offered is [`Considered`], which is no credential; authorization is asked after the proof, and last.

mod answer;
mod authenticator;
mod credential;
mod deadline;
mod step;

pub(crate) use answer::{message, usable};
pub(crate) use authenticator::LEFT_OUT;
pub use authenticator::{Authenticator, Proved};
pub use credential::{Considered, Credential, ProvenKey};
pub use deadline::LoginDeadline;
pub use step::{Answer, Attempt, AuthError, Awaited, Method, Prompt};

use crate::types::{ConnectionId, Username};
use podgate_webhooks::wire;
use std::net::SocketAddr;

/// Who the client was proved to be. Made in this module alone, after the last step said yes.
#[derive(Debug, Clone)]
pub struct Identity {
    username: Username,
    authenticated: String,
    known: wire::Known,
}

impl Identity {
    /// An identity that nobody proved.
    #[cfg(test)]
    pub(crate) fn for_test(username: Username, authenticated: &str, known: wire::Known) -> Self {
        Self { username, authenticated: authenticated.to_owned(), known }
    }

    /// The login name that the client typed.
    #[must_use]
    pub fn username(&self) -> &Username {
        &self.username
    }

    /// `authenticatedUsername`: what the authenticator calls the user; the login name where it said nothing.
    #[must_use]
    pub fn authenticated(&self) -> &str {
        &self.authenticated
    }

    /// What the webhooks said about the user. Names of variables are [`crate::types::EnvName`]s, values and paths hold
    /// no NUL.
    #[must_use]
    pub fn known(&self) -> &wire::Known {
        &self.known
    }

    /// Takes in what a later webhook said; its word wins, silence changes nothing.
    pub(crate) fn learn(&mut self, authenticated: Option<String>, known: wire::Known) {
        if let Some(name) = authenticated {
            self.authenticated = name;
        }
        self.known.merge(known);
    }
}

/// What is known about a client before anyone vouches for it.
#[derive(Debug, Clone)]
pub struct ClientFacts {
    /// The connection.
    pub connection: ConnectionId,
    /// Where it comes from.
    pub remote: SocketAddr,
    /// The client's identification string, for example `SSH-2.0-OpenSSH_9.6`; may be empty.
    pub client_version: String,
}

impl ClientFacts {
    /// The part that all requests share.
    pub(crate) fn connection_as(&self, username: &Username, known: wire::Known) -> wire::Connection {
        let remote = SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port());
        wire::Connection {
            remote_address: remote.to_string(),
            connection_id: self.connection.to_string(),
            client_version: self.client_version.clone(),
            username: username.as_str().to_owned(),
            known,
            // The client of the webhook makes one for each question.
            idempotency_key: None,
        }
    }
}

#[cfg(test)]
mod tests;
