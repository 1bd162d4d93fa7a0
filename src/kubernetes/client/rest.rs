//! The [`kube::Client`] of a cluster, over our own connections: who we are is read for each request, every call has a
//! deadline that holds its tries and its body, and a busy or restarting API server is tried again within it.

use super::connector::{ConnectError, Connector};
use bytes::Bytes;
use http::header::{AUTHORIZATION, RETRY_AFTER, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Builder, Client as Pool, Error as PoolError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use std::error::Error;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// `User-Agent` of everything we send to a cluster.
pub(in crate::kubernetes) const AGENT: &str = concat!("podgate/", env!("CARGO_PKG_VERSION"));

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Seconds of a Retry-After; a deadline ends the wait long before.
const LONGEST_ASKED: u64 = 3600;
const POOL_IDLE: Duration = Duration::from_secs(60);

/// Marks a request, as an extension, that is tried once: whoever makes it tries again by itself, and tells people.
#[derive(Debug, Clone, Copy)]
pub(in crate::kubernetes) struct Once;

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
enum RestError {
    #[error("the Kubernetes API did not answer within {} s", .0.as_secs_f64())]
    Deadline(Duration),
    #[error("the Kubernetes API has no valid address: {0}")]
    Address(#[from] http::Error),
    #[error("{}", innermost(.0))]
    Call(#[source] PoolError),
    #[error("the Kubernetes API's answer broke off: {0}")]
    Body(#[source] hyper::Error),
}

/// hyper's own texts name its layers; the cause is what a person can act on.
fn innermost(error: &PoolError) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        if let Some(connect) = next.downcast_ref::<ConnectError>() {
            return connect.to_string();
        }
        cause = next;
    }
    format!("the call to the Kubernetes API failed: {cause}")
}

type Answer = Response<Either<Full<Bytes>, Incoming>>;

#[derive(Clone)]
struct Rest {
    pool: Pool<Connector, Body>,
    connector: Connector,
    timeout: Duration,
}

/// Makes the client; spawns its queue on the current runtime.
pub(super) fn client(connector: Connector, timeout: Duration) -> kube::Client {
    let pool = Builder::new(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        .build(connector.clone());
    let rest = Rest { pool, connector, timeout };
    let service = tower::service_fn(move |request: Request<Body>| {
        let rest = rest.clone();
        async move { rest.call(request).await }
    });
    kube::Client::new(service, "default")
}

impl Rest {
    async fn call(self, request: Request<Body>) -> Result<Answer, RestError> {
        let deadline = Instant::now() + self.timeout;
        let (mut parts, body) = request.into_parts();
        parts.uri = self.absolute(parts.uri)?;
        parts.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        let streamed = streams(&parts.uri);
        let once = parts.extensions.get::<Once>().is_some();
        let mut first = Some(body);
        let mut pause = FIRST_PAUSE;
        loop {
            let spare = first.as_ref().filter(|_| !once).and_then(Body::try_clone);
            let Some(body) = std::mem::replace(&mut first, spare) else {
                return Err(RestError::Deadline(self.timeout));
            };
            let mut request = Request::from_parts(parts.clone(), body);
            if let Some(authorization) = self.connector.credentials().current().authorization {
                request.headers_mut().insert(AUTHORIZATION, authorization);
            }
            let answer = match timeout_at(deadline, self.pool.request(request)).await {
                Ok(answer) => answer,
                Err(_elapsed) => return Err(RestError::Deadline(self.timeout)),
            };
            let again = first.is_some() && repeats(&parts.method, &answer);
            let wait = again.then(|| wait(&answer, pause)).filter(|wait| Instant::now() + *wait < deadline);
            let Some(wait) = wait else { return self.finish(answer, streamed, deadline).await };
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn absolute(&self, uri: Uri) -> Result<Uri, RestError> {
        let mut parts = uri.into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(Authority::try_from(self.connector.host()).map_err(http::Error::from)?);
        Ok(Uri::from_parts(parts).map_err(http::Error::from)?)
    }

    async fn finish(
        &self,
        answer: Result<Response<Incoming>, PoolError>,
        streamed: bool,
        deadline: Instant,
    ) -> Result<Answer, RestError> {
        let (parts, body) = answer.map_err(RestError::Call)?.into_parts();
        if streamed && parts.status.is_success() {
            return Ok(Response::from_parts(parts, Either::Right(body)));
        }
        let body = timeout_at(deadline, body.collect()).await.map_err(|_elapsed| RestError::Deadline(self.timeout))?;
        let body = body.map_err(RestError::Body)?.to_bytes();
        Ok(Response::from_parts(parts, Either::Left(Full::new(body))))
    }
}

/// Whether the answer has no end of its own: a watch, or a log that is followed.
fn streams(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| {
        query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "follow=true" | "follow=1"))
    })
}

/// Whether the call may be made again. What a server may have done already is not done twice: a POST is repeated only
/// when the server said that it did nothing, or was never reached.
fn repeats<T>(method: &Method, answer: &Result<Response<T>, PoolError>) -> bool {
    match answer {
        Ok(response) => match response.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => true,
            StatusCode::GATEWAY_TIMEOUT => method != Method::POST,
            _final => false,
        },
        Err(error) if error.is_connect() => {
            let mut cause: Option<&dyn Error> = error.source();
            while let Some(error) = cause {
                if let Some(connect) = error.downcast_ref::<ConnectError>() {
                    return connect.may_heal();
                }
                cause = error.source();
            }
            true
        }
        Err(_broken) => method != Method::POST,
    }
}

/// The server's Retry-After (seconds) where it says one, else `pause` with jitter.
fn wait<T>(answer: &Result<Response<T>, PoolError>, pause: Duration) -> Duration {
    let asked = |headers: &HeaderMap| {
        let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        Some(Duration::from_secs(seconds.min(LONGEST_ASKED)))
    };
    let jittered = pause.mul_f64(rand::random_range(0.5..1.0));
    answer.as_ref().ok().and_then(|response| asked(response.headers())).unwrap_or(jittered).max(jittered)
}
