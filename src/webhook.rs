//! Asking the operator's webhooks over HTTP. Only 200 is success; redirects are never followed, certificates always
//! verified, bodies bounded, proxies of the environment ignored. Whoever asks decides what the answer means.
//!
//! A question with a side effect (a password counts as a failed login where it is wrong) is repeated only where it
//! provably did not arrive.
//!
//! Dropping a call cancels it.

mod answer;
mod body;
mod client;
mod config;
mod error;
mod probe;
mod retry;

pub use client::{Call, WebhookClient};
pub use config::{ConfigClient, ConfigError};
pub use error::{Failure, WebhookBuildError, WebhookError};
pub use probe::{ProbeError, probe};

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
