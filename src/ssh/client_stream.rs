//! The TCP stream under an SSH connection, with six features that russh lacks: it knows the client's identification line
//! before russh offers algorithms, keeps it, notices the client's close while a callback waits (russh does not read meanwhile), can be cut from outside at any time,
//! can send two messages in one piece, and passes no packet before the first keys whose length is not valid. It also ends: once our side is shut, a client that goes on sending is read for
//! [`LINGER`] at most (russh reads until the client closes).

use super::clear_packets::{ClearPackets, InvalidLength, KEX_REPLY};
use crate::audit::Traffic;
use crate::session::SocketBuffer;
use crate::shutdown::LINGER;
use crate::telemetry::metrics::Metrics;
use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Limit of the bytes that are read ahead while a callback waits. No client sends more before its login.
const AHEAD: usize = 64 * 1024;
/// Limit of the identification line in bytes (RFC 4253 section 4.2).
const ID_LINE_MAX: usize = 255;

/// The stream that russh reads and writes.
pub(super) struct ClientStream {
    monitor: StreamMonitor,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write: OwnedWriteHalf,
    /// Runs from the moment when our side was shut.
    linger: Option<Pin<Box<Sleep>>>,
    /// The bytes that russh has written and the socket has not taken.
    kept: BytesMut,
    /// The length of russh's identification line that went out already.
    sent_line: usize,
    /// The place in russh's packets.
    sent_packets: ClearPackets,
}

/// The gateway's own hold on the same stream; clones share it.
#[derive(Clone)]
pub(super) struct StreamMonitor(Arc<StreamShared>);

struct StreamShared {
    read: OwnedReadHalf,
    cut: CancellationToken,
    state: Mutex<StreamState>,
    received: AtomicU64,
    sent: AtomicU64,
    /// The counters of the process that count these bytes, too.
    metrics: OnceLock<Metrics>,
    /// The account of what is in russh's buffer for the socket, from the login on.
    buffer: OnceLock<SocketBuffer>,
}

#[derive(Default)]
struct StreamState {
    ahead: BytesMut,
    id: Vec<u8>,
    id_complete: bool,
    packets: ClearPackets,
    /// The client was sent our host key.
    has_host_key: bool,
    pairing: Pairing,
}

/// The treatment of the next writes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Pairing {
    /// Every write goes out at once.
    #[default]
    Off,
    /// The next write is kept back.
    First,
    /// One write is kept back; the next goes out with it.
    Second,
}

/// The side that closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosedBy {
    /// The client, or the network between.
    Client,
    /// This process, by [`StreamMonitor::cut`].
    Gateway,
}

impl ClosedBy {
    /// The cause in an operator's words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Client => "the client closed the connection",
            Self::Gateway => "the gateway closed the connection",
        }
    }
}

/// Splits a connection into the stream for russh and its monitor. `ahead` is what was read from it before.
pub(super) fn split(stream: TcpStream, ahead: BytesMut) -> (ClientStream, StreamMonitor) {
    let (read, write) = stream.into_split();
    let cut = CancellationToken::new();
    let monitor = StreamMonitor(Arc::new(StreamShared {
        read,
        cut: cut.clone(),
        state: Mutex::new(StreamState { ahead, ..StreamState::default() }),
        received: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        buffer: OnceLock::new(),
        metrics: OnceLock::new(),
    }));
    let cut = Box::pin(cut.cancelled_owned());
    let stream = ClientStream {
        monitor: monitor.clone(),
        cut,
        write,
        linger: None,
        kept: BytesMut::new(),
        sent_line: 0,
        sent_packets: ClearPackets::default(),
    };
    (stream, monitor)
}

impl StreamMonitor {
    /// Tells whether the client has our host key and has not gone on: perhaps it asks its user whether the key is right.
    pub(super) fn considers_host_key(&self) -> bool {
        let state = self.0.state.lock();
        state.has_host_key && state.packets != ClearPackets::Encrypted
    }

