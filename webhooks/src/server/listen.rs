//! Where to listen. What must not be served cannot be parsed, or is refused once names are resolved.

use super::errors::{BindError, ListenError};
use super::tls::Tls;
use super::unix::{SocketMode, UnixSocket};
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::{TcpListener, lookup_host};

/// An address to listen on, with the protocol there.
#[derive(Debug, Clone)]
pub enum Listen {
    /// HTTPS on `host:port`, with this certificate.
    Https(String, Tls),
    /// Plain HTTP on `host:port`, loopback only.
    Http(String),
    /// Plain HTTP on a Unix socket.
    Unix(PathBuf, SocketMode),
}

impl Listen {
    /// Parses `https://HOST:PORT`, `http://HOST:PORT` or `unix:/PATH` (mode 0600).
    ///
    /// # Errors
    /// Another form, https without `tls`, and `tls` without https: a certificate must not be without effect.
    pub fn parse(text: &str, tls: Option<Tls>) -> Result<Self, ListenError> {
        let wrong = || ListenError::Form(text.to_owned());
        let listen = match (text.strip_prefix("https://"), text.strip_prefix("http://"), text.strip_prefix("unix:")) {
            (Some(address), ..) => {
                let address = host_and_port(address).ok_or_else(wrong)?;
                return tls.map(|tls| Self::Https(address, tls)).ok_or(ListenError::NoCertificate);
            }
            (_, Some(address), _) => Self::Http(host_and_port(address).ok_or_else(wrong)?),
            (.., Some(path)) if path.starts_with('/') => Self::Unix(path.into(), SocketMode::default()),
            _ => return Err(wrong()),
        };
        if tls.is_some() { Err(ListenError::UnusedCertificate) } else { Ok(listen) }
    }

    pub(super) async fn bind(self) -> Result<(BoundSocket, Option<Tls>, String), BindError> {
        match self {
            Self::Https(address, tls) => {
                let (listener, bound) = bind_tcp(&address, |_| Ok(())).await?;
                Ok((BoundSocket::Tcp(listener), Some(tls), format!("https://{bound}")))
            }
            Self::Http(address) => {
                let loopback = |at: SocketAddr| {
                    if at.ip().to_canonical().is_loopback() { Ok(()) } else { Err(BindError::Plaintext(at)) }
                };
                let (listener, bound) = bind_tcp(&address, loopback).await?;
                Ok((BoundSocket::Tcp(listener), None, format!("http://{bound}")))
            }
            Self::Unix(path, mode) => {
                let url = format!("unix:{}", path.display());
                let socket = UnixSocket::bind(path, mode).await?;
                Ok((BoundSocket::Unix(socket), None, url))
            }
        }
    }
}

/// `HOST:PORT`, perhaps with the `/` that ends a URL.
fn host_and_port(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let host_is_whole =
        if host.contains(':') { host.starts_with('[') && host.ends_with(']') } else { !host.is_empty() };
    let plain = !host.contains(['/', '@', '?', '#']);
    (host_is_whole && plain && port.parse::<u16>().is_ok()).then(|| text.to_owned())
}

/// Resolves, checks every address, then binds the first that can be had.
async fn bind_tcp(
    address: &str,
    check: impl Fn(SocketAddr) -> Result<(), BindError>,
) -> Result<(TcpListener, SocketAddr), BindError> {
    let resolve = |source| BindError::Resolve { address: address.to_owned(), source };
    let failed = |source| BindError::Bind { address: address.to_owned(), source };
    let found: Vec<SocketAddr> = lookup_host(address).await.map_err(resolve)?.collect();
    found.iter().copied().try_for_each(check)?;
    let listener = TcpListener::bind(&found[..]).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// A bound socket that accepts nothing yet.
#[derive(Debug)]
pub(super) enum BoundSocket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

impl BoundSocket {
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_place_to_listen_is_refused() {
        for text in [
            "",
            "127.0.0.1:80",
            "ftp://127.0.0.1:80",
            "http://127.0.0.1",
            "http://:80",
            "http://127.0.0.1:x",
            "http://127.0.0.1:65536",
            "http://127.0.0.1:80/path",
            "http://user@127.0.0.1:80",
            "http://::1:80",
            "https://localhost",
            "unix:relative",
            "HTTP://127.0.0.1:80",
        ] {
            assert_eq!(Listen::parse(text, None).err(), Some(ListenError::Form(text.into())), "{text}");
        }
        assert_eq!(Listen::parse("https://127.0.0.1:443", None).err(), Some(ListenError::NoCertificate));
    }

    #[test]
    fn three_forms_are_understood() {
        for text in ["http://127.0.0.1:80", "http://localhost:0/", "http://[::1]:80"] {
            assert!(matches!(Listen::parse(text, None), Ok(Listen::Http(_))), "{text}");
        }
        assert!(matches!(Listen::parse("unix:/run/x", None), Ok(Listen::Unix(..))));
    }
}
