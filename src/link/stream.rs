//! One stream of a link as its owner uses it: what is awaited here is woken by the link's driver.

use super::shared::{LinkState, SharedLink};
use crate::guest::INPUT_CHUNK;
use bytes::Bytes;
use podgate_link::frame::MAX_CONTROL;
use podgate_link::{Close, Full, Lane};
use std::pin::pin;
use std::sync::Arc;
use tokio::sync::Notify;

/// An open stream. Dropping it closes the stream, and with it whatever the agent does for it.
pub(super) struct LinkStream {
    shared: Arc<SharedLink>,
    number: u32,
    changed: Arc<Notify>,
}

/// The end of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The agent closed it.
    Closed(Close),
    /// The link is over; the text is for the log.
    LinkOver(Arc<str>),
}

/// A piece of what came on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Data(Lane, Bytes),
    Message(Bytes),
    /// The end of a lane, told once.
    Finished(Lane),
    End(StreamEnd),
}

/// The position of one reader between the pieces of a stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Set if the error lane has its turn.
    error_first: bool,
    /// The ends that were told, by lane.
    finished: [bool; 2],
    /// Bytes of the last piece: they count against the agent's window until the reader comes back for more.
    held: usize,
}

/// The state of a write after a turn.
enum WriteStep {
    Ended,
    Done,
    /// The agent's window has no room.
    WindowFull,
    /// The memory of all streams has no room.
    LinkFull,
}

impl LinkStream {
    /// Opens a stream with this request.
    ///
    /// # Errors
    /// The link is over, or has no room for another stream.
    pub(super) fn open(shared: &Arc<SharedLink>, request: Bytes) -> Result<Self, Full> {
        shared.act(|state| {
            if state.over.is_some() {
                return Err(Full);
            }
            let number = state.link.open(request)?;
            Ok(Self { shared: Arc::clone(shared), number, changed: state.register(number) })
        })
    }

    /// Accepts a stream that the agent opened.
    pub(super) fn accept(shared: &Arc<SharedLink>, number: u32) -> Result<Self, Full> {
        let accepted = shared.act(|state| state.link.accept(number, Bytes::new()).map(|()| state.register(number)));
        match accepted {
            Ok(changed) => Ok(Self { shared: Arc::clone(shared), number, changed }),
            Err(full) => {
                shared.act(|state| state.close(number));
                Err(full)
            }
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn shared(&self) -> &Arc<SharedLink> {
        &self.shared
    }

    /// Waits for the agent's reply to the request.
    pub(super) async fn accepted(&self) -> Result<Bytes, StreamEnd> {
        self.until(|state| match state.link.reply(self.number) {
            Some(reply) => Some(Ok(reply)),
            None => self.end(state).map(Err),
        })
        .await
    }

    /// Writes to the main lane; waits until the link has taken all of it. Returns false if it takes no more. The bytes may
    /// be of a buffer of [`INPUT_CHUNK`].
    pub(super) async fn write(&self, data: &Bytes) -> bool {
        let mut written = 0;
        loop {
            let mut changed = pin!(self.changed.notified());
            let mut room = pin!(self.shared.room.notified());
            changed.as_mut().enable();
            room.as_mut().enable();
            let step = self.shared.act(|state| {
                let left = data.slice(written..);
                let piece = left.slice(..left.len().min(state.link.writable(self.number)));
                // The link keeps it until the agent has acknowledged it, and the rest of a buffer with it.
                let piece = if piece.len() < INPUT_CHUNK / 2 { Bytes::copy_from_slice(&piece) } else { piece };
                written += state.link.write(self.number, Lane::Main, piece);
                match (self.end(state), data.len() - written) {
                    (Some(_end), _) => WriteStep::Ended,
                    (None, 0) => WriteStep::Done,
                    (None, _) if state.link.peer_window(self.number) == 0 => WriteStep::WindowFull,
                    (None, _) => WriteStep::LinkFull,
                }
            });
            match step {
                WriteStep::Ended => return false,
                WriteStep::Done => return true,
                // Whoever waits for the agent's window is not woken for each byte that the others move.
                WriteStep::WindowFull => changed.await,
                WriteStep::LinkFull => tokio::select! {
                    () = changed => {}
                    () = room => {}
                },
            }
        }
    }

    /// Ends the main lane behind what was written.
    pub(super) fn finish(&self) {
        self.shared.act(|state| state.link.finish(self.number, Lane::Main));
    }

    /// Sends a message of the stream's protocol; waits for room in the memory of all streams, not for the agent's window.
    /// Returns false if the stream takes no more, or the message is too long.
    pub(super) async fn send_message(&self, message: &Bytes) -> bool {
        loop {
            let mut changed = pin!(self.changed.notified());
            let mut room = pin!(self.shared.room.notified());
            changed.as_mut().enable();
            room.as_mut().enable();
            let sent = self.shared.act(|state| match state.link.send_message(self.number, message.clone()) {
                Ok(()) => Some(true),
                Err(Full) if message.len() > MAX_CONTROL || self.end(state).is_some() => Some(false),
                Err(Full) => None,
            });
            if let Some(sent) = sent {
                return sent;
            }
            tokio::select! {
                () = changed => {}
                () = room => {}
            }
        }
    }

    /// Waits for the next piece. Cancel-safe.
    pub(super) async fn next(&self, reader: &mut Reader) -> Piece {
        self.until(|state| self.piece(state, reader)).await
    }

    fn piece(&self, state: &mut LinkState, reader: &mut Reader) -> Option<Piece> {
        state.link.consume(self.number, std::mem::take(&mut reader.held));
        let lanes = if reader.error_first { [Lane::Error, Lane::Main] } else { [Lane::Main, Lane::Error] };
        for lane in lanes {
            if let Some(data) = state.link.take(self.number, lane) {
                reader.held = data.len();
                reader.error_first = lane == Lane::Main;
                return Some(Piece::Data(lane, data));
            }
        }
        if let Some(message) = state.link.read_message(self.number) {
            return Some(Piece::Message(message));
        }
        for lane in lanes {
            if !reader.finished[lane as usize] && state.link.is_finished(self.number, lane) {
                reader.finished[lane as usize] = true;
                return Some(Piece::Finished(lane));
            }
        }
        self.end(state).map(Piece::End)
    }

    /// The end of the stream, once it is known.
    pub(super) fn end(&self, state: &LinkState) -> Option<StreamEnd> {
        let closed = state.link.closed(self.number).cloned().map(StreamEnd::Closed);
        closed.or_else(|| state.over.clone().map(StreamEnd::LinkOver))
    }

    /// Waits until `look` finds something; it is called anew whenever the stream has changed.
    pub(super) async fn until<T>(&self, mut look: impl FnMut(&mut LinkState) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = self.shared.act(&mut look) {
                return found;
            }
            changed.await;
        }
    }
}

impl Drop for LinkStream {
    fn drop(&mut self) {
        self.shared.act(|state| state.close(self.number));
    }
}
