//! The two pumps of a forwarded channel, between a client and a connection inside the guest. The directions end one by one,
//! as those of a TCP connection do.
//!
//! Invariants: the end of a direction comes behind its last byte, and a lost connection has none; a side that takes no more does not stop the other
//! direction; what a client sent before it closed the channel still reaches the guest, for [`DRAIN`] at most.

use super::carried_bytes::CarriedBytes;
use super::client::ClientGone;
use super::inbox::{Inbox, InboxItem};
use crate::audit::{DataStream, Recorder, WireMessage};
use crate::guest::{ConnectionInput, ConnectionOutput, ForwardedConnection, Refusal};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The time in which the guest has to take what a client sent before it closed the channel. The client needs not wait.
const DRAIN: Duration = Duration::from_secs(5);

/// The client's side of a forwarded channel.
pub(crate) trait ForwardClient: Send + Sync {
    /// Sends bytes, and waits for the client's window.
    fn data(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Sends the end behind the bytes; the other direction goes on.
    fn end_of_data(&self) -> BoxFuture<'_, Result<(), ClientGone>>;
}

/// Carries data in both directions until both have ended, or `closed` is cancelled: the client has closed the channel, or
/// its connection is over.
///
/// # Errors
/// The connection was lost: the client must not take it for an end.
pub(crate) async fn carry(
    connection: ForwardedConnection,
    client: &dyn ForwardClient,
    inbox: &Inbox,
    closed: &CancellationToken,
    (carried, audit): (&CarriedBytes, &Recorder),
) -> Result<(), Refusal> {
    let ForwardedConnection { mut input, mut output } = connection;
    let into_guest = async {
        tokio::select! {
            () = pump_into_guest(input.as_mut(), inbox, (carried, audit)) => {}
            () = given_up(closed) => inbox.refuse(),
        }
    };
    let out_of_guest = async {
        tokio::select! {
            ended = pump_to_client(output.as_mut(), client, (carried, audit)) => ended,
            () = closed.cancelled() => Ok(()),
        }
    };
    let into_guest = async {
        into_guest.await;
        Ok(())
    };
    tokio::try_join!(into_guest, out_of_guest).map(|((), ())| ())
}

async fn given_up(closed: &CancellationToken) {
    closed.cancelled().await;
    sleep(DRAIN).await;
}

async fn pump_into_guest(input: &mut dyn ConnectionInput, inbox: &Inbox, (carried, audit): (&CarriedBytes, &Recorder)) {
    loop {
        let taken = match inbox.take().await {
            InboxItem::Data(data) => {
                recorded(audit, DataStream::ForwardIn, &data).await;
                let length = data.len() as u64;
                input.write(data).await.map(|()| carried.add_to_guest(length))
            }
            InboxItem::End => {
                // A guest that takes no more needs not be told the end.
                let _ = input.close().await;
                return;
            }
        };
        if taken.is_err() {
            inbox.refuse();
            return;
        }
    }
}

async fn pump_to_client(
    output: &mut dyn ConnectionOutput,
    client: &dyn ForwardClient,
    (carried, audit): (&CarriedBytes, &Recorder),
) -> Result<(), Refusal> {
    while let Some(data) = output.next().await? {
        recorded(audit, DataStream::ForwardOut, &data).await;
        let length = data.len() as u64;
        if client.data(data).await.is_err() {
            // A client that is gone takes no more, and its connection is about to be closed.
            return Ok(());
        }
        carried.add_to_client(length);
    }
    audit.note_wire(WireMessage::CloseWrite);
    let _gone = client.end_of_data().await;
    Ok(())
}

/// Records data before it goes on. What cannot be recorded never does: the connection is about to end.
async fn recorded(audit: &Recorder, stream: DataStream, data: &[u8]) {
    if audit.data(stream, data).await.is_err() {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
