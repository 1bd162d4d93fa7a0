//! The request of `podgate --healthcheck`: the gateway asks its own health endpoint for status 200.

use super::client::{ConnectionReuse, bounded, http_client};
use super::error::{AttemptFailure, WebhookBuildError};
use super::url::HttpClientConfig;
use crate::types::printable;
use reqwest::StatusCode;
use reqwest::header::ACCEPT;

/// Limit of the reasons in an answer, in characters.
const REASONS: usize = 4000;

/// A question to the health endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthQuestion {
    /// ContainerSSH's, at exactly the configured URL: does the gateway accept connections?
    Serving,
    /// `/healthz` below it: does the process live?
    Live,
    /// `/readyz` below it: shall new connections go there?
    Ready,
}

/// Failure of a probe.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The client cannot be created.
    #[error("{0}")]
    Build(#[from] WebhookBuildError),
    /// No answer, or another status.
    #[error("{0}")]
    Failure(#[from] AttemptFailure),
    /// A no with its reasons.
    #[error("{0}")]
    No(String),
}

/// Asks once, with GET and within the block's `timeout`.
///
/// # Errors
/// Anything but 200.
pub async fn probe(block: &HttpClientConfig, question: HealthQuestion) -> Result<(), ProbeError> {
    let client = http_client(block, ConnectionReuse::Never)?;
    let path = match question {
        HealthQuestion::Serving => "",
        HealthQuestion::Live => "/healthz",
        HealthQuestion::Ready => "/readyz",
    };
    let mut url = block.url.below(path);
    if question != HealthQuestion::Serving {
        url.query_pairs_mut().append_pair("verbose", "true");
    }
    let request = client.get(url).header(ACCEPT, "text/plain").timeout(block.timeout);
    let answer = request.send().await.map_err(AttemptFailure::from)?;
    let status = answer.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    if status == StatusCode::SERVICE_UNAVAILABLE && question != HealthQuestion::Serving {
        let body = bounded(answer).await?;
        let reasons = failed_checks(&String::from_utf8_lossy(&body));
        if !reasons.is_empty() {
            return Err(ProbeError::No(reasons));
        }
    }
    Err(AttemptFailure::Status(status.as_u16()).into())
}

/// The failed checks of a verbose answer in one line.
fn failed_checks(answer: &str) -> String {
    let failed = answer.lines().filter_map(|line| line.strip_prefix("[-]"));
    printable(&failed.collect::<Vec<_>>().join("; "), REASONS)
}
