//! The [`kube::Client`] of a cluster, over our own connections: who we are is read for each request, and every call has a
//! deadline that holds its body. A call is one try: whether and when to ask again is its caller's to decide, who can tell
//! a waiting user.

use super::answer_body::{StreamedBody, whole};
use super::connector::{ConnectError, Connector};
use crate::telemetry::metrics::Metrics;
use crate::types::root_cause;
use bytes::Bytes;
use http::header::{AUTHORIZATION, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Builder, Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use serde_json::{Value, json};
use std::error::Error;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// `User-Agent` of everything we send to a cluster.
pub(crate) const AGENT: &str = concat!("podgate/", env!("CARGO_PKG_VERSION"));

/// Lifetime of an unused connection: shorter than any path leaves it standing, so that no call is sent on one that
/// is cut at that moment.
const POOL_IDLE: Duration = Duration::from_secs(8);

/// The error of a call without an answer.
#[derive(Debug, thiserror::Error)]
enum RestError {
    #[error("the Kubernetes API did not answer within {} s", .0.as_secs_f64())]
    Deadline(Duration),
    #[error("the Kubernetes API has no valid address: {0}")]
    Address(#[from] http::Error),
    #[error("{}", failed(.0))]
    Call(#[source] PoolError),
    #[error("the Kubernetes API's answer broke off: {}", root_cause(&**.0))]
    Body(#[source] Box<dyn Error + Send + Sync>),
}

/// hyper's own texts name its layers; the cause is what a person can act on.
fn failed(error: &PoolError) -> String {
    match ConnectError::of(error) {
        Some(connect) => connect.to_string(),
        None => format!("the call to the Kubernetes API failed: {}", root_cause(error)),
    }
}

type Answer = Response<Either<Full<Bytes>, StreamedBody>>;

#[derive(Clone)]
struct Rest {
    pool: Pool<Connector, Body>,
    connector: Connector,
    timeout: Duration,
    metrics: Metrics,
}

/// Makes the client; spawns its queue on the current runtime.
pub(super) fn client(connector: Connector, timeout: Duration, metrics: Metrics) -> kube::Client {
    let pool = Builder::new(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector.clone());
    let rest = Rest { pool, connector, timeout, metrics };
    let service = tower::service_fn(move |request: Request<Body>| {
        let rest = rest.clone();
        async move {
            let metrics = rest.metrics.clone();
            let answer = rest.call(request).await;
            count(&metrics, &answer);
            answer
        }
    });
    kube::Client::new(service, "default")
}

/// The error for credentials that the API does not know, with the likely cause and the remedy.
pub(super) fn expired(said: &str, connector: &Connector) -> String {
    let renewal = connector.credentials().renewal().to_owned();
    format!("{said} (the gateway's credentials may have expired: {renewal})")
}

/// The result of a call for the metrics. "Not found" and "too old to watch" are answers like others.
fn count(metrics: &Metrics, answer: &Result<Answer, RestError>) {
    metrics.count_backend_request();
    match answer {
        Ok(answer) if matches!(answer.status().as_u16(), ..400 | 404 | 410) => {}
        Ok(answer) => metrics.count_backend_error(answer.status().as_u16()),
        Err(error) => metrics.count_backend_error(error.cause()),
    }
}

impl RestError {
    /// Its name on the metrics page.
    fn cause(&self) -> &'static str {
        match self {
            Self::Deadline(_) => "timeout",
            Self::Address(_) => "request",
            Self::Call(error) if ConnectError::of(error).is_some_and(|error| !error.may_heal()) => "untrusted",
            Self::Call(_) => "unreachable",
            Self::Body(_) => "broken",
        }
    }
}

impl Rest {
    async fn call(self, request: Request<Body>) -> Result<Answer, RestError> {
        let deadline = Instant::now() + self.timeout;
        let (mut parts, body) = request.into_parts();
        parts.uri = self.absolute(parts.uri)?;
        parts.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if let Some(authorization) = self.connector.credentials().current().authorization {
            parts.headers.insert(AUTHORIZATION, authorization);
        }
        let streamed = Streamed::of(&parts.uri);
        let answer = timeout_at(deadline, self.pool.request(Request::from_parts(parts, body))).await;
        self.finish(answer.map_err(|_elapsed| RestError::Deadline(self.timeout))?, streamed, deadline).await
    }

    fn absolute(&self, uri: Uri) -> Result<Uri, RestError> {
        let mut parts = uri.into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(Authority::try_from(self.connector.host()).map_err(http::Error::from)?);
        Ok(Uri::from_parts(parts).map_err(http::Error::from)?)
    }

    /// The status of an answer 401, which says nothing else, with its likely cause and the remedy.
    fn explained(&self, body: &[u8]) -> Bytes {
        let mut status: Value = serde_json::from_slice(body).unwrap_or_default();
        if !status.is_object() {
            status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 401});
        }
        let said = status["message"].as_str().unwrap_or("Unauthorized").to_owned();
        status["message"] = expired(&said, &self.connector).into();
        status.to_string().into()
    }

    async fn finish(
        &self,
        answer: Result<Response<Incoming>, PoolError>,
        streamed: Option<Streamed>,
        deadline: Instant,
    ) -> Result<Answer, RestError> {
        let (parts, body) = answer.map_err(RestError::Call)?.into_parts();
        let body = match streamed.filter(|_| parts.status.is_success()) {
            Some(Streamed::Watch) => Either::Right(StreamedBody::lines(body)),
            Some(Streamed::Log) => Either::Right(StreamedBody::pieces(body)),
            None => {
                let body = timeout_at(deadline, whole(body)).await;
                let body = body.map_err(|_elapsed| RestError::Deadline(self.timeout))?.map_err(RestError::Body)?;
                let unknown = parts.status == StatusCode::UNAUTHORIZED;
                Either::Left(Full::new(if unknown { self.explained(&body) } else { body }))
            }
        };
        Ok(Response::from_parts(parts, body))
    }
}

/// An answer without an end of its own.
#[derive(Debug, Clone, Copy)]
enum Streamed {
    Watch,
    /// A log that is followed.
    Log,
}

impl Streamed {
    /// The answer that a request asks for.
    fn of(uri: &Uri) -> Option<Self> {
        uri.query()?.split('&').find_map(|pair| match pair {
            "watch=true" | "watch=1" => Some(Self::Watch),
            "follow=true" | "follow=1" => Some(Self::Log),
            _ => None,
        })
    }
}
