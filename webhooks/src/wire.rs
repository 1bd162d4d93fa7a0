//! The wire types: what a gateway asks (`POST /password`, `/pubkey`, `/authz` and the config URL) and what it
//! understands, field by field ContainerSSH's.
//!
//! Always true: an error never quotes what a field held, because that may be a secret; a `Debug` never shows a password,
//! a sensitive value or a file. A question's unknown fields are passed over, because a later gateway may say more. An
//! answer's are errors, as they are for the gateways that these servers were written for: what was meant by them is unknown.
//! Only answers match field names without regard to case, as Go's decoder does there.

mod answer;
mod fields;
mod known;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use answer::{AuthAnswer, ConfigAnswer, ConfigDenial, ConfigReply};
pub use known::{File, Known, Value};

use fields::Fields;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// What every request says about the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Connection {
    /// The client's address and port, `192.0.2.7:52311` or `[2001:db8::1]:49152`.
    pub remote_address: String,
    /// The connection's id, opaque and never used again: 32 lower-case hexadecimal characters.
    pub connection_id: String,
    /// The client's identification string, for example `SSH-2.0-OpenSSH_9.6`; may be empty.
    pub client_version: String,
    /// The login name that the client sent.
    pub username: String,
    /// What earlier answers said about the user.
    #[serde(flatten)]
    pub known: Known,
    /// The id of the question, the same when it is repeated and of no other question: the header `Idempotency-Key` without
    /// its quotes, not a part of the body. `None` where nobody sent one.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}

/// `POST /password`: may this user log in with this password?
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PasswordRequest {
    /// Who asks.
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
    /// Who asks.
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
    /// Who asks.
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
    /// Who asks.
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
        Fields::of_gateway(deserializer, |fields| {
            Ok(Self { connection: fields.connection()?, password: fields.required("passwordBase64", Fields::bytes)? })
        })
    }
}

impl<'de> Deserialize<'de> for PublicKeyRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::of_gateway(deserializer, |fields| {
            Ok(Self { connection: fields.connection()?, public_key: fields.required("publicKey", Fields::text)? })
        })
    }
}

impl<'de> Deserialize<'de> for AuthzRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::of_gateway(deserializer, |fields| {
            Ok(Self { connection: fields.connection()?, authenticated_username: fields.authenticated_username()? })
        })
    }
}

impl<'de> Deserialize<'de> for ConfigRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Fields::of_gateway(deserializer, |fields| {
            Ok(Self { connection: fields.connection()?, authenticated_username: fields.authenticated_username()? })
        })
    }
}
