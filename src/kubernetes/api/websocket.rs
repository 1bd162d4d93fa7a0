//! A WebSocket to the Kubernetes API as two independent halves: messages go out whole, in one frame each, and come in as
//! pieces of the read buffer, uncopied. An idle stream costs a few kB.
//!
//! It is our own and not a crate's for three reasons: a byte of input is copied once and costs one allocation, a frame that
//! is given up in its middle ends the stream instead of corrupting it, and a quiet stream is kept alive by messages, too.
//!
//! A quiet stream gets a ping after 8 s at most (proxies and load balancers cut idle connections, and the pong is traffic in
//! the other direction), and every hour an empty message (the API server ends a stream after four hours without a message,
//! in spite of pings). A missing pong means nothing, because a server that waits for a program to read its input answers no
//! ping. The socket is closed when both halves are dropped.

pub(crate) mod handshake;

mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

pub(crate) use frame::{FrameError, MessagePiece};

use crate::buffer_pool::BufferPool;
use crate::guest::INPUT_CHUNK;
use bytes::{Buf, BytesMut};
use frame::{Decoded, Decoder, Head, Opcode, mask};
use futures_util::future::poll_fn;
use parking_lot::Mutex;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::{Instant, Sleep};

/// The longest payload that we send in one frame.
const CHUNK: usize = INPUT_CHUNK;
/// The read buffer of a quiet stream, which it always has.
const SMALL: usize = 1024;
/// The read buffer of a busy one: two of the server's frames.
const LARGE: usize = 72 * 1024;
/// As many of them are on their way at a time while whoever takes them keeps up.
const POOLED: usize = 8;
/// A TLS record's payload: with less room a read may take more than one turn.
const RECORD: usize = 16 * 1024;
/// The interval of the checks for a quiet stream.
const TICK: Duration = Duration::from_secs(4);
/// A ping after the first quiet tick, which is 4 to 8 s after the last message, and again after each so many more.
const PING_TICKS: u32 = 2;
/// An empty message after so many quiet ticks: an hour.
const MESSAGE_TICKS: u32 = 900;
/// Section 7.4.1: the purpose is fulfilled.
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

/// The end of what can be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The peer broke the protocol.
    #[error("the WebSocket protocol was broken: {0}")]
    Frame(#[from] FrameError),
    /// The socket cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer was gone without a close.
    #[error("the connection ended without a close")]
    Ended,
    /// The peer sent a close.
    #[error("the server closed the connection: {0}")]
    Closed(String),
}

/// Makes both halves of an upgraded stream. `early` is what was read behind the handshake's answer.
pub(crate) fn split<S>(io: S, early: &[u8]) -> (Sender<S>, Receiver<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let socket = Arc::new(SharedSocket {
        io: Mutex::new(io),
        outgoing: tokio::sync::Mutex::new(Outgoing::default()),
        sent: AtomicU32::new(0),
    });
    let receiver = Receiver {
        socket: socket.clone(),
        buffer: BytesMut::from(early),
        pool: BufferPool::default(),
        large: false,
        decoder: Decoder::default(),
        step: SMALL,
        control: BytesMut::new(),
        flushing: false,
        timer: Box::pin(tokio::time::sleep(TICK)),
        received: 0,
        quiet: Quiet::default(),
    };
    (Sender { socket, midway: false }, receiver)
}

struct SharedSocket<S: AsyncRead + AsyncWrite + Unpin> {
    /// Held for one poll, never across a wait.
    io: Mutex<S>,
    /// Held for one frame.
    outgoing: tokio::sync::Mutex<Outgoing>,
    /// Counts the messages that were sent, to see whether the stream is quiet.
    sent: AtomicU32,
}

#[derive(Default)]
struct Outgoing {
    /// The rest of a control frame that the socket did not take at once; goes before anything else.
    unsent: BytesMut,
    /// A frame was given up in its middle: nothing can follow it.
    torn: bool,
}

fn poll_write_all<S>(io: &Mutex<S>, cx: &mut Context<'_>, data: &mut impl Buf) -> Poll<io::Result<()>>
where
    S: AsyncWrite + Unpin,
{
    let mut io = io.lock();
    while data.has_remaining() {
        let mut slices = [IoSlice::new(&[]); 3];
        let count = data.chunks_vectored(&mut slices);
        let slices = slices.get(..count).unwrap_or_default();
        match ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => data.advance(written),
        }
    }
    Pin::new(&mut *io).poll_flush(cx)
}

