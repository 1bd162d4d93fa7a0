//! One HTTP client for one client block: made once, its connections are kept alive and shared by everyone who asks.

use super::answer::Body;
use super::body;
use super::error::{Failure, WebhookBuildError, WebhookError};
use super::retry::{Failed, retry};
use crate::config::{Endpoint, HttpClient, Level};
use crate::telemetry::ConnectionLog;
use crate::telemetry::metrics::Question;
use crate::tls;
use crate::types::printable;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// The largest body that is taken.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// The longest wait for a connection, within the time of a try.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(20);
/// Longer than any login waits; keeps the sum with the present instant in range.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const JSON: &str = "application/json";
const IDENTITY: &str = "identity";
/// The header of a question's id (draft-ietf-httpapi-idempotency-key-header-07).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const USER_AGENT: &str = concat!("podgate/", env!("CARGO_PKG_VERSION"));

/// A webhook, ready to be asked one question at one URL.
pub struct WebhookClient {
    client: Client,
    question: Question,
    url: Url,
    place: String,
    timeout: Duration,
    /// Set for a URL that begins with `http:`, as one of a Unix socket does not.
    plain: bool,
}

/// One question: who asks, and how long all its tries may take.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// All tries and the pauses between them, at most a day.
    pub limit: Duration,
    /// The connection that it is for.
    pub log: &'a ConnectionLog,
}

/// An answer that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<T> {
    /// What `parse` made of it.
    pub answer: T,
    /// Whether it took more than one try.
    pub retried: bool,
}

/// The log's code of a question that is being asked (debug), and of tries that failed: the first (warning), others (debug) or
/// all of them (error).
fn codes(question: Question) -> (&'static str, &'static str) {
    match question {
        Question::Password | Question::PublicKey | Question::Authorization => ("AUTH", "AUTH_BACKEND_ERROR"),
        Question::Config => ("CONFIG_REQUEST", "CONFIG_BACKEND_ERROR"),
    }
}

/// True where asking changes something on the server. A directory counts wrong passwords and locks the account after a few;
/// nothing is counted for a key, which anybody may offer, or for what only authenticated users are asked about.
fn has_side_effect(question: Question) -> bool {
    match question {
        Question::Password => true,
        Question::PublicKey | Question::Authorization | Question::Config => false,
    }
}

/// The URL can hold credentials: only the place is shown.
impl fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebhookClient").field(&self.question).field(&self.place).finish()
    }
}

impl WebhookClient {
    /// Makes the client of a block for one question; `path` (for example `/password`, or nothing) is appended to the path
    /// of the block's URL.
    ///
    /// # Errors
    /// Certificates or keys that cannot be used.
    pub fn new(block: &HttpClient, path: &'static str, question: Question) -> Result<Self, WebhookBuildError> {
        // A server may close a kept connection at the very moment when a request is written to it, and nobody can say
        // whether that arrived. So what may not be repeated gets a connection of its own.
        let kept = if has_side_effect(question) { Kept::Never } else { Kept::While(IDLE) };
        let (url, place) = (block.endpoint.below(path), block.endpoint.shown(path));
        let plain = matches!(&block.endpoint, Endpoint::Url(url) if url.scheme() == "http");
        Ok(Self { client: http_client(block, kept)?, question, url, place, timeout: block.timeout, plain })
    }

    /// Where it is, for the log: without credentials and query.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether somebody is there, whatever they answer to an empty question: `HEAD`, one try. For the start, when
    /// nobody waits for a login yet.
    ///
    /// # Errors
    /// No connection, or none that can be trusted, or no answer in the time of a try. The text is for the log.
    pub async fn reach(&self) -> Result<(), String> {
        let limit = self.timeout.min(CONNECT_LIMIT);
        let answer = self.client.head(self.url.clone()).timeout(limit).send().await.map_err(Failure::from);
        answer.map(drop).map_err(|failure| format!("{failure}{}", self.hint(Some(&failure))))
    }

