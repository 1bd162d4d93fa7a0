//! The server's listening sockets: bound here, or passed by systemd.
//!
//! Invariants: either every configured address is listened on and every passed socket is taken, or there is an error for each
//! that is not.

use crate::config::{ListenAddress, ListenerConfig};
use crate::listening::{self, Leaving};
use crate::proxy_protocol::ProxyProtocol;
use crate::socket_activation::{PassedSocket, PassedSockets};
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, lookup_host};

/// A listening socket.
pub(crate) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) proxy: ProxyProtocol,
    /// `None` for one that no configuration names.
    pub(super) place: Option<ListenerPlace>,
}

/// The place of a listener in the configuration. A listener whose place stays is not bound again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListenerPlace {
    address: ListenAddress,
    /// True if it leaves IPv4 to another one.
    v6_only: bool,
}

/// The reason why an address is not listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{key}: cannot listen on {address}: {source}")]
    Bind {
        /// The path of the address in the configuration.
        key: String,
        /// Configured address, as `host:port`.
        address: String,
        #[source]
        source: io::Error,
    },
    /// No socket with the configured name was passed.
    #[error("{key}: systemd passed no socket for {address}{}", passed(.names))]
    NotPassed {
        /// The path of the address in the configuration.
        key: String,
        /// Configured address, as `fd://name`.
        address: String,
        /// The names of the sockets that were passed.
        names: Vec<String>,
    },
    #[error("{key}: the socket for {address} that systemd passed cannot be used: {source}")]
    Passed {
        /// The path of the address in the configuration.
        key: String,
        /// Configured address, as `fd://name`.
        address: String,
        #[source]
        source: io::Error,
    },
    /// Connections to these sockets would never be accepted.
    #[error("systemd passed sockets that are no address of ssh.listen or ssh.listeners: {}; write fd://NAME", .names.join(", "))]
    Untaken {
        /// The names of the sockets.
        names: Vec<String>,
    },
}

fn passed(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" (it passed {})", names.join(", ")) }
}

impl Listener {
    /// Listens on an address of loopback.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) async fn on_loopback() -> Self {
        let Ok(socket) = TcpListener::bind("127.0.0.1:0").await else { unreachable!("loopback has a port") };
        let Ok(address) = socket.local_addr() else { unreachable!("a socket has an address") };
        Self { socket, address, proxy: ProxyProtocol::Off, place: None }
    }
}

/// Listens on every configured address.
///
/// # Errors
/// Every address that cannot be listened on.
pub(crate) async fn listen(
    configs: &[ListenerConfig],
    mut passed: PassedSockets,
) -> Result<Vec<Listener>, Vec<ListenError>> {
    let (mut listeners, mut errors) = (Vec::new(), Vec::new());
    let wanted = WantedListeners::of(configs).await;
    // Those without a name take what the others leave.
    let mut order: Vec<_> = configs.iter().enumerate().collect();
    order.sort_by_key(|(_, config)| config.address == ListenAddress::Passed(None));
    for (index, config) in order {
        let listened = match &config.address {
            ListenAddress::Bind(_) => wanted.bind(index, &[]).map(|listener| vec![listener]),
            ListenAddress::Passed(name) => take_passed(config, name.as_deref(), &mut passed),
        };
        match listened {
            Ok(listening) => listeners.extend(listening),
            Err(error) => errors.push(error),
        }
    }
    let names = passed.names();
    if !names.is_empty() {
        errors.push(ListenError::Untaken { names: names.into_iter().map(str::to_owned).collect() });
    }
    if errors.is_empty() { Ok(listeners) } else { Err(errors) }
}

/// The socket addresses of a listener; none for passed sockets.
type Resolved = io::Result<Vec<SocketAddr>>;

/// The listeners of a configuration, with the addresses that their hosts have now.
pub(super) struct WantedListeners<'a> {
    configs: &'a [ListenerConfig],
    resolved: Vec<Resolved>,
}

impl<'a> WantedListeners<'a> {
    pub(super) async fn of(configs: &'a [ListenerConfig]) -> Self {
        let mut resolved = Vec::new();
        for config in configs {
            resolved.push(match &config.address {
                ListenAddress::Bind(address) => lookup_host(address).await.map(Iterator::collect),
                ListenAddress::Passed(_) => Ok(Vec::new()),
            });
        }
        Self { configs, resolved }
    }

    /// The place of a listener whose socket has an address.
    pub(super) fn place(&self, index: usize, address: SocketAddr) -> Option<ListenerPlace> {
        let config = self.configs.get(index)?;
        let port = self.addresses(index).ok()?.first().map_or(0, SocketAddr::port);
        let v6_only = leaves_ipv4(SocketAddr::new(address.ip(), port), &self.resolved);
        Some(ListenerPlace { address: config.address.clone(), v6_only })
    }

