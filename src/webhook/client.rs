//! HTTP client of one webhook. It is created once; its callers share its connections, which are kept alive.

use super::error::{AttemptFailure, WebhookBuildError, WebhookError};
use super::request_body;
use super::retry::{FailedAttempt, retry};
use super::url::{HttpClientConfig, WebhookUrl};
use crate::telemetry::metrics::Question;
use crate::telemetry::{Code, ConnectionLog, Level, StepTimer, codes};
use crate::tls;
use crate::types::{clock_offset, printable, quoted};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use podgate_webhooks::text;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap};
use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use secrecy::zeroize::Zeroizing;
use serde::Serialize;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// Largest body of an answer.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// The statuses by which a load balancer says that it has no answer of a server behind it.
const OF_PROXIES: [StatusCode; 3] =
    [StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT];
/// Longest wait for a connection, within the limit of a try.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Time beyond a connection's limit for which a check waits for an answer.
const SLOW: Duration = Duration::from_secs(1);
/// Time that an unused connection is kept.
const IDLE: Duration = Duration::from_secs(20);
/// Longest limit of all tries: longer than any login, and its sum with the present instant is in range.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
const JSON: &str = "application/json";
const IDENTITY: &str = "identity";
/// The header of a question's id (draft-ietf-httpapi-idempotency-key-header-07).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header of a trace (W3C Trace Context).
const TRACEPARENT: &str = "traceparent";
const USER_AGENT: &str = concat!("podgate/", env!("CARGO_PKG_VERSION"));

/// Client for one question at one URL; clones share its connections.
#[derive(Clone)]
pub(crate) struct WebhookClient {
    client: Client,
    question: Question,
    url: Url,
    place: String,
    timeout: Duration,
    /// True for a URL that begins with `http:`, but not for a Unix socket.
    plain: bool,
}

/// Limit and log of one question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AskOptions<'a> {
    /// Limit of all tries with the pauses between them, at most a day.
    pub limit: Duration,
    /// Log of the connection that the question is about.
    pub log: &'a ConnectionLog,
    /// Measures it, and has the trace that the server can go on with.
    pub step: &'a StepTimer,
}

/// A valid answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WebhookAnswer<T> {
    /// Result of `parse`.
    pub answer: T,
    /// True after more than one try.
    pub retried: bool,
}

/// Log codes: of a question (debug); of failed tries, the first (warning), a later one (debug), or all of them (error).
fn log_codes(question: Question) -> (Code, Code) {
    match question {
        Question::Password | Question::PublicKey | Question::Authorization => (codes::AUTH, codes::AUTH_BACKEND_ERROR),
        Question::Config => (codes::CONFIG_REQUEST, codes::CONFIG_BACKEND_ERROR),
    }
}

/// True if the question changes something on the server. A directory counts wrong passwords and locks the account after a
/// few; it counts neither keys, which anybody may offer, nor questions about authenticated users.
fn has_side_effect(question: Question) -> bool {
    match question {
        Question::Password => true,
        Question::PublicKey | Question::Authorization | Question::Config => false,
    }
}

/// The URL can contain credentials: only the place is shown.
impl fmt::Debug for WebhookClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebhookClient").field(&self.question).field(&self.place).finish()
    }
}

impl WebhookClient {
    /// Creates the client for one question. `path` (for example `/password`, or empty) is appended to the path of the
    /// configured URL.
    ///
    /// # Errors
    /// Certificates or keys that cannot be used.
    pub(crate) fn new(
        block: &HttpClientConfig,
        path: &'static str,
        question: Question,
    ) -> Result<Self, WebhookBuildError> {
        // A server may close a kept connection at the very moment when a request is written to it, and nobody can say
        // whether that arrived. So what may not be repeated gets a connection of its own.
        let kept = if has_side_effect(question) { ConnectionReuse::Never } else { ConnectionReuse::While(IDLE) };
        let (url, place) = (block.url.below(path), block.url.shown(path));
        let plain = matches!(&block.url, WebhookUrl::Http(url) if url.scheme() == "http");
        Ok(Self { client: http_client(block, kept)?, question, url, place, timeout: block.timeout, plain })
    }

