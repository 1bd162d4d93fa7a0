//! The addresses as the start would take them, one after the other: the first of a host's that can be had.

use std::io;
use std::net::SocketAddr;
use tokio::net::TcpSocket;

/// The addresses that are taken so far, with the keys of those who take them.
#[derive(Default)]
pub(super) struct TakenAddresses(Vec<(String, SocketAddr)>);

/// Result of binding one address of the configuration.
#[derive(Debug)]
pub(super) enum Bound {
    Free,
    /// Another key of the configuration has it.
    Rival(String),
    /// Somebody has it, perhaps a running gateway; `spare` if the start would take the next address of the host.
    Held {
        address: SocketAddr,
        error: io::Error,
        spare: bool,
    },
    Refused(io::Error),
    /// The host's addresses are not known.
    Unknown(io::Error),
}

impl TakenAddresses {
    /// Binds the first of a host's addresses that can be bound, for a moment.
    pub(super) fn bind(&mut self, key: &str, found: io::Result<Vec<SocketAddr>>) -> Bound {
        let found = match found {
            Ok(found) => found,
            Err(error) => return Bound::Unknown(error),
        };
        let mut failed = None;
        for address in found {
            let is_rival = |(other, taken): &&(String, SocketAddr)| overlap((other, *taken), (key, address));
            if let Some((rival, _)) = self.0.iter().find(is_rival) {
                failed.get_or_insert(Bound::Rival(rival.clone()));
                continue;
            }
            match bind(address) {
                Ok(()) => {
                    self.0.push((key.to_owned(), address));
                    return match failed {
                        Some(Bound::Held { address, error, .. }) => Bound::Held { address, error, spare: true },
                        _ => Bound::Free,
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    self.0.push((key.to_owned(), address));
                    if !matches!(failed, Some(Bound::Held { .. })) {
                        failed = Some(Bound::Held { address, error, spare: false });
                    }
                }
                Err(error) => {
                    failed.get_or_insert(Bound::Refused(error));
                }
            }
        }
        failed.unwrap_or_else(|| Bound::Unknown(io::Error::other("the host has no address")))
    }
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// True if the start cannot listen on both addresses, each given with its key. A listener of SSH at `[::]` leaves IPv4 to
/// another one of SSH; all others take both families.
fn overlap((one_key, one): (&str, SocketAddr), (other_key, other): (&str, SocketAddr)) -> bool {
    if one.port() != other.port() || one.port() == 0 {
        return false;
    }
    let is_any = |address: SocketAddr| address.ip().is_unspecified();
    if one.is_ipv4() == other.is_ipv4() {
        return one.ip() == other.ip() || is_any(one) || is_any(other);
    }
    let are_ssh = one_key.starts_with("ssh.") && other_key.starts_with("ssh.");
    let takes_both = |address: SocketAddr| address.is_ipv6() && is_any(address);
    !are_ssh && (takes_both(one) || takes_both(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_port_overlap_unless_their_hosts_differ() {
        for (one, other, expected) in [
            (("ssh.a", "127.0.0.1:22"), ("b", "127.0.0.1:22"), true),
            (("ssh.a", "0.0.0.0:22"), ("b", "127.0.0.1:22"), true),
            (("ssh.a", "127.0.0.1:22"), ("b", "0.0.0.0:22"), true),
            (("ssh.a", "[::]:22"), ("ssh.b", "[::1]:22"), true),
            (("ssh.a", "[::]:22"), ("ssh.b", "0.0.0.0:22"), false),
            (("ssh.a", "[::]:22"), ("b", "0.0.0.0:22"), true),
            (("a", "127.0.0.1:22"), ("b", "[::]:22"), true),
            (("a", "127.0.0.1:22"), ("b", "127.0.0.2:22"), false),
            (("a", "127.0.0.1:22"), ("b", "127.0.0.1:23"), false),
            (("a", "127.0.0.1:0"), ("b", "127.0.0.1:0"), false),
            (("a", "[::1]:22"), ("b", "127.0.0.1:22"), false),
        ] {
            let parsed = |(key, address): (&'static str, &str)| (key, address.parse().unwrap());
            assert_eq!(overlap(parsed(one), parsed(other)), expected, "{one:?} {other:?}");
        }
    }
}
