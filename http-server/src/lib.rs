//! The HTTP/1.1 server behind the gateway's health and metrics endpoints, the webhook toolkit and the development cluster.
//!
//! Always true: the number of connections is bounded, and where all places are taken, a new connection gets that of one
//! that is not being answered. Each has a deadline for its TLS handshake, for its first request's header, for each further
//! one (idle time included), for each request's body and for its whole life. When [`LimitedServer::run`] returns, every connection has ended. When
//! the future of `run` or of [`LimitedServer::accept`]'s task set is dropped, the connections are cut.

pub mod certificate;
mod client_trust;
mod places;
mod request_body;

use places::Places;

pub use client_trust::{ClientTrust, UnusableCertificate};
pub use places::Place;
pub use request_body::{RequestBody, RequestBodyError};

use hyper::Request;
use hyper::Response;
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use std::error::Error;
use std::future::{Future, pending};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Pause after a failed accept, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of a server and its connections.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections at once. One more ends another that is not being answered; if all are, it waits.
    pub connections: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for the first request's header.
    pub header: Duration,
    /// Time for a further request's header, counted from the end of the request before it.
    pub idle: Duration,
    /// Time for a request's body, counted from the end of its header. A service that reads one for longer gets an error.
    pub body: Duration,
    /// Age at which a connection ends. It also ends a client that never reads its answer.
    pub life: Duration,
    /// Time that the answer under way may still take when its connection is to end.
    pub grace: Duration,
}

/// A listener that connections can be accepted from.
pub trait Listener: Send + Sync {
    /// The byte stream of a connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for the next connection. Dropping the future loses none.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Fails on a connection that is already closed, which the first read reports.
        drop(stream.set_nodelay(true));
        Ok(stream)
    }
}

/// A listener that several servers share, one after another.
impl<L: Listener> Listener for Arc<L> {
    type Stream = L::Stream;

    async fn accept(&self) -> io::Result<L::Stream> {
        L::accept(self).await
    }
}

/// A service that can answer HTTP/1.1 requests on any thread.
pub trait HttpService:
    Service<
        Request<RequestBody>,
        Response = Response<Self::ResponseBody>,
        Error = Self::ServiceError,
        Future: Send + 'static,
    > + Send
    + 'static
{
    /// Body of the service's responses.
    type ResponseBody: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
    /// Error that ends the connection without a response.
    type ServiceError: Into<Box<dyn Error + Send + Sync>>;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Future: Send + 'static> + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    type ResponseBody = B;
    type ServiceError = S::Error;
}

/// A server without a listener: TLS and limits. Clones share the TLS configuration.
#[derive(Clone)]
pub struct LimitedServer {
    tls: Option<TlsAcceptor>,
    limits: ServerLimits,
}

impl LimitedServer {
    /// Makes a server that speaks plain HTTP where `tls` is absent.
    #[must_use]
    pub fn new(tls: Option<Arc<ServerConfig>>, limits: ServerLimits) -> Self {
        Self { tls: tls.map(TlsAcceptor::from), limits }
    }

    /// Serves until `shutdown` resolves, then closes the listener and lets each answer under way take its grace.
    pub async fn run<L, S>(self, listener: L, service: S, shutdown: impl Future<Output = ()>)
    where
        L: Listener,
        S: HttpService + Clone,
    {
        let stop = CancellationToken::new();
        let mut connections = JoinSet::new();
        let serve = |stream, place| {
            let (server, service, stop) = (self.clone(), service.clone(), stop.clone());
            async move { server.serve((stream, place), service, &stop).await }
        };
        tokio::select! {
            () = shutdown => {}
            () = self.accept(&listener, &mut connections, serve) => {}
        }
        drop(listener);
        stop.cancel();
        while connections.join_next().await.is_some() {}
    }

    /// Accepts connections and spawns what `serve` makes of each into `connections`. Never returns.
    pub async fn accept<L, F>(&self, listener: &L, connections: &mut JoinSet<()>, serve: impl Fn(L::Stream, Place) -> F)
    where
        L: Listener,
        F: Future<Output = ()> + Send + 'static,
    {
        let places = Places::new(self.limits.connections);
        loop {
            let mut accepted = pin!(next(listener, &places));
            let (stream, place) = loop {
                tokio::select! {
                    Some(_ended) = connections.join_next() => {}
                    accepted = accepted.as_mut() => break accepted,
                }
            };
            connections.spawn(serve(stream, place));
        }
    }

    /// Serves one connection until it ends, its place goes to another, or `stop` or its age ends it gracefully.
    pub async fn serve<I, S>(&self, (stream, place): (I, Place), service: S, stop: &CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let place = Arc::new(place);
        tokio::select! {
            () = place.evicted() => {}
            () = self.serve_in(&place, stream, service, stop) => {}
        }
    }

    async fn serve_in<I, S>(&self, place: &Arc<Place>, stream: I, service: S, stop: &CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let service = PlacedService { service, place: Arc::clone(place), body: self.limits.body };
        let Some(tls) = &self.tls else { return self.http(stream, service, stop).await };
        let handshake = timeout(self.limits.handshake, tls.accept(stream));
        // A failed handshake is the client's to report: it knows why it does not trust us.
        if let Some(Ok(Ok(stream))) = stop.run_until_cancelled(handshake).await {
            self.http(stream, service, stop).await;
        }
    }

    async fn http<I, S>(&self, stream: I, service: PlacedService<S>, stop: &CancellationToken)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: HttpService,
    {
        let place = Arc::clone(&service.place);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        tokio::select! {
            // An error means that the client left or broke the protocol, or that the service dropped the connection.
            _ended = connection.as_mut() => return,
            () = first_request_late(&place, self.limits.header) => return,
            () = stop.cancelled() => {}
            () = sleep(self.limits.life) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ended_or_cut_off = timeout(self.limits.grace, connection).await;
    }
}

/// Waits until a connection that does not make its first request in time is late.
async fn first_request_late(place: &Place, limit: Duration) {
    if timeout(limit, place.requested()).await.is_ok() {
        pending::<()>().await;
    }
}

/// Waits for a place, for a connection, and then for the place again where it is gone meanwhile.
async fn next<L: Listener>(listener: &L, places: &Places) -> (L::Stream, Place) {
    let stream = loop {
        places.ready().await;
        match listener.accept().await {
            Ok(stream) => break stream,
            Err(_lacking) => sleep(ACCEPT_PAUSE).await,
        }
    };
    loop {
        if let Some(place) = places.take() {
            return (stream, place);
        }
        places.ready().await;
    }
}

/// A service that notes in its connection's place when a request is received and answered.
struct PlacedService<S> {
    service: S,
    place: Arc<Place>,
    body: Duration,
}

impl<S: HttpService> Service<Request<Incoming>> for PlacedService<S> {
    type Response = Response<S::ResponseBody>;
    type Error = S::ServiceError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if !self.place.receiving() {
            // The connection is about to be ended: what nobody would read is not begun.
            return Box::pin(pending());
        }
        let request = request.map(|body| RequestBody::new(body, Arc::clone(&self.place), self.body));
        let (answer, place) = (self.service.call(request), Arc::clone(&self.place));
        Box::pin(async move {
            let answer = answer.await;
            if place.idle() {
                return answer;
            }
            // Chosen for another meanwhile: the connection is about to be ended.
            drop(answer);
            pending().await
        })
    }
}

#[cfg(test)]
mod tests;