    /// URL without credentials and query, for the log.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Checks that the server can be reached, by one `HEAD` request with any answer, whose status is returned.
    ///
    /// # Errors
    /// No connection, an untrusted one, or no answer within the limit of a try. The text is for the log.
    pub(crate) async fn reach(&self) -> Result<StatusCode, String> {
        let answer = self.head(self.timeout.min(CONNECT_LIMIT)).await.map_err(AttemptFailure::from);
        answer.map_err(|failure| format!("{failure}{}", self.hint(Some(&failure))))
    }

    /// Checks at the start what a question would meet; `section` is the webhook's in the configuration.
    pub(crate) async fn look(&self, section: &str) -> Option<StartFinding> {
        let place = &self.place;
        match self.reach().await {
            Err(failure) => {
                let text =
                    format!("{section}: {place} cannot be reached: {failure}; logins fail until it can be reached");
                Some(StartFinding { code: codes::WEBHOOK_UNREACHABLE, text })
            }
            // Some servers say so to HEAD and know the path by POST alone.
            Ok(StatusCode::NOT_FOUND) => {
                let text = format!(
                    "{section}: {place} answers a HEAD request with status 404: if logins fail, is the path of the URL right?"
                );
                Some(StartFinding { code: codes::WEBHOOK_NOT_FOUND, text })
            }
            Ok(_) => None,
        }
    }

    /// Checks the same without hurry: a server that has taken the connection and gives no answer for [`CONNECT_LIMIT`] is
    /// slow, and not out of reach.
    ///
    /// # Errors
    /// No connection, an untrusted one, one that breaks, or a load balancer that reaches no server behind it. The text is for
    /// the log.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        // The client's own limit of a connection is shorter, so this one passes behind the connection.
        let answer = match self.head(self.timeout.min(CONNECT_LIMIT) + SLOW).await {
            Err(error) if error.is_timeout() && !error.is_connect() => return Ok(()),
            Ok(status) if OF_PROXIES.contains(&status) => Err(AttemptFailure::Status(status.as_u16())),
            answer => answer.map(drop).map_err(AttemptFailure::from),
        };
        answer.map_err(|failure| format!("{failure}{}", self.hint(Some(&failure))))
    }

    async fn head(&self, limit: Duration) -> Result<StatusCode, reqwest::Error> {
        self.client.head(self.url.clone()).timeout(limit).send().await.map(|response| response.status())
    }

    /// Seconds by which the server's clock is ahead, by the header `Date` of an answer to a `HEAD` request.
    pub(crate) async fn clock_offset(&self) -> Option<i64> {
        let limit = self.timeout.min(CONNECT_LIMIT);
        let answer = self.client.head(self.url.clone()).timeout(limit).send().await.ok()?;
        clock_offset(answer.headers().get(DATE)?.to_str().ok()?, Timestamp::now())
    }

    /// Advice after a failure in the log.
    fn hint(&self, failure: Option<&AttemptFailure>) -> &'static str {
        match failure {
            Some(failure) if self.plain && failure.may_want_tls() => "; is it https? the URL says http",
            Some(failure) => failure.hint(),
            None => "",
        }
    }

    /// Asks, and parses the answer with `parse`, whose error text names fields and never quotes their values. Logs and counts
    /// the question, each failed try, and the failure of all tries.
    ///
    /// # Errors
    /// A failure that another try would not change, or of a question that may not be repeated; the last failure at the end of
    /// `limit`; an answer that `parse` does not understand.
    pub(crate) async fn ask<T>(
        &self,
        call: AskOptions<'_>,
        question: &(impl Serialize + Sync),
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<WebhookAnswer<T>, WebhookError> {
        let (AskOptions { limit, log, step }, kind) = (call, self.question);
        let traceparent = step.traceparent();
        let (asking, failing) = log_codes(kind);
        let id = IdempotencyKey::random();
        let asked = AtomicU32::new(0);
        let failed = |tries: u32, failure: &AttemptFailure| {
            log.metrics().count_failed_request(kind, tries > 1, false, failure.code(kind));
            let level = if tries == 1 { Level::Warning } else { Level::Debug };
            let (tries, reason) = (tries.to_string(), format!("{failure}{}", self.hint(Some(failure))));
            let details = [("url", self.place.as_str()), id.detail(), ("try", &tries), ("reason", &reason)];
            log.write(failing.at(level), "a try to ask the webhook failed", &details);
        };
        log.write(asking, "asking the webhook", &[("url", &self.place), id.detail()]);
        let body = encoded(question).map_err(WebhookError::Encode);
        let once = |body: &Bytes| {
            log.metrics().count_request(kind, asked.fetch_add(1, Ordering::Relaxed) > 0);
            self.once(body.clone(), &id, traceparent.as_deref())
        };
        let answer = match body {
            Ok(body) => retry(Instant::now() + limit.min(LONGEST), failed, || once(&body)).await,
            Err(error) => Err(error),
        };
        let retried = asked.into_inner() > 1;
        let answer = answer.and_then(|body| understood(&body, parse));
        if let Err(error) = &answer {
            log.metrics().count_failed_request(kind, retried, true, error.code(kind));
            let hint = self.hint(error.failure());
            log_failure(log, kind, &[("url", self.place.as_str()), id.detail()], error, hint);
        }
        answer.map(|answer| WebhookAnswer { answer, retried })
    }

    /// Sends the question once.
    async fn once(
        &self,
        body: Bytes,
        id: &IdempotencyKey,
        traceparent: Option<&str>,
    ) -> Result<AnswerBody, FailedAttempt> {
        let (body, delivery) = request_body::once(body);
        self.send(reqwest::Body::wrap(body), id, traceparent).await.map_err(|failure| {
            let arrived = !delivery.withdraw();
            FailedAttempt { failure, repeatable: !(arrived && has_side_effect(self.question)) }
        })
    }

    async fn send(
        &self,
        body: reqwest::Body,
        id: &IdempotencyKey,
        traceparent: Option<&str>,
    ) -> Result<AnswerBody, AttemptFailure> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            // Without it any encoding may be chosen (RFC 9110 section 12.5.3).
            .header(ACCEPT_ENCODING, IDENTITY)
            .header(IDEMPOTENCY_KEY, id.header())
            .timeout(self.timeout)
            .body(body);
        if let Some(traceparent) = traceparent {
            request = request.header(TRACEPARENT, traceparent);
        }
        let response = request.send().await?;
        match response.status() {
            StatusCode::OK => {
                if let Some(encoding) = encoding(response.headers()) {
                    return Err(AttemptFailure::Encoded(printable(&encoding, 64)));
                }
                let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
                let content_type = content_type.map(str::to_owned);
                Ok(AnswerBody { bytes: bounded(response).await?, content_type })
            }
            status if status.is_redirection() => Err(AttemptFailure::Redirect(status.as_u16())),
            status => Err(AttemptFailure::Status(status.as_u16())),
        }
    }
}

