//! Authentication: the steps of a login, and the [`Identity`] that only an explicit yes of the operator's webhooks makes.
//!
//! Every attempt starts from nothing: a webhook's answer to an earlier attempt is never used again. A key that was only
//! offered is an [`OfferedKey`], which is no credential; authorization is asked after the proof, as the last step.

mod attempt;
mod authenticator;
mod conversation;
mod credential;
mod deadline;
mod identity;
mod revoked_keys;

pub(crate) use attempt::{AuthError, AuthMethod, AwaitedServer, LoginAttempt, denial_message};
pub(crate) use authenticator::{AuthConfig, AuthWebhook, Authenticator, ENV_LEFT_OUT, ProvenUser};
pub(crate) use conversation::AuthStep;
pub(crate) use credential::{Credential, OfferedKey};
pub(crate) use deadline::LoginDeadline;
pub(crate) use identity::{ClientFacts, Identity, check_user_data};
pub(crate) use revoked_keys::{IssuedCertificate, RevokedKeys, RevokedKeysError};

#[cfg(test)]
mod tests;
