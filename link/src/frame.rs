//! Frames of an established link (PROTOCOL.md, "Frames"): a header of ten bytes and a payload.
//!
//! Sequenced frames are part of the byte sequence that survives a carrier; their bytes have absolute positions. The others
//! belong to one carrier and are lost with it. Every length is bounded before a payload is read.

use super::Side;
use bytes::{Buf, Bytes, BytesMut};

/// Bytes of a frame's header: kind, lane, payload length (big endian), stream (big endian).
pub const HEADER: usize = 10;
/// Maximum payload of a data frame, in bytes.
pub const MAX_DATA: usize = 64 * 1024;
/// Maximum payload of a reply, a message, or a request of the agent's, in bytes.
pub const MAX_CONTROL: usize = 64 * 1024;
/// Maximum payload of a request of the gateway's, in bytes: an SSH exec request of 256 KiB with its environment fits.
pub const MAX_REQUEST: usize = 1024 * 1024;
/// Maximum text of a reason, in bytes.
pub const MAX_REASON: usize = 4096;

/// Kinds of frames; the value is the first byte of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Opens a stream; the payload is a request.
    Open = 1,
    /// Accepts a stream; the payload is the reply.
    Accept = 2,
    /// Bytes of a lane.
    Data = 3,
    /// End of a lane.
    Finish = 4,
    /// A stream's new limit: how many bytes the receiver may have been sent in all (u64).
    Window = 5,
    /// A message of the stream's own protocol.
    Message = 6,
    /// The sender is done with the stream: code (u16) and a reason in UTF-8. Refuses a stream that was not accepted.
    Close = 7,
    /// Not sequenced: the position up to which the sender has received (u64).
    Ack = 16,
    /// Not sequenced: asks for an [`FrameKind::Ack`] at once.
    Probe = 17,
    /// Not sequenced: the deliberate end of the link; code (u16) and a reason in UTF-8.
    End = 18,
}

impl FrameKind {
    /// Returns true for frames whose bytes are counted and sent again after the loss of a carrier.
    pub fn is_sequenced(self) -> bool {
        (self as u8) < Self::Ack as u8
    }

    fn from_byte(byte: u8) -> Option<Self> {
        let known = [
            Self::Open,
            Self::Accept,
            Self::Data,
            Self::Finish,
            Self::Window,
            Self::Message,
            Self::Close,
            Self::Ack,
            Self::Probe,
            Self::End,
        ];
        known.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Maximum payload of such a frame that `sender` sends, in bytes.
    pub(crate) fn max_payload(self, sender: Side) -> usize {
        match self {
            Self::Data => MAX_DATA,
            Self::Window | Self::Ack => 8,
            Self::Finish | Self::Probe => 0,
            Self::Open if sender == Side::Gateway => MAX_REQUEST,
            Self::Open | Self::Accept | Self::Message => MAX_CONTROL,
            Self::Close | Self::End => 2 + MAX_REASON,
        }
    }
}

/// One of a stream's two byte sequences in a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Standard input, standard output, a terminal, a connection.
    Main = 0,
    /// Standard error of a program.
    Error = 1,
}

/// A parsed header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The kind.
    pub kind: FrameKind,
    /// The lane of data and finish frames.
    pub lane: Lane,
    /// Bytes of payload that follow.
    pub length: usize,
    /// The stream; 0 for frames of the carrier.
    pub stream: u32,
}

impl Header {
    /// The ten bytes on the wire.
    pub fn encode(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.kind as u8;
        bytes[1] = self.lane as u8;
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        bytes[2..6].copy_from_slice(&length.to_be_bytes());
        bytes[6..].copy_from_slice(&self.stream.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER], sender: Side) -> Result<Self, FrameError> {
        let [kind, lane, l0, l1, l2, l3, s0, s1, s2, s3] = *bytes;
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        let lane = match lane {
            0 => Lane::Main,
            1 if matches!(kind, FrameKind::Data | FrameKind::Finish) => Lane::Error,
            other => return Err(FrameError::UnknownLane(other)),
        };
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let longest = kind.max_payload(sender);
        if length > longest {
            return Err(FrameError::TooLong { kind, length });
        }
        let fixed = matches!(kind, FrameKind::Window | FrameKind::Ack);
        if fixed && length != longest {
            return Err(FrameError::TooShort { kind, length });
        }
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        if kind.is_sequenced() == (stream == 0) {
            return Err(FrameError::WrongStream { kind, stream });
        }
        Ok(Self { kind, lane, length, stream })
    }
}

