//! The SSH server: the accept loops. Only this module and its children name russh.
//!
//! A connection takes everything it needs from one [`Snapshot`] when it is accepted.

mod admission;
mod bandwidth;
mod certificate;
mod channel_count;
mod channels;
mod clear_packets;
mod client_output;
mod client_stream;
mod conduct;
mod connection;
mod connection_end;
mod connection_refusal;
mod connection_use;
mod entrance;
mod forwards;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod handler;
mod host_key_directory;
mod key_material;
mod key_offer;
mod listeners;
mod login;
mod open_listeners;
mod proxied;
mod refused_connections;
mod revocation;
mod snapshot;
mod source_tally;
mod ssh_client;
mod supervisor;
mod time_limits;
mod transport;
mod window;

pub(crate) use admission::{AdmissionError, ConfigOrigin, ask, resolve};
pub(crate) use connection_refusal::{ToldRefusal, told_refusal};
pub(crate) use key_material::{
    KeyMaterialError, host_key_files, host_key_fingerprints, make_host_keys, unusable_directory, unusable_keys,
    useless_keys,
};
pub(crate) use key_offer::{is_public_key, offered_key};
pub(crate) use listeners::{ListenError, Listener, listen};
pub(crate) use login::{LoginDisconnect, record_offer_refusal, record_refusal};
pub(crate) use open_listeners::ListenerChange;
pub(crate) use snapshot::Snapshot;

use crate::config::ListenerConfig;
use crate::descriptors::{self, DescriptorShares};
use crate::heartbeat::{BEAT, Heartbeats};
use crate::policy::ConnectionEndpoints;
use crate::proxy_protocol::{Peer, ProxyProtocol};
use crate::registry::Registry;
use crate::session::QueuedBytes;
use crate::shutdown::Tasks;
use crate::telemetry::{Level, Log, codes};
use crate::types::ConnectionId;
use arc_swap::ArcSwap;
use bytes::BytesMut;
use connection_refusal::{EntryRefusal, ProxyFault};
use entrance::Entrance;
use open_listeners::{OpenListeners, ServedListener};
use proxied::Unproxied;
use refused_connections::RefusedConnections;
use socket2::SockRef;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::AcceptedConnection;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Limit of the pause after a failed accept (too many open files, for example).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The time between two looks at what the log has not had yet.
const REPORTS: Duration = Duration::from_secs(5);

/// The server, bound and not yet serving.
pub(crate) struct Server {
    listeners: Vec<Listener>,
    shared: AcceptLoop,
}

/// The parts that the accept loops of all listeners share.
#[derive(Clone)]
struct AcceptLoop {
    snapshot: Arc<ArcSwap<Snapshot>>,
    registry: Registry,
    entrance: Entrance,
    queued: QueuedBytes,
    refused: RefusedConnections,
    beats: Heartbeats,
    listeners: OpenListeners,
    log: Log,
}

impl Server {
    /// A server of these listeners.
    pub(crate) fn new(
        listeners: Vec<Listener>,
        snapshot: Snapshot,
        registry: Registry,
        beats: Heartbeats,
        log: Log,
    ) -> Self {
        let shares = DescriptorShares::of(descriptors::soft_limit());
        let entrance = Entrance::new(&snapshot.login, shares, log.clone());
        entrance.reconfigure(&snapshot.login, snapshot.recordings.is_some());
        let queued = QueuedBytes::new(snapshot.max_queued);
        let shown = queued.clone();
        log.metrics().show_waiting_bytes(move || shown.waiting());
        let (snapshot, refused) = (Arc::new(ArcSwap::from_pointee(snapshot)), RefusedConnections::new());
        let open = OpenListeners::default();
        let shared = AcceptLoop { snapshot, registry, entrance, queued, refused, beats, listeners: open, log };
        Self { listeners, shared }
    }

    /// The fingerprint and kind of each host key, as `ssh-keygen -l` writes them.
    pub(crate) fn host_keys(&self) -> Vec<String> {
        self.shared.snapshot.load().transport.fingerprints()
    }

