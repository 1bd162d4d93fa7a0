//! Configuration of an HTTP client, and the URL that it calls: https, http to loopback, or a Unix socket. Plain http to
//! another machine needs an explicit `allowPlaintext: true`, because passwords travel in these calls.
//!
//! Invariant: a URL is shown as scheme, host, port and path. User name, password and query can be secrets.

use crate::tls::TlsOptions;
use crate::types::Secret;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use url::{Host, Url};

const FRAGMENT: &str =
    "must not have a fragment (#…), which is never sent to a server; write %23 for a # in the path or query";

/// An HTTP client block (`url`, `timeout`, TLS keys), certificates read.
#[derive(Debug, Clone)]
pub struct HttpClientConfig {
    pub url: WebhookUrl,
    /// `timeout`: limit of one try.
    pub timeout: Duration,
    /// CA certificates, PEM text; `None` is the machine's own.
    pub ca: Option<String>,
    /// Client certificate and key, PEM text.
    pub identity: Option<(String, Secret)>,
    /// Values of `tlsVersion`, `curves` and `cipher`.
    pub tls: TlsOptions,
}

/// Address of a webhook. The parser refuses every other form.
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookUrl {
    /// `https://…`, `http://` to loopback, or `http://` with `allowPlaintext: true`.
    Http(Url),
    /// An address `unix:SOCKET` or `unix:SOCKET:/PATH`.
    Unix {
        /// Path of the socket.
        socket: PathBuf,
        /// `http://localhost` with the request's path and query, before a step's path is joined to it.
        request: Url,
    },
}

impl WebhookUrl {
    /// Parses `https://…`, `http://…`, `unix:SOCKET` or `unix:SOCKET:/PATH`. The error reads as the end of a sentence
    /// about the key and never shows the text, which may hold a password.
    pub(crate) fn parse(text: &str, allow_plaintext: bool) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            return unix(rest);
        }
        let url = Url::parse(text).map_err(|e| format!("is not a URL ({e})"))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) || allow_plaintext => {}
            "http" => {
                return Err("plain http is allowed only for loopback, because nothing is encrypted; use \
                     https, or set allowPlaintext: true in this block if a service mesh encrypts the connection"
                    .into());
            }
            other => return Err(format!("has the scheme \"{other}\"; use https, or unix:SOCKET")),
        }
        if url.fragment().is_some() {
            return Err(FRAGMENT.into());
        }
        Ok(Self::Http(url))
    }

    /// URL of requests to `path` (`/password`, or empty) below it. The paths are joined without a double slash; the query is
    /// kept.
    pub(crate) fn below(&self, path: &str) -> Url {
        let (Self::Http(url) | Self::Unix { request: url, .. }) = self;
        let mut url = url.clone();
        if !path.is_empty() {
            let joined = format!("{}{path}", url.path().trim_end_matches('/'));
            url.set_path(&joined);
        }
        url
    }

    /// Text of the URL of requests to `path` below it, for people.
    pub(crate) fn shown(&self, path: &str) -> String {
        let url = self.below(path);
        match self {
            Self::Http(_) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
            }
            Self::Unix { socket, .. } => format!("unix:{}:{}", socket.display(), url.path()),
        }
    }

    /// True if calls leave the machine unencrypted.
    pub(crate) fn is_plaintext(&self) -> bool {
        matches!(self, Self::Http(url) if url.scheme() == "http" && !is_loopback(url))
    }

    /// True if calls use TLS.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Http(url) if url.scheme() == "https")
    }
}