    /// Advice behind a failure in the log.
    fn hint(&self, failure: Option<&Failure>) -> &'static str {
        match failure {
            Some(failure) if self.plain && failure.may_want_tls() => "; is it https? the URL says http",
            _ => "",
        }
    }

    /// Asks, and reads the answer with `parse`, whose error text names fields and never quotes what they held.
    /// Logs and counts the question, each failed try, and the failure of all.
    ///
    /// # Errors
    /// Every failure that another try would not mend or that may not have another, the last one when `call.limit` is over,
    /// and an answer that `parse` does not understand.
    pub async fn ask<T>(
        &self,
        call: Call<'_>,
        question: &(impl Serialize + Sync),
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<Answered<T>, WebhookError> {
        let (Call { limit, log }, kind) = (call, self.question);
        let (asking, failing) = codes(kind);
        let id = QuestionId::random();
        let asked = AtomicU32::new(0);
        let failed = |tries: u32, failure: &Failure| {
            log.metrics().ask_failed(kind, tries > 1, false, failure.code(kind));
            // Users do not wait for the last one.
            let level = if tries == 1 { Level::Warning } else { Level::Debug };
            let (tries, reason) = (tries.to_string(), format!("{failure}{}", self.hint(Some(failure))));
            let details = [("url", self.place.as_str()), id.detail(), ("try", &tries), ("reason", &reason)];
            log.write(level, failing, "a try to ask the webhook failed", &details);
        };
        log.write(Level::Debug, asking, "asking the webhook", &[("url", &self.place), id.detail()]);
        let body = serde_json::to_vec(question).map(Bytes::from).map_err(WebhookError::Encode);
        let once = |body: &Bytes| {
            log.metrics().asked(kind, asked.fetch_add(1, Ordering::Relaxed) > 0);
            self.once(body.clone(), &id)
        };
        let answer = match body {
            Ok(body) => retry(Instant::now() + limit.min(LONGEST), failed, || once(&body)).await,
            Err(error) => Err(error),
        };
        let retried = asked.into_inner() > 1;
        let answer = answer.and_then(|body| understood(&body, parse));
        if let Err(error) = &answer {
            log.metrics().ask_failed(kind, retried, true, error.code(kind));
            let hint = self.hint(error.failure());
            tell_failure(log, kind, &[("url", self.place.as_str()), id.detail()], error, hint);
        }
        answer.map(|answer| Answered { answer, retried })
    }

    /// One try.
    async fn once(&self, body: Bytes, id: &QuestionId) -> Result<Body, Failed> {
        let (body, delivery) = body::once(body);
        self.send(reqwest::Body::wrap(body), id).await.map_err(|failure| {
            let arrived = !delivery.withdraw();
            Failed { failure, repeatable: !(arrived && has_side_effect(self.question)) }
        })
    }

    async fn send(&self, body: reqwest::Body, id: &QuestionId) -> Result<Body, Failure> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            // Without it any encoding may be chosen (RFC 9110 section 12.5.3).
            .header(ACCEPT_ENCODING, IDENTITY)
            .header(IDEMPOTENCY_KEY, id.header())
            .timeout(self.timeout)
            .body(body);
        let response = request.send().await?;
        match response.status() {
            StatusCode::OK => {
                if let Some(encoding) = encoding(response.headers()) {
                    return Err(Failure::Encoded(printable(&encoding, 64)));
                }
                let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let content_type = content_type.map(str::to_owned);
                Ok(Body { bytes: bounded(response).await?, content_type })
            }
            status if status.is_redirection() => Err(Failure::Redirect(status.as_u16())),
            status => Err(Failure::Status(status.as_u16())),
        }
    }
}

/// Parses an answer's body.
pub(super) fn understood<T>(body: &Body, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, WebhookError> {
    body.text().and_then(parse).map_err(WebhookError::Malformed)
}

/// Logs that a question has no answer. `hint` stands behind the reason.
pub(super) fn tell_failure(
    log: &ConnectionLog,
    question: Question,
    details: &[(&str, &str)],
    error: &WebhookError,
    hint: &str,
) {
    let (_, failing) = codes(question);
    let reason = format!("{error}{hint}");
    let details = [details, &[("reason", reason.as_str())]].concat();
    let text = match error {
        WebhookError::Malformed(_) => "the webhook gave no answer that is understood",
        _ => "the webhook gave no answer",
    };
    log.write(Level::Error, failing, text, &details);
}

/// A question's id: the same for all its tries, another for every question.
#[derive(Debug)]
struct QuestionId(String);

impl QuestionId {
    fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The header's value, a string of RFC 8941.
    fn header(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// A detail of the log's lines.
    fn detail(&self) -> (&'static str, &str) {
        ("idempotencyKey", &self.0)
    }
}

/// Time that a connection without a request is kept for the next one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    /// Every request has a connection of its own.
    Never,
    /// That long.
    While(Duration),
}

/// The HTTP client of a block.
pub(super) fn http_client(block: &HttpClient, kept: Kept) -> Result<Client, WebhookBuildError> {
    let (secure, socket) = match &block.endpoint {
        Endpoint::Url(url) => (url.scheme() == "https", None),
        Endpoint::Unix { socket, .. } => (false, Some(socket)),
    };
    let mut builder = Client::builder()
        .tls_backend_preconfigured(if secure { tls_config(block)? } else { trusting_nobody()? })
        .https_only(secure)
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_LIMIT.min(block.timeout));
    builder = match kept {
        Kept::Never => builder.pool_max_idle_per_host(0),
        Kept::While(time) => builder.pool_idle_timeout(time),
    };
    if let Some(socket) = socket {
        builder = builder.unix_socket(socket.clone());
    }
    builder.build().map_err(|error| WebhookBuildError::Client(error.without_url().to_string()))
}

/// The encodings of a body that is not sent as it is (RFC 9110 section 8.4).
fn encoding(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(CONTENT_ENCODING).iter().map(|field| String::from_utf8_lossy(field.as_bytes()));
    let all = fields.collect::<Vec<_>>().join(", ");
    let is_plain = |name: &str| name.is_empty() || name.eq_ignore_ascii_case(IDENTITY);
    (!all.split(',').map(str::trim).all(is_plain)).then_some(all)
}

/// The whole body, which is given up as soon as it is known to be too large.
async fn bounded(mut response: reqwest::Response) -> Result<Bytes, Failure> {
    let too_large = |bytes: usize| bytes > BODY_LIMIT;
    if response.content_length().is_some_and(|bytes| usize::try_from(bytes).map_or(true, too_large)) {
        return Err(Failure::TooLarge(BODY_LIMIT));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if too_large(body.len() + chunk.len()) {
            return Err(Failure::TooLarge(BODY_LIMIT));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn tls_config(block: &HttpClient) -> Result<ClientConfig, WebhookBuildError> {
    let identity = block.identity.as_ref().map(|(certificate, key)| (certificate.as_str(), key));
    Ok(tls::client_config(block.ca.as_deref(), identity, &block.tls)?)
}

/// For an endpoint without TLS: the machine may have no CAs, and none is needed.
fn trusting_nobody() -> Result<ClientConfig, WebhookBuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(WebhookBuildError::Provider)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}