/// The sending half of a WebSocket.
pub(crate) struct Sender<S: AsyncRead + AsyncWrite + Unpin> {
    socket: Arc<SharedSocket<S>>,
    /// A part of a message is sent whose rest is not.
    midway: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// Sends `data` on a channel, in messages of at most [`CHUNK`] bytes, and waits until the socket has taken them. A
    /// send that is given up in its middle ends what can be sent.
    pub(crate) async fn send(&mut self, channel: u8, mut data: BytesMut) -> io::Result<()> {
        if self.midway {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        loop {
            let chunk = data.split_to(data.len().min(CHUNK));
            self.frame(channel, chunk).await?;
            self.midway = !data.is_empty();
            if !self.midway {
                return Ok(());
            }
        }
    }

    async fn frame(&mut self, channel: u8, mut data: BytesMut) -> io::Result<()> {
        let (head, key) = Head::new(Opcode::Binary, Some(channel), data.len(), rand::random());
        mask(&mut data, key);
        let mut outgoing = self.socket.outgoing.lock().await;
        if outgoing.torn {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let before = std::mem::take(&mut outgoing.unsent);
        let begun = before.has_remaining();
        let mut whole = before.chain(head.bytes()).chain(data);
        let length = whole.remaining();
        let written = poll_fn(|cx| {
            let written = poll_write_all(&self.socket.io, cx, &mut whole);
            let left = whole.remaining();
            // A frame that is given up before its first byte or behind its last leaves nothing torn.
            outgoing.torn = match &written {
                Poll::Ready(written) => written.is_err(),
                Poll::Pending => left > 0 && (begun || left < length),
            };
            written
        });
        written.await?;
        self.socket.sent.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The receiving half; it also answers pings and keeps a quiet stream alive.
pub(crate) struct Receiver<S: AsyncRead + AsyncWrite + Unpin> {
    socket: Arc<SharedSocket<S>>,
    buffer: BytesMut,
    pool: BufferPool<LARGE, POOLED>,
    /// The buffer is a large one.
    large: bool,
    decoder: Decoder,
    step: usize,
    /// A control frame to send when the sender is between frames.
    control: BytesMut,
    /// A part of one is with [`Outgoing::unsent`].
    flushing: bool,
    timer: Pin<Box<Sleep>>,
    received: u32,
    quiet: Quiet,
}

enum ReceiverEvent {
    Read(io::Result<usize>),
    Tick,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// The next piece of a message. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<MessagePiece, StreamError> {
        loop {
            match self.decoder.decode(&mut self.buffer)? {
                Some(Decoded::Data(piece)) => {
                    self.received = self.received.wrapping_add(1);
                    return Ok(piece);
                }
                Some(Decoded::Ping(payload)) => self.control = frame(Opcode::Pong, &payload),
                Some(Decoded::Pong) => {}
                Some(Decoded::Close(payload)) => return Err(StreamError::Closed(close_reason(&payload))),
                None => self.more().await?,
            }
        }
    }

    async fn more(&mut self) -> Result<(), StreamError> {
        self.make_room();
        let room = self.buffer.capacity() - self.buffer.len();
        match poll_fn(|cx| self.poll_event(cx)).await {
            ReceiverEvent::Tick => self.tick(),
            ReceiverEvent::Read(count) => match count? {
                0 => return Err(StreamError::Ended),
                filled if filled == room => self.step = LARGE,
                _some => {}
            },
        }
        Ok(())
    }

    /// A buffer that pieces still hold is left to them until they are gone.
    fn make_room(&mut self) {
        let wanted = self.decoder.wanted(self.buffer.len());
        let least = if self.step == LARGE { RECORD } else { SMALL / 8 };
        if self.buffer.capacity() - self.buffer.len() >= wanted.max(least) {
            return;
        }
        let room = wanted.max(self.step);
        if self.step < LARGE || self.buffer.try_reclaim(room) {
            self.buffer.reserve(room);
            return;
        }
        let mut next = self.pool.take();
        next.extend_from_slice(&self.buffer);
        let held = std::mem::replace(&mut self.buffer, next);
        if std::mem::replace(&mut self.large, true) {
            self.pool.keep(held);
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<ReceiverEvent> {
        if !self.control.is_empty() || self.flushing {
            self.poll_control(cx);
        }
        let read = pin!(self.socket.io.lock().read_buf(&mut self.buffer)).poll(cx);
        if let Poll::Ready(count) = read {
            return Poll::Ready(ReceiverEvent::Read(count));
        }
        self.timer.as_mut().poll(cx).map(|()| ReceiverEvent::Tick)
    }

    /// Sends what can be sent now. While the sender is within a frame, nothing: it is tried again at the next event. A
    /// frame follows only one that the socket took whole, so that no more than two are held for a peer that reads nothing.
    fn poll_control(&mut self, cx: &mut Context<'_>) {
        let Ok(mut outgoing) = self.socket.outgoing.try_lock() else { return };
        if outgoing.torn {
            self.control.clear();
            self.flushing = false;
            return;
        }
        // An error here is seen by the next read or send too.
        if self.flushing && poll_write_all(&self.socket.io, cx, &mut outgoing.unsent).is_pending() {
            return;
        }
        outgoing.unsent.unsplit(std::mem::take(&mut self.control));
        self.flushing = poll_write_all(&self.socket.io, cx, &mut outgoing.unsent).is_pending();
    }

    fn tick(&mut self) {
        self.timer.as_mut().reset(Instant::now() + TICK);
        let messages = self.received.wrapping_add(self.socket.sent.load(Ordering::Relaxed));
        let sending = self.socket.outgoing.try_lock().is_err();
        let keepalive = self.quiet.tick(messages, sending);
        // Where the last one still waits for the socket, another would wait behind it.
        if self.control.is_empty() && !self.flushing {
            match keepalive {
                Keepalive::Nothing => {}
                Keepalive::Ping => self.control = frame(Opcode::Ping, b""),
                Keepalive::Message => self.control = frame(Opcode::Binary, b""),
            }
        }
        if self.quiet.ticks > 0 && self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.large = false;
            self.pool.clear();
            self.step = SMALL;
        }
    }
}

/// The time without a message in either direction.
#[derive(Debug, Default)]
struct Quiet {
    messages: u32,
    ticks: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Keepalive {
    Nothing,
    Ping,
    Message,
}

impl Quiet {
    /// `messages` counts what went either way since the start; `sending`: a message waits for the socket right now.
    fn tick(&mut self, messages: u32, sending: bool) -> Keepalive {
        if sending || messages != self.messages {
            *self = Self { messages, ticks: 0 };
            return Keepalive::Nothing;
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(MESSAGE_TICKS) {
            return Keepalive::Message;
        }
        if self.ticks % PING_TICKS == 1 { Keepalive::Ping } else { Keepalive::Nothing }
    }
}

/// A short frame, masked.
fn frame(opcode: Opcode, payload: &[u8]) -> BytesMut {
    let (head, key) = Head::new(opcode, None, payload.len(), rand::random());
    let mut frame = BytesMut::from(head.bytes());
    let mut payload = BytesMut::from(payload);
    mask(&mut payload, key);
    frame.unsplit(payload);
    frame
}

fn close_reason(payload: &[u8]) -> String {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => format!("{} {}", u16::from_be_bytes(*code), String::from_utf8_lossy(reason)),
        None => "no reason given".to_owned(),
    }
}

/// The close goes as far as the socket takes it at once; the connection is dropped behind it.
impl<S: AsyncRead + AsyncWrite + Unpin> Drop for SharedSocket<S> {
    fn drop(&mut self) {
        let outgoing = self.outgoing.get_mut();
        let mut cx = Context::from_waker(Waker::noop());
        if !outgoing.torn {
            outgoing.unsent.unsplit(frame(Opcode::Close, &NORMAL_CLOSURE));
            if poll_write_all(&self.io, &mut cx, &mut outgoing.unsent).is_pending() {
                return;
            }
        }
        let mut io = self.io.lock();
        // Nobody is left to hear of an error.
        let _closed: Poll<io::Result<()>> = Pin::new(&mut *io).poll_shutdown(&mut cx);
    }
}
