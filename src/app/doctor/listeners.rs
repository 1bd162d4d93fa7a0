//! The checks of what the gateway listens on: the addresses of the SSH server, of the health endpoint and of the metrics page,
//! and the operators' socket. Each is asked for as the start does, and a running gateway of this configuration is told from
//! another process.
//!
//! Invariants: nothing is listened on, so that a gateway that starts meanwhile gets its addresses; no file is made or removed.

mod rivals;

use super::CLIENT_VERSION;
use crate::admin::{AdminClientError, AdminSocket, ask_gateway};
use crate::config::{Config, HttpServerConfig, ListenAddress};
use crate::ssh::{ToldRefusal, told_refusal};
use crate::types::{Diagnosis, DoctorCheck, RunningCheck, printable};
use futures_util::future::join_all;
use rivals::{Bound, TakenAddresses};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// Limit of a name's addresses, and of an answer.
const ANSWER: Duration = Duration::from_secs(2);
/// Limit of a first line, in bytes (RFC 4253 section 4.2).
const FIRST_LINE: u64 = 255;
/// Limit of a page that is read, in bytes.
const PAGE: u64 = 256 * 1024;

/// An address of the configuration.
struct Place<'a> {
    /// The path of its key.
    key: String,
    address: &'a str,
    owner: Owner<'a>,
}

/// The part of the gateway that listens there, and what shows that it does.
enum Owner<'a> {
    /// The SSH server, by its version.
    Ssh(&'a str),
    /// An endpoint, by a text in the answer to a request.
    Http { is_tls: bool, path: &'a str, text: &'static str },
}

/// Holder of an address.
#[derive(Debug, PartialEq, Eq)]
enum Holder {
    /// A gateway; the text is what it says if it does not serve us.
    Gateway(Option<String>),
    /// A gateway that serves only clients of a load balancer.
    BehindProxy(String),
    /// It has TLS and cannot be asked.
    Unasked,
    Other,
}

/// Looks who listens on every address.
pub(super) async fn examine(config: &Config) -> Vec<Diagnosis> {
    let mut checks: Vec<Diagnosis> = passed(config).collect();
    let places = places(config);
    let found = join_all(places.iter().map(|place| resolved(place.address))).await;
    let mut taken = TakenAddresses::default();
    let bound: Vec<Bound> = places.iter().zip(found).map(|(place, found)| taken.bind(&place.key, found)).collect();
    let holders = join_all(places.iter().zip(&bound).map(|(place, bound)| async move {
        let running = RunningCheck::begin(DoctorCheck::Listeners, place.key.as_str());
        let holder = match bound {
            Bound::Held { address, .. } => Some(place.holder(*address).await),
            _ => None,
        };
        (running, holder)
    }));
    let holders = holders.await;
    let is_gateway = |holder: &Option<Holder>| matches!(holder, Some(Holder::Gateway(_) | Holder::BehindProxy(_)));
    let mut ssh = places.iter().zip(&holders).filter(|(place, _)| matches!(place.owner, Owner::Ssh(_)));
    let runs = !checks.is_empty() || ssh.any(|(_, (_, holder))| is_gateway(holder));
    for ((place, bound), (running, holder)) in places.iter().zip(bound).zip(holders) {
        checks.push(place.judged(&running, bound, holder, runs));
    }
    if let Some(socket) = &config.admin.socket {
        checks.push(socket_check(socket).await);
    }
    checks
}

/// The sockets that systemd passes.
fn passed(config: &Config) -> impl Iterator<Item = Diagnosis> {
    config.ssh.listeners.iter().filter_map(|listener| {
        let ListenAddress::Passed(_) = &listener.address else { return None };
        let running = RunningCheck::begin(DoctorCheck::Listeners, listener.key.as_str());
        let fix = "nothing is to be done; systemctl status tells of the socket unit";
        Some(running.skipped(format!("systemd passes the socket {}", listener.address), fix))
    })
}

