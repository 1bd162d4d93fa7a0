//! A connection over ContainerSSH's agent. Its protocol closes both directions at once, and has no end of one.
//!
//! So the end of the client's direction is not told to the guest: the connection is closed once the guest has been silent
//! for [`SILENCE`] after it, so that an answer still arrives and no connection stays for ever.

use super::{ForwardServer, Outgoing, PIECE, Packet, PacketType, Piece, Shared};
use crate::guest::{ConnectionInput, ConnectionOutput, ForwardedConnection, InputClosed, Refusal};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The silence after which a connection whose client has sent everything is over.
const SILENCE: Duration = Duration::from_secs(5);
/// Bytes of one packet, as ContainerSSH sends them.
const DATA: usize = 32 * 1024;

/// A connection of a process. Dropping it closes it.
pub(super) struct OpenConnection {
    server: Arc<ForwardServer>,
    id: u64,
}

impl OpenConnection {
    pub(super) fn new(server: Arc<ForwardServer>, id: u64) -> Self {
        Self { server, id }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.server.shared
    }

    async fn write(&self, data: Bytes) -> Result<(), InputClosed> {
        let closed = self.shared().until(|state| (!state.exchange.is_open(self.id)).then_some(()));
        tokio::select! {
            biased;
            () = closed => Err(InputClosed),
            room = Arc::clone(&self.shared().room).acquire_many_owned(cost(&data)) => {
                let room = Some(room.map_err(|_closed| InputClosed)?);
                let packet = Packet { kind: PacketType::Data, connection: self.id, payload: data };
                self.shared().outgoing.send(Outgoing { packet, room }).map_err(|_ended| InputClosed)
            }
        }
    }
}

fn cost(data: &[u8]) -> u32 {
    u32::try_from(data.len() + PIECE).unwrap_or(u32::MAX)
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.shared().close(self.id);
    }
}

/// Makes the two halves of a connection that is open.
pub(super) fn forwarded(connection: OpenConnection, pieces: UnboundedReceiver<Piece>) -> ForwardedConnection {
    let connection = Arc::new(connection);
    let (sent_all, client_ended) = watch::channel(false);
    let output =
        Output { connection: Arc::clone(&connection), pieces, client_ended, last: None, held: None, ended: false };
    ForwardedConnection { input: Box::new(Input { connection, sent_all }), output: Box::new(output) }
}

struct Input {
    connection: Arc<OpenConnection>,
    sent_all: watch::Sender<bool>,
}

impl ConnectionInput for Input {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            let mut data = data.freeze();
            while !data.is_empty() {
                self.connection.write(data.split_to(data.len().min(DATA))).await?;
            }
            Ok(())
        })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.sent_all.send_replace(true);
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Output {
    connection: Arc<OpenConnection>,
    pieces: UnboundedReceiver<Piece>,
    client_ended: watch::Receiver<bool>,
    /// The time of the last piece that came after the client's end, or of that end.
    last: Option<Instant>,
    /// The room of the piece that the reader has.
    held: Option<OwnedSemaphorePermit>,
    ended: bool,
}

impl Output {
    /// Waits for the end of a silence after the client's end and the last of its data.
    async fn silence(shared: &Shared, client_ended: &mut watch::Receiver<bool>, last: &mut Option<Instant>) {
        if client_ended.wait_for(|ended| *ended).await.is_err() && !*client_ended.borrow() {
            // The other half is gone without an end.
            std::future::pending().await
        }
        shared.has_sent().await;
        sleep_until(*last.get_or_insert_with(Instant::now) + SILENCE).await;
    }
}

impl ConnectionOutput for Output {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Refusal>> {
        Box::pin(async move {
            self.held = None;
            while !self.ended {
                let piece = tokio::select! {
                    biased;
                    piece = self.pieces.recv() => piece,
                    () = Self::silence(self.connection.shared(), &mut self.client_ended, &mut self.last) => {
                        Some(Piece::End)
                    }
                };
                match piece {
                    Some(Piece::Data(data, room)) => {
                        (self.held, self.last) = (Some(room), None);
                        return Ok(Some(data));
                    }
                    Some(Piece::Opened) => {}
                    Some(Piece::End) => self.ended = true,
                    None => return Err(self.connection.shared().lost()),
                }
            }
            Ok(None)
        })
    }
}
