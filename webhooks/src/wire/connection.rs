//! The connection that a request of a gateway is about.

use super::certificate::Certificate;
use super::known::Known;
use serde::Serialize;

/// The facts about the connection that every request carries.
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
    /// The certificate with which the user logs in; absent for a plain key and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Certificate", default))]
    pub certificate: Option<Certificate>,
    /// The facts about the user that earlier answers gave.
    #[serde(flatten)]
    pub known: Known,
    /// The id of the question, the same when it is repeated and of no other question: the header `Idempotency-Key` without
    /// its quotes, not a part of the body. `None` where nobody sent one.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
}
