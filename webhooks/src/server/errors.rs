//! The errors of an address to listen on: as a text, and when it is bound.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Error of parsing an address to listen on.
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

/// Error of binding an address.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The name does not resolve.
    #[error("cannot resolve {address}")]
    Resolve {
        /// Address or path to bind.
        address: String,
        /// Error of the operating system.
        #[source]
        source: io::Error,
    },
    /// Passwords in the clear.
    #[error("plain HTTP would carry passwords in the clear, and {0} is not loopback: use https, or http on 127.0.0.1")]
    Plaintext(SocketAddr),
    /// The address cannot be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// Address or path to bind.
        address: String,
        /// Error of the operating system.
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
