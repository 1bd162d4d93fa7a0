//! What a webhook answers. Whatever it echoes of the request (`remoteAddress` and the like) is passed over unread:
//! servers written with ContainerSSH's Go library send `"<nil>:0"` there.

use super::fields::Fields;
use super::known::Known;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};
use std::fmt;

/// The answer to `/password`, `/pubkey` and `/authz`. Sent with status 200 for yes and no alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuthAnswer {
    /// Yes or no. Absent is no.
    pub success: bool,
    /// What the authenticator calls the user. Absent or empty is the login name, in an answer to `/authz` the name
    /// established before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub authenticated_username: Option<String>,
    /// What is known about the user; counts only with `success`.
    #[serde(flatten)]
    pub known: Known,
}

/// The config webhook's answer.
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConfigAnswer {
    /// A part of the gateway's configuration in its JSON form (`backend`, `kubernetes`, `security`, `log.level`), laid
    /// over the gateway's file for this connection.
    pub config: Map<String, Json>,
    /// True: every value in `config` means itself. Absent or false: a zero (`""`, 0, false, null, `[]`, `{}`) means
    /// unset, as servers need that send the whole structure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, schemars(default))]
    pub exact: bool,
    /// Replaces the name established before; absent or empty keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub authenticated_username: Option<String>,
    /// Merged key by key over what is known about the user; this answer wins.
    #[serde(flatten)]
    pub known: Known,
}

impl AuthAnswer {
    /// Reads an answer's body, whatever its content type was.
    ///
    /// # Errors
    /// What is not one JSON object, and fields of the wrong type. The text names the field and never its content.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

impl ConfigAnswer {
    /// An answer whose values mean themselves (`"exact": true`). ContainerSSH's own gateway refuses that field: set
    /// [`ConfigAnswer::exact`] to false for one.
    #[must_use]
    pub fn new(config: Map<String, Json>) -> Self {
        Self { config, exact: true, authenticated_username: None, known: Known::default() }
    }

    /// Reads an answer's body, whatever its content type was.
    ///
    /// # Errors
    /// What is not one JSON object, and fields of the wrong type. The text names the field and never its content.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}

/// A configuration can hold a cluster's credentials: only the names of its sections are shown.
impl fmt::Debug for ConfigAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigAnswer")
            .field("config", &self.config.keys())
            .field("exact", &self.exact)
            .field("authenticated_username", &self.authenticated_username)
            .field("known", &self.known)
            .finish()
    }
}

impl<'de> Deserialize<'de> for AuthAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::folded(deserializer, |fields| {
            Ok(Self {
                success: fields.flag("success")?,
                authenticated_username: fields.authenticated_username()?,
                known: fields.known()?,
            })
        })
    }
}

impl<'de> Deserialize<'de> for ConfigAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::folded(deserializer, |fields| {
            Ok(Self {
                config: fields.object("config")?,
                exact: fields.flag("exact")?,
                authenticated_username: fields.authenticated_username()?,
                known: fields.known()?,
            })
        })
    }
}