    /// Binds the first of a host's addresses that can be bound, beside sockets that are about to leave.
    ///
    /// # Errors
    /// The last address's, or the name's.
    pub(super) fn bind(&self, index: usize, leaving: &[Leaving<'_>]) -> Result<Listener, ListenError> {
        let mut bound = Err(io::Error::new(io::ErrorKind::InvalidInput, "the host has no address"));
        match self.addresses(index) {
            Ok(addresses) => {
                for address in addresses {
                    let v6_only = leaves_ipv4(*address, &self.resolved);
                    bound = listening::bind(*address, v6_only, leaving);
                    if bound.is_ok() {
                        break;
                    }
                }
            }
            Err(error) => bound = Err(error),
        }
        let config = self.configs.get(index);
        let (key, address) = config.map(|config| (config.key.clone(), config.address.to_string())).unwrap_or_default();
        let named = |source| ListenError::Bind { key: key.clone(), address: address.clone(), source };
        let socket = bound.map_err(named)?;
        let address = socket.local_addr().map_err(named)?;
        let proxy = config.map_or(ProxyProtocol::Off, |config| config.proxy.clone());
        let place = self.place(index, address);
        Ok(Listener { socket, address, proxy, place })
    }

    fn addresses(&self, index: usize) -> io::Result<&[SocketAddr]> {
        match self.resolved.get(index) {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(&[]),
        }
    }
}

fn take_passed(
    config: &ListenerConfig,
    name: Option<&str>,
    passed: &mut PassedSockets,
) -> Result<Vec<Listener>, ListenError> {
    let (key, address) = (config.key.clone(), config.address.to_string());
    let names: Vec<String> = passed.names().into_iter().map(str::to_owned).collect();
    let sockets = match name {
        Some(name) => passed.take_named(name),
        None => passed.take_rest(),
    };
    if sockets.is_empty() {
        return Err(ListenError::NotPassed { key, address, names });
    }
    let sockets = sockets.into_iter().map(usable).collect::<io::Result<Vec<_>>>();
    let sockets = sockets.map_err(|source| ListenError::Passed { key, address, source })?;
    let place = || Some(ListenerPlace { address: config.address.clone(), v6_only: false });
    let listener = |(socket, address)| Listener { socket, address, proxy: config.proxy.clone(), place: place() };
    Ok(sockets.into_iter().map(listener).collect())
}

fn usable(passed: PassedSocket) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = passed.socket?;
    socket.set_nonblocking(true)?;
    let socket = TcpListener::from_std(socket)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// True if a listener of IPv6 has to leave IPv4 to another one with the same port.
fn leaves_ipv4(address: SocketAddr, all: &[Resolved]) -> bool {
    let mut others = all.iter().flatten().flatten();
    address.is_ipv6() && address.port() != 0 && others.any(|other| other.is_ipv4() && other.port() == address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    fn config(address: String) -> ListenerConfig {
        let address = ListenAddress::Bind(address);
        ListenerConfig { key: "ssh.listeners[0].address".to_owned(), address, proxy: ProxyProtocol::Off }
    }

    #[test]
    fn listener_of_ipv6_leaves_ipv4_to_one_with_the_same_port() {
        let all = |addresses: &[&str]| -> Vec<Resolved> {
            addresses.iter().map(|address| Ok(vec![address.parse().unwrap()])).collect()
        };
        for (address, others, leaves) in [
            ("[::]:2222", &["[::]:2222"][..], false),
            ("[::]:2222", &["[::]:2222", "0.0.0.0:2223"], false),
            ("[::]:2222", &["[::]:2222", "[::1]:2222"], false),
            ("[::]:0", &["[::]:0", "0.0.0.0:0"], false),
            ("0.0.0.0:2222", &["[::]:2222", "0.0.0.0:2222"], false),
            ("[::]:2222", &["[::]:2222", "0.0.0.0:2222"], true),
            ("[::]:2222", &["127.0.0.1:2222", "[::]:2222"], true),
        ] {
            assert_eq!(leaves_ipv4(address.parse().unwrap(), &all(others)), leaves, "{address} of {others:?}");
        }
    }

    #[tokio::test]
    async fn wildcards_of_both_families_share_a_port() {
        for order in [["[::]", "0.0.0.0"], ["0.0.0.0", "[::]"]] {
            // The port is free until another process takes it between the two lines: then with another one.
            let listeners = loop {
                let port = TcpListener::bind("[::]:0").await.unwrap().local_addr().unwrap().port();
                let configs = order.map(|host| config(format!("{host}:{port}")));
                match listen(&configs, PassedSockets::default()).await {
                    Ok(listeners) => break listeners,
                    Err(errors) => assert!(errors.iter().all(is_taken), "{errors:?}"),
                }
            };
            assert_eq!(listeners.len(), 2);
            for listener in listeners {
                let loopback = if listener.address.is_ipv4() { "127.0.0.1" } else { "[::1]" };
                let client = TcpStream::connect(format!("{loopback}:{}", listener.address.port())).await.unwrap();
                let (_, remote) = listener.socket.accept().await.unwrap();
                assert_eq!(remote, client.local_addr().unwrap());
            }
        }
    }

    fn is_taken(error: &ListenError) -> bool {
        matches!(error, ListenError::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}
