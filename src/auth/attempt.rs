//! One attempt to log in: what an authenticator is given, and how it fails.

use super::deadline::LoginDeadline;
use super::identity::ClientFacts;
use crate::telemetry::ConnectionLog;
use crate::types::{Username, printable};
use podgate_webhooks::wire::Certificate;
use std::sync::atomic::{AtomicBool, Ordering};

/// Longest reason of a denial that a user is shown, in characters.
const MESSAGE_CHARS: usize = 400;

/// One attempt to log in. The client may use another name for the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoginAttempt<'a> {
    pub facts: &'a ClientFacts,
    /// Login name of this attempt.
    pub username: &'a Username,
    /// The certificate of the key, which was checked.
    pub certificate: Option<&'a Certificate>,
    pub log: &'a ConnectionLog,
    /// End of the whole login, whose clock stands while a webhook is asked.
    pub deadline: &'a LoginDeadline,
    /// Server whose answer is awaited.
    pub awaited: &'a AwaitedServer,
}

/// The server that a login waits for, for the reason of a connection that ends meanwhile.
#[derive(Debug, Default)]
pub(crate) struct AwaitedServer {
    authorization: AtomicBool,
}

impl AwaitedServer {
    /// Sets it to the authorization server, or to the authentication server.
    pub(super) fn set(&self, authorization: bool) {
        self.authorization.store(authorization, Ordering::Relaxed);
    }

    /// True if the last server that was asked is the authorization server.
    pub(crate) fn is_authorization(&self) -> bool {
        self.authorization.load(Ordering::Relaxed)
    }

    /// The reason of a connection that ends now.
    pub(crate) fn reason(&self) -> &'static str {
        match self.is_authorization() {
            true => "the authorization server had not answered yet",
            false => "the authentication server had not answered yet",
        }
    }
}

/// Authentication method (RFC 4252).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMethod {
    /// RFC 4252 section 8.
    Password,
    /// RFC 4252 section 7.
    PublicKey,
}

impl AuthMethod {
    /// Name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PublicKey => "publickey",
        }
    }
}

/// Reason why an attempt did not produce an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// The answer is no.
    #[error("{reason}")]
    Denied {
        /// The step that denied it, for the log.
        reason: &'static str,
        /// The webhook's reason for the user: one printable line. Without one the client learns nothing.
        message: Option<String>,
    },
    /// The server gave no answer. The details are already logged.
    #[error("{reason}")]
    Unavailable {
        /// One line for the user.
        reason: String,
    },
    /// The server's answer is not understood, so it is not a yes. The details are already logged.
    #[error("{reason}")]
    Misunderstood {
        /// One line for the user.
        reason: String,
    },
    /// The method is not configured and was not offered.
    #[error("this authentication method is not configured")]
    NotConfigured,
}

/// A webhook's reason for the user as one printable line; `None` for a text without a visible character.
pub(crate) fn denial_message(text: Option<&str>) -> Option<String> {
    text.map(|text| printable(text, MESSAGE_CHARS)).filter(|line| !line.is_empty())
}
