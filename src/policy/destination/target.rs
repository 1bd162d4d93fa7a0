//! The destinations that requests name, so that every spelling of one is compared alike.

use super::entry::EntryHost;
use super::pattern::{NamePattern, ends_in_number, is_name_byte, parts};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The only name that always means the same addresses (RFC 6761 section 6.3).
const LOCALHOST: &str = "localhost";

/// The host of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DialTarget {
    /// An address in its canonical form, without a zone.
    Address(IpAddr),
    Name(HostName),
}

/// A host's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostName {
    /// In lower case, without a dot at its end.
    text: String,
    /// True if a dot at its end kept search domains away.
    absolute: bool,
}

impl DialTarget {
    /// Reads a request's host. `None` for one that resolvers may read as several: the addresses of `inet_aton(3)`
    /// (`0x7f.1`, `2130706433`, `010.0.0.1`), and names with signs that no host's name has.
    pub(super) fn parse(host: &str) -> Option<Self> {
        if let Some(address) = address(host) {
            return Some(Self::Address(address));
        }
        let text = host.strip_suffix('.').unwrap_or(host);
        let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_name_byte);
        if ends_in_number(text) || !text.split('.').all(is_label) {
            return None;
        }
        Some(Self::Name(HostName { text: text.to_ascii_lowercase(), absolute: text.len() < host.len() }))
    }

    /// True if the entry lists this host by its name, not by an address.
    pub(super) fn is_named_by(&self, entry: &EntryHost) -> bool {
        match (entry, self) {
            (EntryHost::Name(pattern), Self::Name(name)) => pattern.matches(&name.text),
            _ => false,
        }
    }

    /// Every address that may be reached; `None` if only the guest knows.
    pub(super) fn possible_addresses(&self) -> Option<Vec<IpAddr>> {
        match self {
            Self::Address(address) => Some(reached(*address)),
            Self::Name(name) => (name.text == LOCALHOST).then(|| loopback().to_vec()),
        }
    }

    /// True if a pattern of names may concern this host: a name that a search domain completes to one of the pattern's,
    /// and the addresses of `localhost`.
    pub(super) fn may_be_named(&self, pattern: &NamePattern) -> bool {
        match self {
            Self::Address(address) => pattern.matches(LOCALHOST) && reached(*address).iter().any(IpAddr::is_loopback),
            Self::Name(name) => {
                pattern.matches(&name.text) || (!name.absolute && pattern.matches_beginning(&name.text))
            }
        }
    }
}

/// Reads an address as the guest does: brackets are no part of it, and addresses of IPv4 that are written as IPv6
/// (RFC 4291 section 2.5.5.2) are ones of IPv4. With a zone it is none: a zone may hold anything, a name among it.
fn address(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// The addresses that a connection to an address may reach: itself, the loopback address instead of the unspecified one (on
/// Linux), and the addresses of IPv4 that translators and tunnels may read out of one of IPv6.
fn reached(address: IpAddr) -> Vec<IpAddr> {
    let mut reached = vec![address];
    match address {
        IpAddr::V4(address) if address.is_unspecified() => reached.push(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(address) if address.is_unspecified() => reached.push(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V6(address) => reached.extend(embedded(address).into_iter().map(IpAddr::from)),
        IpAddr::V4(_) => {}
    }
    reached
}

/// Every address of IPv4 that may be inside one of IPv6: of 6to4 (RFC 3056 section 2), of NAT64 and of the forms in
/// which only zeros or `ffff` stand before it (RFC 4291 section 2.5.5.1, RFC 2765 section 2.1).
fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let of_pair = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0x2002, high, low, ..] => vec![of_pair(high, low)],
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => vec![of_pair(high, low)],
        [0, 0, 0, 0, 0xffff, 0, high, low] => vec![of_pair(high, low)],
        _ => translated(address.octets()),
    }
}

