//! The server's side of WebSocket framing, as much as the channel protocols need: binary messages of one frame each, no
//! extensions, no compression. Payloads are handed on as they arrive, so a frame of any size needs one buffer only.

use crate::objects::status::StatusError;
use data_encoding::BASE64;
use http::{HeaderMap, header};
use sha1::{Digest, Sha1};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes read from the connection at a time.
const READ: usize = 128 << 10;

/// A frame beyond this ends the connection, as in the API server.
const LARGEST: u64 = 32 << 20;

/// Room before a payload for the header of its frame and the channel number.
pub(crate) const HEAD: usize = 5;

/// Output bytes in one frame, beside the channel number.
pub(crate) const MOST: usize = 32 << 10;

/// The channel protocols, by what a client can do with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    V4,
    /// As v4, and a client can close one channel.
    V5,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "v4.channel.k8s.io",
            Self::V5 => "v5.channel.k8s.io",
        }
    }
}

/// The kinds of frames (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Data,
    Close,
    Ping,
    Pong,
}

/// Checks an upgrade request; the answer is the protocol and the value of `Sec-WebSocket-Accept`.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<(Protocol, String), StatusError> {
    let has = |name: header::HeaderName, wanted: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        return Err(StatusError::bad_request("Upgrade request required"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| has(header::SEC_WEBSOCKET_VERSION, "13"));
    let key = key.ok_or_else(|| StatusError::bad_request("not a WebSocket handshake of version 13"))?;
    let offered = |protocol: Protocol| has(header::SEC_WEBSOCKET_PROTOCOL, protocol.name());
    let protocol = [Protocol::V5, Protocol::V4].into_iter().find(|protocol| offered(*protocol));
    // The real server's WebSocket library says no more than this.
    let protocol = protocol.ok_or_else(|| StatusError::plain(403, ""))?;
    let digest =
        Sha1::new().chain_update(key.as_bytes()).chain_update("258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    Ok((protocol, BASE64.encode(digest.as_slice())))
}

/// Reads a client's frames: [`next_frame`](Self::next_frame), then [`piece`](Self::piece) until there is none.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    io: R,
    buffer: Vec<u8>,
    /// `start <= end <= buffer.len()`: what was read and not yet handed out.
    start: usize,
    end: usize,
    /// Payload bytes of the present frame not yet handed out.
    remaining: u64,
    mask: [u8; 4],
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// `already` was read from the connection before.
    pub(crate) fn new(io: R, already: &[u8]) -> Self {
        // Memory of an idle stream: pages of zeros cost nothing until they are read into.
        let mut buffer = vec![0; READ.max(already.len())];
        buffer.iter_mut().zip(already).for_each(|(to, from)| *to = *from);
        Self { io, buffer, start: 0, end: already.len(), remaining: 0, mask: [0; 4] }
    }

    /// The next frame's kind; none when the client is gone. What is left of the frame before is skipped.
    pub(crate) async fn next_frame(&mut self) -> io::Result<Option<FrameKind>> {
        while self.piece().await?.is_some() {}
        let Some([first, second]) = self.take::<2>().await? else { return Ok(None) };
        let length = match second & 0x7f {
            126 => self.take::<2>().await?.map(|bytes| u64::from(u16::from_be_bytes(bytes))),
            127 => self.take::<8>().await?.map(u64::from_be_bytes),
            short => Some(u64::from(short)),
        };
        let (Some(length), Some(mask)) = (length, self.take::<4>().await?) else { return Ok(None) };
        if second & 0x80 == 0 || length > LARGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an unmasked or too large frame"));
        }
        (self.remaining, self.mask) = (length, mask);
        match first & 0x0f {
            0..=2 => Ok(Some(FrameKind::Data)),
            8 => Ok(Some(FrameKind::Close)),
            9 => Ok(Some(FrameKind::Ping)),
            10 => Ok(Some(FrameKind::Pong)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown frame")),
        }
    }

    /// The next bytes of the present frame's payload, unmasked; none at its end.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<&mut [u8]>> {
        if self.remaining == 0 {
            return Ok(None);
        }
        if self.start == self.end && !self.fill().await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let available = self.end - self.start;
        let length = usize::try_from(self.remaining).map_or(available, |remaining| remaining.min(available));
        let from = self.start;
        self.start += length;
        self.remaining -= length as u64;
        let mask = self.mask;
        self.mask.rotate_left(length % 4);
        let piece = self.buffer.get_mut(from..from + length).unwrap_or_default();
        unmask(piece, mask);
        Ok(Some(piece))
    }

    async fn take<const N: usize>(&mut self) -> io::Result<Option<[u8; N]>> {
        let mut taken = [0; N];
        for byte in &mut taken {
            if self.start == self.end && !self.fill().await? {
                return Ok(None);
            }
            *byte = self.buffer.get(self.start).copied().unwrap_or_default();
            self.start += 1;
        }
        Ok(Some(taken))
    }

    /// Reads more into the empty buffer; false at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        self.start = 0;
        self.end = 0;
        self.end = self.io.read(&mut self.buffer).await?;
        Ok(self.end > 0)
    }
}

