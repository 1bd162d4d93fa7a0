//! Listening sockets of TCP, bound where nobody listens, or beside sockets of this process that are about to be given up.
//!
//! Invariant: a socket that was bound shares its port with none that is bound later, unless that one replaces it, too.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The limit of connections that the system holds for a listener until they are accepted; the system lowers it.
const BACKLOG: i32 = 1024;

/// A socket of this process that is given up once what replaces it is bound.
pub(crate) type Leaving<'a> = &'a TcpListener;

/// Binds an address, also one that overlaps with those of sockets that are about to leave. With `v6_only`, a socket of IPv6
/// leaves IPv4 to others.
///
/// # Errors
/// Those of the system.
pub(crate) fn bind(address: SocketAddr, v6_only: bool, leaving: &[Leaving<'_>]) -> io::Result<TcpListener> {
    let is_rival = |socket: &&Leaving<'_>| socket.local_addr().is_ok_and(|at| at.port() == address.port());
    let rivals: Vec<SockRef<'_>> = leaving.iter().filter(is_rival).map(|socket| SockRef::from(*socket)).collect();
    match listen(address, v6_only, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !rivals.is_empty() => {
            // The system lets two sockets overlap if both say so, and asks at the bind alone.
            let shared = rivals.iter().try_for_each(|rival| rival.set_reuse_port(true));
            let bound = shared.and_then(|()| listen(address, v6_only, true));
            let closed = rivals.iter().try_for_each(|rival| rival.set_reuse_port(false));
            let bound = bound?;
            closed.and_then(|()| SockRef::from(&bound).set_reuse_port(false))?;
            Ok(bound)
        }
        bound => bound,
    }
}

fn listen(address: SocketAddr, v6_only: bool, shares: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says: `[::]` is every address of both families.
        socket.set_only_v6(v6_only)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    /// A listener on loopback whose port is free at every other address, too.
    fn held() -> (TcpListener, SocketAddr, SocketAddr) {
        // Another process may have the port at another address: then with another one.
        for _ in 0..100 {
            let held = bind("127.0.0.1:0".parse().unwrap(), false, &[]).unwrap();
            let address = held.local_addr().unwrap();
            let any = SocketAddr::from(([0, 0, 0, 0], address.port()));
            drop(held);
            let is_free = bind(any, false, &[]).is_ok();
            if let (true, Ok(held)) = (is_free, bind(address, false, &[])) {
                return (held, address, any);
            }
        }
        panic!("no port is free");
    }

    #[tokio::test]
    async fn address_that_another_socket_has_is_not_shared_unless_that_one_leaves() {
        let (held, address, any) = held();
        let is_taken =
            |bound: io::Result<TcpListener>| bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
        assert!(is_taken(bind(address, false, &[])) && is_taken(bind(any, false, &[])));
        let replacing = bind(any, false, &[&held]).unwrap();
        assert_eq!(replacing.local_addr().unwrap(), any);
        assert!(is_taken(bind(any, false, &[])) && is_taken(bind(address, false, &[])), "neither shares with others");
        drop(held);
        let client = TcpStream::connect(address).unwrap();
        let (_, remote) = replacing.accept().await.unwrap();
        assert_eq!(remote, client.local_addr().unwrap());
    }
}
