//! The REST calls about one connection's pod. Each has its own deadline and is counted against the connection's
//! `qps` and `burst`; none of them tries twice.
//!
//! Namespace and pod name were parsed, so that they can stand in a path as they are.

use super::client::ConnectError;
use super::retry::Throttle;
use crate::guest::LOG_TEXT_MAX;
use crate::types::{ContainerName, Namespace, PodName, causes, printable, time_text};
use bytes::Bytes;
use futures_util::{AsyncBufRead, AsyncBufReadExt};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A container's log as it comes.
pub(crate) struct LogStream(Pin<Box<dyn AsyncBufRead + Send>>);

impl LogStream {
    /// The next piece; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let piece = Bytes::copy_from_slice(self.0.fill_buf().await?);
        self.0.consume_unpin(piece.len());
        Ok((!piece.is_empty()).then_some(piece))
    }
}

/// The pods of one namespace, asked for in one connection's name.
#[derive(Debug)]
pub(crate) struct PodApi {
    namespace: Namespace,
    call: Duration,
    throttle: Arc<Throttle>,
    client: Hidden,
    dry_run: bool,
}

/// kube's client, which has no `Debug`.
struct Hidden(kube::Client);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

/// The error of a call without a usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ApiError {
    /// The API answered with a failure.
    #[error("the Kubernetes API answered {code} {reason}: {message}")]
    Refused {
        /// The HTTP status of the answer.
        code: u16,
        /// The reason for programs, for example `AlreadyExists`.
        reason: String,
        /// The text for people.
        message: String,
        /// The time after which the API takes the next call.
        retry_after: Option<Duration>,
    },
    /// Nobody knows whether the API did what it was asked.
    #[error("the Kubernetes API cannot be reached: {0}")]
    Unreachable(String),
    /// TLS failed, a certificate that is not trusted included: nothing was sent.
    #[error("the Kubernetes API cannot be reached securely: {0}")]
    Untrusted(String),
    /// The request could not be made at all.
    #[error("the request to the Kubernetes API cannot be made: {0}")]
    Unsendable(String),
}

impl ApiError {
    /// True if the same call may work later: HTTP's 429 and 5xx, a quota that two changed at once, and everything
    /// about the way there.
    pub(crate) fn may_heal(&self) -> bool {
        match self {
            Self::Refused { code, reason, .. } => {
                matches!(code, 408 | 429 | 500..=599) || (*code == 409 && reason == "Conflict")
            }
            Self::Unreachable(_) => true,
            Self::Untrusted(_) | Self::Unsendable(_) => false,
        }
    }

    /// True if the API surely did nothing.
    pub(crate) fn did_nothing(&self) -> bool {
        match self {
            Self::Refused { code, .. } => (400..500).contains(code),
            Self::Unreachable(_) => false,
            Self::Untrusted(_) | Self::Unsendable(_) => true,
        }
    }

    /// True if the dry run itself is refused, by a webhook of the cluster that takes none, and not what was tried.
    pub(crate) fn is_of_dry_run(&self) -> bool {
        matches!(self, Self::Refused { code: 400, message, .. } if message.contains("does not support dry run"))
    }

    /// The HTTP status, if there was an answer.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Unreachable(_) | Self::Untrusted(_) | Self::Unsendable(_) => None,
        }
    }

    /// The time after which the API takes the next call.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable(_) | Self::Untrusted(_) | Self::Unsendable(_) => None,
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let asked =
                    status.details.as_ref().map(|details| details.retry_after_seconds).filter(|&asked| asked > 0);
                Self::Refused {
                    code: status.code,
                    reason: printable(&status.reason, 80),
                    message: printable(&status.message, LOG_TEXT_MAX),
                    retry_after: asked.map(|seconds| Duration::from_secs(u64::from(seconds))),
                }
            }
            other => {
                let failed = ConnectError::of(&other);
                let trusted = failed.is_none_or(ConnectError::may_heal);
                // kube's own name for the layer below it says nothing, and that says all by itself.
                let text = match (&other, failed) {
                    (_, Some(failed)) => failed.to_string(),
                    (kube::Error::Service(cause), None) => printable(&cause.to_string(), 400),
                    (other, None) => causes(other),
                };
                if trusted { Self::Unreachable(text) } else { Self::Untrusted(text) }
            }
        }
    }
}

impl PodApi {
    /// The pods of `namespace`; `call` is how long one call may take.
    pub(crate) fn new(client: kube::Client, namespace: Namespace, call: Duration, throttle: Arc<Throttle>) -> Self {
        Self { namespace, call, throttle, client: Hidden(client), dry_run: false }
    }

