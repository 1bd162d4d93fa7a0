//! The router: reads a request whole, asks the decider, writes the answer. Every answer is JSON, errors too:
//! `{"error": "…"}`.

use super::{Decide, Decision, NoConfig};
use crate::wire::{AuthAnswer, AuthzRequest, ConfigRequest, PasswordRequest, PublicKeyRequest};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The longest request that is read, in bytes. Room for files that an authenticator handed on.
const BODY_LIMIT: usize = 1 << 20; // 1 MiB

/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The webhooks: `POST /password`, `/pubkey`, `/authz` and `/config`.
///
/// 200 is an answer, yes or no; 400 a body that is not the request, 403 no configuration for this user, 405 another
/// method, 408 a body that did not arrive within 10 s, 413 one above 1 MiB, 503 a decision that cannot be made now.
pub fn router<D: Decide>(decider: D) -> Router {
    Router::new()
        .route("/password", post(password::<D>))
        .route("/pubkey", post(public_key::<D>))
        .route("/authz", post(authorize::<D>))
        .route("/config", post(config::<D>))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "there is no such webhook"))
        .method_not_allowed_fallback(async || Failure::new(StatusCode::METHOD_NOT_ALLOWED, "webhooks take POST only"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Arc::new(decider))
}

async fn password<D: Decide>(State(decider): State<Arc<D>>, Asked(request): Asked<PasswordRequest>) -> Response {
    answer(decider.password(&request.connection, &request.password).await)
}

async fn public_key<D: Decide>(State(decider): State<Arc<D>>, Asked(request): Asked<PublicKeyRequest>) -> Response {
    answer(decider.public_key(&request.connection, &request.public_key).await)
}

async fn authorize<D: Decide>(State(decider): State<Arc<D>>, Asked(request): Asked<AuthzRequest>) -> Response {
    answer(decider.authorize(&request).await)
}

async fn config<D: Decide>(State(decider): State<Arc<D>>, Asked(request): Asked<ConfigRequest>) -> Response {
    match decider.config(&request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(NoConfig::Refused(reason)) => Failure::new(StatusCode::FORBIDDEN, reason).into_response(),
        Err(NoConfig::Unavailable(reason)) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

fn answer(decision: Decision) -> Response {
    match decision {
        Decision::Deny => Json(AuthAnswer::default()).into_response(),
        Decision::Allow(grant) => {
            Json(AuthAnswer { success: true, authenticated_username: grant.authenticated_username, known: grant.known })
                .into_response()
        }
        Decision::Unavailable(reason) => Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

/// A request that was read whole, whatever content type it claimed.
struct Asked<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let body = whole(request, state, BODY_TIMEOUT).await?;
        serde_json::from_slice(&body)
            .map(Self)
            .map_err(|error| Failure::new(StatusCode::BAD_REQUEST, format!("the body is not the request: {error}")))
    }
}

async fn whole<S: Send + Sync>(request: Request, state: &S, deadline: Duration) -> Result<Bytes, Failure> {
    timeout(deadline, Bytes::from_request(request, state))
        .await
        .map_err(|_| Failure::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"))?
        .map_err(|rejection| Failure::new(rejection.status(), rejection.body_text()))
}

/// An answer that is not one.
struct Failure {
    status: StatusCode,
    reason: String,
}

impl Failure {
    fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, reason: reason.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.reason }))).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    #[tokio::test]
    async fn body_that_does_not_arrive_is_408() {
        let failure = whole(Request::new(Body::new(Never)), &(), Duration::from_millis(10)).await.err();
        assert_eq!(failure.map(|failure| failure.status), Some(StatusCode::REQUEST_TIMEOUT));
    }
}
