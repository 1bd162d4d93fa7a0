//! Connections to and from sockets inside the guest: a dial is a stream that we open, and each connection that comes to a
//! listener is one that the agent opens.

use super::shared::{LinkState, SharedLink};
use super::stream::{LinkStream, Piece, Reader, StreamEnd};
use crate::guest::{
    Accepted, AcceptedConnections, ConnectionInput, ConnectionOutput, ForwardedConnection, GuestListener, InputClosed,
    ListenerAddress, Refusal,
};
use crate::policy::{Dial, Listen, X11Forwarding};
use crate::program::LOST;
use crate::types::printable;
use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER_PERMISSIVE;
use futures_util::future::BoxFuture;
use podgate_link::Lane;
use podgate_link::request::{Address, Incoming, Listen as LinkListen, X11};
use std::sync::Arc;

/// Limit of an address that the agent tells, in bytes.
const ADDRESS_MAX: usize = 4096;
/// Limit of an originator's address, in characters.
const ORIGIN_MAX: usize = 255;

/// Makes the address of a dial.
pub(super) fn address(dial: Dial) -> Address {
    match dial {
        Dial::Tcp { host, port } => Address::Tcp(host.into_bytes(), port),
        Dial::Unix { path } => Address::Unix(path.into_bytes()),
    }
}

/// Makes the request of a listener; `None` if the cookie is not in hexadecimal digits.
pub(super) fn listen_request(listen: &Listen) -> Option<LinkListen> {
    Some(match listen {
        Listen::Tcp { host, port } => LinkListen::Tcp(host.clone().into_bytes(), *port),
        Listen::Unix { path } => LinkListen::Unix(path.clone().into_bytes()),
        Listen::Agent => LinkListen::Agent,
        Listen::X11(X11Forwarding { single_connection, auth_protocol, auth_cookie, screen }) => LinkListen::X11(X11 {
            single: *single_connection,
            protocol: auth_protocol.clone().into_bytes(),
            cookie: HEXLOWER_PERMISSIVE.decode(auth_cookie.as_bytes()).ok()?,
            screen: *screen,
        }),
    })
}

/// Reads the agent's reply to a listener's request; `None` if it is not one.
pub(super) fn listener_address(listen: Listen, reply: &Bytes) -> Option<ListenerAddress> {
    if reply.len() > ADDRESS_MAX {
        return None;
    }
    let text = || String::from_utf8(reply.to_vec()).ok().filter(|text| !text.contains(['\n', '\r']));
    match listen {
        Listen::Tcp { port: asked, .. } => {
            let port = u16::from_be_bytes((&reply[..]).try_into().ok()?);
            (port != 0 && (asked == 0 || asked == port)).then_some(ListenerAddress::Port(port))
        }
        Listen::Unix { path } => Some(ListenerAddress::Path(path)),
        Listen::Agent => text().filter(|path| path.starts_with('/') && !path.contains('\0')).map(ListenerAddress::Path),
        Listen::X11(_) => {
            let (display, authority) =
                text()?.split_once('\0').map(|(display, path)| (display.to_owned(), path.to_owned()))?;
            (!authority.contains('\0')).then_some(ListenerAddress::Display { display, authority })
        }
    }
}

/// Makes the connection of a stream that was accepted.
pub(super) fn connection(stream: LinkStream) -> ForwardedConnection {
    let stream = Arc::new(stream);
    let output = LinkConnectionOutput { stream: Arc::clone(&stream), reader: Reader::default(), ended: false };
    ForwardedConnection { input: Box::new(LinkConnectionInput(stream)), output: Box::new(output) }
}

/// Makes the listener of a stream that was accepted.
pub(super) fn listener(stream: LinkStream, address: ListenerAddress) -> GuestListener {
    GuestListener { address, accepted: Box::new(LinkListener { stream }) }
}

struct LinkConnectionInput(Arc<LinkStream>);

impl ConnectionInput for LinkConnectionInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move { if self.0.write(&data.freeze()).await { Ok(()) } else { Err(InputClosed) } })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0.finish();
        Box::pin(std::future::ready(Ok(())))
    }
}

struct LinkConnectionOutput {
    stream: Arc<LinkStream>,
    reader: Reader,
    ended: bool,
}

impl ConnectionOutput for LinkConnectionOutput {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Refusal>> {
        Box::pin(async move {
            while !self.ended {
                match self.stream.next(&mut self.reader).await {
                    Piece::Data(Lane::Main, data) => return Ok(Some(data)),
                    // A connection has none of them; an agent that sends them is not listened to.
                    Piece::Data(Lane::Error, _) | Piece::Finished(Lane::Error) | Piece::Message(_) => {}
                    Piece::Finished(Lane::Main) | Piece::End(StreamEnd::Closed(_)) => self.ended = true,
                    Piece::End(StreamEnd::LinkOver(reason)) => return Err(Refusal::new(LOST).detail(&*reason)),
                }
            }
            Ok(None)
        })
    }
}

struct LinkListener {
    stream: LinkStream,
}

impl LinkListener {
    fn accept(shared: &Arc<SharedLink>, number: u32, incoming: Incoming) -> Option<Accepted> {
        let stream = LinkStream::accept(shared, number).ok()?;
        let (host, port) = incoming.origin;
        let origin = (printable(&String::from_utf8_lossy(&host), ORIGIN_MAX), port);
        Some(Accepted { origin, connection: connection(stream) })
    }
}

impl AcceptedConnections for LinkListener {
    fn next(&mut self) -> BoxFuture<'_, Option<Accepted>> {
        Box::pin(async move {
            loop {
                let listener = self.stream.number();
                let next = self.stream.until(|state| match state.next_incoming(listener) {
                    Some(next) => Some(Some(next)),
                    None => (state.over.is_some() || state.link.closed(listener).is_some()).then_some(None),
                });
                let (number, incoming) = next.await?;
                if let Some(accepted) = Self::accept(self.stream.shared(), number, incoming) {
                    return Some(accepted);
                }
            }
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let listener = self.stream.number();
            self.stream.shared().act(|state| state.begin_close(listener));
            let closed = |state: &mut LinkState| state.over.is_some() || state.link.is_closed_by_peer(listener);
            self.stream.until(|state| closed(state).then_some(())).await;
        })
    }
}
