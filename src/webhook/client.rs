//! One HTTP client for one client block: made once, its connections are kept alive and shared by everyone who asks.

use super::error::{Failure, WebhookBuildError, WebhookError};
use super::retry::retry;
use crate::config::{Endpoint, HttpClient, Level};
use crate::telemetry::ConnectionLog;
use crate::tls;
use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// The largest body that is taken.
pub(super) const BODY_LIMIT: usize = 1024 * 1024;
/// The longest wait for a connection, within the time of a try.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_secs(60);
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

/// One question: what the log calls it, and how long all its tries may take.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// All tries and the pauses between them, at most a day.
    pub limit: Duration,
    /// The connection that it is for.
    pub log: &'a ConnectionLog,
    /// The log's codes.
    pub codes: Codes,
}

/// What the log calls a question.
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    /// It is being asked (debug).
    pub asking: &'static str,
    /// A try failed (debug), or all of them (error).
    pub failed: &'static str,
}

impl WebhookClient {
    /// Makes the client of a block; `path` (for example `/password`, or nothing) is appended to the block's URL.
    ///
    /// # Errors
    /// Certificates or keys that cannot be used, and a URL that `path` makes invalid.
    pub fn new(block: &HttpClient, path: &'static str) -> Result<Self, WebhookBuildError> {
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
        let place = socket.map_or_else(|| shown(&url), |socket| format!("unix:{}:{}", socket.display(), url.path()));
        Ok(Self { client, url, place, timeout: block.timeout })
    }

    /// Where it is, for the log: without credentials and query.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Asks, and reads the answer with `parse`, whose error text names fields and never quotes what they held.
    /// Logs the question, each failed try, and the failure of all.
    ///
    /// # Errors
    /// Every failure that another try would not mend, the last one when `call.limit` is over, and an answer that
    /// `parse` does not understand.
    pub async fn ask<T>(
        &self,
        call: Call<'_>,
        question: &(impl Serialize + Sync),
        parse: impl Fn(&[u8]) -> Result<T, String>,
    ) -> Result<T, WebhookError> {
        let Call { limit, log, codes } = call;
        log.write(Level::Debug, codes.asking, "asking the webhook", &[("url", &self.place)]);
        let failed = |tries: u32, failure: &Failure| {
            let (tries, reason) = (tries.to_string(), failure.to_string());
            let details = [("url", self.place.as_str()), ("try", &tries), ("reason", &reason)];
            log.write(Level::Debug, codes.failed, "a try to ask the webhook failed", &details);
        };
        let answer = self.post(question, Instant::now() + limit.min(LONGEST), failed).await;
        let answer = answer.and_then(|body| parse(&body).map_err(WebhookError::Malformed));
        if let Err(error) = &answer {
            let details = [("url", self.place.as_str()), ("reason", &error.to_string())];
            log.write(Level::Error, codes.failed, "the webhook gave no answer", &details);
        }
        answer
    }

    /// Posts `question` until there is a body with status 200, telling `failed` about each failure that may heal.
    async fn post(
        &self,
        question: &(impl Serialize + Sync),
        deadline: Instant,
        failed: impl Fn(u32, &Failure),
    ) -> Result<Bytes, WebhookError> {
        let body = Bytes::from(serde_json::to_vec(question).map_err(WebhookError::Encode)?);
        retry(deadline, failed, || self.once(body.clone())).await
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
    Ok(tls::client_config(block.ca.as_deref(), identity, block.tls12)?)
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