/// Reads an answer that no server sent with `parse`, as [`WebhookClient::ask`] reads a server's. Logs a failure.
///
/// # Errors
/// An answer that `parse` does not understand.
pub(crate) fn read_answer<T>(
    bytes: Bytes,
    question: Question,
    log: &ConnectionLog,
    parse: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, WebhookError> {
    let body = AnswerBody { bytes, content_type: None };
    understood(&body, parse).inspect_err(|error| log_failure(log, question, &[], error, ""))
}

/// Encodes a question, which can have a password in it: its bytes are wiped when the last try is over.
fn encoded(question: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    encoded_in_place(question).map(Bytes::from_owner)
}

/// Encodes into memory that has the right size from the start: a vector that grows leaves its old memory as it is.
pub(super) fn encoded_in_place(question: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let mut length = WrittenLength(0);
    serde_json::to_writer(&mut length, question)?;
    let mut body = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *body, question)?;
    Ok(body)
}

/// A writer that keeps nothing but the length.
struct WrittenLength(usize);

impl io::Write for WrittenLength {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.0 += piece.len();
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of an answer with status 200.
#[derive(Debug)]
pub(super) struct AnswerBody {
    pub(super) bytes: Bytes,
    /// The header `Content-Type`, if it is ASCII.
    pub(super) content_type: Option<String>,
}

impl AnswerBody {
    /// The text without its byte order mark, whatever the content type says. The error reads as the end of a sentence that
    /// begins with "the answer is not understood: ".
    pub(super) fn text(&self) -> Result<&[u8], String> {
        let text = text::text(&self.bytes).map_err(|wrong| match self.charset() {
            Some(charset) => format!("it {wrong} (its Content-Type names the charset {})", quoted(&charset)),
            None => format!("it {wrong}"),
        })?;
        match text.trim_start().chars().next() {
            None => Err("it is empty, where a JSON object has to be".into()),
            Some('<') => {
                Err("it is HTML or XML, not JSON: is this the right URL, or did a proxy or a login page answer?".into())
            }
            Some(_) => Ok(text.as_bytes()),
        }
    }

