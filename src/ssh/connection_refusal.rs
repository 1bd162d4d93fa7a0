//! The reasons for which a connection is refused before the version exchange. Pure.

use crate::proxy_protocol::InvalidHeader;
use crate::throttle::ConnectionRefusal;
use std::borrow::Cow;

/// The reason why a connection is refused before the version exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum EntryRefusal {
    /// A limit of clients that have not logged in.
    Limit(ConnectionRefusal),
    /// The rules of the PROXY protocol.
    Proxy(ProxyFault),
}

/// A breach of the rules of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ProxyFault {
    /// A client that did not come through a trusted proxy.
    Stranger,
    /// A trusted proxy began with something else than a header.
    Missing,
    /// A trusted proxy sent no whole header in time.
    Late,
    /// A trusted proxy sent a header that is not valid.
    Invalid(InvalidHeader),
}

impl EntryRefusal {
    /// The word for the metrics.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Limit(refusal) => refusal.word(),
            Self::Proxy(ProxyFault::Stranger) => "proxy_untrusted",
            Self::Proxy(ProxyFault::Missing) => "proxy_header_missing",
            Self::Proxy(ProxyFault::Late) => "proxy_header_late",
            Self::Proxy(ProxyFault::Invalid(_)) => "proxy_header_invalid",
        }
    }

    /// The reason in one line, as the client and the log have it.
    pub(super) fn text(self) -> Cow<'static, str> {
        match self {
            Self::Limit(refusal) => refusal.text().into(),
            Self::Proxy(ProxyFault::Stranger) => "only a trusted proxy connects here (trustedProxies)".into(),
            Self::Proxy(ProxyFault::Missing) => "the proxy sent no PROXY header (proxyProtocol: required)".into(),
            Self::Proxy(ProxyFault::Late) => "the proxy sent no whole PROXY header in time (proxyHeaderTimeout)".into(),
            Self::Proxy(ProxyFault::Invalid(fault)) => format!("the proxy sent a wrong PROXY header: {fault}").into(),
        }
    }
}
