//! The listener: TLS, HTTP/1.1, and the switch that takes the whole API away and brings it back on the same port.

use crate::api::socket::{Cut, CuttableSocket};
use crate::api::{ApiServer, Dropped};
use hyper::service::service_fn;
use podgate_http_server::{LimitedServer, Place, ServerLimits};
use rustls::ServerConfig;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The limits of the API server. A connection without a request for 90 s is closed, as by the real one.
const LIMITS: ServerLimits = ServerLimits {
    connections: usize::MAX,
    handshake: Duration::from_secs(10),
    header: Duration::from_secs(90),
    idle: Duration::from_secs(90),
    body: Duration::from_secs(60),
    life: Duration::MAX,
    grace: Duration::ZERO,
};

const BACKLOG: u32 = 1024;

/// A port that is ours for the life of the cluster, whether the API listens on it or not: this socket is bound to it and
/// never listens, so that no other process is given the port and connecting to it is refused.
#[derive(Debug)]
pub(crate) struct ReservedPort {
    _reserved: TcpSocket,
    pub(crate) address: SocketAddr,
}

impl ReservedPort {
    pub(crate) fn reserve(address: SocketAddr) -> io::Result<Self> {
        let socket = socket(address)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Self { _reserved: socket, address })
    }

    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = socket(self.address)?;
        socket.bind(self.address)?;
        socket.listen(BACKLOG)
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Two sockets may share the port only if both say so, and only one of them listens.
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

/// The wanted and the present reachability of the API server.
#[derive(Debug, Clone)]
pub(crate) struct ApiSwitch {
    pub(crate) wanted: watch::Sender<bool>,
    pub(crate) serving: watch::Sender<bool>,
    stopping: CancellationToken,
}

impl ApiSwitch {
    pub(crate) fn new(stopping: CancellationToken) -> Self {
        Self { wanted: watch::Sender::new(true), serving: watch::Sender::new(false), stopping }
    }

    /// Switches, and waits until it is so, or the cluster has stopped and it never will.
    pub(crate) async fn set(&self, up: bool) {
        let mut serving = self.serving.subscribe();
        self.wanted.send_replace(up);
        tokio::select! {
            () = self.stopping.cancelled() => {}
            // The sender is ours, so this cannot fail.
            _switched = serving.wait_for(|serving| *serving == up) => {}
        }
    }
}

/// Serves until the cluster stops; `first` is the listener to begin with.
pub(crate) async fn serve(
    api: Arc<ApiServer>,
    switch: ApiSwitch,
    (port, first): (ReservedPort, TcpListener),
    tls: Arc<ServerConfig>,
) {
    let mut wanted = switch.wanted.subscribe();
    let mut next = Some(first);
    loop {
        let listener = match next.take() {
            Some(listener) => listener,
            // The port is reserved, so only exhausted resources can fail this; they may come back.
            None => match port.listen() {
                Ok(listener) => listener,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let connections = switch.stopping.child_token();
        switch.serving.send_replace(true);
        tokio::select! {
            () = switch.stopping.cancelled() => return,
            // Both can only end with the cluster.
            _down = wanted.wait_for(|up| !up) => {}
            () = accept(&api, &listener, &tls, &connections) => {}
        }
        close(listener);
        connections.cancel();
        switch.serving.send_replace(false);
        tokio::select! {
            () = switch.stopping.cancelled() => return,
            _up = wanted.wait_for(|up| *up) => {}
        }
    }
}

/// No connection is taken from here on. A process that is being started beside has a copy of every descriptor until it has
/// become another program, and a socket that is closed here alone would listen until then.
fn close(listener: TcpListener) {
    if let Ok(listener) = listener.into_std() {
        // One that is shut already takes no connections either.
        let _shut = std::net::TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
    }
}

async fn accept(
    api: &Arc<ApiServer>,
    listener: &TcpListener,
    tls: &Arc<ServerConfig>,
    connections: &CancellationToken,
) {
    let server = LimitedServer::new(Some(Arc::clone(tls)), LIMITS);
    let serve = |tcp, place| {
        let (api, server, cut) = (Arc::clone(api), server.clone(), Cut::below(connections));
        async move {
            tokio::select! {
                biased;
                () = cut.happened() => {}
                () = connection(api, server, (tcp, place), cut.clone()) => {}
            }
        }
    };
    server.accept(listener, &mut JoinSet::new(), serve).await;
}

async fn connection(api: Arc<ApiServer>, server: LimitedServer, (tcp, place): (TcpStream, Place), cut: Cut) {
    let stream = CuttableSocket::new(tcp, cut.clone());
    let service = service_fn(move |request| {
        let (api, cut) = (Arc::clone(&api), cut.clone());
        async move { api.answer(request, cut).await.map_err(|Dropped| io::Error::other("dropped on purpose")) }
    });
    // The cut ends a connection; none is stopped gracefully.
    server.serve((stream, place), service, &CancellationToken::new()).await;
}