    /// The same, and the API only tries what would change something (`dryRun=All`).
    pub(crate) fn rehearsing(self) -> Self {
        Self { dry_run: true, ..self }
    }

    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Creates a pod; a field that the API does not know is an error (`fieldValidation=Strict`).
    pub(crate) async fn create(&self, manifest: &Value) -> Result<Pod, ApiError> {
        let path = format!("/api/v1/namespaces/{}/pods?fieldValidation=Strict", self.namespace);
        self.call(http::Method::POST, &path, Some(manifest)).await
    }

    /// The pod of that name; `None` when there is none.
    pub(crate) async fn get(&self, name: &PodName) -> Result<Option<Pod>, ApiError> {
        found(self.call(http::Method::GET, &self.path(name), None).await)
    }

    /// Removes the pod of that name if it is the one with that uid. `false`: there is none (any more).
    pub(crate) async fn delete(&self, name: &PodName, uid: &str) -> Result<bool, ApiError> {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
        match found(self.call::<Value>(http::Method::DELETE, &self.path(name), Some(&options)).await) {
            Err(error) if error.code() == Some(409) => Ok(false),
            answer => answer.map(|pod| pod.is_some()),
        }
    }

    /// Changes the pod of that name (a JSON merge patch), if it is still the one with the uid and resourceVersion that the
    /// patch names.
    pub(crate) async fn patch(&self, name: &PodName, patch: &Value) -> Result<Pod, ApiError> {
        self.call(http::Method::PATCH, &self.path(name), Some(patch)).await
    }

    /// Follows a container's log, which ends with the container. The deadline is for the answer's head.
    pub(crate) async fn log(&self, name: &PodName, container: &ContainerName) -> Result<LogStream, ApiError> {
        let path = format!("{}/log?container={container}&follow=true", self.path(name));
        let request = http::Request::get(path).body(Vec::new());
        let request = request.map_err(|error| ApiError::Unsendable(causes(&error)))?;
        self.throttle.take().await;
        match timeout(self.call, self.client.0.request_stream(request)).await {
            Ok(answer) => Ok(LogStream(Box::pin(answer?))),
            Err(_) => Err(self.no_answer()),
        }
    }

    /// The events about that pod.
    pub(crate) async fn events(&self, name: &PodName, uid: &str) -> Result<Vec<Event>, ApiError> {
        let about = format!("involvedObject.name={name},involvedObject.uid={uid}");
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("fieldSelector", &about)
            .append_pair("limit", "100")
            .finish();
        let path = format!("/api/v1/namespaces/{}/events?{query}", self.namespace);
        self.call::<List<Event>>(http::Method::GET, &path, None).await.map(|list| list.items)
    }

    fn path(&self, name: &PodName) -> String {
        format!("/api/v1/namespaces/{}/pods/{name}", self.namespace)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: http::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ApiError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| ApiError::Unsendable(causes(&error)))?;
        // What is to go does not wait its turn: it may be the last that this process does.
        let waits = method != http::Method::DELETE;
        let kind = if method == http::Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let tried = self.dry_run && method != http::Method::GET;
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = if tried { format!("{path}{joint}dryRun=All") } else { path.to_owned() };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, kind)
            .body(body.unwrap_or_default())
            .map_err(|error| ApiError::Unsendable(causes(&error)))?;
        if waits {
            self.throttle.take().await;
        }
        match timeout(self.call, self.client.0.request::<T>(request)).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(_) => Err(self.no_answer()),
        }
    }

    fn no_answer(&self) -> ApiError {
        ApiError::Unreachable(format!("no answer within {}", time_text(self.call)))
    }
}

fn found<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, reason: &str) -> ApiError {
        ApiError::Refused { code, reason: reason.into(), message: String::new(), retry_after: None }
    }

    #[test]
    fn only_what_may_heal_is_tried_again() {
        for (code, reason, heals, did_nothing) in [
            (400, "BadRequest", false, true),
            (401, "Unauthorized", false, true),
            (403, "Forbidden", false, true),
            (404, "NotFound", false, true),
            (409, "AlreadyExists", false, true),
            (409, "Conflict", true, true),
            (422, "Invalid", false, true),
            (429, "TooManyRequests", true, true),
            (500, "InternalError", true, false),
            (504, "Timeout", true, false),
        ] {
            let error = refused(code, reason);
            assert_eq!((error.may_heal(), error.did_nothing()), (heals, did_nothing), "{code}");
        }
        let lost = ApiError::Unreachable("cut".into());
        assert!(lost.may_heal() && !lost.did_nothing());
    }
}
