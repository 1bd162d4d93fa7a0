//! Where to listen. What must not be served cannot be parsed, or is refused once names are resolved.

use super::tls::Tls;
use super::unix::{SocketFile, SocketMode};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream, lookup_host};

/// Where and how to listen.
#[derive(Debug, Clone)]
pub enum Listen {
    /// HTTPS on `host:port`.
    Https(String, Tls),
    /// Plain HTTP on `host:port`, loopback only.
    Http(String),
    /// Plain HTTP on a Unix socket.
    Unix(PathBuf, SocketMode),
}

/// Why a text is no place to listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Not one of the three forms.
    #[error("{} is not https://HOST:PORT, http://LOOPBACK:PORT or unix:/PATH", serde_json::Value::from(.0.as_str()))]
    Form(String),
    /// HTTPS without a certificate.
    #[error("https needs a certificate and a key")]
    NoCertificate,
    /// A certificate that would not be used.
    #[error("a certificate can be used only with https")]
    UnusedCertificate,
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name does not resolve.
    #[error("cannot resolve {address}")]
    Resolve {
        /// What was to be bound.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Passwords in the clear.
    #[error("plain HTTP would carry passwords in the clear, and {0} is not loopback: use https, or http on 127.0.0.1")]
    Plaintext(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// What was to be bound.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another server answers on the Unix socket.
    #[error("another server answers on {}", .0.display())]
    Live(PathBuf),
    /// The path is taken by something else than a socket.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
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

    pub(super) async fn bind(self) -> Result<(Listener, Option<Tls>, String), BindError> {
        match self {
            Self::Https(address, tls) => {
                let (listener, bound) = bind_tcp(&address, |_| Ok(())).await?;
                Ok((Listener::Tcp(listener), Some(tls), format!("https://{bound}")))
            }
            Self::Http(address) => {
                let loopback = |at: SocketAddr| {
                    if at.ip().to_canonical().is_loopback() { Ok(()) } else { Err(BindError::Plaintext(at)) }
                };
                let (listener, bound) = bind_tcp(&address, loopback).await?;
                Ok((Listener::Tcp(listener), None, format!("http://{bound}")))
            }
            Self::Unix(path, mode) => {
                let url = format!("unix:{}", path.display());
                let (listener, _file) = SocketFile::bind(path, mode).await?;
                Ok((Listener::Unix { listener, _file }, None, url))
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

/// A bound socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Goes with the listener.
        _file: SocketFile,
    },
}

/// An accepted connection.
pub(super) enum Carrier {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Carrier> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Fails on a connection that is already over, which its task will find out.
                drop(stream.set_nodelay(true));
                Ok(Carrier::Tcp(stream))
            }
            Self::Unix { listener, .. } => Ok(Carrier::Unix(listener.accept().await?.0)),
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
