//! The wire types: what a gateway asks (`POST /password`, `/pubkey`, `/authz` and the config URL) and what it
//! understands, field by field ContainerSSH's.
//!
//! Always true: an error never quotes what a field held, because that may be a secret; a `Debug` never shows a password,
//! a sensitive value or a file. A question's unknown fields are passed over, because a later gateway may say more. An
//! answer's are errors, as they are for the gateways that these servers were written for: what was meant by them is unknown.
//! Only answers match field names without regard to case, as Go's decoder does there.

mod answer;
mod certificate;
mod connection;
mod fields;
mod known;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use answer::{AuthAnswer, ConfigAnswer, ConfigDenial, ConfigReply};
pub use certificate::Certificate;
pub use connection::Connection;
pub use known::{File, Known, Value};

use fields::MessageFields;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// `POST /password`: may this user log in with this password?
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PasswordRequest {
    /// The connection that the question is about.
    #[serde(flatten)]
    pub connection: Connection,
    /// The password's bytes as the client sent them, in standard base64 with padding.
    #[serde(rename = "passwordBase64", serialize_with = "known::base64")]
    #[cfg_attr(test, schemars(with = "String", extend("contentEncoding" = "base64")))]
    pub password: Vec<u8>,
}

/// `POST /pubkey`: may this user log in with this key? Sent before the client has proved that it has the private key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PublicKeyRequest {
    /// The connection that the question is about.
    #[serde(flatten)]
    pub connection: Connection,
    /// One `authorized_keys` line without options and comment, for example `ssh-ed25519 AAAA…`.
    pub public_key: String,
}

/// `POST /authz`: may this authenticated user log in?
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuthzRequest {
    /// The connection that the question is about.
    #[serde(flatten)]
    pub connection: Connection,
    /// The user's name after the authentication; never empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub authenticated_username: Option<String>,
}

/// `POST` to the config URL: asks for the settings of this connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ConfigRequest {
    /// The connection that the question is about.
    #[serde(flatten)]
    pub connection: Connection,
    /// The user's name after authentication and authorization; never empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "String", default))]
    pub authenticated_username: Option<String>,
}

/// The password is masked.
impl fmt::Debug for PasswordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordRequest")
            .field("connection", &self.connection)
            .field("password", &format_args!("<secret>"))
            .finish()
    }
}

impl<'de> Deserialize<'de> for PasswordRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageFields::of_gateway(deserializer, |fields| {
            Ok(Self {
                connection: fields.connection()?,
                password: fields.required("passwordBase64", MessageFields::bytes)?,
            })
        })
    }
}

impl<'de> Deserialize<'de> for PublicKeyRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageFields::of_gateway(deserializer, |fields| {
            Ok(Self {
                connection: fields.connection()?,
                public_key: fields.required("publicKey", MessageFields::text)?,
            })
        })
    }
}

impl<'de> Deserialize<'de> for AuthzRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageFields::of_gateway(deserializer, |fields| {
            Ok(Self { connection: fields.connection()?, authenticated_username: fields.authenticated_username()? })
        })
    }
}

impl<'de> Deserialize<'de> for ConfigRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        MessageFields::of_gateway(deserializer, |fields| {
            Ok(Self { connection: fields.connection()?, authenticated_username: fields.authenticated_username()? })
        })
    }
}
