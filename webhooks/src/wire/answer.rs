//! What a webhook answers. Whatever it echoes of the request (`remoteAddress` and the like) is passed over unread:
//! servers written with ContainerSSH's Go library send `"<nil>:0"` there.

use super::fields::Fields;
use super::known::Known;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};
use std::fmt;

/// The response to `/password`, `/pubkey` and `/authz`. Its status is 200 for an allowed and for a denied login.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuthAnswer {
    /// True allows the login. False or absent denies it.
    pub success: bool,
    /// The user's name from here on. If it is absent or empty, it is the login name; in a response to `/authz`, the name
    /// does not change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub authenticated_username: Option<String>,
    /// What is known about the user; counts only with `success`.
    #[serde(flatten)]
    pub known: Known,
}

/// The response of the config webhook.
#[derive(Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConfigAnswer {
    /// A part of the gateway's configuration in its JSON form (`backend`, `kubernetes`, `security`, `log.level`). It
    /// overrides the gateway's file for this connection.
    pub config: Map<String, Json>,
    /// True: every value in `config` is used as written. Absent or false: a zero value (`""`, 0, false, null, `[]`, `{}`)
    /// means unset, because some servers send the complete structure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(test, schemars(default))]
    pub exact: bool,
    /// The user's new name. If it is absent or empty, the name does not change.
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
