//! The request of `podgate --healthcheck`: the gateway asks its own health endpoint for status 200.

use super::client::{ConnectionReuse, http_client};
use super::error::{AttemptFailure, WebhookBuildError};
use super::url::HttpClientConfig;
use reqwest::StatusCode;

/// Failure of a probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The client cannot be created.
    #[error("{0}")]
    Build(#[from] WebhookBuildError),
    /// No answer, or another status.
    #[error("{0}")]
    Failure(#[from] AttemptFailure),
}

/// Asks once, with GET at exactly the block's URL and within its `timeout`.
///
/// # Errors
/// Anything but 200.
pub async fn probe(block: &HttpClientConfig) -> Result<(), ProbeError> {
    let client = http_client(block, ConnectionReuse::Never)?;
    let answer = client.get(block.url.below("")).timeout(block.timeout).send().await.map_err(AttemptFailure::from)?;
    match answer.status() {
        StatusCode::OK => Ok(()),
        status => Err(AttemptFailure::Status(status.as_u16()).into()),
    }
}
