//! One listener and its HTTP/1.1 connections. Their number is bounded, and each has a deadline for its handshake, for a
//! request's header (idle time included) and for its whole life.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections are served at once; more wait in the system's queue.
const CONNECTIONS: usize = 256;
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a request's header may take, counted from the end of the request before it.
const HEADER: Duration = Duration::from_secs(15);
/// How long a connection lives at most; also the end of a client that never reads its answer.
const LIFE: Duration = Duration::from_secs(600);
/// How long an answer that is under way may still take at the end.
const GRACE: Duration = Duration::from_secs(1);
/// How long nothing is accepted after an accept failed, for example for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
pub(super) struct Door {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Door {
    pub(super) fn new(listener: TcpListener, tls: Option<ServerConfig>) -> Self {
        Self { listener, tls: tls.map(|config| TlsAcceptor::from(Arc::new(config))) }
    }

    /// Serves until `stop`; when it returns, every connection has ended.
    pub(super) async fn serve(self, router: Router, stop: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        loop {
            let (stream, place) = tokio::select! {
                accepted = self.accept(&places) => accepted,
                () = stop.cancelled() => break,
            };
            let (tls, router, stop) = (self.tls.clone(), router.clone(), stop.clone());
            connections.spawn(async move {
                match tls {
                    None => http(stream, router, &stop).await,
                    Some(tls) => {
                        let handshake = timeout(HANDSHAKE, tls.accept(stream));
                        // A failed handshake is the client's to report: it knows why it does not trust us.
                        if let Some(Ok(Ok(stream))) = stop.run_until_cancelled(handshake).await {
                            http(stream, router, &stop).await;
                        }
                    }
                }
                drop(place);
            });
        }
        connections.close();
        connections.wait().await;
    }

    /// The next connection, once there is a place for it.
    async fn accept(&self, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            if let Ok(place) = Arc::clone(places).acquire_owned().await
                && let Ok((stream, _)) = self.listener.accept().await
            {
                return (stream, place);
            }
            sleep(PAUSE).await;
        }
    }
}

async fn http<S>(stream: S, router: Router, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // How it ended is the client's to know.
        _ended = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(LIFE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended_or_cut_off = timeout(GRACE, connection).await;
}