/// Undoes a client's mask, sixteen bytes at a time: this is the hot loop of every upload.
fn unmask(data: &mut [u8], mask: [u8; 4]) {
    if mask == [0; 4] {
        return;
    }
    let word = u128::from(u32::from_ne_bytes(mask));
    let word = word | word << 32 | word << 64 | word << 96;
    let (words, rest) = data.as_chunks_mut::<16>();
    for bytes in words {
        *bytes = (u128::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

/// Writes the server's frames.
#[derive(Debug)]
pub(crate) struct FrameWriter<W> {
    io: W,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub(crate) fn new(io: W) -> Self {
        Self { io }
    }

    /// Sends what stands in `room` after [`HEAD`] bytes that are overwritten, at most [`MOST`] bytes a frame, on a channel.
    pub(crate) async fn send(&mut self, channel: u8, room: &mut [u8]) -> io::Result<()> {
        let mut rest = room;
        loop {
            let length = rest.len().saturating_sub(HEAD).min(MOST);
            let frame = rest.get_mut(..HEAD + length).unwrap_or_default();
            let start = head(frame, channel, length);
            self.io.write_all(frame.get(start..).unwrap_or_default()).await?;
            // The next header overwrites the end of what was just sent.
            rest = rest.get_mut(length..).unwrap_or_default();
            if rest.len() <= HEAD {
                return self.io.flush().await;
            }
        }
    }

    /// Answers a ping with its payload (RFC 6455 section 5.5.3).
    pub(crate) async fn pong(&mut self, payload: &[u8]) -> io::Result<()> {
        self.control(0x8a, payload).await
    }

    /// Says a normal end.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.control(0x88, &1000_u16.to_be_bytes()).await?;
        self.io.shutdown().await
    }

    async fn control(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let payload = payload.get(..payload.len().min(125)).unwrap_or_default();
        let mut frame = vec![first, u8::try_from(payload.len()).unwrap_or_default()];
        frame.extend_from_slice(payload);
        self.io.write_all(&frame).await?;
        self.io.flush().await
    }
}

/// Writes a data frame's header and channel into the first [`HEAD`] bytes; says where the frame starts.
fn head(frame: &mut [u8], channel: u8, length: usize) -> usize {
    let size = u16::try_from(length + 1).unwrap_or(u16::MAX);
    let [high, low] = size.to_be_bytes();
    let (bytes, start) =
        if size < 126 { ([0, 0, 0x82, low, channel], 2) } else { ([0x82, 126, high, low, channel], 0) };
    if let Some(head) = frame.first_chunk_mut::<HEAD>() {
        *head = bytes;
    }
    start
}

#[cfg(test)]
mod tests;
