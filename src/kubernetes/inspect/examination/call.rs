//! One call of an examination: its answer with the headers, and whether the API server itself gave it.
//!
//! Invariant: a text of an answer is one printable line. The client bounds an answer's length.

use crate::kubernetes::api::pods::ApiError;
use crate::types::{clock_offset, printable};
use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::client::Body;
use serde_json::Value;
use std::fmt::Display;

/// Limit of an answer that is not the API server's, in characters.
const PAGE: usize = 200;
/// Limit of the API server's own text, in characters.
const MESSAGE: usize = 2000;

/// The failure of a call.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The API server refused it, or there was no answer.
    #[error(transparent)]
    Api(ApiError),
    /// The answer is no `Status` of Kubernetes: another server gave it.
    #[error("status {code}: {page}")]
    Foreign { code: u16, page: String },
}

impl CallError {
    /// The status and the beginning of an answer that is not the API server's.
    pub(super) fn page(code: u16, page: &str) -> String {
        if page.is_empty() { format!("status {code}") } else { format!("status {code}: {page}") }
    }

    /// The same as any other call of the API tells it.
    pub(super) fn into_api(self) -> ApiError {
        match self {
            Self::Api(error) => error,
            Self::Foreign { code, page } => {
                ApiError::Refused { code, reason: String::new(), message: page, retry_after: None }
            }
        }
    }
}

/// The answer to a call.
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    /// Null if it is no JSON.
    pub(super) body: Value,
}

/// Makes a call. `ahead` becomes the seconds by which the server's clock is ahead, if it tells the time.
pub(super) async fn call(
    client: &kube::Client,
    (method, path, body): (Method, &str, Option<&Value>),
    ahead: &mut Option<i64>,
) -> Result<Answer, CallError> {
    let unsendable = |error: &dyn Display| CallError::Api(ApiError::Unsendable(error.to_string()));
    let body = body.map(serde_json::to_vec).transpose().map_err(|error| unsendable(&error))?.unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body)).map_err(|error| unsendable(&error))?;
    let answer = client.send(request).await.map_err(|error| CallError::Api(error.into()))?;
    let (head, body) = answer.into_parts();
    if let Some(date) = head.headers.get(DATE).and_then(|date| date.to_str().ok()) {
        *ahead = clock_offset(date, Timestamp::now());
    }
    let broken = |error: &dyn Display| CallError::Api(ApiError::Unreachable(printable(&error.to_string(), PAGE)));
    let bytes = body.collect().await.map_err(|error| broken(&error))?.to_bytes();
    let body: Option<Value> = serde_json::from_slice(&bytes).ok();
    if head.status.is_success() {
        return Ok(Answer { headers: head.headers, body: body.unwrap_or_default() });
    }
    let code = head.status.as_u16();
    match body.filter(|body| body.get("kind").and_then(Value::as_str) == Some("Status")) {
        // The client makes a `Status` of any page with 401, without a reason.
        Some(status) if code == 401 && status.get("reason").is_none() => {
            Err(CallError::Foreign { code, page: String::new() })
        }
        None if code == 401 => Err(CallError::Foreign { code, page: String::new() }),
        Some(status) => {
            let text = |key: &str| printable(status.get(key).and_then(Value::as_str).unwrap_or_default(), MESSAGE);
            let (reason, message) = (text("reason"), text("message"));
            Err(CallError::Api(ApiError::Refused { code, reason, message, retry_after: None }))
        }
        None => Err(CallError::Foreign { code, page: printable(&String::from_utf8_lossy(&bytes), PAGE) }),
    }
}
