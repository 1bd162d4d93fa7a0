//! Serves a router over HTTPS, loopback HTTP or a Unix socket.
//!
//! Always true: plain HTTP is never served beyond this machine; the number of connections is bounded, and every
//! connection has a deadline for its handshake, for each request's header (idle time included) and for its whole life;
//! when [`Server::run`] returns, every connection has ended and the socket's file is gone.

mod clients;
mod listen;
#[cfg(test)]
mod tests;
mod tls;
mod unix;

pub use listen::{BindError, Listen, ListenError};
pub use tls::{Tls, TlsError};
pub use unix::{SocketMode, SocketModeError};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use listen::{Carrier, Listener};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How many connections are served at once; more wait in the system's queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request's header may take, counted from the end of the request before it.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection lives at most. Also the end of a client that never reads its answer.
const MAX_AGE: Duration = Duration::from_secs(600);

/// How long a request that is under way may still take when its connection is to end.
const GRACE: Duration = Duration::from_secs(10);

/// How long nothing is accepted after an accept failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound server that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    tls: Option<Tls>,
    router: Router,
    url: String,
}

impl Server {
    /// Binds.
    ///
    /// # Errors
    /// An address that cannot be had, plain HTTP on an address that is not loopback, a Unix socket that another server
    /// answers on.
    pub async fn bind(listen: Listen, router: Router) -> Result<Self, BindError> {
        let (listener, tls, url) = listen.bind().await?;
        Ok(Self { listener, tls, router, url })
    }

    /// The address that was bound; none for a Unix socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where this server is, as a gateway's `url` key takes it: `https://…`, `http://…` or `unix:/…`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until `shutdown` resolves, then lets what is under way finish, for 10 s at most.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let Self { listener, tls, router, .. } = self;
        let tls = tls.map(|tls| tls.acceptor());
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let stop = CancellationToken::new();
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let (carrier, place) = tokio::select! {
                () = &mut shutdown => break,
                Some(_ended) = connections.join_next() => continue,
                accepted = accept(&listener, &places) => accepted,
            };
            let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
            connections.spawn(async move {
                match carrier {
                    Carrier::Tcp(stream) => tcp(stream, tls, router, &stop).await,
                    Carrier::Unix(stream) => http(stream, router, &stop).await,
                }
                drop(place);
            });
        }
        drop(listener);
        stop.cancel();
        // Dropping the set ends whatever is still there after the grace.
        let ended = timeout(GRACE, async { while connections.join_next().await.is_some() {} });
        ended.await.unwrap_or_default();
    }
}

/// The next connection, once there is a place for it.
async fn accept(listener: &Listener, places: &Arc<Semaphore>) -> (Carrier, OwnedSemaphorePermit) {
    loop {
        if let Ok(place) = Arc::clone(places).acquire_owned().await
            && let Ok(carrier) = listener.accept().await
        {
            return (carrier, place);
        }
        sleep(ACCEPT_PAUSE).await;
    }
}

async fn tcp(stream: tokio::net::TcpStream, tls: Option<TlsAcceptor>, router: Router, stop: &CancellationToken) {
    let Some(tls) = tls else { return http(stream, router, stop).await };
    let handshake = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
    // A failed handshake is the client's to report: it knows why it does not trust us.
    if let Some(Ok(Ok(stream))) = stop.run_until_cancelled(handshake).await {
        http(stream, router, stop).await;
    }
}

async fn http<S>(stream: S, router: Router, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(MAX_AGE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended_or_cut_off = timeout(GRACE, connection).await;
}
