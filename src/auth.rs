//! Who is this? The steps of a login, and the [`Identity`] that only an explicit yes of the operator's webhooks makes.

use crate::types::Username;
use podgate_webhooks::wire;

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

    /// What the webhooks said about the user.
    #[must_use]
    pub fn known(&self) -> &wire::Known {
        &self.known
    }
}
