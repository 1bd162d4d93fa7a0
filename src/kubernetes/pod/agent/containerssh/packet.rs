//! Packets of ContainerSSH's forward protocol, as its agent writes them: a bare concatenation of CBOR items (RFC 8949), each
//! a map of the keys `Type`, `ConnectionId` and `Payload`; a structured payload is CBOR again, inside a byte string.
//!
//! Read strictly, since the agent is never believed: definite lengths, every key in its place, no text or payload longer
//! than its limit. A length is judged before its bytes are waited for.

use bytes::{Buf, Bytes, BytesMut};

/// Longest payload that is read, in bytes. ContainerSSH's agent sends 32 KiB.
const PAYLOAD_MAX: usize = 64 * 1024;
/// Longest text inside a payload that is read, in bytes.
const TEXT_MAX: usize = 4096;

/// Major types of CBOR.
const UNSIGNED: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const MAP: u8 = 5;
/// The simple values that occur.
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;

/// The types of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PacketType {
    Setup = 0,
    Success = 1,
    Error = 2,
    Data = 3,
    NewConnection = 4,
    CloseConnection = 5,
    NoMoreConnections = 6,
}

/// A packet of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) kind: PacketType,
    pub(super) connection: u64,
    /// Empty where there is none.
    pub(super) payload: Bytes,
}

/// The role of an agent's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionType {
    X11 = 0,
    PortForward = 1,
    PortDial = 2,
}

/// The payload of a setup packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) connection_type: ConnectionType,
    pub(super) bind_host: String,
    pub(super) bind_port: u16,
    pub(super) protocol: &'static str,
    pub(super) screen: String,
    pub(super) single_connection: bool,
    pub(super) auth_protocol: String,
    pub(super) auth_cookie: String,
}

/// The payload of a new connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NewConnection {
    pub(super) protocol: String,
    pub(super) connected_address: String,
    pub(super) connected_port: u16,
    pub(super) originator_address: String,
    pub(super) originator_port: u16,
}

/// Bytes that are no packet, or a packet that its sender must not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PacketError {
    #[error("it sends what is not a packet")]
    Malformed,
    #[error("it sends a packet that is too long")]
    TooLong,
    #[error("it sends a packet of the type {0}, which nobody awaits")]
    Unexpected(u64),
    #[error("it uses the id of a connection twice")]
    UsedId,
    #[error("it sends more than it reads the answers to")]
    Flood,
}

/// Reads packets from what comes in pieces.
#[derive(Debug, Default)]
pub(super) struct PacketReader {
    buffer: BytesMut,
}

impl PacketReader {
    /// Adds bytes behind those before.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next packet; `None` until all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, PacketError> {
        let mut input = Input { bytes: &self.buffer, at: 0 };
        let (kind, connection, payload) = match packet(&mut input) {
            Ok(packet) => packet,
            Err(Stop::Incomplete) => return Ok(None),
            Err(Stop::Wrong(error)) => return Err(error),
        };
        let end = input.at;
        // Copied, so that whoever holds a payload holds no more than it.
        let payload = Bytes::copy_from_slice(&self.buffer[end - payload..end]);
        self.buffer.advance(end);
        Ok(Some(Packet { kind, connection, payload }))
    }
}

/// The reason for which a packet is not read to its end.
enum Stop {
    Incomplete,
    Wrong(PacketError),
}

impl From<PacketError> for Stop {
    fn from(error: PacketError) -> Self {
        Self::Wrong(error)
    }
}

/// Reads a packet's head; the payload's length is what is left of it.
fn packet(input: &mut Input<'_>) -> Result<(PacketType, u64, usize), Stop> {
    input.map(3)?;
    input.key("Type")?;
    let number = input.head(UNSIGNED)?;
    let kind = PacketType::from_number(number).ok_or(PacketError::Unexpected(number))?;
    input.key("ConnectionId")?;
    let connection = input.head(UNSIGNED)?;
    input.key("Payload")?;
    if input.peek()? == NULL {
        input.at += 1;
        return Ok((kind, connection, 0));
    }
    let length = input.length(BYTES, PAYLOAD_MAX)?;
    input.take(length)?;
    Ok((kind, connection, length))
}

impl PacketType {
    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Setup,
            1 => Self::Success,
            2 => Self::Error,
            3 => Self::Data,
            4 => Self::NewConnection,
            5 => Self::CloseConnection,
            6 => Self::NoMoreConnections,
            _ => return None,
        })
    }
}

impl Packet {
    pub(super) fn new(kind: PacketType, connection: u64) -> Self {
        Self { kind, connection, payload: Bytes::new() }
    }

    /// Writes the packet. Only a packet of data has a payload that may be empty.
    pub(super) fn encode(&self, output: &mut BytesMut) {
        head(output, MAP, 3);
        text(output, "Type");
        head(output, UNSIGNED, self.kind as u64);
        text(output, "ConnectionId");
        head(output, UNSIGNED, self.connection);
        text(output, "Payload");
        if self.payload.is_empty() && self.kind != PacketType::Data {
            output.extend_from_slice(&[NULL]);
        } else {
            head(output, BYTES, self.payload.len() as u64);
            output.extend_from_slice(&self.payload);
        }
    }
}

