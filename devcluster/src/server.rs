//! The listener: TLS, HTTP/1.1, and the switch that takes the whole API away and brings it back on the same port.

use crate::api::{self, Dropped};
use crate::context::Context;
use crate::socket::{Cut, Socket};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A client that has not finished the TLS handshake by then is cut.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection without a request for this long is closed, as by the real server.
const IDLE: Duration = Duration::from_secs(90);

const BACKLOG: u32 = 1024;

/// A port that is ours for the life of the cluster, whether the API listens on it or not: this socket is bound to it and
/// never listens, so that no other process is given the port and connecting to it is refused.
#[derive(Debug)]
pub(crate) struct Port {
    _reserved: TcpSocket,
    pub(crate) address: SocketAddr,
}

impl Port {
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

/// Serves until the cluster stops; `first` is the listener to begin with.
pub(crate) async fn serve(context: Arc<Context>, port: Port, first: TcpListener, tls: Arc<ServerConfig>) {
    let mut wanted = context.api.wanted.subscribe();
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
        let connections = context.stopping.child_token();
        context.api.serving.send_replace(true);
        tokio::select! {
            () = context.stopping.cancelled() => return,
            // Both can only end with the cluster.
            _down = wanted.wait_for(|up| !up) => {}
            () = accept(&context, &listener, &tls, &connections) => {}
        }
        close(listener);
        connections.cancel();
        context.api.serving.send_replace(false);
        tokio::select! {
            () = context.stopping.cancelled() => return,
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
    context: &Arc<Context>,
    listener: &TcpListener,
    tls: &Arc<ServerConfig>,
    connections: &CancellationToken,
) {
    loop {
        match listener.accept().await {
            Ok((tcp, _)) => {
                let cut = Cut::below(connections);
                let serving = connection(Arc::clone(context), tcp, TlsAcceptor::from(Arc::clone(tls)), cut.clone());
                context.tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = cut.happened() => {}
                        () = serving => {}
                    }
                });
            }
            // Out of descriptors, or a client that left at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(context: Arc<Context>, tcp: TcpStream, tls: TlsAcceptor, cut: Cut) {
    // A socket that is closed already fails in the handshake.
    let _closed = tcp.set_nodelay(true);
    let handshake = tokio::time::timeout(HANDSHAKE, tls.accept(Socket::new(tcp, cut.clone()))).await;
    // A client that does not speak TLS or does not trust us has been told by the alert.
    let Ok(Ok(wire)) = handshake else { return };
    let service = service_fn(move |request| {
        let (context, cut) = (Arc::clone(&context), cut.clone());
        async move { api::answer(context, request, cut).await.map_err(|Dropped| io::Error::other("dropped on purpose")) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE);
    // Errors here are clients that left, and connections that were dropped on purpose.
    let _ended = http.serve_connection(TokioIo::new(wire), service).with_upgrades().await;
}
