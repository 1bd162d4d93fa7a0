//! The entries of the lists, in the spirit of OpenSSH's `PermitOpen` and `PermitListen`: `HOST:PORT`, `listen:ADDRESS:PORT`,
//! `unix:PATH` and `listen:unix:PATH`. What could be read in two ways is a mistake.

use super::pattern::{NamePattern, PathPattern, ends_in_number};
use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// The first port that the guest's system may choose for a listener.
const FIRST_CHOSEN_PORT: u16 = 1024;

/// An entry of `security.forwarding.allow` or `deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DestinationEntry {
    /// `HOST:PORT`: connections to it.
    Dial(TcpEntry),
    /// `listen:ADDRESS:PORT`: listeners there.
    Listen(TcpEntry),
    /// `unix:PATH`: connections to the socket.
    DialSocket(PathPattern),
    /// `listen:unix:PATH`: listeners there.
    ListenSocket(PathPattern),
}

/// A host or address with ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpEntry {
    pub(super) host: EntryHost,
    /// From 0 with `*`, else from 1.
    pub(super) ports: RangeInclusive<u16>,
}

/// The hosts of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryHost {
    /// `*`: all of them.
    Any,
    /// Hosts that are asked for by these names.
    Name(NamePattern),
    /// Hosts that are asked for by addresses of a network; a single address is the smallest one.
    Network(IpNet),
}

/// A text that is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DestinationMistake {
    /// There is no port.
    #[error("has no port; write HOST:PORT, with * for every port")]
    NoPort,
    /// The port is neither a number, nor a range, nor `*`.
    #[error("has no valid port after the last colon: write 1 to 65535, a range such as 8000-8999, or *")]
    Port,
    /// The host of a connection is none.
    #[error(
        "has no valid host: write a name, a pattern such as *.internal, an address such as 10.0.0.1 or [fd00::1], a network such as 10.0.0.0/8 or [fd00::/8], or *"
    )]
    Host,
    /// The address of a listener is none.
    #[error(
        "has no valid address to listen on: write localhost, an address such as 127.0.0.1 or [::1], a network such as 10.0.0.0/8, or *"
    )]
    ListenAddress,
    /// An address of IPv6 stands without brackets.
    #[error("has an IPv6 address without brackets; write [{0}]:PORT")]
    Brackets(String),
    /// The network's address has bits behind the prefix.
    #[error("is not the beginning of its network; write {0}")]
    HostBits(String),
    /// The path of a socket is none.
    #[error(
        "has no valid path: write an absolute one without . and .., in which * stands for a part of a name and /** at the end for everything below"
    )]
    Path,
}

impl FromStr for DestinationEntry {
    type Err = DestinationMistake;

    fn from_str(text: &str) -> Result<Self, DestinationMistake> {
        let path = |path: &str| PathPattern::parse(path).ok_or(DestinationMistake::Path);
        if let Some(listen) = text.strip_prefix("listen:") {
            return match listen.strip_prefix("unix:") {
                Some(rest) => path(rest).map(Self::ListenSocket),
                None => listener(listen).map(Self::Listen),
            };
        }
        match text.strip_prefix("unix:") {
            Some(rest) => path(rest).map(Self::DialSocket),
            None => tcp(text).map(Self::Dial),
        }
    }
}

fn tcp(text: &str) -> Result<TcpEntry, DestinationMistake> {
    let (host, ports) = text.rsplit_once(':').ok_or(DestinationMistake::NoPort)?;
    let is_whole_address = text.parse::<IpAddr>().is_ok();
    if is_whole_address || (host.contains(':') && !host.starts_with('[')) {
        return Err(DestinationMistake::Brackets(if is_whole_address { text } else { host }.to_owned()));
    }
    let ports = port_range(ports).ok_or(DestinationMistake::Port)?;
    Ok(TcpEntry { host: entry_host(host)?, ports })
}

/// Of the names, a listener can have `localhost` alone.
fn listener(text: &str) -> Result<TcpEntry, DestinationMistake> {
    let entry = tcp(text).map_err(|mistake| match mistake {
        DestinationMistake::Host => DestinationMistake::ListenAddress,
        other => other,
    })?;
    match &entry.host {
        EntryHost::Name(pattern) if !pattern.is_localhost() => Err(DestinationMistake::ListenAddress),
        _ => Ok(entry),
    }
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| *port > 0 && is_number)
    };
    match text.split_once('-') {
        None if text == "*" => Some(0..=u16::MAX),
        None => port(text).map(|port| port..=port),
        Some((first, last)) => {
            let range = port(first)?..=port(last)?;
            (!range.is_empty()).then_some(range)
        }
    }
}

fn entry_host(text: &str) -> Result<EntryHost, DestinationMistake> {
    if text == "*" {
        return Ok(EntryHost::Any);
    }
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let network = bracketed.unwrap_or(text);
    if let Some(network) = parse_network(network) {
        // Brackets are for IPv6 alone.
        return if bracketed.is_some() == network.addr().is_ipv6() {
            in_canonical_form(network)
        } else {
            Err(DestinationMistake::Host)
        };
    }
    if bracketed.is_some() || ends_in_number(text) {
        return Err(DestinationMistake::Host);
    }
    NamePattern::parse(text).map(EntryHost::Name).ok_or(DestinationMistake::Host)
}

fn parse_network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// Networks of IPv4 that are written as IPv6 (RFC 4291 section 2.5.5.2) become ones of IPv4: so do the addresses that are
/// compared with them.
fn in_canonical_form(network: IpNet) -> Result<EntryHost, DestinationMistake> {
    if network.trunc() != network {
        let network = network.trunc();
        let shown = if network.addr().is_ipv6() { format!("[{network}]") } else { network.to_string() };
        return Err(DestinationMistake::HostBits(shown));
    }
    let IpNet::V6(v6) = network else { return Ok(EntryHost::Network(network)) };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let v4 = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    Ok(EntryHost::Network(v4.map_or(network, IpNet::V4)))
}

impl TcpEntry {
    /// True if a listener that asks for this port may get one of the entry's.
    pub(super) fn may_have_port(&self, port: u16) -> bool {
        if port == 0 { *self.ports.end() >= FIRST_CHOSEN_PORT } else { self.ports.contains(&port) }
    }

    /// True if the entry is for every port.
    pub(super) fn has_every_port(&self) -> bool {
        self.ports == (0..=u16::MAX)
    }
}

/// Writes the entry as it is written in a configuration.
impl fmt::Display for DestinationEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(entry) => write!(f, "{entry}"),
            Self::Listen(entry) => write!(f, "listen:{entry}"),
            Self::DialSocket(path) => write!(f, "unix:{path}"),
            Self::ListenSocket(path) => write!(f, "listen:unix:{path}"),
        }
    }
}

impl fmt::Display for TcpEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            EntryHost::Any => f.write_str("*")?,
            EntryHost::Name(pattern) => write!(f, "{pattern}")?,
            EntryHost::Network(network) => {
                let is_one = network.prefix_len() == network.max_prefix_len();
                let shown = if is_one { network.addr().to_string() } else { network.to_string() };
                if network.addr().is_ipv6() { write!(f, "[{shown}]") } else { f.write_str(&shown) }?;
            }
        }
        let (first, last) = (self.ports.start(), self.ports.end());
        match (first, last) {
            _ if self.has_every_port() => f.write_str(":*"),
            _ if first == last => write!(f, ":{first}"),
            _ => write!(f, ":{first}-{last}"),
        }
    }
}
