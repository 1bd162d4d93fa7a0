//! The router: reads a request whole, asks the decider, writes the answer. Every answer is JSON, errors too:
//! `{"error": "…"}`.

use super::{Decide, Decision, Denial, Grant, NoConfig};
use crate::wire::{
    AuthAnswer, AuthzRequest, ConfigDenial, ConfigReply, ConfigRequest, Connection, PasswordRequest, PublicKeyRequest,
};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The longest request that is read, in bytes. Room for what two answers (1 MiB each) said about the user, and more where
/// they left out what a question spells out.
const BODY_LIMIT: usize = 4 << 20; // 4 MiB

/// Time for a request's body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The webhooks: `POST /password`, `/pubkey`, `/authz` and `/config`.
///
/// 200 is an answer, yes or no; 400 a body that is not the request, 403 no configuration for this user, 405 another
/// method, 408 a body that did not arrive within 10 s, 413 one above 4 MiB, 503 a decision that cannot be made now.
pub fn router<D: Decide>(decider: D) -> Router {
    Router::new()
        .route("/password", post(password::<D>))
        .route("/pubkey", post(public_key::<D>))
        .route("/authz", post(authorize::<D>))
        .route("/config", post(config::<D>))
        .fallback(async || HttpRefusal::new(StatusCode::NOT_FOUND, "there is no such webhook"))
        .method_not_allowed_fallback(async || {
            HttpRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "webhooks take POST only")
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::new(decider))
}

async fn password<D: Decide>(
    State(decider): State<Arc<D>>,
    JsonRequest(request): JsonRequest<PasswordRequest>,
) -> Response {
    answer(decider.password(&request.connection, &request.password).await)
}

async fn public_key<D: Decide>(
    State(decider): State<Arc<D>>,
    JsonRequest(request): JsonRequest<PublicKeyRequest>,
) -> Response {
    answer(decider.public_key(&request.connection, &request.public_key).await)
}

async fn authorize<D: Decide>(
    State(decider): State<Arc<D>>,
    JsonRequest(request): JsonRequest<AuthzRequest>,
) -> Response {
    answer(decider.authorize(&request).await)
}

