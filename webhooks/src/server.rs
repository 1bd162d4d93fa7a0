//! Serves a router over HTTPS, loopback HTTP or a Unix socket.
//!
//! Always true: plain HTTP is never served beyond this machine; the number of connections is bounded, and silent
//! ones give way to new ones; every connection has a deadline for its handshake, for each request's header (idle time
//! included) and for its whole life;
//! when [`Server::run`] returns, every connection has ended and the socket's file is gone.

mod errors;
mod listen;
#[cfg(test)]
mod tests;
mod tls;
mod unix;

pub use errors::{BindError, ListenError};
pub use listen::Listen;
pub use tls::{Tls, TlsError};
pub use unix::{SocketMode, SocketModeError};

use axum::Router;
use hyper_util::service::TowerToHyperService;
use listen::BoundSocket;
use podgate_http_server::{LimitedServer, ServerLimits};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

/// The limits of every webhook server.
const LIMITS: ServerLimits = ServerLimits {
    connections: 1024,
    handshake: Duration::from_secs(10),
    header: Duration::from_secs(2),
    // Longer than the gateway keeps a connection that it does not use.
    idle: Duration::from_secs(30),
    // Longer than the toolkit takes to answer that a body is late.
    body: Duration::from_secs(15),
    life: Duration::from_secs(600),
    grace: Duration::from_secs(10),
};

/// A bound server that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: BoundSocket,
    tls: Option<Tls>,
    router: Router,
    url: String,
}

impl Server {
    /// Binds the address without answering yet.
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

    /// The server's address as a gateway's `url` key takes it: `https://…`, `http://…` or `unix:/…`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until `shutdown` resolves, then lets the requests under way finish, for 10 s at most.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let server = LimitedServer::new(self.tls.map(Tls::config), LIMITS);
        let service = TowerToHyperService::new(self.router);
        match self.listener {
            BoundSocket::Tcp(listener) => server.run(listener, service, shutdown).await,
            BoundSocket::Unix(listener) => server.run(listener, service, shutdown).await,
        }
    }
}
