//! The parser of PROXY headers, versions 1 (text) and 2 (binary), strict in what it accepts.
//!
//! Invariants: the answer depends on the header's bytes alone, not on how they arrive or on what follows them; as soon as the
//! bytes cannot become a valid header, the answer is an error; no input makes it allocate.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The limit of a header in bytes. A balancer that passes on a client's certificate needs some kilobytes.
pub(crate) const HEADER_MAX: usize = 4096;

/// The first bytes of version 1.
const TEXT: &[u8] = b"PROXY ";
/// The limit of version 1 in bytes, with CR LF (specification section 2.1).
const TEXT_MAX: usize = 107;
/// The first bytes of version 2.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The bytes of version 2 before its addresses: the first ones, version and command, family, and length.
const BINARY_HEAD: usize = 16;

/// The result for the first bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProxyHeader {
    /// More bytes are needed.
    Incomplete,
    /// The connection does not begin with a header.
    Absent,
    /// A header of so many bytes.
    Complete {
        /// The ends of the client's connection; `None` where the proxy speaks for itself (a health check), or does not know
        /// them. The connection's own ends hold then.
        proxied: Option<ProxiedEndpoints>,
        length: usize,
        /// Set for version 1.
        is_text: bool,
    },
}

/// The ends of a client's connection to a proxy. IPv4 addresses are never written as IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProxiedEndpoints {
    /// The client's end.
    pub source: SocketAddr,
    /// The end that the client connected to.
    pub destination: SocketAddr,
}

/// The fault of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum InvalidHeader {
    #[error("a line of version 1 that is not valid")]
    Text,
    #[error("a version that is unknown")]
    Version,
    #[error("a command that is unknown")]
    Command,
    #[error("an address family that is unknown, or not of TCP")]
    Family,
    #[error("too short for its addresses")]
    Short,
    #[error("longer than {HEADER_MAX} bytes")]
    Long,
}

/// Reads the first bytes of a connection.
///
/// # Errors
/// Bytes that begin like a header and are none, however they go on.
pub(crate) fn parse(bytes: &[u8]) -> Result<ProxyHeader, InvalidHeader> {
    if begins(bytes, TEXT) {
        return text(bytes);
    }
    if begins(bytes, BINARY) {
        return binary(bytes);
    }
    Ok(ProxyHeader::Absent)
}

/// True if bytes begin with a signature, or could after more bytes.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, expected)| byte == expected)
}

fn text(bytes: &[u8]) -> Result<ProxyHeader, InvalidHeader> {
    let line = bytes.get(..TEXT_MAX).unwrap_or(bytes);
    let Some(end) = line.iter().position(|byte| *byte == b'\n') else {
        let is_possible = line.len() < TEXT_MAX && is_printable(line.strip_suffix(b"\r").unwrap_or(line));
        return if is_possible { Ok(ProxyHeader::Incomplete) } else { Err(InvalidHeader::Text) };
    };
    let line = line.get(TEXT.len()..end).and_then(|line| line.strip_suffix(b"\r")).filter(|line| is_printable(line));
    let line = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(InvalidHeader::Text)?;
    // Whatever follows UNKNOWN is to be ignored.
    let proxied = if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        None
    } else {
        Some(text_endpoints(line).ok_or(InvalidHeader::Text)?)
    };
    Ok(ProxyHeader::Complete { proxied, length: end + 1, is_text: true })
}

fn is_printable(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Reads `TCP4 SOURCE DESTINATION PORT PORT`.
fn text_endpoints(line: &str) -> Option<ProxiedEndpoints> {
    let (family, rest) = line.split_once(' ')?;
    let address = match family {
        "TCP4" => |text| Ipv4Addr::from_str(text).ok().map(IpAddr::from),
        "TCP6" => |text| Ipv6Addr::from_str(text).ok().map(IpAddr::from),
        _ => return None,
    };
    let mut words = rest.split(' ');
    let (source, destination) = (address(words.next()?)?, address(words.next()?)?);
    let (from, to) = (port(words.next()?)?, port(words.next()?)?);
    words.next().is_none().then(|| endpoints((source, from), (destination, to)))
}

/// A port without a sign or a leading zero.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

fn binary(bytes: &[u8]) -> Result<ProxyHeader, InvalidHeader> {
    let Some(command) = bytes.get(BINARY.len()) else { return Ok(ProxyHeader::Incomplete) };
    let is_local = match (command >> 4, command & 15) {
        (2, 0) => true,
        (2, 1) => false,
        (2, _) => return Err(InvalidHeader::Command),
        _ => return Err(InvalidHeader::Version),
    };
    let Some(family) = bytes.get(BINARY.len() + 1) else { return Ok(ProxyHeader::Incomplete) };
    let family = match family {
        // The block of a local connection has no meaning.
        _ if is_local => Family::Other,
        0x11 => Family::Ipv4,
        0x21 => Family::Ipv6,
        // Not specified, and a Unix socket: a client without an address.
        0x00 | 0x31 => Family::Other,
        _ => return Err(InvalidHeader::Family),
    };
    // The first byte of the length alone is no reason to wait.
    let high = bytes.get(BINARY_HEAD - 2).copied().unwrap_or_default();
    let low = bytes.get(BINARY_HEAD - 1).copied();
    let length = BINARY_HEAD + usize::from(u16::from_be_bytes([high, low.unwrap_or_default()]));
    if length > HEADER_MAX {
        return Err(InvalidHeader::Long);
    }
    if low.is_none() {
        return Ok(ProxyHeader::Incomplete);
    }
    if length < BINARY_HEAD + family.length() {
        return Err(InvalidHeader::Short);
    }
    // Behind the addresses are fields of type, length and value, which nothing here needs.
    let Some(block) = bytes.get(BINARY_HEAD..length) else { return Ok(ProxyHeader::Incomplete) };
    Ok(ProxyHeader::Complete { proxied: family.endpoints(block), length, is_text: false })
}

/// The addresses in a header of version 2.
#[derive(Debug, Clone, Copy)]
enum Family {
    Ipv4,
    Ipv6,
    /// None that is of use.
    Other,
}

impl Family {
    /// The bytes of the addresses and ports.
    fn length(self) -> usize {
        match self {
            Self::Ipv4 => 12,
            Self::Ipv6 => 36,
            Self::Other => 0,
        }
    }

    fn endpoints(self, block: &[u8]) -> Option<ProxiedEndpoints> {
        let (source, destination, ports) = match self {
            Self::Ipv4 => (address::<4>(block, 0)?, address::<4>(block, 4)?, block.get(8..12)?),
            Self::Ipv6 => (address::<16>(block, 0)?, address::<16>(block, 16)?, block.get(32..36)?),
            Self::Other => return None,
        };
        let &[a, b, c, d] = ports else { return None };
        Some(endpoints((source, u16::from_be_bytes([a, b])), (destination, u16::from_be_bytes([c, d]))))
    }
}

/// The address of so many bytes.
fn address<const BYTES: usize>(block: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; BYTES]>,
{
    Some(IpAddr::from(<[u8; BYTES]>::try_from(block.get(at..at + BYTES)?).ok()?))
}

fn endpoints(source: (IpAddr, u16), destination: (IpAddr, u16)) -> ProxiedEndpoints {
    let end = |(address, port): (IpAddr, u16)| SocketAddr::new(address.to_canonical(), port);
    ProxiedEndpoints { source: end(source), destination: end(destination) }
}

#[cfg(test)]
mod tests;
