//! The TCP stream under an SSH connection, with four things that russh does not give: the client's identification line,
//! news of the client's close while a callback waits (russh does not read meanwhile), a cut from outside that
//! nothing can hold up, and two messages in one piece. And it ends: once our side is shut, a client that goes on sending is read
//! for [`LINGER`] and no longer (russh reads until the client closes).

use crate::audit::Traffic;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How much is read ahead while a callback waits; nobody sends more before being let in.
const AHEAD: usize = 64 * 1024;
/// How long a client may take to close after our disconnect.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// The longest identification line (RFC 4253 section 4.2).
const LINE: usize = 255;

/// The stream that russh is given.
pub(super) struct Wire {
    line: Line,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    write: OwnedWriteHalf,
    /// Set when our side was shut.
    linger: Option<Pin<Box<Sleep>>>,
    /// Taken from russh and not written yet.
    kept: BytesMut,
}

/// The same stream seen from beside; clones are the same line.
#[derive(Clone)]
pub(super) struct Line(Arc<Shared>);

struct Shared {
    read: OwnedReadHalf,
    cut: CancellationToken,
    state: Mutex<State>,
    received: AtomicU64,
    sent: AtomicU64,
}

#[derive(Default)]
struct State {
    ahead: BytesMut,
    id: Vec<u8>,
    id_complete: bool,
    pairing: Pairing,
}

/// Treatment of the next writes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Pairing {
    /// Each goes out as it comes.
    #[default]
    Off,
    /// The next is kept back.
    First,
    /// One is kept back; the next goes out with it.
    Second,
}

/// The side that closed a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClosedBy {
    /// The client, or the network between.
    Client,
    /// This process: [`Line::cut`].
    Gateway,
}

/// Splits a connection into what russh reads and writes, and what watches it.
pub(super) fn split(stream: TcpStream) -> (Wire, Line) {
    let (read, write) = stream.into_split();
    let cut = CancellationToken::new();
    let line = Line(Arc::new(Shared {
        read,
        cut: cut.clone(),
        state: Mutex::default(),
        received: AtomicU64::new(0),
        sent: AtomicU64::new(0),
    }));
    let cut = Box::pin(cut.cancelled_owned());
    (Wire { line: line.clone(), cut, write, linger: None, kept: BytesMut::new() }, line)
}

impl Line {
    /// The client's identification string without the line's end; empty as long as it has not come.
    pub(super) fn client_version(&self) -> String {
        let state = self.state();
        let id = if state.id_complete { state.id.as_slice() } else { &[] };
        String::from_utf8_lossy(id).trim_end_matches('\r').to_owned()
    }

    /// The bytes that russh has read and written so far.
    pub(super) fn traffic(&self) -> Traffic {
        Traffic { received: self.0.received.load(Ordering::Relaxed), sent: self.0.sent.load(Ordering::Relaxed) }
    }

    fn sent(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Makes every read and write fail from now on.
    pub(super) fn cut(&self) {
        self.0.cut.cancel();
    }

    /// Sends the next write of russh's together with the one after it. To be called where both are certain to come, such as
    /// a refusal and the disconnect that says why: some clients leave at the first if they have not read the second by then.
    pub(super) fn pair(&self) {
        self.state().pairing = Pairing::First;
    }

    /// Waits until the client has closed the connection or it was cut, and says which of them. What the client sends
    /// meanwhile is kept for the next read. Cancel-safe.
    pub(super) async fn closed(&self) -> ClosedBy {
        tokio::select! {
            biased;
            () = self.0.cut.cancelled() => ClosedBy::Gateway,
            () = self.peer_closed() => ClosedBy::Client,
        }
    }

    async fn peer_closed(&self) {
        let mut piece = vec![0; 4096];
        loop {
            if self.0.read.readable().await.is_err() {
                return;
            }
            let mut state = self.state();
            match self.0.read.try_read(&mut piece) {
                Ok(0) => return,
                Ok(n) if state.ahead.len() + n <= AHEAD => {
                    state.ahead.extend_from_slice(piece.get(..n).unwrap_or_default())
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// The state stays whole whatever panicked beside it: every change is one step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            let mut state = self.state();
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
                state = self.state();
            }
            let read = buf.filled().get(before..).unwrap_or_default();
            state.note_id(read);
            self.0.received.fetch_add(read.len() as u64, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
    }
}

impl State {
    /// Keeps the first line.
    fn note_id(&mut self, data: &[u8]) {
        for &byte in data {
            if self.id_complete || self.id.len() >= LINE {
                return;
            }
            if byte == b'\n' {
                self.id_complete = true;
            } else {
                self.id.push(byte);
            }
        }
    }
}

impl Wire {
    fn poll_cut(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.cut.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Writes what was kept back.
    fn poll_kept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.write).poll_write(cx, &self.kept))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept.advance(written);
            self.line.sent(written);
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

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        self.poll_linger(cx)?;
        self.line.poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_cut(cx)?;
        let pairing = self.line.state().pairing;
        if pairing == Pairing::Off {
            ready!(self.poll_kept(cx))?;
            let written = ready!(Pin::new(&mut self.write).poll_write(cx, buf))?;
            self.line.sent(written);
            return Poll::Ready(Ok(written));
        }
        // One message each: russh writes what it has with one call.
        self.line.state().pairing = if pairing == Pairing::First { Pairing::Second } else { Pairing::Off };
        self.kept.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_cut(cx)?;
        if self.line.state().pairing == Pairing::Second {
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
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, Wire, Line) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (wire, line) = split(listener.accept().await.unwrap().0);
        (client, wire, line)
    }

    #[tokio::test]
    async fn cut_wakes_a_waiting_read() {
        let (_client, mut wire, line) = pair().await;
        let (read, ()) = tokio::join!(wire.read_u8(), async { line.cut() });
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }

    #[tokio::test]
    async fn pair_of_writes_arrives_in_one_piece_and_the_third_by_itself() {
        let (mut client, mut wire, line) = pair().await;
        let mut piece = [0; 16];
        line.pair();
        wire.write_all(b"no").await.unwrap();
        wire.flush().await.unwrap();
        let unread = client.try_read(&mut piece).map_err(|error| error.kind());
        assert_eq!(unread, Err(io::ErrorKind::WouldBlock));
        wire.write_all(b" because").await.unwrap();
        wire.flush().await.unwrap();
        let read = client.read(&mut piece).await.unwrap();
        assert_eq!(&piece[..read], b"no because");
        wire.write_all(b"end").await.unwrap();
        let read = client.read(&mut piece).await.unwrap();
        assert_eq!(&piece[..read], b"end");
    }

    #[tokio::test]
    async fn first_of_a_pair_is_not_lost_where_no_second_comes() {
        let (mut client, mut wire, line) = pair().await;
        line.pair();
        wire.write_all(b"no").await.unwrap();
        wire.shutdown().await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"no");
    }

    #[tokio::test(start_paused = true)]
    async fn client_that_does_not_close_after_our_end_is_read_no_longer() {
        let (_client, mut wire, _line) = pair().await;
        wire.shutdown().await.unwrap();
        assert_eq!(wire.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn close_is_seen_behind_pending_bytes_which_are_still_read() {
        let (mut client, mut wire, line) = pair().await;
        client.write_all(b"SSH-2.0-x y\r\nrest").await.unwrap();
        drop(client);
        assert_eq!(line.closed().await, ClosedBy::Client);
        let mut all = Vec::new();
        wire.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"SSH-2.0-x y\r\nrest");
        assert_eq!(line.client_version(), "SSH-2.0-x y");
    }
}
