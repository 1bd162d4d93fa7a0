//! One HTTP client for one client block: made once, its connections are kept alive and shared by everyone who asks.

use super::error::{Failure, WebhookBuildError, WebhookError};
use super::retry::retry;
use crate::config::{Endpoint, HttpClient, Level};
use crate::telemetry::ConnectionLog;
use crate::telemetry::metrics::Question;
use crate::tls;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
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
const USER_AGENT: &str = concat!("podgate/", env!("CARGO_PKG_VERSION"));

/// A webhook, ready to be asked at one URL.
#[derive(Debug)]
pub struct WebhookClient {
    client: Client,
    url: Url,
    place: String,
    timeout: Duration,
}

/// One question: what it is, and how long all its tries may take.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// All tries and the pauses between them, at most a day.
    pub limit: Duration,
    /// The connection that it is for.
    pub log: &'a ConnectionLog,
    /// What is asked, for the log and the metrics.
    pub question: Question,
}

/// An answer that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered<T> {
    /// What `parse` made of it.
    pub answer: T,
    /// Whether it took more than one try.
    pub retried: bool,
}

/// The log's code of a question that is being asked (debug), and of a try (debug) or all of them (error) that failed.
fn codes(question: Question) -> (&'static str, &'static str) {
    match question {
        Question::Password | Question::PublicKey | Question::Authorization => ("AUTH", "AUTH_BACKEND_ERROR"),
        Question::Config => ("CONFIG_REQUEST", "CONFIG_BACKEND_ERROR"),
    }
}

impl WebhookClient {
    /// Makes the client of a block; `path` (for example `/password`, or nothing) is appended to the block's URL.
    ///
    /// # Errors
    /// Certificates or keys that cannot be used, and a URL that `path` makes invalid.
    pub fn new(block: &HttpClient, path: &'static str) -> Result<Self, WebhookBuildError> {
        let (client, url) = http_client(block, path)?;
        let place = match &block.endpoint {
            Endpoint::Url(_) => shown(&url),
            Endpoint::Unix { socket, .. } => format!("unix:{}:{}", socket.display(), url.path()),
        };
        Ok(Self { client, url, place, timeout: block.timeout })
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
    /// No connection, or none that can be trusted, or no answer in the time of a try.
    pub async fn reach(&self) -> Result<(), Failure> {
        let limit = self.timeout.min(CONNECT_LIMIT);
        self.client.head(self.url.clone()).timeout(limit).send().await?;
        Ok(())
    }

    /// Asks, and reads the answer with `parse`, whose error text names fields and never quotes what they held.
    /// Logs and counts the question, each failed try, and the failure of all.
    ///
    /// # Errors
    /// Every failure that another try would not mend, the last one when `call.limit` is over, and an answer that
    /// `parse` does not understand.
    pub async fn ask<T>(
        &self,
        call: Call<'_>,
        question: &(impl Serialize + Sync),
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<Answered<T>, WebhookError> {
        let Call { limit, log, question: kind } = call;
        let (asking, failing) = codes(kind);
        let asked = AtomicU32::new(0);
        let failed = |tries: u32, failure: &Failure| {
            log.metrics().ask_failed(kind, tries > 1, false, failure.code(kind));
            let (tries, reason) = (tries.to_string(), failure.to_string());
            let details = [("url", self.place.as_str()), ("try", &tries), ("reason", &reason)];
            log.write(Level::Debug, failing, "a try to ask the webhook failed", &details);
        };
        log.write(Level::Debug, asking, "asking the webhook", &[("url", &self.place)]);
        let body = serde_json::to_vec(question).map(Bytes::from).map_err(WebhookError::Encode);
        let once = |body: &Bytes| {
            log.metrics().asked(kind, asked.fetch_add(1, Ordering::Relaxed) > 0);
            self.once(body.clone())
        };
        let answer = match body {
            Ok(body) => retry(Instant::now() + limit.min(LONGEST), failed, || once(&body)).await,
            Err(error) => Err(error),
        };
        let retried = asked.into_inner() > 1;
        let answer = answer.and_then(|body| parse(&body).map_err(WebhookError::Malformed));
        if let Err(error) = &answer {
            log.metrics().ask_failed(kind, retried, true, error.code(kind));
            let details = [("url", self.place.as_str()), ("reason", &error.to_string())];
            log.write(Level::Error, failing, "the webhook gave no answer", &details);
        }
        answer.map(|answer| Answered { answer, retried })
    }

    async fn once(&self, body: Bytes) -> Result<Bytes, Failure> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .timeout(self.timeout)
            .body(body);
        let response = request.send().await?;
        match response.status() {
            StatusCode::OK => bounded(response).await,
            status if status.is_redirection() => Err(Failure::Redirect(status.as_u16())),
            status => Err(Failure::Status(status.as_u16())),
        }
    }
}

/// The HTTP client of a block, and its URL with `path` behind it.
pub(super) fn http_client(block: &HttpClient, path: &'static str) -> Result<(Client, Url), WebhookBuildError> {
    let (base, socket) = match &block.endpoint {
        Endpoint::Url(url) => (url.as_str().to_owned(), None),
        Endpoint::Unix { socket, path } => (format!("http://localhost{path}"), Some(socket)),
    };
    let url = join(&base, path)?;
    let secure = url.scheme() == "https";
    let mut builder = Client::builder()
        .tls_backend_preconfigured(if secure { tls_config(block)? } else { trusting_nobody()? })
        .https_only(secure)
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_LIMIT.min(block.timeout))
        .pool_idle_timeout(IDLE);
    if let Some(socket) = socket {
        builder = builder.unix_socket(socket.clone());
    }
    let client = builder.build().map_err(|error| WebhookBuildError::Client(error.without_url().to_string()))?;
    Ok((client, url))
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

/// `path` behind `base`, letter by letter as ContainerSSH does it, but without doubling a slash.
fn join(base: &str, path: &'static str) -> Result<Url, WebhookBuildError> {
    let base = if path.is_empty() { base } else { base.trim_end_matches('/') };
    Url::parse(&format!("{base}{path}")).map_err(|source| WebhookBuildError::Url { path, source })
}

fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_appended_to_the_letter_without_doubling_a_slash() {
        for (base, path, joined) in [
            ("https://h", "/password", "https://h/password"),
            ("https://h/", "/password", "https://h/password"),
            ("https://h/a//", "/password", "https://h/a/password"),
            ("https://h/a", "", "https://h/a"),
            ("https://h/a/", "", "https://h/a/"),
            ("http://localhost", "/authz", "http://localhost/authz"),
        ] {
            assert_eq!(join(base, path).unwrap().as_str(), joined);
        }
    }

    #[test]
    fn place_shows_no_credentials() {
        let url = Url::parse("https://me:s3cret@[2001:db8::1]:8443/a?token=s3cret#s3cret").unwrap();
        assert_eq!(shown(&url), "https://[2001:db8::1]:8443/a");
    }
}
