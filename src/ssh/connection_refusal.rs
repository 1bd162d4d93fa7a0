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

/// Knowledge of a refusal that a client of another process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToldRefusal {
    /// A limit.
    Limit,
    /// A rule of the PROXY protocol.
    Proxy,
}

/// The beginning of a refusal's line; the words are OpenSSH's.
const START: &str = "Not allowed at this time: ";
/// The beginning of the reason for a header that is not valid.
const WRONG_HEADER: &str = "the proxy sent a wrong PROXY header: ";

/// The refusal that a line without its end tells; `None` for a line that no gateway writes.
pub(crate) fn told_refusal(line: &str) -> Option<ToldRefusal> {
    let reason = line.strip_prefix(START)?;
    let proxy = [ProxyFault::Stranger, ProxyFault::Missing, ProxyFault::Late].map(EntryRefusal::Proxy);
    if reason.starts_with(WRONG_HEADER) || proxy.iter().any(|refusal| refusal.text() == reason) {
        return Some(ToldRefusal::Proxy);
    }
    ConnectionRefusal::all().any(|refusal| refusal.text() == reason).then_some(ToldRefusal::Limit)
}

impl EntryRefusal {
    /// The line that the client reads, without its end.
    pub(super) fn line(self) -> String {
        format!("{START}{}", self.text())
    }

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
            Self::Proxy(ProxyFault::Invalid(fault)) => format!("{WRONG_HEADER}{fault}").into(),
        }
    }
}
