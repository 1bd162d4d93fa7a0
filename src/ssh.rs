//! The SSH server: the accept loop. Only this module and its children name russh.
//!
//! A connection takes everything it needs from one [`Snapshot`] when it is accepted.

mod admission;
mod channel_count;
mod channels;
mod clear_packets;
mod client_stream;
mod conduct;
mod connection;
mod connection_end;
mod connection_use;
mod entrance;
mod forwards;
mod handler;
mod key_offer;
mod login;
mod refused_connections;
mod snapshot;
mod source_tally;
mod ssh_client;
mod supervisor;
mod time_limits;
mod transport;
mod window;

pub(crate) use admission::{AdmissionError, ConfigOrigin, ask, resolve};
pub(crate) use key_offer::offered_key;
pub(crate) use login::{LoginDisconnect, record_offer_refusal, record_refusal};
pub(crate) use snapshot::Snapshot;
pub(crate) use transport::{HostKeyError, unusable_host_keys};

use crate::descriptors::{self, DescriptorShares};
use crate::registry::Registry;
use crate::shutdown::Tasks;
use crate::telemetry::{Level, Log, codes};
use crate::types::ConnectionId;
use arc_swap::ArcSwap;
use entrance::Entrance;
use refused_connections::RefusedConnections;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::AcceptedConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Limit of the pause after a failed accept (too many open files, for example).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The time between two looks at what the log has not had yet.
const REPORTS: Duration = Duration::from_secs(5);

/// The server, bound and not yet serving.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    snapshot: Arc<ArcSwap<Snapshot>>,
    registry: Registry,
    entrance: Entrance,
    log: Log,
}

impl Server {
    /// Binds `listen` (`host:port`).
    ///
    /// # Errors
    /// The address cannot be resolved or bound.
    pub(crate) async fn bind(listen: &str, snapshot: Snapshot, registry: Registry, log: Log) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let shares = DescriptorShares::of(descriptors::soft_limit());
        let entrance = Entrance::new(&snapshot.login, shares, log.clone());
        Ok(Self { listener, address, snapshot: Arc::new(ArcSwap::from_pointee(snapshot)), registry, entrance, log })
    }

    /// The address that it listens on.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The snapshot that the next connection takes, to be replaced.
    #[cfg(test)]
    pub(crate) fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        self.snapshot.clone()
    }

    /// The fingerprint and kind of each host key, as `ssh-keygen -l` writes them.
    pub(crate) fn host_keys(&self) -> Vec<String> {
        self.snapshot.load().transport.fingerprints()
    }

    /// Accepts until `tasks` is told to stop; every connection is one of its tasks.
    pub(crate) async fn run(self, tasks: Tasks) {
        let mut refused = RefusedConnections::new();
        let mut pause = Duration::from_millis(10);
        let mut reports = interval(REPORTS);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                now = reports.tick() => {
                    self.report(&mut refused, Some(now.into_std()));
                    continue;
                }
                () = tasks.stopping().cancelled() => {
                    self.report(&mut refused, None);
                    return;
                }
            };
            match accepted {
                Ok((stream, remote)) => {
                    pause = Duration::from_millis(10);
                    self.accept(stream, remote, &mut refused, &tasks);
                }
                Err(error) => {
                    let text = error.to_string();
                    self.log.write(
                        codes::SSH_ACCEPT_FAILED,
                        "a connection could not be accepted",
                        &[("reason", &text)],
                    );
                    // What accept lacks (file descriptors, memory) comes back with time, not with an event.
                    sleep(pause).await;
                    pause = (pause * 2).min(ACCEPT_PAUSE);
                }
            }
        }
    }

    /// Writes the lines about refused connections and penalties of the minutes that are over, or of all if `now` is none.
    fn report(&self, refused: &mut RefusedConnections, now: Option<Instant>) {
        for (refusal, summary) in refused.close(now) {
            let count = summary.count.to_string();
            let details = [("reason", refusal.text()), ("count", &*count), ("addresses", &*summary.addresses)];
            self.log.write(codes::SSH_CONNECTION_REFUSED, "connections were refused", &details);
        }
        self.entrance.report_penalties(now);
    }

    fn accept(&self, stream: TcpStream, remote: SocketAddr, refused: &mut RefusedConnections, tasks: &Tasks) {
        let startup = match self.entrance.admit(remote.ip()) {
            Ok(startup) => startup,
            Err(refusal) => {
                self.log.metrics().count_refused_connection(refusal.word());
                if refused.tell((stream, remote.ip()), refusal, tasks) {
                    let remote = remote.to_string();
                    let details = [("remoteAddr", &*remote), ("reason", refusal.text()), ("count", "1")];
                    self.log.write(codes::SSH_CONNECTION_REFUSED, "a connection was refused", &details);
                }
                return;
            }
        };
        // Registered before its task first runs: a stop of the server from now on ends it, too.
        let id = ConnectionId::random();
        let (entry, commands) = self.registry.add(id);
        let remote = remote.to_string();
        let accepted = AcceptedConnection { stream, id, entry, commands, entrance: self.entrance.clone(), startup };
        let served = supervisor::serve(accepted, self.snapshot.load_full(), self.log.clone());
        let log = self.log.clone();
        tasks.spawn(async move {
            if let Err(error) = Box::pin(served).await {
                let text = error.to_string();
                log.write(
                    codes::SSH_DISCONNECTED.at(Level::Debug),
                    "the connection ended before the SSH handshake",
                    &[("remoteAddr", &remote), ("reason", &text)],
                );
            }
        });
    }
}
