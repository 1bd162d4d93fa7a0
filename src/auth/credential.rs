//! What a client shows to prove who it is.

use crate::types::{Secret, Username};
use podgate_webhooks::wire::AuthAnswer;

/// What a client proved, or claims to know.
#[derive(Debug)]
pub enum Credential {
    /// A password.
    Password(Secret),
    /// A key whose signature was checked; see [`Considered::proven`].
    PublicKey(ProvenKey),
}

/// A key that the webhook accepts, offered by a client that has not proved to hold it. No credential; keep it until the
/// signature comes, so that offer and signature cost one call.
#[derive(Debug)]
pub struct Considered {
    pub(super) username: Username,
    pub(super) key: String,
    pub(super) answer: AuthAnswer,
}

impl Considered {
    /// Whether this was said about `key` (an `authorized_keys` line) for `username`.
    #[must_use]
    pub fn is_about(&self, username: &Username, key: &str) -> bool {
        self.username == *username && self.key == key
    }

    /// The client's signature by this key, for this name, was checked and is good.
    #[must_use]
    pub fn proven(self) -> Credential {
        Credential::PublicKey(ProvenKey(self))
    }
}

/// A key that the webhook accepts and that the client was proved to hold.
#[derive(Debug)]
pub struct ProvenKey(pub(super) Considered);