async fn config<D: Decide>(
    State(decider): State<Arc<D>>,
    JsonRequest(request): JsonRequest<ConfigRequest>,
) -> Response {
    match decider.config(&request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(NoConfig::Refused(Denial { message: Some(message), .. })) => {
            Json(ConfigReply::Denied(ConfigDenial::new(Some(message)))).into_response()
        }
        Err(NoConfig::Refused(Denial { reason, message: None })) => failure(StatusCode::FORBIDDEN, &reason),
        Err(NoConfig::Unavailable(reason)) => failure(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

fn answer(decision: Decision) -> Response {
    match decision {
        Decision::Deny(denial) => Json(AuthAnswer::no(denial.message)).into_response(),
        Decision::Allow(Grant { authenticated_username, known }) => {
            Json(AuthAnswer { success: Some(true), message: None, authenticated_username, known }).into_response()
        }
        Decision::Unavailable(reason) => failure(StatusCode::SERVICE_UNAVAILABLE, &reason),
    }
}

/// A request about a connection.
trait About {
    fn connection_mut(&mut self) -> &mut Connection;
}

macro_rules! about {
    ($($request:ident),*) => {$(
        impl About for $request {
            fn connection_mut(&mut self) -> &mut Connection {
                &mut self.connection
            }
        }
    )*};
}

about!(PasswordRequest, PublicKeyRequest, AuthzRequest, ConfigRequest);

/// A request that was read whole, whatever content type it claimed.
struct JsonRequest<T>(T);

impl<S: Send + Sync, T: DeserializeOwned + About> FromRequest<S> for JsonRequest<T> {
    type Rejection = HttpRefusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, HttpRefusal> {
        let key = idempotency_key(request.headers());
        let body = whole(request, state, BODY_TIMEOUT).await?;
        let mut request: T = serde_json::from_slice(&body).map_err(|error| {
            HttpRefusal::new(StatusCode::BAD_REQUEST, format!("the body is not the request: {error}"))
        })?;
        request.connection_mut().idempotency_key = key;
        Ok(Self(request))
    }
}

/// The question's id. Quotes around it are those of a string of RFC 8941.
fn idempotency_key(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("idempotency-key")?.to_str().ok()?.trim();
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    (!inner.is_empty()).then(|| inner.to_owned())
}

async fn whole<S: Send + Sync>(request: Request, state: &S, deadline: Duration) -> Result<Bytes, HttpRefusal> {
    timeout(deadline, Bytes::from_request(request, state))
        .await
        .map_err(|_| HttpRefusal::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))?
        .map_err(|rejection| HttpRefusal::new(rejection.status(), rejection.body_text()))
}

fn failure(status: StatusCode, reason: &str) -> Response {
    (status, Json(serde_json::json!({ "error": reason }))).into_response()
}

/// A request that was refused before anyone decided. Among the response's extensions, for a log.
#[derive(Debug, Clone)]
pub struct HttpRefusal {
    /// 400, 404, 405, 408 or 413.
    pub status: StatusCode,
    /// Reason for people; nothing of the request is in it but names.
    pub reason: String,
}

impl HttpRefusal {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl IntoResponse for HttpRefusal {
    fn into_response(self) -> Response {
        let mut response = failure(self.status, &self.reason);
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ConfigAnswer;
    use axum::body::{Body, HttpBody};
    use hyper::body::Frame;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A body that was announced and never comes.
    struct Never;

    impl HttpBody for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[test]
    fn id_of_a_question_is_its_header_without_quotes() {
        for (value, expected) in [
            (None, None),
            (Some(""), None),
            (Some("\"\""), None),
            (Some("\"8e03\""), Some("8e03")),
            (Some("8e03"), Some("8e03")),
            (Some("\""), Some("\"")),
        ] {
            let header =
                value.map(|value| ("idempotency-key".parse().expect("a name"), value.parse().expect("a value")));
            let key = idempotency_key(&HeaderMap::from_iter(header));
            assert_eq!(key.as_deref(), expected, "{value:?}");
        }
    }

    #[tokio::test]
    async fn denial_is_on_the_wire_with_its_message_and_never_with_its_reason() {
        struct Nobody(Option<&'static str>);
        impl Decide for Nobody {
            async fn authorize(&self, _: &AuthzRequest) -> Decision {
                self.0.map_or_else(|| Decision::deny("s3cret"), |message| Decision::deny_saying("s3cret", message))
            }

            async fn config(&self, _: &ConfigRequest) -> Result<ConfigAnswer, NoConfig> {
                Err(NoConfig::Refused(Denial { reason: "no pod".into(), message: self.0.map(str::to_owned) }))
            }
        }
        let denied = serde_json::json!({"success": false, "message": "expired"});
        for (path, message, status, expected) in [
            ("/authz", None, 200, serde_json::json!({"success": false})),
            ("/authz", Some("expired"), 200, denied.clone()),
            ("/config", None, 403, serde_json::json!({"error": "no pod"})),
            ("/config", Some("expired"), 200, denied.clone()),
        ] {
            let service = hyper_util::service::TowerToHyperService::new(router(Nobody(message)));
            let request = Request::post(path).body(Body::from(r#"{"username":"jo"}"#)).expect("a request");
            let response = hyper::service::Service::call(&service, request).await.expect("an answer");
            assert_eq!(response.status().as_u16(), status, "{path} {message:?}");
            let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).ok(), Some(expected), "{path} {message:?}");
        }
    }

    #[tokio::test]
    async fn body_that_does_not_arrive_is_408() {
        let refusal = whole(Request::new(Body::new(Never)), &(), Duration::from_millis(10)).await.err();
        assert_eq!(refusal.map(|refusal| refusal.status), Some(StatusCode::REQUEST_TIMEOUT));
    }
}
