//! IPv4 addresses in IPv6 ones, as a NAT64 writes those of its clients (RFC 6052). Whoever is behind it is told apart by the
//! IPv4 address: its whole world would otherwise be one source.
//!
//! Invariants: only the well-known prefix, which nobody but a network's own NAT64 can have (RFC 6052 section 3.1), and the
//! prefixes that the operator names are read so. Nobody gets a source by an address of a network of their own.

use ipnet::Ipv6Net;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `64:ff9b::/96`.
const WELL_KNOWN: Nat64Prefix = Nat64Prefix { address: 0x0064_ff9b << 96, bits: 96 };

/// A prefix that a NAT64 puts before the address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nat64Prefix {
    address: u128,
    bits: u8,
}

impl Nat64Prefix {
    /// Parses a prefix like `2001:db8:64::/96`. `None` if it is none, has bits behind its length, or
    /// another length than RFC 6052 section 2.2 has.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let net: Ipv6Net = text.parse().ok()?;
        let is_mapped = net.addr().to_ipv4_mapped().is_some();
        let bits = net.prefix_len();
        let valid = matches!(bits, 32 | 40 | 48 | 56 | 64 | 96) && !is_mapped && net.trunc() == net;
        valid.then(|| Self { address: net.addr().to_bits(), bits })
    }

    /// The IPv4 address in an address of this prefix: behind it, without the octet that is always 0 (bits 64 to 71).
    fn embedded(self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let bits = address.to_bits();
        let rest = 128 - u32::from(self.bits);
        if (bits ^ self.address).checked_shr(rest).unwrap_or(0) != 0 {
            return None;
        }
        if self.bits == 96 {
            let [.., a, b, c, d] = address.octets();
            return Some(Ipv4Addr::new(a, b, c, d));
        }
        let octets = address.octets();
        let [.., zero, _, _, _, _, _, _, _] = octets;
        if zero != 0 {
            return None;
        }
        let inner = octets.iter().enumerate().filter(|(at, _)| *at != 8).map(|(_, octet)| *octet);
        let mut inner = inner.skip(usize::from(self.bits) / 8);
        Some(Ipv4Addr::new(inner.next()?, inner.next()?, inner.next()?, inner.next()?))
    }
}

/// The address that tells a client from others.
pub(super) fn client_address(client: IpAddr, configured: &[Nat64Prefix]) -> IpAddr {
    let IpAddr::V6(address) = client.to_canonical() else { return client.to_canonical() };
    let well_known = || WELL_KNOWN.embedded(address).filter(|inner| is_public(*inner));
    let inner = configured.iter().find_map(|prefix| prefix.embedded(address)).or_else(well_known);
    inner.map_or(IpAddr::V6(address), IpAddr::V4)
}

/// False for an address that the well-known prefix does not stand before (RFC 6052 section 3.1).
fn is_public(address: Ipv4Addr) -> bool {
    let shared = Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22;
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.to_bits() >> 22 == shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_behind_a_nat64_is_the_ipv4_address_in_it() {
        // RFC 6052 section 2.4 has the first six.
        let prefixes = [
            "2001:db8::/32",
            "2001:db8:100::/40",
            "2001:db8:122::/48",
            "2001:db8:122:300::/56",
            "2001:db8:122:344::/64",
            "2001:db8:122:344::/96",
        ];
        for (prefix, address, inner) in [
            (Some(prefixes[0]), "2001:db8:c000:221::", "192.0.2.33"),
            (Some(prefixes[1]), "2001:db8:1c0:2:21::", "192.0.2.33"),
            (Some(prefixes[2]), "2001:db8:122:c000:2:2100::", "192.0.2.33"),
            (Some(prefixes[3]), "2001:db8:122:3c0:0:221::", "192.0.2.33"),
            (Some(prefixes[4]), "2001:db8:122:344:c0:2:2100::", "192.0.2.33"),
            (Some(prefixes[5]), "2001:db8:122:344::192.0.2.33", "192.0.2.33"),
            (None, "64:ff9b::192.0.2.33", "192.0.2.33"),
            (None, "::ffff:192.0.2.33", "192.0.2.33"),
            (None, "192.0.2.33", "192.0.2.33"),
            // The operator's own prefix may stand before any address, the well-known one may not.
            (Some(prefixes[5]), "2001:db8:122:344::10.0.0.1", "10.0.0.1"),
            (None, "64:ff9b::10.0.0.1", "64:ff9b::10.0.0.1"),
            (None, "64:ff9b::127.0.0.1", "64:ff9b::127.0.0.1"),
            (None, "64:ff9b::100.64.0.1", "64:ff9b::100.64.0.1"),
            // Not below a prefix.
            (Some(prefixes[5]), "2001:db8:122:344:0:1:c000:221", "2001:db8:122:344:0:1:c000:221"),
            (Some(prefixes[4]), "2001:db8:122:344:ffc0:2:2100::", "2001:db8:122:344:ffc0:2:2100::"),
            (None, "64:ff9b::1:192.0.2.33", "64:ff9b::1:192.0.2.33"),
            (None, "64:ff9b:1::192.0.2.33", "64:ff9b:1::192.0.2.33"),
            (None, "2001:db8::192.0.2.33", "2001:db8::192.0.2.33"),
        ] {
            let configured: Vec<Nat64Prefix> =
                prefix.map(|text| Nat64Prefix::parse(text).expect(text)).into_iter().collect();
            let told = client_address(address.parse().unwrap(), &configured);
            assert_eq!(told, inner.parse::<IpAddr>().unwrap(), "{address} behind {prefix:?}");
        }
    }

    #[test]
    fn prefix_of_another_length_is_none() {
        for text in ["2001:db8::/33", "2001:db8::/128", "::/0", "2001:db8::", "192.0.2.0/24", "::ffff:0:0/96", "x"] {
            assert_eq!(Nat64Prefix::parse(text), None, "{text}");
        }
        assert_eq!(Nat64Prefix::parse("64:ff9b::/96"), Some(WELL_KNOWN));
        assert_eq!(Nat64Prefix::parse("64:ff9b::1/96"), None, "an address is no prefix");
    }
}