    /// The addresses that it listens on.
    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// The handle that replaces what later connections get.
    pub(crate) fn control(&self) -> ServerControl {
        ServerControl(self.shared.clone())
    }

    /// Accepts from now on, and until `tasks` is told to refuse; then the listeners are closed. Every connection is one of its
    /// tasks. Must be called within the runtime.
    pub(crate) fn run(self, tasks: Tasks) -> impl Future<Output = ()> + Send + 'static {
        let Self { listeners, shared } = self;
        shared.listeners.begin(listeners, |listener| shared.clone().accept_from(listener, tasks.clone()));
        async move {
            shared.report_until_stopped(&tasks).await;
            shared.listeners.ended().await;
        }
    }
}

/// The handle that replaces what later connections get.
#[derive(Clone)]
pub(crate) struct ServerControl(AcceptLoop);

impl ServerControl {
    /// Serves later connections by another snapshot. The limits of all connections together hold at once; what was counted
    /// stays.
    pub(crate) fn replace(&self, snapshot: Snapshot) {
        self.0.entrance.reconfigure(&snapshot.login, snapshot.recordings.is_some());
        self.0.queued.set_mark(snapshot.max_queued);
        self.0.snapshot.store(Arc::new(snapshot));
    }

    /// Binds the addresses that are new in a configuration. `None` if it needs sockets that only a start is passed.
    ///
    /// # Errors
    /// Every address that cannot be listened on.
    pub(crate) async fn prepare_listeners(
        &self,
        configs: &[ListenerConfig],
    ) -> Result<Option<ListenerChange>, Vec<ListenError>> {
        self.0.listeners.prepare(configs).await
    }

    /// Listens on the addresses of a change alone, unless `tasks` is told to refuse. What is given up is closed when this
    /// returns.
    pub(crate) async fn change_listeners(&self, change: ListenerChange, tasks: &Tasks) {
        if tasks.refusing().is_cancelled() {
            return;
        }
        let shared = &self.0;
        let accept = |listener| shared.clone().accept_from(listener, tasks.clone());
        let changed = shared.listeners.change(change, accept).await;
        for address in changed.opened {
            let details = [("address", &*address.to_string())];
            shared.log.write(codes::SSH_AVAILABLE, "the SSH server is listening on another address", &details);
        }
        for address in changed.closed {
            let details = [("address", &*address.to_string())];
            shared.log.write(codes::SSH_LISTENER_CLOSED, "the SSH server gives an address up", &details);
        }
    }
}

impl AcceptLoop {
    async fn accept_from(self, listener: ServedListener, tasks: Tasks) {
        let mut pause = Duration::from_millis(10);
        let (heartbeat, mut beats) = (self.beats.add(), interval(BEAT));
        loop {
            heartbeat.beat();
            let accepted = tokio::select! {
                biased;
                () = tasks.refusing().cancelled() => return,
                () = listener.closing.cancelled() => {
                    self.accept_waiting(&listener, &tasks);
                    return heartbeat.retire();
                }
                accepted = listener.socket.accept() => accepted,
                // Nobody waits: the next connection tells.
                _ = beats.tick() => {
                    heartbeat.fails(None);
                    continue;
                }
            };
            match accepted {
                Ok((stream, remote)) => {
                    pause = Duration::from_millis(10);
                    heartbeat.fails(None);
                    self.accept(&listener.proxy.load(), stream, remote, &tasks);
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
                    // A few failures are those of connections that were broken while they waited.
                    heartbeat.fails((pause == ACCEPT_PAUSE).then_some(text));
                }
            }
        }
    }

