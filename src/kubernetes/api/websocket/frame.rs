//! The frames of RFC 6455 section 5 from a client's side, without I/O. We send one masked frame a message. Received frames
//! are unmasked, without extensions, and their memory is bounded: a long one is handed out in pieces.

use bytes::{Buf, Bytes, BytesMut};

/// The length at which a piece of an incomplete frame is handed out, in bytes.
pub(super) const PIECE: usize = 33 * 1024;
/// Section 5.5: the longest payload of a control frame.
const CONTROL: usize = 125;
/// Limit of a frame, in bytes, far above the frames of Kubernetes.
const LONGEST: u64 = 64 << 20;

/// A frame's kind (section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    /// A message or the start of one.
    Binary,
    /// The end of the connection.
    Close,
    /// A request for a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    fn first_byte(self) -> u8 {
        const FIN: u8 = 0x80;
        FIN | match self {
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

/// A violation of section 5, or a frame that Kubernetes never sends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A reserved bit is set although no extension was agreed on.
    #[error("a reserved bit is set")]
    Reserved,
    /// A server must not mask.
    #[error("the frame is masked")]
    Masked,
    /// Not a kind that we know.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// Kubernetes' binary channels never carry text frames.
    #[error("a text frame")]
    Text,
    /// A control frame is fragmented or too long.
    #[error("a control frame is fragmented or too long")]
    Control,
    /// A data frame is too long.
    #[error("a frame of {0} bytes")]
    Long(u64),
    /// A continuation without a start, or a start within a message.
    #[error("a fragment out of order")]
    Fragment,
}

/// Bytes of a message. A message's pieces come in order, and no piece of another message between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessagePiece {
    /// Set on the message's first piece.
    pub(crate) start: bool,
    /// Set on the message's last piece.
    pub(crate) end: bool,
    /// The bytes, possibly none.
    pub(crate) data: Bytes,
}

/// A decoded frame, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoded {
    Data(MessagePiece),
    /// A ping with its payload.
    Ping(Bytes),
    Pong,
    /// A close with its payload: nothing, or a status code and a reason.
    Close(Bytes),
}

/// A decoder from bytes as they are read to pieces of messages.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The data frame that is being read.
    frame: Option<Data>,
    /// Set within a message.
    within: bool,
}

#[derive(Debug, Clone, Copy)]
struct Data {
    start: bool,
    fin: bool,
    left: usize,
}

#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    opcode: u8,
    size: usize,
    length: u64,
}

impl Decoder {
    /// Takes the next piece off the front of `buffer`; `None` asks for more bytes. After an error the stream is over.
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Decoded>, FrameError> {
        if self.frame.is_none() {
            let Some(header) = header(buffer)? else { return Ok(None) };
            if header.opcode >= 0x8 {
                return control(header, buffer);
            }
            self.frame = Some(self.begin(header)?);
            buffer.advance(header.size);
        }
        let Some(frame) = &mut self.frame else { return Ok(None) };
        if buffer.len() < frame.left && buffer.len() < PIECE {
            return Ok(None);
        }
        let data = buffer.split_to(frame.left.min(buffer.len())).freeze();
        frame.left -= data.len();
        let start = std::mem::take(&mut frame.start);
        let end = frame.left == 0 && frame.fin;
        if frame.left == 0 {
            self.frame = None;
            self.within = !end;
        }
        Ok(Some(Decoded::Data(MessagePiece { start, end, data })))
    }

    /// The number of bytes that the current frame still needs before it gives a piece.
    pub(super) fn wanted(&self, have: usize) -> usize {
        self.frame.map_or(0, |frame| frame.left.min(PIECE).saturating_sub(have))
    }

    fn begin(&self, header: Header) -> Result<Data, FrameError> {
        let start = match header.opcode {
            0x0 => false,
            0x1 => return Err(FrameError::Text),
            0x2 => true,
            other => return Err(FrameError::Opcode(other)),
        };
        if start == self.within {
            return Err(FrameError::Fragment);
        }
        let left = usize::try_from(header.length).map_err(|_long| FrameError::Long(header.length))?;
        Ok(Data { start, fin: header.fin, left })
    }
}

/// Reads a header that is whole, and leaves it in place.
fn header(buffer: &[u8]) -> Result<Option<Header>, FrameError> {
    let &[first, second, ref rest @ ..] = buffer else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(FrameError::Reserved);
    }
    if second & 0x80 != 0 {
        return Err(FrameError::Masked);
    }
    let (size, length) = match second {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        short => (2, u64::from(short)),
    };
    if length > LONGEST {
        return Err(FrameError::Long(length));
    }
    Ok(Some(Header { fin: first & 0x80 != 0, opcode: first & 0x0F, size, length }))
}

fn control(header: Header, buffer: &mut BytesMut) -> Result<Option<Decoded>, FrameError> {
    let length = match usize::try_from(header.length) {
        Ok(length) if header.fin && length <= CONTROL => length,
        _other => return Err(FrameError::Control),
    };
    let piece: fn(Bytes) -> Decoded = match header.opcode {
        0x8 => Decoded::Close,
        0x9 => Decoded::Ping,
        0xA => |_payload| Decoded::Pong,
        other => return Err(FrameError::Opcode(other)),
    };
    if buffer.len() < header.size + length {
        return Ok(None);
    }
    buffer.advance(header.size);
    Ok(Some(piece(buffer.split_to(length).freeze())))
}

/// The start of a frame that we send: its header and, masked, the first bytes of the payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    bytes: [u8; Self::LONGEST],
    length: usize,
}

impl Head {
    const LONGEST: usize = 15;

    /// The head of a frame whose payload is `prefix` (at most one byte) and then `rest` bytes more. The key, which the
    /// rest is to be masked with, is turned by the prefix already.
    pub(super) fn new(opcode: Opcode, prefix: Option<u8>, rest: usize, key: [u8; 4]) -> (Self, [u8; 4]) {
        let mut head = Self { bytes: [0; Self::LONGEST], length: 0 };
        let length = rest + usize::from(prefix.is_some());
        head.push(&[opcode.first_byte()]);
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ ..=125), _) => head.push(&[0x80 | short]),
            (_, Ok(medium)) => {
                head.push(&[0x80 | 126]);
                head.push(&medium.to_be_bytes());
            }
            _long => {
                head.push(&[0x80 | 127]);
                head.push(&(length as u64).to_be_bytes());
            }
        }
        head.push(&key);
        let [a, b, c, d] = key;
        let Some(prefix) = prefix else { return (head, key) };
        head.push(&[prefix ^ a]);
        (head, [b, c, d, a])
    }

    fn push(&mut self, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(self.length).zip(bytes) {
            *to = *from;
        }
        self.length += bytes.len();
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// Masks in place (section 5.3), in words that the compiler makes vectors of.
pub(super) fn mask(data: &mut [u8], key: [u8; 4]) {
    let word = u64::from(u32::from_ne_bytes(key));
    let word = word | word << 32;
    let (words, rest) = data.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;
