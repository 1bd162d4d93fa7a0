//! The certificate with which a user logs in.

use serde::Serialize;
use std::collections::BTreeMap;

/// An OpenSSH user certificate that a trusted authority signed (`ssh.trustedUserCAKeys`). Podgate has checked it: its signature,
/// validity, principals, options and revocation. ContainerSSH's gateway never sends it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Certificate {
    /// The name that the authority gave the certificate (`ssh-keygen -I`); may be empty.
    pub key_id: String,
    /// The certificate's number in decimal; 0 if the authority does not count. A string, because JSON readers round large
    /// numbers.
    pub serial: String,
    /// The principals, among them the login name.
    pub principals: Vec<String>,
    /// The time from which the certificate is valid, in seconds since 1970; 0 is always.
    pub valid_after: u64,
    /// The time from which the certificate is no longer valid, in seconds since 1970. Absent if it is valid forever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "u64", default))]
    pub valid_before: Option<u64>,
    /// The authority's key: one `authorized_keys` line without options and comment.
    pub ca_public_key: String,
    /// The authority's fingerprint as `ssh-keygen -l` shows it: `SHA256:…`.
    pub ca_fingerprint: String,
    /// The critical options with their values (`force-command`, `source-address`).
    pub critical_options: BTreeMap<String, String>,
    /// The extensions with their values, which are mostly empty (`permit-pty`).
    pub extensions: BTreeMap<String, String>,
}