    /// Accepts what the system holds for a listener that is given up.
    fn accept_waiting(&self, listener: &ServedListener, tasks: &Tasks) {
        let socket = SockRef::from(&*listener.socket);
        // An error says that none waits, or that the one that did has left.
        while let Ok((stream, remote)) = socket.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream.into()));
            if let (Ok(stream), Some(remote)) = (stream, remote.as_socket()) {
                self.accept(&listener.proxy.load(), stream, remote, tasks);
            }
        }
    }

    async fn report_until_stopped(&self, tasks: &Tasks) {
        let mut reports = interval(REPORTS);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                now = reports.tick() => self.report(Some(now.into_std())),
                () = tasks.refusing().cancelled() => return self.report(None),
            }
        }
    }

    /// Writes the lines about refused connections and penalties of the minutes that are over, or of all if `now` is none.
    fn report(&self, now: Option<Instant>) {
        for (refusal, summary) in self.refused.close(now) {
            let (reason, count) = (refusal.text(), summary.count.to_string());
            let details = [("reason", &*reason), ("count", &*count), ("addresses", &*summary.addresses)];
            self.log.write(codes::SSH_CONNECTION_REFUSED, "connections were refused", &details);
        }
        self.entrance.report_penalties(now);
    }

    fn accept(&self, proxy: &ProxyProtocol, stream: TcpStream, remote: SocketAddr, tasks: &Tasks) {
        // An error says that the client has left already.
        let Ok(server) = stream.local_addr() else { return };
        let endpoints = ConnectionEndpoints { client: canonical(remote), server: canonical(server) };
        let client = endpoints.client.ip();
        let peer = proxy.peer(client);
        let startup = match peer {
            Peer::Client => self.entrance.admit(client).map_err(EntryRefusal::Limit),
            Peer::Proxy { .. } => self.entrance.admit_proxied().map_err(EntryRefusal::Limit),
            Peer::Stranger => Err(EntryRefusal::Proxy(ProxyFault::Stranger)),
        };
        let startup = match startup {
            Ok(startup) => startup,
            Err(refusal) => return self.refuse(stream, endpoints.client, refusal, tasks),
        };
        // Registered before its task first runs: a stop of the server from now on ends it, too.
        let id = ConnectionId::random();
        let entry = self.registry.add(id);
        let (entrance, queued) = (self.entrance.clone(), self.queued.clone());
        let ahead = BytesMut::new();
        let accepted =
            AcceptedConnection { stream, ahead, endpoints, proxy: None, id, entry, entrance, queued, startup };
        let (shared, snapshot, tasks_of_it) = (self.clone(), self.snapshot.load_full(), tasks.clone());
        tasks.spawn(async move { Box::pin(shared.serve(accepted, peer, snapshot, &tasks_of_it)).await });
    }

    async fn serve(&self, mut accepted: AcceptedConnection, peer: Peer, snapshot: Arc<Snapshot>, tasks: &Tasks) {
        if let Peer::Proxy { header_required } = peer {
            match proxied::identify(&mut accepted, header_required, snapshot.proxy_header).await {
                Ok(()) => {}
                Err(Unproxied::Stopped) => return,
                Err(Unproxied::Closed) => {
                    return self
                        .record_early_end(accepted.endpoints.client, "the proxy closed it before a PROXY header");
                }
                Err(Unproxied::Refused(refusal)) => {
                    let AcceptedConnection { stream, endpoints, .. } = accepted;
                    return self.refuse(stream, endpoints.client, refusal, tasks);
                }
            }
        }
        let client = accepted.endpoints.client;
        if let Err(error) = supervisor::serve(accepted, snapshot, self.log.clone()).await {
            self.record_early_end(client, &error.to_string());
        }
    }

    fn refuse(&self, stream: TcpStream, client: SocketAddr, refusal: EntryRefusal, tasks: &Tasks) {
        self.log.metrics().count_refused_connection(refusal.word());
        if self.refused.tell((stream, client.ip()), refusal, tasks) {
            let (client, reason) = (client.to_string(), refusal.text());
            let details = [("remoteAddr", &*client), ("reason", &*reason), ("count", "1")];
            self.log.write(codes::SSH_CONNECTION_REFUSED, "a connection was refused", &details);
        }
    }

    fn record_early_end(&self, client: SocketAddr, reason: &str) {
        let details = [("remoteAddr", &*client.to_string()), ("reason", reason)];
        let code = codes::SSH_DISCONNECTED.at(Level::Debug);
        self.log.write(code, "the connection ended before the SSH handshake", &details);
    }
}

/// The address as IPv4 where a listener of both families shows it as IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // With its scope.
        IpAddr::V6(_) => address,
    }
}