fn unix(rest: &str) -> Result<WebhookUrl, String> {
    let (socket, path) = match rest.split_once(":/") {
        Some((socket, path)) => (socket, format!("/{path}")),
        None => (rest, String::new()),
    };
    if socket.is_empty() {
        return Err("names no socket; write unix:/run/auth.sock or unix:/run/auth.sock:/path".into());
    }
    if socket.contains('?') {
        return Err("has a query without a request path; write unix:/run/auth.sock:/?query".into());
    }
    if path.contains('#') {
        return Err(FRAGMENT.into());
    }
    if path.contains(|c: char| c.is_ascii_whitespace() || c.is_control()) {
        return Err("has a request path with a character that does not belong into one".into());
    }
    let request =
        Url::parse(&format!("http://localhost{path}")).map_err(|e| format!("has no valid request path ({e})"))?;
    Ok(WebhookUrl::Unix { socket: PathBuf::from(socket), request })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Same text as [`WebhookUrl::shown`].
impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_beyond_loopback_and_foreign_schemes_are_refused() {
        for (text, reason) in [
            ("http://auth.example.com", "plain http"),
            ("http://10.0.0.1:8080", "plain http"),
            ("http://localhost.example.com", "plain http"),
            ("http://[::ffff:127.0.0.1]", "plain http"),
            ("http://127.0.0.1.example.com", "plain http"),
            ("http://127.0.0.1@example.com", "plain http"),
            ("ftp://example.com", "scheme \"ftp\""),
            ("ftp://user:s3cret@x", "scheme \"ftp\""),
            ("user:s3cret@x", "scheme \"user\""),
            ("https://user:s3cret#@x", "not a URL"),
            ("example.com:8080", "scheme"),
            ("example.com", "not a URL"),
            ("https://", "not a URL"),
            ("https://a/#b", "fragment"),
            ("https://a#", "fragment"),
            ("https://a/b?c=d#e", "fragment"),
            ("unix:/s:/a#b", "fragment"),
            ("unix:", "no socket"),
            ("unix::/path", "no socket"),
            ("unix:/s?token=s3cret", "query without a request path"),
            ("unix:/s?token=s3cret:/a", "query without a request path"),
            ("unix:/s:/a b", "request path"),
        ] {
            let error = WebhookUrl::parse(text, false).expect_err(text);
            assert!(error.contains(reason) && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn https_loopback_and_sockets_are_taken() {
        for text in
            ["https://a.example/x", "http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]:80", "http://localhost"]
        {
            let address = WebhookUrl::parse(text, false).expect(text);
            assert!(!address.is_plaintext(), "{text}");
        }
        for (text, socket, path) in [
            ("unix:/run/a.sock", "/run/a.sock", ""),
            ("unix:/run/a.sock:/config", "/run/a.sock", "/config"),
            ("unix:/run/a.sock:/config?a=b", "/run/a.sock", "/config?a=b"),
            ("unix:a:/", "a", "/"),
        ] {
            let request = Url::parse(&format!("http://localhost{path}")).expect("a URL");
            let expected = WebhookUrl::Unix { socket: socket.into(), request };
            assert_eq!(WebhookUrl::parse(text, false), Ok(expected), "{text}");
        }
    }

    #[test]
    fn path_is_joined_to_the_path_and_the_query_stays_behind_it() {
        for (base, path, joined) in [
            ("https://h", "/password", "https://h/password"),
            ("https://h/", "/password", "https://h/password"),
            ("https://h/a//", "/password", "https://h/a/password"),
            ("https://h?token=abc", "/password", "https://h/password?token=abc"),
            ("https://h/?token=abc", "/password", "https://h/password?token=abc"),
            ("https://h/hook?token=abc", "/password", "https://h/hook/password?token=abc"),
            ("https://h/hook/?token=a/b?c", "/pubkey", "https://h/hook/pubkey?token=a/b?c"),
            ("https://h/hook?", "/authz", "https://h/hook/authz?"),
            ("https://u:p@h:8443/a%2Fb%20c?d=%23", "/authz", "https://u:p@h:8443/a%2Fb%20c/authz?d=%23"),
            ("https://h/hook;v=1", "/password", "https://h/hook;v=1/password"),
            ("https://h/a", "", "https://h/a"),
            ("https://h/a/?b=c", "", "https://h/a/?b=c"),
            ("http://localhost", "/authz", "http://localhost/authz"),
            ("unix:/s", "/password", "http://localhost/password"),
            ("unix:/s:/", "/password", "http://localhost/password"),
            ("unix:/s:/hook?token=abc", "/password", "http://localhost/hook/password?token=abc"),
            ("unix:/s:/hook?token=abc", "", "http://localhost/hook?token=abc"),
        ] {
            let address = WebhookUrl::parse(base, false).expect(base);
            assert_eq!(address.below(path).as_str(), joined, "{base} {path}");
        }
    }

    #[test]
    fn allowed_plaintext_is_taken_and_known() {
        let address = WebhookUrl::parse("http://auth.example.com/x", true).expect("allowed");
        assert!(address.is_plaintext() && !address.is_tls());
    }

    #[test]
    fn what_is_shown_has_no_credentials_and_no_query() {
        for (text, shown) in [
            ("https://user:s3cret@a.example:8443/x?token=s3cret", "https://a.example:8443/x"),
            ("https://s3cret@[2001:db8::1]/x?s3cret", "https://[2001:db8::1]/x"),
            ("unix:/run/a.sock:/x?token=s3cret", "unix:/run/a.sock:/x"),
        ] {
            let address = WebhookUrl::parse(text, false).expect("parses");
            assert_eq!(format!("{address:?}"), shown);
            assert_eq!(address.shown("/authz"), format!("{shown}/authz"));
        }
    }
}
