//! The first step of a connection of a trusted proxy: its PROXY header, and the client behind it.
//!
//! Invariants: until the header has arrived, the connection counts against `maxStartups` alone; a fault of the header is the
//! proxy's, and nobody is penalised for it.

use super::connection_refusal::{EntryRefusal, ProxyFault};
use super::supervisor::AcceptedConnection;
use crate::policy::ConnectionEndpoints;
use crate::proxy_protocol::{InvalidHeader, ProxiedEndpoints, ProxyHeader, parse};
use bytes::{Buf, BytesMut};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The bytes that are read at once; nearly every header is shorter.
const PIECE: usize = 256;

/// The reason why a proxy's connection does not become a client's.
pub(super) enum Unproxied {
    /// The proxy closed it before a whole header, as some health checks do.
    Closed,
    /// The gateway shuts down.
    Stopped,
    /// It is refused.
    Refused(EntryRefusal),
}

/// Reads the header, and puts the client into the place of the proxy.
pub(super) async fn identify(
    accepted: &mut AcceptedConnection,
    header_required: bool,
    limit: Duration,
) -> Result<(), Unproxied> {
    let mut end = accepted.entry.end();
    let header = tokio::select! {
        header = timeout(limit, read_header(&accepted.stream, &mut accepted.ahead)) => header,
        _reason = end.reason() => return Err(Unproxied::Stopped),
    };
    let refused = |fault| Err(Unproxied::Refused(EntryRefusal::Proxy(fault)));
    let header = match header {
        Ok(Ok(header)) => header,
        Ok(Err(HeaderError::Invalid(fault))) => return refused(ProxyFault::Invalid(fault)),
        Ok(Err(HeaderError::Closed)) => return Err(Unproxied::Closed),
        // Some clients wait for the server's first line.
        Err(_elapsed) if accepted.ahead.is_empty() && !header_required => ProxyHeader::Absent,
        Err(_elapsed) => return refused(ProxyFault::Late),
    };
    match header {
        ProxyHeader::Complete { proxied: Some(ends), length, is_text } if !is_own(ends, is_text, accepted) => {
            accepted.ahead.advance(length);
            accepted.proxy = Some(accepted.endpoints.client);
            accepted.endpoints = ConnectionEndpoints { client: ends.source, server: ends.destination };
        }
        ProxyHeader::Complete { length, .. } => {
            accepted.ahead.advance(length);
            return Ok(());
        }
        ProxyHeader::Absent if header_required => return refused(ProxyFault::Missing),
        ProxyHeader::Absent | ProxyHeader::Incomplete => {}
    }
    let client = accepted.endpoints.client.ip();
    accepted.startup.identify(client).map_err(|refusal| Unproxied::Refused(EntryRefusal::Limit(refusal)))
}

/// True for a health check of HAProxy in version 1, which names HAProxy's own end of this very connection. In version 2 that is
/// a client of a balancer that also keeps the client's address.
fn is_own(ends: ProxiedEndpoints, is_text: bool, accepted: &AcceptedConnection) -> bool {
    is_text && ends.source == accepted.endpoints.client
}

/// The reason why no header was read.
enum HeaderError {
    /// The proxy closed the connection, or it broke.
    Closed,
    Invalid(InvalidHeader),
}

/// Reads until the header is complete, or is certainly none. Cancel-safe: the bytes that have arrived are in `ahead`.
async fn read_header(stream: &TcpStream, ahead: &mut BytesMut) -> Result<ProxyHeader, HeaderError> {
    loop {
        stream.readable().await.map_err(|_broken| HeaderError::Closed)?;
        ahead.reserve(PIECE);
        match stream.try_read_buf(ahead) {
            Ok(0) => return Err(HeaderError::Closed),
            Ok(_) => match parse(ahead).map_err(HeaderError::Invalid)? {
                ProxyHeader::Incomplete => {}
                header => return Ok(header),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_broken) => return Err(HeaderError::Closed),
        }
    }
}
