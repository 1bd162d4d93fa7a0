//! What a step of a login is given and what it can say. A webhook answers at once; other authenticators may ask the
//! person something first, or want another method beside theirs.

use super::{ClientFacts, Identity, LoginDeadline};
use crate::telemetry::ConnectionLog;
use crate::types::Username;
use std::sync::atomic::{AtomicBool, Ordering};

/// One try to log in. The client may take another name for the next.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The connection.
    pub facts: &'a ClientFacts,
    /// The login name of this try.
    pub username: &'a Username,
    /// The connection's log.
    pub log: &'a ConnectionLog,
    /// When the login as a whole is over; a step that needs longer extends it.
    pub deadline: &'a LoginDeadline,
    /// The server whose answer is awaited.
    pub awaited: &'a Awaited,
}

/// The server that a login waits for, for whoever ends it meanwhile.
#[derive(Debug, Default)]
pub struct Awaited {
    authorization: AtomicBool,
}

impl Awaited {
    /// The authorization server is asked from now on, or the authentication server.
    pub(super) fn set(&self, authorization: bool) {
        self.authorization.store(authorization, Ordering::Relaxed);
    }

    /// The awaited server, in words.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self.authorization.load(Ordering::Relaxed) {
            true => "the authorization server had not answered yet",
            false => "the authentication server had not answered yet",
        }
    }
}

/// What a step says when it does not refuse.
#[derive(Debug)]
pub enum Answer {
    /// The client is this identity.
    Done(Identity),
    /// The person has to answer something first (RFC 4256 section 3.2).
    Ask(Vec<Prompt>),
    /// So far so good; one of these has to succeed too.
    More(Vec<Method>),
}

/// A question to the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The question.
    pub text: String,
    /// Whether what is typed may be seen.
    pub echo: bool,
}

/// A method of RFC 4252.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `password`
    Password,
    /// `publickey`
    PublicKey,
}

impl Method {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::PublicKey => "publickey",
        }
    }
}

/// Why a step made no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The answer is no.
    #[error("{reason}")]
    Denied {
        /// The step that denied it, for the log.
        reason: &'static str,
        /// The webhook's own reason for the user: one printable line. Without one the client learns nothing.
        message: Option<String>,
    },
    /// Nobody can say. The text is for the user; the details have been logged.
    #[error("{reason}")]
    Unavailable {
        /// One line.
        reason: String,
    },
    /// An answer came that cannot be understood, which is no yes. The text is for the user; the details have been logged.
    #[error("{reason}")]
    Misunderstood {
        /// One line.
        reason: String,
    },
    /// The method is not configured, and was not offered.
    #[error("this authentication method is not configured")]
    NotConfigured,
}
