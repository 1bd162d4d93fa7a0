//! The network that counts as one source of connections.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The bits of a network that one customer may have (RFC 6177: a site has up to a /48).
const SITE_BITS: u8 = 48;

/// The bits of a network that providers give to one household (RFC 6177 names /56 between /48 and /64).
const HOME_BITS: u8 = 56;

/// The sources of one site that count together as one: a site may be a company with many of them, or one customer who has
/// 65 536 to attack from.
pub(super) const SITE_SOURCES: u32 = 16;

/// `perSourceNetBlockSize`: the bits of an address that tell sources apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NetBlockSize {
    /// For IPv4, at most 32.
    pub v4: u8,
    /// For IPv6, at most 128.
    pub v6: u8,
}

/// A source: the network address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientNetwork(IpAddr);

/// A source, and the site of IPv6 that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceAndSite {
    pub(crate) network: ClientNetwork,
    /// None for IPv4, and where sources are as large as sites.
    pub(crate) site: Option<ClientNetwork>,
}

impl SourceAndSite {
    /// The /56 of a source within a site, which a customer may have whose provider has the site. It is the source itself where
    /// that is as large.
    pub(super) fn home(self) -> Option<ClientNetwork> {
        self.site.map(|_| self.network.home_of())
    }
}

impl ClientNetwork {
    /// The source of an address. An IPv4 address that is written as IPv6 is an IPv4 address.
    pub(crate) fn of(client: IpAddr, block: NetBlockSize) -> Self {
        Self(match client.to_canonical() {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(block.v4.min(32))).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(block.v6.min(128))).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        })
    }

    /// The /48 of an IPv6 address, which one customer may have whole; none where sources are as large.
    pub(super) fn site_of(client: IpAddr, block: NetBlockSize) -> Option<Self> {
        let IpAddr::V6(_) = client.to_canonical() else { return None };
        (block.v6 > SITE_BITS).then(|| Self::of(client, NetBlockSize { v6: SITE_BITS, ..block }))
    }

    /// The home, as [`SourceAndSite::home`] has it.
    fn home_of(self) -> Self {
        Self::of(self.0, NetBlockSize { v4: 32, v6: HOME_BITS })
    }

    /// True for a network of IPv4.
    pub(crate) fn is_ipv4(self) -> bool {
        self.0.is_ipv4()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_block_are_one_source() {
        let block = |v4, v6| NetBlockSize { v4, v6 };
        for (one, other, block, same) in [
            ("192.0.2.1", "192.0.2.2", block(32, 64), false),
            ("192.0.2.1", "192.0.2.254", block(24, 64), true),
            ("192.0.2.1", "192.0.3.1", block(24, 64), false),
            ("192.0.2.1", "203.0.113.9", block(0, 64), true),
            ("::ffff:192.0.2.1", "192.0.2.1", block(32, 64), true),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", block(32, 64), false),
            ("2001:db8::1", "2001:db8::ffff:1", block(32, 64), true),
            ("2001:db8::1", "2001:db8:0:1::1", block(32, 64), false),
            ("2001:db8::1", "2001:db8::2", block(32, 128), false),
            ("2001:db8::1", "fe80::1", block(32, 0), true),
            ("0.0.0.0", "::", block(0, 0), false),
        ] {
            let of = |text: &str| ClientNetwork::of(text.parse().unwrap(), block);
            assert_eq!(of(one) == of(other), same, "{one} and {other} in {block:?}");
        }
    }

    #[test]
    fn site_is_a_48_of_ipv6_unless_sources_are_as_large() {
        let site = |text: &str, v6| ClientNetwork::site_of(text.parse().unwrap(), NetBlockSize { v4: 32, v6 });
        assert_eq!(site("192.0.2.1", 64), None);
        assert_eq!(site("::ffff:192.0.2.1", 64), None);
        assert_eq!(site("2001:db8::1", 48), None);
        assert!(site("2001:db8::1", 64).is_some());
        assert_eq!(site("2001:db8::1", 64), site("2001:db8:0:ffff::1", 128));
        assert_ne!(site("2001:db8::1", 64), site("2001:db8:1::1", 64));
    }
}