/// The addresses in the order in which the start takes them.
fn places(config: &Config) -> Vec<Place<'_>> {
    let ssh = config.ssh.listeners.iter().filter_map(|listener| {
        let ListenAddress::Bind(address) = &listener.address else { return None };
        Some(Place { key: listener.key.clone(), address, owner: Owner::Ssh(&config.ssh.server_version) })
    });
    let http = |key: &str, server: &'_ HttpServerConfig, path, text| {
        (key.to_owned(), Owner::Http { is_tls: server.tls.is_some(), path, text })
    };
    let health = config.health.as_ref().map(|health| {
        let (key, owner) = http("health.listen", &health.server, "/healthz?verbose=true", "healthz check ");
        Place { key, address: &health.server.listen, owner }
    });
    let metrics = config.metrics.as_ref().map(|metrics| {
        let (key, owner) = http("metrics.listen", &metrics.server, metrics.path.as_str(), "podgate_");
        Place { key, address: &metrics.server.listen, owner }
    });
    ssh.chain(health).chain(metrics).collect()
}

async fn resolved(address: &str) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(ANSWER, lookup_host(address)).await;
    let found: Vec<_> = found.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))?.collect();
    if found.is_empty() { Err(io::Error::other("the host has no address")) } else { Ok(found) }
}

impl Place<'_> {
    async fn holder(&self, address: SocketAddr) -> Holder {
        match self.owner {
            Owner::Ssh(version) => holder_of(first_line(address).await.as_deref(), version),
            Owner::Http { is_tls: true, .. } => Holder::Unasked,
            Owner::Http { path, text, .. } => {
                let is_ours = page(address, path).await.is_some_and(|page| page.contains(text));
                if is_ours { Holder::Gateway(None) } else { Holder::Other }
            }
        }
    }

    /// Judges one address; `runs` if the SSH server of a gateway seems to run here.
    fn judged(&self, running: &RunningCheck, bound: Bound, holder: Option<Holder>, runs: bool) -> Diagnosis {
        let Self { key, address, owner } = self;
        let cannot = |error: &dyn std::fmt::Display| format!("{key}: cannot listen on {address}: {error}");
        let (error, spare) = match bound {
            Bound::Free => return running.ok(format!("{address} is free: no gateway runs there now")),
            Bound::Rival(rival) => {
                return running.failed(cannot(&format!("{rival} takes it")), "give each of the two a port of its own");
            }
            Bound::Unknown(error) => {
                let fix = "correct the host of this address, or let this machine's DNS know it";
                return running.failed(cannot(&error), fix);
            }
            Bound::Refused(error) => return running.failed(cannot(&error), fix_of(error.kind())),
            Bound::Held { error, spare, .. } => (error, spare),
        };
        match holder {
            Some(Holder::Gateway(None)) if runs || matches!(owner, Owner::Ssh(_)) => {
                running.ok(format!("a gateway listens on {address}"))
            }
            Some(Holder::Gateway(Some(line))) => {
                running.ok(format!("a gateway listens on {address}; to this address it says: {line}"))
            }
            Some(Holder::BehindProxy(line)) => {
                let fix = "connect through the load balancer; if its clients read this, too, add its address to \
                           trustedProxies, and have it send the PROXY header";
                running.skipped(line, fix)
            }
            Some(Holder::Unasked) if runs => {
                let fix = "nothing is to be done if it is the running gateway; else choose another port";
                running.skipped(format!("somebody listens on {address}: with TLS, it is not asked who"), fix)
            }
            _ if spare => running.ok(format!("an address of {address} is free: no gateway runs there now")),
            _ => running.failed(cannot(&error), fix_of(error.kind())),
        }
    }
}

/// The remedy for an address that the system does not give.
fn fix_of(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "end the other process, or choose another port",
        io::ErrorKind::PermissionDenied => "choose a port from 1024 on, or give the gateway CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => {
            "name an address that this machine has (ip address shows them), or 0.0.0.0 for all of them"
        }
        _ => "choose another address",
    }
}

/// Tells by the first line who listens.
fn holder_of(line: Option<&str>, version: &str) -> Holder {
    let Some(line) = line else { return Holder::Other };
    if line == version {
        return Holder::Gateway(None);
    }
    match told_refusal(line) {
        Some(ToldRefusal::Limit) => Holder::Gateway(Some(line.to_owned())),
        Some(ToldRefusal::Proxy) => Holder::BehindProxy(line.to_owned()),
        None => Holder::Other,
    }
}

/// Connects to who listens on an address of this machine.
async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let reached = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        ip if ip.is_ipv4() => Ipv4Addr::LOCALHOST.into(),
        _ => Ipv6Addr::LOCALHOST.into(),
    };
    TcpStream::connect((reached, address.port())).await
}

