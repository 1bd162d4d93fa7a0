//! One question without an answer to read: does that server say 200? The gateway asks it of itself.

use super::client::{Kept, http_client};
use super::error::{Failure, WebhookBuildError};
use crate::config::HttpClient;
use reqwest::StatusCode;

/// Why a server did not say 200.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The client cannot be made.
    #[error("{0}")]
    Build(#[from] WebhookBuildError),
    /// There was no answer, or another one.
    #[error("{0}")]
    Failure(#[from] Failure),
}

/// Asks once, with GET at exactly the block's URL and within its `timeout`.
///
/// # Errors
/// Anything but 200.
pub async fn probe(block: &HttpClient) -> Result<(), ProbeError> {
    let client = http_client(block, Kept::Never)?;
    let answer = client.get(block.endpoint.below("")).timeout(block.timeout).send().await.map_err(Failure::from)?;
    match answer.status() {
        StatusCode::OK => Ok(()),
        status => Err(Failure::Status(status.as_u16()).into()),
    }
}