    /// The character set in the content type, cut to 64 characters.
    fn charset(&self) -> Option<String> {
        let parameters = self.content_type.as_deref()?.split(';').filter_map(|part| part.split_once('='));
        let (_, value) = parameters.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        Some(value.trim().trim_matches('"').chars().take(64).collect())
    }
}

/// Parses an answer's body.
fn understood<T>(body: &AnswerBody, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, WebhookError> {
    body.text().and_then(parse).map_err(WebhookError::Malformed)
}

/// Logs that a question has no answer. `hint` follows the reason.
fn log_failure(log: &ConnectionLog, question: Question, details: &[(&str, &str)], error: &WebhookError, hint: &str) {
    let (_, failing) = log_codes(question);
    let reason = format!("{error}{hint}");
    let details = [details, &[("reason", reason.as_str())]].concat();
    log.write(failing, error.message(), &details);
}

/// Line for the log about a webhook at the start.
#[derive(Debug)]
pub(crate) struct StartFinding {
    pub(crate) code: Code,
    pub(crate) text: String,
}

/// Id of a question, the same for all its tries.
#[derive(Debug)]
struct IdempotencyKey(String);

impl IdempotencyKey {
    fn random() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// The header's value, a string of RFC 8941.
    fn header(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// Detail for log lines.
    fn detail(&self) -> (&'static str, &str) {
        ("idempotencyKey", &self.0)
    }
}

/// Reuse of connections for later requests.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ConnectionReuse {
    /// A new connection for every request.
    Never,
    /// Reuse of a connection that was unused for at most this time.
    While(Duration),
}

/// Creates the HTTP client of a block.
pub(crate) fn http_client(block: &HttpClientConfig, kept: ConnectionReuse) -> Result<Client, WebhookBuildError> {
    let (secure, socket) = match &block.url {
        WebhookUrl::Http(url) => (url.scheme() == "https", None),
        WebhookUrl::Unix { socket, .. } => (false, Some(socket)),
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
        ConnectionReuse::Never => builder.pool_max_idle_per_host(0),
        ConnectionReuse::While(time) => builder.pool_idle_timeout(time),
    };
    if let Some(socket) = socket {
        builder = builder.unix_socket(socket.clone());
    }
    builder.build().map_err(|error| WebhookBuildError::Client(error.without_url().to_string()))
}

/// Content encodings other than `identity` (RFC 9110 section 8.4).
fn encoding(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(CONTENT_ENCODING).iter().map(|field| String::from_utf8_lossy(field.as_bytes()));
    let all = fields.collect::<Vec<_>>().join(", ");
    let is_plain = |name: &str| name.is_empty() || name.eq_ignore_ascii_case(IDENTITY);
    (!all.split(',').map(str::trim).all(is_plain)).then_some(all)
}

/// Reads the whole body; fails as soon as it is known to be too large.
pub(crate) async fn bounded(mut response: reqwest::Response) -> Result<Bytes, AttemptFailure> {
    let too_large = |bytes: usize| bytes > BODY_LIMIT;
    if response.content_length().is_some_and(|bytes| usize::try_from(bytes).map_or(true, too_large)) {
        return Err(AttemptFailure::TooLarge(BODY_LIMIT));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if too_large(body.len() + chunk.len()) {
            return Err(AttemptFailure::TooLarge(BODY_LIMIT));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

pub(super) fn tls_config(block: &HttpClientConfig) -> Result<ClientConfig, WebhookBuildError> {
    let identity = block.identity.as_ref().map(|(certificate, key)| (certificate.as_str(), key));
    Ok(tls::client_config(block.ca.as_deref(), identity, &block.tls)?)
}

/// TLS configuration for a URL without TLS: the machine may have no CAs, and none is needed.
fn trusting_nobody() -> Result<ClientConfig, WebhookBuildError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(WebhookBuildError::Provider)?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}