/// A violation of the frame format. The link cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that this version does not have.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// A lane that this kind does not have.
    #[error("unknown lane {0}")]
    UnknownLane(u8),
    /// A payload above the kind's limit.
    #[error("{kind:?} frame of {length} bytes")]
    TooLong {
        /// The kind.
        kind: FrameKind,
        /// The length that the header has.
        length: usize,
    },
    /// A payload below the kind's size.
    #[error("{kind:?} frame of {length} bytes only")]
    TooShort {
        /// The kind.
        kind: FrameKind,
        /// The length that the header has.
        length: usize,
    },
    /// A carrier's frame with a stream, or a stream's frame without one.
    #[error("{kind:?} frame for stream {stream}")]
    WrongStream {
        /// The kind.
        kind: FrameKind,
        /// The stream that the header has.
        stream: u32,
    },
}

/// A frame, or a piece of a data frame, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The kind.
    pub kind: FrameKind,
    /// The lane of data and finish frames.
    pub lane: Lane,
    /// The stream; 0 for frames of the carrier.
    pub stream: u32,
    /// The payload; of a data frame the piece that has arrived, never empty.
    pub payload: Bytes,
}

/// Splits arriving bytes into frames. Data frames are handed on in the pieces in which they arrive, without a copy; others
/// are gathered to at most their maximum.
#[derive(Debug)]
pub struct Decoder {
    sender: Side,
    state: DecoderState,
    received: u64,
}

#[derive(Debug)]
enum DecoderState {
    Header { bytes: [u8; HEADER], filled: usize },
    Payload { header: Header, missing: usize, gathered: BytesMut },
}

impl Default for DecoderState {
    fn default() -> Self {
        Self::Header { bytes: [0; HEADER], filled: 0 }
    }
}

impl Decoder {
    /// Begins with the first byte that `sender` sends.
    pub fn new(sender: Side) -> Self {
        Self { sender, state: DecoderState::default(), received: 0 }
    }

    /// The position up to which sequenced bytes have been taken.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Forgets a frame of the lost carrier that has arrived in part; what is sequenced stays.
    pub fn carrier_lost(&mut self) {
        let sequenced = match &self.state {
            DecoderState::Header { filled: 0, .. } => true,
            DecoderState::Header { bytes, .. } => is_sequenced_byte(bytes[0]),
            DecoderState::Payload { header, .. } => header.kind.is_sequenced(),
        };
        if !sequenced {
            self.state = DecoderState::default();
        }
    }

    /// Takes the next frame, or piece of a data frame, out of `input`. `None` means that all of it was taken.
    ///
    /// # Errors
    /// The bytes break the frame format.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Arrived>, FrameError> {
        loop {
            match &mut self.state {
                DecoderState::Header { bytes, filled } => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let taken = (HEADER - *filled).min(input.len());
                    input.copy_to_slice(&mut bytes[*filled..*filled + taken]);
                    *filled += taken;
                    if is_sequenced_byte(bytes[0]) {
                        self.received += taken as u64;
                    }
                    if *filled < HEADER {
                        continue;
                    }
                    let header = Header::decode(bytes, self.sender)?;
                    self.state = DecoderState::Payload { header, missing: header.length, gathered: BytesMut::new() };
                    if header.kind == FrameKind::Data && header.length == 0 {
                        self.state = DecoderState::default();
                    }
                }
                DecoderState::Payload { header, missing, gathered } => {
                    let header = *header;
                    if *missing > 0 && input.is_empty() {
                        return Ok(None);
                    }
                    let piece = input.split_to((*missing).min(input.len()));
                    *missing -= piece.len();
                    if header.kind.is_sequenced() {
                        self.received += piece.len() as u64;
                    }
                    let whole = *missing == 0;
                    let payload = if header.kind == FrameKind::Data || (whole && gathered.is_empty()) {
                        piece
                    } else {
                        gathered.extend_from_slice(&piece);
                        if !whole {
                            continue;
                        }
                        std::mem::take(gathered).freeze()
                    };
                    if whole {
                        self.state = DecoderState::default();
                    }
                    return Ok(Some(Arrived { kind: header.kind, lane: header.lane, stream: header.stream, payload }));
                }
            }
        }
    }
}

/// Returns true if a header that begins with this byte is sequenced. One with a byte of no kind is refused whole.
fn is_sequenced_byte(byte: u8) -> bool {
    byte < FrameKind::Ack as u8
}
