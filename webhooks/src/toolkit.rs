//! Everything for a webhook server of one's own: implement [`Decide`], hand it to [`router`], serve that with
//! [`crate::server::Server`] (or with any axum set-up).
//!
//! What is not implemented denies. A body that cannot be read is an error (400, 408, 413) before anyone decides.

mod answers;

pub use answers::{Refusal, router};

use crate::wire::{AuthzRequest, ConfigAnswer, ConfigRequest, Connection, Known};
use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Who may come in, and what they get. Every method denies unless it is implemented; `async fn` works for them.
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

/// Whether two secrets are the same, in a time that tells their length at most.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// The answer to a login step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No. The reason is for this server's own log: what goes to the gateway has no room for one.
    Deny(Cow<'static, str>),
    /// Yes.
    Allow(Grant),
    /// Nobody can tell now (status 503): the gateway asks again, but for a password. The reason goes into the gateway's
    /// log.
    Unavailable(String),
}

/// What a yes says about the user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// The user's name for everything that follows; `None` is the login name, for `/authz` the name established before.
    pub authenticated_username: Option<String>,
    /// Metadata, environment and files.
    pub known: Known,
}

/// Why there is no configuration. The connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoConfig {
    /// This user gets none (status 403): final.
    #[error("{0}")]
    Refused(String),
    /// Nobody can tell now (status 503): the gateway asks again.
    #[error("{0}")]
    Unavailable(String),
}

impl Decision {
    /// No, and why.
    pub fn deny(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Deny(reason.into())
    }

    /// Yes, with nothing more to say about the user.
    #[must_use]
    pub fn allow() -> Self {
        Self::Allow(Grant::default())
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