    /// The client's identification string without the line's end; empty until it has arrived.
    pub(super) fn client_version(&self) -> String {
        let state = self.0.state.lock();
        let id = if state.id_complete { state.id.as_slice() } else { &[] };
        String::from_utf8_lossy(id).trim_end_matches('\r').to_owned()
    }

    /// Counts the bytes that russh has read and written so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic { received: self.0.received.load(Ordering::Relaxed), sent: self.0.sent.load(Ordering::Relaxed) }
    }

    /// Counts the bytes for the metrics, too, from now on.
    pub(super) fn count_for(&self, metrics: &Metrics) {
        // A connection begins once.
        let _ = self.0.metrics.set(metrics.clone());
    }

    /// Counts russh's buffer for the socket from now on.
    pub(super) fn account(&self, buffer: SocketBuffer) {
        // A client logs in once.
        let _ = self.0.buffer.set(buffer);
    }

    fn sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        if let Some(metrics) = self.0.metrics.get() {
            metrics.count_sent(bytes as u64);
        }
    }

    /// Makes every read and write fail from now on.
    pub(super) fn cut(&self) {
        self.0.cut.cancel();
    }

    /// Sends russh's next write together with the one after it. Call it only if both are certain to come, such as a refusal
    /// and the disconnect with its reason: some clients leave at the first unless they have read the second by then.
    pub(super) fn pair(&self) {
        self.0.state.lock().pairing = Pairing::First;
    }

    /// Waits until the client has closed the connection or it was cut, and returns which of them it was. Data that
    /// arrives meanwhile is kept for the next read. Cancel-safe.
    pub(super) async fn closed(&self) -> ClosedBy {
        tokio::select! {
            biased;
            () = self.0.cut.cancelled() => ClosedBy::Gateway,
            () = self.peer_closed() => ClosedBy::Client,
        }
    }

    /// Waits until the client has closed the connection, as [`StreamMonitor::closed`] does; after the login, when a client
    /// may send as much as its windows hold. It is not noticed behind [`AHEAD`] bytes that russh has not read. Cancel-safe.
    pub(super) async fn left(&self) -> ClosedBy {
        let closed = self.closed().await;
        if closed == ClosedBy::Client && self.0.state.lock().ahead.len() >= AHEAD {
            self.0.cut.cancelled().await;
            return ClosedBy::Gateway;
        }
        closed
    }

    async fn peer_closed(&self) {
        let mut piece = vec![0; 4096];
        while self.read_ahead(&mut piece).await.is_ok_and(|open| open) {}
    }

    /// Keeps what the client has sent for the next read, as much as fits into `piece`. False at the end of its data.
    /// Cancel-safe.
    async fn read_ahead(&self, piece: &mut [u8]) -> io::Result<bool> {
        self.0.read.readable().await?;
        let mut state = self.0.state.lock();
        let room = (AHEAD - state.ahead.len()).min(piece.len());
        match self.0.read.try_read(piece.get_mut(..room).unwrap_or_default()) {
            Ok(0) => Ok(false),
            Ok(n) => {
                state.ahead.extend_from_slice(piece.get(..n).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The first line of what was read ahead; `None` while it can still come.
    fn line_ahead(&self) -> Option<String> {
        let state = self.0.state.lock();
        let end = state.ahead.iter().take(ID_LINE_MAX).position(|&byte| byte == b'\n');
        let end = end.or((state.ahead.len() >= ID_LINE_MAX).then_some(ID_LINE_MAX))?;
        let line = state.ahead.get(..end).unwrap_or_default();
        Some(String::from_utf8_lossy(line).trim_end_matches('\r').to_owned())
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let mut state = self.0.state.lock();
            if !state.ahead.is_empty() {
                let n = state.ahead.len().min(buf.remaining());
                buf.put_slice(state.ahead.get(..n).unwrap_or_default());
                state.ahead.advance(n);
            } else {
                drop(state);
                ready!(self.0.read.as_ref().poll_read_ready(cx))?;
                match self.0.read.try_read(buf.initialize_unfilled()) {
                    Ok(n) => buf.advance(n),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Err(error) => return Poll::Ready(Err(error)),
                }
                state = self.0.state.lock();
            }
            let read = buf.filled().get(before..).unwrap_or_default();
            if let Err(invalid) = state.note(read) {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, invalid)));
            }
            let length = read.len() as u64;
            self.0.received.fetch_add(length, Ordering::Relaxed);
            if let Some(metrics) = self.0.metrics.get() {
                metrics.count_received(length);
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl StreamState {
    /// Keeps the first line of the client's data, and checks the lengths of the packets that follow it.
    fn note(&mut self, data: &[u8]) -> Result<(), InvalidLength> {
        if self.id_complete {
            return self.note_packets(data);
        }
        for (at, &byte) in data.iter().enumerate() {
            if self.id.len() >= ID_LINE_MAX {
                return Ok(());
            }
            if byte == b'\n' {
                self.id_complete = true;
                return self.note_packets(data.get(at + 1..).unwrap_or_default());
            }
            self.id.push(byte);
        }
        Ok(())
    }

    fn note_packets(&mut self, data: &[u8]) -> Result<(), InvalidLength> {
        self.packets.read(data, |_| {})
    }
}

impl ClientStream {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Sends our identification line in russh's place, and waits for the client's, which russh reads all the same. A line
    /// that is none is russh's to judge. Call it once, before russh gets the stream, with the line that russh would send.
    pub(super) async fn exchange_identification(&mut self, ours: &str) -> io::Result<String> {
        let line = format!("{ours}\r\n");
        self.write_all(line.as_bytes()).await?;
        (self.sent_line, self.sent_packets) = (line.len(), ClearPackets::default());
        let (monitor, mut piece) = (self.monitor.clone(), [0; ID_LINE_MAX]);
        tokio::select! {
            biased;
            () = monitor.0.cut.cancelled() => Err(io::ErrorKind::ConnectionAborted.into()),
            line = async {
                loop {
                    if let Some(line) = monitor.line_ahead() {
                        return Ok(line);
                    }
                    if !monitor.read_ahead(&mut piece).await? {
                        return Ok(String::new());
                    }
                }
            } => line,
        }
    }

    /// Notes what the socket has taken. The client has our host key once its packet went out whole.
    fn note_sent(&mut self, data: &[u8]) {
        self.monitor.sent(data.len());
        let mut has_host_key = false;
        // A length of russh's is valid.
        let _ = self.sent_packets.read(data, |message| has_host_key |= message == KEX_REPLY);
        if has_host_key {
            self.monitor.0.state.lock().has_host_key = true;
        }
    }

    /// Writes the bytes that were kept back.
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.write).poll_write(cx, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
            self.monitor.sent(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_linger(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.linger.as_mut().map(|linger| linger.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => Err(io::ErrorKind::TimedOut.into()),
            Some(Poll::Pending) | None => Ok(()),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        self.poll_linger(cx)?;
        self.monitor.poll_read(cx, buf)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        if self.sent_line > 0 && !buf.is_empty() {
            let passed_over = self.sent_line.min(buf.len());
            self.sent_line -= passed_over;
            return Poll::Ready(Ok(passed_over));
        }
        let pairing = self.monitor.0.state.lock().pairing;
        if pairing == Pairing::Off {
            ready!(self.poll_kept(cx))?;
            let written = Pin::new(&mut self.write).poll_write(cx, buf);
            if let Some(buffer) = self.monitor.0.buffer.get() {
                let taken = if let Poll::Ready(Ok(taken)) = written { taken } else { 0 };
                buffer.has(buf.len() - taken);
            }
            let written = ready!(written)?;
            self.note_sent(buf.get(..written).unwrap_or_default());
            return Poll::Ready(Ok(written));
        }
        // One message each: russh writes what it has with one call.
        self.monitor.0.state.lock().pairing = if pairing == Pairing::First { Pairing::Second } else { Pairing::Off };
        self.kept.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        if self.monitor.0.state.lock().pairing == Pairing::Second {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_kept(cx))?;
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        ready!(self.poll_kept(cx))?;
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
