//! Where a webhook is: https, http to loopback, or a Unix socket. Plain http to anywhere else takes an explicit
//! `allowPlaintext: true`, because passwords travel in these calls.

use super::Endpoint;
use std::fmt;
use std::path::PathBuf;
use url::{Host, Url};

impl Endpoint {
    /// Parses `https://…`, `http://…`, `unix:SOCKET` or `unix:SOCKET:/PATH`. The error reads as the end of a sentence
    /// about the key and never shows the text, which may hold a password.
    pub(super) fn parse(text: &str, allow_plaintext: bool) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            return unix(rest);
        }
        let url = Url::parse(text).map_err(|e| format!("is not a URL ({e})"))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) || allow_plaintext => {}
            "http" => {
                return Err(
                    "plain http is only for loopback, because passwords and settings travel in it; use https, or \
                            set allowPlaintext: true beside it where a service mesh does the TLS"
                        .into(),
                );
            }
            other => return Err(format!("has the scheme {other:?}; use https, or unix:SOCKET")),
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment (#…)".into());
        }
        Ok(Self::Url(url))
    }

    /// Whether calls to it leave the machine unencrypted.
    pub(super) fn is_plaintext(&self) -> bool {
        matches!(self, Self::Url(url) if url.scheme() == "http" && !is_loopback(url))
    }

    /// Whether TLS is spoken with it.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Url(url) if url.scheme() == "https")
    }
}

fn unix(rest: &str) -> Result<Endpoint, String> {
    let (socket, path) = match rest.split_once(":/") {
        Some((socket, path)) => (socket, format!("/{path}")),
        None => (rest, String::new()),
    };
    if socket.is_empty() {
        return Err("names no socket; write unix:/run/auth.sock or unix:/run/auth.sock:/path".into());
    }
    if path.contains(|c: char| c.is_ascii_whitespace() || c.is_control() || c == '#') {
        return Err("has a request path with a character that does not belong into one".into());
    }
    Ok(Endpoint::Unix { socket: PathBuf::from(socket), path })
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A URL can hold a user name and password: they are not shown.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => {
                let host = url.host_str().unwrap_or_default();
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "{}://{host}{port}{}", url.scheme(), url.path())
            }
            Self::Unix { socket, path } => write!(f, "unix:{}:{path}", socket.display()),
        }
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
            ("example.com:8080", "scheme"),
            ("example.com", "not a URL"),
            ("https://", "not a URL"),
            ("https://a/#b", "fragment"),
            ("unix:", "no socket"),
            ("unix::/path", "no socket"),
            ("unix:/s:/a b", "request path"),
        ] {
            let error = Endpoint::parse(text, false).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        let error = Endpoint::parse("ftp://user:s3cret@x", false).expect_err("scheme");
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn https_loopback_and_sockets_are_taken() {
        for text in
            ["https://a.example/x", "http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]:80", "http://localhost"]
        {
            let endpoint = Endpoint::parse(text, false).expect(text);
            assert!(!endpoint.is_plaintext(), "{text}");
        }
        for (text, socket, path) in [
            ("unix:/run/a.sock", "/run/a.sock", ""),
            ("unix:/run/a.sock:/config", "/run/a.sock", "/config"),
            ("unix:a:/", "a", "/"),
        ] {
            let expected = Endpoint::Unix { socket: socket.into(), path: path.into() };
            assert_eq!(Endpoint::parse(text, false), Ok(expected), "{text}");
        }
    }

    #[test]
    fn allowed_plaintext_is_taken_and_known() {
        let endpoint = Endpoint::parse("http://auth.example.com/x", true).expect("allowed");
        assert!(endpoint.is_plaintext() && !endpoint.is_tls());
    }

    #[test]
    fn debug_shows_no_password() {
        let endpoint = Endpoint::parse("https://user:s3cret@a.example:8443/x?token=s3cret", false).expect("parses");
        assert_eq!(format!("{endpoint:?}"), "https://a.example:8443/x");
    }
}
