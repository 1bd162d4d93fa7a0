//! Credentials that a client shows to prove its identity.

use crate::types::{Secret, Username};
use podgate_webhooks::wire::AuthAnswer;

/// A credential that is ready to be judged.
#[derive(Debug)]
pub(crate) enum Credential {
    /// A password, which the webhook has not seen yet.
    Password(Secret),
    /// A key whose signature was checked; see [`OfferedKey::into_credential`].
    PublicKey(ProvenKey),
}

/// A key that the webhook accepts, offered by a client that has not proved yet that it holds it. It is no credential. Kept
/// until the signature comes, so that offer and signature cost one call.
#[derive(Debug)]
pub(crate) struct OfferedKey {
    pub(super) username: Username,
    pub(super) key: String,
    pub(super) answer: AuthAnswer,
}

impl OfferedKey {
    /// A key that no webhook is asked about, because a trusted authority's certificate for it was checked.
    pub(crate) fn by_authority(username: &Username, key: &str) -> Self {
        let answer = AuthAnswer { success: Some(true), ..AuthAnswer::default() };
        Self { username: username.clone(), key: key.to_owned(), answer }
    }

    /// True if the offer was this key (an `authorized_keys` line) for this name.
    pub(crate) fn matches(&self, username: &Username, key: &str) -> bool {
        self.username == *username && self.key == key
    }

    /// Makes the key a credential. Call it only after the client's signature by this key, for this name, was checked.
    pub(crate) fn into_credential(self) -> Credential {
        Credential::PublicKey(ProvenKey(self))
    }
}

/// A key that the webhook accepts and that the client has proved to hold.
#[derive(Debug)]
pub(crate) struct ProvenKey(pub(super) OfferedKey);