/// The first line of who listens there, without its end.
async fn first_line(address: SocketAddr) -> Option<String> {
    let read = async {
        let mut stream = connect(address).await?;
        // A gateway that waits for a PROXY header says so once it sees that this is none.
        stream.write_all(format!("{CLIENT_VERSION}\r\n").as_bytes()).await?;
        let mut stream = BufReader::new(stream.take(FIRST_LINE));
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await?;
        io::Result::Ok(line)
    };
    let line = timeout(ANSWER, read).await.ok()?.ok()?;
    let line = printable(&String::from_utf8_lossy(&line), 255);
    (!line.is_empty()).then_some(line)
}

/// The answer to a request for a page.
async fn page(address: SocketAddr, path: &str) -> Option<String> {
    let read = async {
        let mut stream = connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: podgate\r\naccept: text/plain\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(PAGE).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(ANSWER, read).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Looks whether the start gets the operators' socket.
async fn socket_check(path: &Path) -> Diagnosis {
    let running = RunningCheck::begin(DoctorCheck::Listeners, "admin.socket");
    let Some(error) = AdminSocket::fault(path) else {
        return running.ok(format!("{} is free: no gateway runs there now", path.display()));
    };
    // A request that no gateway knows: the others are logged.
    if error.kind() == io::ErrorKind::AddrInUse
        && let Ok(Err(AdminClientError::Refused(_))) = timeout(ANSWER, ask_gateway(path, "/doctor", None)).await
    {
        return running.ok(format!("a gateway listens on {}", path.display()));
    }
    let fix = match error.kind() {
        io::ErrorKind::NotFound => "create the directory, writable for the gateway's user alone",
        io::ErrorKind::PermissionDenied => "let the gateway's user write to the directory, or choose another one",
        io::ErrorKind::AddrInUse => "end the other process, or choose another path",
        _ => "choose another path",
    };
    running.failed(format!("admin.socket: cannot listen on {}: {error}", path.display()), fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::CheckResult;
    use tokio::net::TcpListener;

    async fn checked(owner: Owner<'_>, address: &str, runs: bool) -> Diagnosis {
        let place = Place { key: "k".to_owned(), address, owner };
        let bound = TakenAddresses::default().bind("k", resolved(address).await);
        let holder = match &bound {
            Bound::Held { address, .. } => Some(place.holder(*address).await),
            _ => None,
        };
        place.judged(&RunningCheck::begin(DoctorCheck::Listeners, "k"), bound, holder, runs)
    }

    #[podgate_test::multi_thread]
    async fn address_of_another_process_fails_and_that_of_a_gateway_does_not() {
        let wrong = "Not allowed at this time: the proxy sent no PROXY header (proxyProtocol: required)";
        for (line, result, detail) in [
            ("", CheckResult::Failed, "k: cannot listen on "),
            ("SSH-2.0-OpenSSH_9.6\r\n", CheckResult::Failed, "k: cannot listen on "),
            ("SSH-2.0-Ours\r\n", CheckResult::Ok, "a gateway listens on "),
            ("Not allowed at this time: x\r\n", CheckResult::Failed, "k: cannot listen on "),
            ("Not allowed at this time: penalty: failed authentication\r\n", CheckResult::Ok, "a gateway listens on "),
            (&format!("{wrong}\r\n"), CheckResult::Skipped, wrong),
        ] {
            let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = other.local_addr().unwrap().to_string();
            let serve = async {
                let (mut client, _) = other.accept().await.unwrap();
                client.write_all(line.as_bytes()).await.unwrap();
            };
            let (check, ()) = tokio::join!(checked(Owner::Ssh("SSH-2.0-Ours"), &address, false), serve);
            assert_eq!(check.result, result, "{check:?}");
            assert!(check.detail.starts_with(detail), "{check:?}");
            drop(other);
            let check = checked(Owner::Ssh("SSH-2.0-Ours"), &address, false).await;
            assert_eq!(check.result, CheckResult::Ok, "{check:?}");
        }
    }

    #[podgate_test::multi_thread]
    async fn address_that_this_machine_does_not_have_is_not_another_process() {
        // TEST-NET-1.
        let check = checked(Owner::Ssh("SSH-2.0-Ours"), "192.0.2.1:2222", false).await;
        assert_eq!(check.result, CheckResult::Failed, "{check:?}");
        assert!(check.fix.starts_with("name an address that this machine has"), "{check:?}");
    }
}
