//! The PROXY protocol, by which a load balancer tells the address of its client
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>): which peers are believed, and the parser of their headers.
//! Without I/O.
//!
//! Invariants: a header counts only from a trusted address; a header is bounded by [`HEADER_MAX`] bytes.

mod header;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use header::HEADER_MAX;
pub(crate) use header::{InvalidHeader, ProxiedEndpoints, ProxyHeader, parse};

use ipnet::IpNet;
use std::net::IpAddr;

/// The treatment of PROXY headers on a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ProxyProtocol {
    /// A header is nothing but a broken SSH connection.
    Off,
    /// Trusted peers may send a header; all others are clients.
    Allowed(Vec<IpNet>),
    /// Trusted peers must send a header; all others are refused.
    Required(Vec<IpNet>),
}

/// The peer of a new connection, before it has sent anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// The client itself.
    Client,
    /// A trusted proxy, which begins with a header; or perhaps not, if none is required.
    Proxy { header_required: bool },
    /// Somebody who may not connect here.
    Stranger,
}

impl ProxyProtocol {
    /// The peer with an address.
    pub(crate) fn peer(&self, address: IpAddr) -> Peer {
        let address = address.to_canonical();
        let is_among = |trusted: &[IpNet]| trusted.iter().any(|network| network.contains(&address));
        match self {
            Self::Allowed(trusted) if is_among(trusted) => Peer::Proxy { header_required: false },
            Self::Required(trusted) if is_among(trusted) => Peer::Proxy { header_required: true },
            Self::Off | Self::Allowed(_) => Peer::Client,
            Self::Required(_) => Peer::Stranger,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_is_taken_from_a_trusted_address_alone() {
        let networks = || vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::7/128".parse().unwrap()];
        let (allowed, required) = (ProxyProtocol::Allowed(networks()), ProxyProtocol::Required(networks()));
        let nobody = ProxyProtocol::Required(Vec::new());
        let proxy = |header_required| Peer::Proxy { header_required };
        for (rule, address, peer) in [
            (&nobody, "192.0.2.1", Peer::Stranger),
            (&required, "198.51.100.1", Peer::Stranger),
            (&required, "::ffff:198.51.100.1", Peer::Stranger),
            (&required, "2001:db8::8", Peer::Stranger),
            (&required, "::1", Peer::Stranger),
            (&allowed, "198.51.100.1", Peer::Client),
            (&allowed, "2001:db8::8", Peer::Client),
            (&ProxyProtocol::Off, "192.0.2.1", Peer::Client),
            (&required, "192.0.2.255", proxy(true)),
            (&required, "::ffff:192.0.2.1", proxy(true)),
            (&required, "2001:db8::7", proxy(true)),
            (&allowed, "::ffff:192.0.2.1", proxy(false)),
            (&allowed, "192.0.2.1", proxy(false)),
        ] {
            assert_eq!(rule.peer(address.parse().unwrap()), peer, "{address} with {rule:?}");
        }
    }
}
