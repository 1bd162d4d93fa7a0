//! Everything for a webhook server of one's own: implement [`Decide`], hand it to [`router`], serve that with
//! [`crate::server::Server`] (or with any axum set-up).
//!
//! What is not implemented denies. A body that cannot be read is an error (400, 408, 413) before anyone decides.

mod answers;

pub use answers::{HttpRefusal, router};

use crate::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection, Known};
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Decides about logins and settings. Every method denies unless it is implemented; `async fn` works for them.
pub trait Decide: Send + Sync + 'static {
    /// May this user log in with this password? The bytes are what the client sent.
    fn password(&self, _connection: &Connection, _password: &[u8]) -> impl Future<Output = Decision> + Send {
        async { Decision::deny("this server does not support this request") }
    }

    /// May this user log in with this key, an `authorized_keys` line without options and comment? A gateway asks before
    /// the client has proved that it holds the key: a yes is no login yet.
    fn public_key(&self, _connection: &Connection, _key: &str) -> impl Future<Output = Decision> + Send {
        async { Decision::deny("this server does not support this request") }
    }

    /// May this user, whom someone else authenticated, come in?
    fn authorize(&self, _request: &AuthzRequest) -> impl Future<Output = Decision> + Send {
        async { Decision::deny("this server does not support this request") }
    }

    /// What does this connection get? Its user is authenticated.
    fn config(&self, _request: &ConfigRequest) -> impl Future<Output = Result<ConfigAnswer, NoConfig>> + Send {
        async { Err(NoConfig::Refused("this server has no configuration to give".into())) }
    }
}

/// Compares two secrets in a time that reveals their length at most.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// The answer to a login step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The login is denied.
    Deny(Denial),
    /// The login is allowed, with these facts about the user.
    Allow(Grant),
    /// Nobody can tell now (status 503): the gateway asks again, but for a password. The reason goes into the gateway's
    /// log.
    Unavailable(String),
}

/// A no, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The reason for this server's own log. It goes nowhere else.
    pub reason: Cow<'static, str>,
    /// The reason for the user: one line, which the gateway cuts at 400 characters. `/password`, `/authz` and the config
    /// webhook end the connection with it; after a refused key the user may still have another, and the gateway only logs
    /// it. `None` tells nothing, as it should be where a text would tell strangers which users there are. ContainerSSH's own
    /// gateway does not understand an answer with one.
    pub message: Option<String>,
}

/// The facts about the user that a permission carries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The user's name for everything that follows; `None` is the login name, for `/authz` the name established before.
    pub authenticated_username: Option<String>,
    /// Metadata, environment and files.
    pub known: Known,
}

/// A refusal to give a configuration; the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoConfig {
    /// This user gets none: final. Status 403, or 200 with `"success": false` where there is a message for the user.
    #[error("{0}")]
    Refused(Denial),
    /// Nobody can tell now (status 503): the gateway asks again.
    #[error("{0}")]
    Unavailable(String),
}

impl Decision {
    /// No, and why, for this server's own log. The user learns nothing of it.
    pub fn deny(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Deny(Denial::from(reason.into()))
    }

    /// No, and why: for this server's own log, and for the user.
    pub fn deny_saying(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::Deny(Denial { reason: reason.into(), message: Some(message.into()) })
    }

    /// Yes, with nothing more to say about the user.
    #[must_use]
    pub fn allow() -> Self {
        Self::Allow(Grant::default())
    }
}

/// A no without a message for the user.
impl From<Cow<'static, str>> for Denial {
    fn from(reason: Cow<'static, str>) -> Self {
        Self { reason, message: None }
    }
}

/// A no without a message for the user.
impl From<&'static str> for Denial {
    fn from(reason: &'static str) -> Self {
        Cow::from(reason).into()
    }
}

/// A no without a message for the user.
impl From<String> for Denial {
    fn from(reason: String) -> Self {
        Cow::from(reason).into()
    }
}

/// Reason, shown to the user.
impl AsRef<str> for Denial {
    fn as_ref(&self) -> &str {
        &self.reason
    }
}

/// Reason, shown to the user.
impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<D: Decide> Decide for Arc<D> {
    fn password(&self, connection: &Connection, password: &[u8]) -> impl Future<Output = Decision> + Send {
        D::password(self, connection, password)
    }

    fn public_key(&self, connection: &Connection, key: &str) -> impl Future<Output = Decision> + Send {
        D::public_key(self, connection, key)
    }

    fn authorize(&self, request: &AuthzRequest) -> impl Future<Output = Decision> + Send {
        D::authorize(self, request)
    }

    fn config(&self, request: &ConfigRequest) -> impl Future<Output = Result<ConfigAnswer, NoConfig>> + Send {
        D::config(self, request)
    }
}