impl Setup {
    /// The packet of this set-up, the first that an agent's process gets.
    pub(super) fn packet(&self) -> Packet {
        let mut payload = BytesMut::new();
        head(&mut payload, MAP, 8);
        text(&mut payload, "ConnectionType");
        head(&mut payload, UNSIGNED, self.connection_type as u64);
        text(&mut payload, "BindHost");
        text(&mut payload, &self.bind_host);
        text(&mut payload, "BindPort");
        head(&mut payload, UNSIGNED, self.bind_port.into());
        text(&mut payload, "Protocol");
        text(&mut payload, self.protocol);
        text(&mut payload, "Screen");
        text(&mut payload, &self.screen);
        text(&mut payload, "SingleConnection");
        payload.extend_from_slice(&[if self.single_connection { TRUE } else { FALSE }]);
        text(&mut payload, "AuthProtocol");
        text(&mut payload, &self.auth_protocol);
        text(&mut payload, "AuthCookie");
        text(&mut payload, &self.auth_cookie);
        Packet { kind: PacketType::Setup, connection: 0, payload: payload.freeze() }
    }
}

impl NewConnection {
    /// The packet that asks for this connection.
    pub(super) fn packet(&self, connection: u64) -> Packet {
        let mut payload = BytesMut::new();
        head(&mut payload, MAP, 5);
        text(&mut payload, "Protocol");
        text(&mut payload, &self.protocol);
        text(&mut payload, "ConnectedAddress");
        text(&mut payload, &self.connected_address);
        text(&mut payload, "ConnectedPort");
        head(&mut payload, UNSIGNED, self.connected_port.into());
        text(&mut payload, "OriginatorAddress");
        text(&mut payload, &self.originator_address);
        text(&mut payload, "OriginatorPort");
        head(&mut payload, UNSIGNED, self.originator_port.into());
        Packet { kind: PacketType::NewConnection, connection, payload: payload.freeze() }
    }

    /// Reads the whole payload of a new connection.
    pub(super) fn decode(payload: &[u8]) -> Result<Self, PacketError> {
        let mut input = Input { bytes: payload, at: 0 };
        let new = Self::read(&mut input).map_err(|stop| match stop {
            Stop::Incomplete => PacketError::Malformed,
            Stop::Wrong(error) => error,
        })?;
        if input.at == payload.len() { Ok(new) } else { Err(PacketError::Malformed) }
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Stop> {
        input.map(5)?;
        Ok(Self {
            protocol: input.text_of("Protocol")?,
            connected_address: input.text_of("ConnectedAddress")?,
            connected_port: input.port_of("ConnectedPort")?,
            originator_address: input.text_of("OriginatorAddress")?,
            originator_port: input.port_of("OriginatorPort")?,
        })
    }
}

/// Writes an item's head in its shortest form.
fn head(output: &mut BytesMut, major: u8, argument: u64) {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    match argument {
        0..24 => output.extend_from_slice(&[major | bytes[7]]),
        24..0x100 => output.extend_from_slice(&[major | 24, bytes[7]]),
        0x100..0x1_0000 => {
            output.extend_from_slice(&[major | 25]);
            output.extend_from_slice(&bytes[6..]);
        }
        0x1_0000..0x1_0000_0000 => {
            output.extend_from_slice(&[major | 26]);
            output.extend_from_slice(&bytes[4..]);
        }
        _ => {
            output.extend_from_slice(&[major | 27]);
            output.extend_from_slice(&bytes);
        }
    }
}

fn text(output: &mut BytesMut, text: &str) {
    head(output, TEXT, text.len() as u64);
    output.extend_from_slice(text.as_bytes());
}

/// Bytes, and how far they are read.
struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::Incomplete)
    }

    fn take(&mut self, length: usize) -> Result<&[u8], Stop> {
        let taken = self.bytes.get(self.at..self.at + length).ok_or(Stop::Incomplete)?;
        self.at += length;
        Ok(taken)
    }

    /// Reads an item's head: its type must be this one.
    fn head(&mut self, major: u8) -> Result<u64, Stop> {
        let first = self.peek()?;
        let width = match first & 0x1f {
            0..24 => 0,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(PacketError::Malformed.into()),
        };
        if first >> 5 != major {
            return Err(PacketError::Malformed.into());
        }
        self.at += 1;
        if width == 0 {
            return Ok(u64::from(first & 0x1f));
        }
        Ok(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, major: u8, limit: usize) -> Result<usize, Stop> {
        let length = self.head(major)?;
        usize::try_from(length).ok().filter(|length| *length <= limit).ok_or(PacketError::TooLong.into())
    }

    fn map(&mut self, entries: u64) -> Result<(), Stop> {
        if self.head(MAP)? == entries { Ok(()) } else { Err(PacketError::Malformed.into()) }
    }

    fn text(&mut self) -> Result<String, Stop> {
        let length = self.length(TEXT, TEXT_MAX)?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| PacketError::Malformed.into())
    }

    fn key(&mut self, name: &str) -> Result<(), Stop> {
        if self.text()? == name { Ok(()) } else { Err(PacketError::Malformed.into()) }
    }

    fn text_of(&mut self, name: &str) -> Result<String, Stop> {
        self.key(name)?;
        self.text()
    }

    fn port_of(&mut self, name: &str) -> Result<u16, Stop> {
        self.key(name)?;
        u16::try_from(self.head(UNSIGNED)?).map_err(|_| PacketError::Malformed.into())
    }
}

#[cfg(test)]
mod tests;
