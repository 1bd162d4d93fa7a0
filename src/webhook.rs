//! HTTP client of the operator's webhooks. Only status 200 is success; redirects are never followed, certificates always
//! verified, bodies bounded, proxies of the environment ignored. The caller interprets the answer.
//!
//! A question with a side effect (a wrong password counts as a failed login) is repeated only if it provably did not
//! arrive.
//!
//! Dropping a call cancels it.

mod client;
mod error;
mod examine;
mod probe;
mod request_body;
mod retry;
mod url;

pub(crate) use client::{
    AskOptions, ConnectionReuse, StartFinding, WebhookAnswer, WebhookClient, bounded, http_client, read_answer,
};
pub(crate) use error::{AttemptFailure, WebhookBuildError, WebhookError};
pub(crate) use examine::{WebhookTrial, examine};
pub use probe::{HealthQuestion, probe};
pub(crate) use url::{HttpClientConfig, WebhookUrl};

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
