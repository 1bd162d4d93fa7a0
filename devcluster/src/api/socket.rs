//! One TCP connection that can be cut from outside, gently or with a reset.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Ends a connection; whoever serves it must watch [`happened`](Self::happened). Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    token: CancellationToken,
    reset: Arc<AtomicBool>,
}

impl Cut {
    /// One that also happens when `parent` does.
    pub(crate) fn below(parent: &CancellationToken) -> Self {
        Self { token: parent.child_token(), reset: Arc::default() }
    }

    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Waits for the cut.
    pub(crate) async fn happened(&self) {
        self.token.cancelled().await;
    }
}

/// A connection; when it was cut with a reset, dropping it sends one.
#[derive(Debug)]
pub(crate) struct CuttableSocket {
    tcp: TcpStream,
    cut: Cut,
}

impl CuttableSocket {
    pub(crate) fn new(tcp: TcpStream, cut: Cut) -> Self {
        Self { tcp, cut }
    }
}

impl Drop for CuttableSocket {
    fn drop(&mut self) {
        if self.cut.reset.load(Ordering::Acquire) {
            // A socket that is closed already needs no reset.
            let _closed = self.tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for CuttableSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for CuttableSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
