//! The SSH server: the accept loop, and what a connection is made of. Only this module and what is below it names russh.
//!
//! Everything a connection needs is taken from one [`Snapshot`] when it is accepted.

mod admission;
mod channel;
mod connection;
mod ended;
mod handler;
mod login;
mod offer;
mod transport;
mod window;
mod wire;

pub(crate) use admission::{AdmissionError, Origin, ask, resolve};
pub(crate) use login::{Ending, told, told_of_offer};
pub(crate) use offer::offered_key;
pub use transport::{HostKeyError, unusable_host_keys};

use crate::audit::{Event, Recorder};
use crate::auth::{Authenticator, ClientFacts, LoginDeadline};
use crate::config::{Config, Level};
use crate::guest::Backend;
use crate::policy::Endpoints;
use crate::registry::Registry;
use crate::settings::Base;
use crate::shutdown::Tasks;
use crate::telemetry::{ConnectionLog, Log};
use crate::types::ConnectionId;
use crate::webhook::ConfigClient;
use arc_swap::ArcSwap;
use connection::Accepted;
use ended::ConnectionError;
use russh::server::Handle;
use russh::{Disconnect, MethodSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::{ClosedBy, Line};

/// Connections that have not logged in yet, as OpenSSH's `MaxStartups`.
const STARTUPS: usize = 256;
/// How long settings may take after the login: the config webhook has a deadline of its own.
const SETTINGS: Duration = Duration::from_secs(90);
/// The longest pause after a failed accept (too many open files, for example).
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What connections are served with.
pub struct Snapshot {
    transport: Arc<russh::server::Config>,
    methods: MethodSet,
    banner: Option<String>,
    auth: Authenticator,
    config: Option<ConfigClient>,
    base: Base,
    backend: Arc<dyn Backend>,
}

impl Snapshot {
    /// Puts a snapshot together.
    ///
    /// # Errors
    /// A host key that is not one.
    pub fn new(
        config: &Config,
        auth: Authenticator,
        config_client: Option<ConfigClient>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, HostKeyError> {
        let methods = transport::methods(&auth.methods());
        Ok(Self {
            transport: Arc::new(transport::config(&config.ssh, methods.clone())?),
            methods,
            banner: config.ssh.banner.clone(),
            auth,
            config: config_client,
            base: config.base.clone(),
            backend,
        })
    }
}

/// The server, bound and not yet serving.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    snapshot: Arc<ArcSwap<Snapshot>>,
    registry: Registry,
    log: Log,
}

impl Server {
    /// Binds `listen` (`host:port`).
    ///
    /// # Errors
    /// The address cannot be resolved or bound.
    pub async fn bind(listen: &str, snapshot: Snapshot, registry: Registry, log: Log) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, snapshot: Arc::new(ArcSwap::from_pointee(snapshot)), registry, log })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The fingerprint and kind of each host key, as `ssh-keygen -l` writes them.
    #[must_use]
    pub fn host_keys(&self) -> Vec<String> {
        transport::fingerprints(&self.snapshot.load().transport)
    }

    /// Accepts until `tasks` is told to stop; every connection is one of its tasks.
    pub async fn run(self, tasks: Tasks) {
        let startups = Arc::new(Semaphore::new(STARTUPS));
        let mut pause = Duration::from_millis(10);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = tasks.stopping().cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    pause = Duration::from_millis(10);
                    self.accept(stream, remote, &startups, &tasks);
                }
                Err(error) => {
                    let text = error.to_string();
                    self.log.write(
                        Level::Error,
                        "SSH_ACCEPT_FAILED",
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

    fn accept(&self, stream: TcpStream, remote: SocketAddr, startups: &Arc<Semaphore>, tasks: &Tasks) {
        let Ok(startup) = startups.clone().try_acquire_owned() else {
            self.log.write(
                Level::Warning,
                "SSH_TOO_MANY_STARTUPS",
                "a connection was refused: too many connections are logging in",
                &[("remoteAddr", &remote.to_string())],
            );
            return;
        };
        // Known before its task first runs: whoever stops the server from now on asks it to end, too.
        let id = ConnectionId::random();
        let (entry, asked) = self.registry.add(id, remote);
        let remote = remote.to_string();
        let accepted = Accepted { stream, id, entry, asked, startup };
        let served = connection::serve(accepted, self.snapshot.load_full(), self.log.clone());
        let log = self.log.clone();
        tasks.spawn(async move {
            if let Err(error) = Box::pin(served).await {
                let text = error.to_string();
                log.write(
                    Level::Debug,
                    "SSH_DISCONNECTED",
                    "the connection ended before the SSH handshake",
                    &[("remoteAddr", &remote), ("reason", &text)],
                );
            }
        });
    }
}

/// What the parts of one connection share.
struct Shared {
    id: ConnectionId,
    endpoints: Endpoints,
    snapshot: Arc<Snapshot>,
    line: Line,
    log: ConnectionLog,
    audit: Recorder,
    /// Cancelled when the connection has ended.
    closed: CancellationToken,
    /// The channels' tasks.
    channels: TaskTracker,
    /// Told at the first channel.
    opened: Notify,
    handle: OnceLock<Handle>,
    /// Until when the login must be done; a step that takes longer moves it.
    deadline: LoginDeadline,
}

impl Shared {
    /// Disconnects with a reason (RFC 4253 section 11.1).
    async fn disconnect(&self, code: Disconnect, reason: &str) {
        if let Some(handle) = self.handle.get() {
            // A connection that has ended needs no disconnect.
            let _ = handle.disconnect(code, format!("podgate: {reason}"), String::new()).await;
        }
    }

    /// Records a login that its client left while a webhook was asked. One that this process ends has not been left.
    fn left_by(&self, by: ClosedBy, reason: &'static str) -> ConnectionError {
        if by == ClosedBy::Client {
            self.audit.record(Event::Abandoned { reason });
        }
        ConnectionError::Closed(by)
    }

    /// What webhooks are told of the client.
    fn facts(&self) -> ClientFacts {
        ClientFacts { connection: self.id, remote: self.endpoints.client, client_version: self.line.client_version() }
    }
}