/// The addresses of IPv4 that NAT64 reads behind a prefix of 32, 40, 48, 56, 64 or 96 bits (RFC 6052 section 2.2). Those
/// of the well-known prefix and of the one for local use (RFC 8215) are read in every case. Others can be any network's
/// own: there, the bits that are to be zero must be, so that few of the addresses that are not translated seem to be.
fn translated(octets: [u8; 16]) -> Vec<Ipv4Addr> {
    let is_known = octets.starts_with(&[0, 0x64, 0xff, 0x9b]);
    let reserved_octet = 8;
    let read = |prefix_bytes: usize| {
        // The reserved octet of the shorter prefixes is skipped.
        let mut rest = (prefix_bytes..octets.len()).filter(|at| *at != reserved_octet).map(|at| octets[at]);
        let found = [rest.next()?, rest.next()?, rest.next()?, rest.next()?];
        let is_translated = octets[reserved_octet] == 0 && rest.all(|octet| octet == 0) && found[0] != 0;
        (is_known || is_translated).then(|| Ipv4Addr::from(found))
    };
    [4, 5, 6, 7, 8, 12].into_iter().filter_map(read).collect()
}

fn loopback() -> [IpAddr; 2] {
    [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
}

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BindTarget {
    /// Every address of every family (RFC 4254 section 7.1).
    All,
    /// The loopback addresses of both families.
    Localhost,
    /// An address in its canonical form; an unspecified one is all of its family.
    Address(IpAddr),
}

impl BindTarget {
    /// Reads a request's address; `None` for another name.
    pub(super) fn parse(host: &str) -> Option<Self> {
        match host {
            "" | "*" => Some(Self::All),
            _ if host.eq_ignore_ascii_case(LOCALHOST) => Some(Self::Localhost),
            _ => address(host).map(Self::Address),
        }
    }

    /// True if the listener may have an address of the entry.
    pub(super) fn may_bind(&self, entry: &EntryHost) -> bool {
        // On Linux a listener of IPv6 may have every address of IPv4 as well.
        let has = |wanted: IpAddr| match self {
            Self::All => true,
            Self::Localhost => loopback().contains(&wanted),
            Self::Address(own) => *own == wanted || (own.is_unspecified() && (own.is_ipv6() || wanted.is_ipv4())),
        };
        match entry {
            EntryHost::Any => true,
            EntryHost::Name(_) => self.is_loopback() || loopback().into_iter().any(has),
            EntryHost::Network(network) => match self {
                Self::All => true,
                Self::Localhost => loopback().iter().any(|address| network.contains(address)),
                Self::Address(own) if own.is_unspecified() => has(network.addr()),
                Self::Address(own) => network.contains(own),
            },
        }
    }

    /// True if the listener has no address but the entry's.
    pub(super) fn is_within(&self, entry: &EntryHost) -> bool {
        match (entry, self) {
            (EntryHost::Any, _) => true,
            (EntryHost::Name(_), target) => target.is_loopback(),
            (EntryHost::Network(network), Self::Address(own)) if own.is_unspecified() => {
                let is_all = network.prefix_len() == 0 && network.addr().is_ipv4() == own.is_ipv4();
                is_all || *network == IpNet::from(*own)
            }
            (EntryHost::Network(network), Self::Address(own)) => network.contains(own),
            (EntryHost::Network(_), Self::All | Self::Localhost) => false,
        }
    }

    /// True if only the guest itself reaches the listener: the addresses of the name `localhost` in an entry are `::1`
    /// and all of 127.0.0.0/8.
    fn is_loopback(&self) -> bool {
        match self {
            Self::All => false,
            Self::Localhost => true,
            Self::Address(own) => own.is_loopback(),
        }
    }
}

/// True for an absolute path with one spelling.
pub(super) fn is_plain_path(path: &str) -> bool {
    // Below /proc, every path has another spelling: /proc/self/root is the root.
    parts(path).is_some() && path != "/proc" && !path.starts_with("/proc/")
}
