//! Packets of ContainerSSH's forward protocol: a bare concatenation of CBOR maps (RFC 8949) with the keys `Type`,
//! `ConnectionId` and `Payload`; a structured payload is CBOR again, inside a byte string.
//!
//! Read leniently, as ContainerSSH's own library does it: keys in any order and case, missing keys are zero, unknown ones are
//! passed over, indefinite lengths are taken. Written as that library writes them, byte by byte.

use ciborium::Value;
use ciborium::de::Error as DecodeError;
use std::io::{self, Cursor, ErrorKind, Read, Write};

/// Largest packet that is read, in bytes.
const MAX_PACKET: usize = 1024 * 1024;
/// Deepest nesting that is read.
const DEPTH: usize = 8;
/// Bytes that are read at a time.
const READ: usize = 32 * 1024;

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

impl PacketType {
    fn from_number(number: i64) -> Option<Self> {
        let known = [
            Self::Setup,
            Self::Success,
            Self::Error,
            Self::Data,
            Self::NewConnection,
            Self::CloseConnection,
            Self::NoMoreConnections,
        ];
        known.into_iter().find(|kind| *kind as i64 == number)
    }
}

/// A packet of either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) kind: PacketType,
    pub(super) connection: u64,
    pub(super) payload: Option<Vec<u8>>,
}

/// The payload of a setup packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) connection_type: u64,
    pub(super) bind_host: String,
    pub(super) bind_port: u64,
    pub(super) protocol: String,
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
    pub(super) connected_port: u64,
    pub(super) originator_address: String,
    pub(super) originator_port: u64,
}

/// A packet that cannot be read. Where the next one begins is not known.
#[derive(Debug, thiserror::Error)]
pub(super) enum PacketError {
    #[error("not a packet: {0}")]
    Malformed(#[from] DecodeError<io::Error>),
    #[error("not a map of text to values")]
    NotAMap,
    #[error("{0} is of another type")]
    WrongType(&'static str),
    #[error("a packet of unknown type {0}")]
    UnknownType(u64),
    #[error("the input ends within a packet")]
    Incomplete,
    #[error("a packet of more than {MAX_PACKET} bytes")]
    TooLong,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads packets from a stream.
pub(super) struct PacketReader<R> {
    input: R,
    buffer: Vec<u8>,
}

impl<R: Read> PacketReader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::new() }
    }

    /// The next packet; `None` at the end of the stream.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, PacketError> {
        loop {
            if !self.buffer.is_empty() {
                let mut cursor = Cursor::new(&self.buffer[..]);
                match ciborium::de::from_reader_with_recursion_limit(&mut cursor, DEPTH) {
                    Ok(value) => {
                        let taken = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
                        let packet = Packet::of(value)?;
                        self.buffer.drain(..taken.min(self.buffer.len()));
                        return Ok(Some(packet));
                    }
                    // Not all of it is there.
                    Err(DecodeError::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if self.buffer.len() > MAX_PACKET {
                return Err(PacketError::TooLong);
            }
            let before = self.buffer.len();
            self.buffer.resize(before + READ, 0);
            let length = self.input.read(&mut self.buffer[before..])?;
            self.buffer.truncate(before + length);
            if length == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(PacketError::Incomplete) };
            }
        }
    }
}

impl Packet {
    pub(super) fn new(kind: PacketType, connection: u64) -> Self {
        Self { kind, connection, payload: None }
    }

    pub(super) fn with(kind: PacketType, connection: u64, payload: Vec<u8>) -> Self {
        Self { kind, connection, payload: Some(payload) }
    }

    fn of(value: Value) -> Result<Self, PacketError> {
        let fields = Fields::of(value)?;
        let kind = fields.number("Type")?;
        let kind = i64::try_from(kind).ok().and_then(PacketType::from_number).ok_or(PacketError::UnknownType(kind))?;
        let payload = match fields.find("Payload") {
            None | Some(Value::Null) => None,
            Some(Value::Bytes(bytes)) => Some(bytes.clone()),
            Some(_) => return Err(PacketError::WrongType("Payload")),
        };
        Ok(Self { kind, connection: fields.number("ConnectionId")?, payload })
    }

    /// Writes the packet as a map of definite length.
    pub(super) fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let payload = self.payload.clone().map_or(Value::Null, Value::Bytes);
        let bytes = encode(vec![
            ("Type", Value::from(self.kind as u8)),
            ("ConnectionId", Value::from(self.connection)),
            ("Payload", payload),
        ]);
        output.write_all(&bytes)?;
        output.flush()
    }
}

impl Setup {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, PacketError> {
        let fields = Fields::of(ciborium::de::from_reader_with_recursion_limit(payload, DEPTH)?)?;
        Ok(Self {
            connection_type: fields.number("ConnectionType")?,
            bind_host: fields.text("BindHost")?,
            bind_port: fields.number("BindPort")?,
            protocol: fields.text("Protocol")?,
            screen: fields.text("Screen")?,
            single_connection: matches!(fields.find("SingleConnection"), Some(Value::Bool(true))),
            auth_protocol: fields.text("AuthProtocol")?,
            auth_cookie: fields.text("AuthCookie")?,
        })
    }
}

impl NewConnection {
    pub(super) fn decode(payload: &[u8]) -> Result<Self, PacketError> {
        let fields = Fields::of(ciborium::de::from_reader_with_recursion_limit(payload, DEPTH)?)?;
        Ok(Self {
            protocol: fields.text("Protocol")?,
            connected_address: fields.text("ConnectedAddress")?,
            connected_port: fields.number("ConnectedPort")?,
            originator_address: fields.text("OriginatorAddress")?,
            originator_port: fields.number("OriginatorPort")?,
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        encode(vec![
            ("Protocol", Value::from(self.protocol.as_str())),
            ("ConnectedAddress", Value::from(self.connected_address.as_str())),
            ("ConnectedPort", Value::from(self.connected_port)),
            ("OriginatorAddress", Value::from(self.originator_address.as_str())),
            ("OriginatorPort", Value::from(self.originator_port)),
        ])
    }
}

/// A map of the given order.
fn encode(fields: Vec<(&str, Value)>) -> Vec<u8> {
    let map = fields.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
    let mut bytes = Vec::new();
    // A vector takes everything.
    let _ = ciborium::into_writer(&Value::Map(map), &mut bytes);
    bytes
}

/// The fields of a map.
struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn of(value: Value) -> Result<Self, PacketError> {
        value.into_map().map(Self).map_err(|_| PacketError::NotAMap)
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let named = |key: &Value| key.as_text().is_some_and(|key| key.eq_ignore_ascii_case(name));
        self.0.iter().find(|(key, _)| named(key)).map(|(_, value)| value)
    }

    /// A number; zero where it is missing.
    fn number(&self, name: &'static str) -> Result<u64, PacketError> {
        let Some(value) = self.find(name) else { return Ok(0) };
        let number = value.as_integer().and_then(|number| u64::try_from(number).ok());
        number.ok_or(PacketError::WrongType(name))
    }

    /// A text; empty where it is missing.
    fn text(&self, name: &'static str) -> Result<String, PacketError> {
        let Some(value) = self.find(name) else { return Ok(String::new()) };
        value.as_text().map(str::to_owned).ok_or(PacketError::WrongType(name))
    }
}

/// Packets in a stream, and what their payloads say; the first byte says in pieces of which size the stream comes.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn fuzz(data: &[u8]) {
    /// Bytes that come in pieces.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    let Some((first, data)) = data.split_first() else { return };
    let mut reader = PacketReader::new(Pieces(data, usize::from(*first) + 1));
    while let Ok(Some(packet)) = reader.next() {
        let payload = packet.payload.clone().unwrap_or_default();
        assert!(payload.len() <= MAX_PACKET + READ, "{} bytes", payload.len());
        let mut written = Vec::new();
        assert!(packet.write(&mut written).is_ok());
        assert!(PacketReader::new(&written[..]).next().is_ok_and(|read| read.as_ref() == Some(&packet)), "{packet:?}");
        let _ = Setup::decode(&payload);
        if let Ok(new) = NewConnection::decode(&payload) {
            assert!(NewConnection::decode(&new.encode()).is_ok_and(|read| read == new), "{new:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_a_reader_panic(head in 0..3_usize, bytes in vec(any::<u8>(), 0..300)) {
            let heads: [&[u8]; 3] = [b"", b"\xa3\x64Type", b"\xbf\x67Payload\x5f"];
            let bytes = [heads[head], &bytes].concat();
            let mut reader = PacketReader::new(&bytes[..]);
            while let Ok(Some(packet)) = reader.next() {
                let payload = packet.payload.unwrap_or_default();
                let _ = (Setup::decode(&payload), NewConnection::decode(&payload));
            }
            let _ = (Setup::decode(&bytes), NewConnection::decode(&bytes));
        }
    }

    fn read(bytes: &[u8]) -> Result<Option<Packet>, PacketError> {
        PacketReader::new(bytes).next()
    }

    /// The bytes that ContainerSSH's agent was seen to send.
    #[test]
    fn packets_are_containerssh_s_byte_by_byte() {
        let success = b"\xa3\x64Type\x01\x6cConnectionId\x00\x67Payload\xf6";
        let data = b"\xa3\x64Type\x03\x6cConnectionId\x01\x67Payload\x45world";
        let rows: [(Packet, &[u8]); 2] = [
            (Packet::new(PacketType::Success, 0), success),
            (Packet::with(PacketType::Data, 1, b"world".to_vec()), data),
        ];
        for (packet, expected) in rows {
            let mut written = Vec::new();
            packet.write(&mut written).unwrap();
            assert_eq!(written, expected);
            assert_eq!(read(expected).unwrap(), Some(packet));
        }
    }

    #[test]
    fn other_writers_packets_are_read() {
        let of = |bytes: &[u8]| read(bytes).unwrap().unwrap();
        assert_eq!(of(b"\xa1\x64type\x01"), Packet::new(PacketType::Success, 0), "small letters, missing keys");
        assert_eq!(
            of(b"\xbf\x67Payload\x5f\x42wo\x43rld\xff\x64Type\x03\x65Other\x81\x01\x6cConnectionId\x18\x40\xff"),
            Packet::with(PacketType::Data, 64, b"world".to_vec()),
            "indefinite, other order, unknown key"
        );
    }

    #[test]
    fn what_is_no_packet_is_an_error_and_so_is_half_of_one() {
        assert!(matches!(read(b"\x01"), Err(PacketError::NotAMap)));
        assert!(matches!(read(b"\xa1\x64Type\x09"), Err(PacketError::UnknownType(9))));
        assert!(matches!(read(b"\xa3\x64Type\x01"), Err(PacketError::Incomplete)));
        assert!(read(b"").unwrap().is_none());
        let endless = [&b"\xa1\x67Payload\x5b\x00\x00\x00\x00\xff\xff\xff\xff"[..], &[0; 2 * MAX_PACKET]].concat();
        assert!(matches!(read(&endless), Err(PacketError::TooLong)));
    }

    #[test]
    fn payloads_come_back() {
        let new = NewConnection {
            protocol: "tcp".into(),
            connected_address: "127.0.0.1".into(),
            connected_port: 80,
            originator_address: "10.0.0.1".into(),
            originator_port: 5000,
        };
        assert_eq!(NewConnection::decode(&new.encode()).unwrap(), new);
        let setup = b"\xa3\x6eConnectionType\x02\x70SingleConnection\xf5\x68BindHost\x61h";
        let expected = Setup { connection_type: 2, single_connection: true, bind_host: "h".into(), ..Setup::default() };
        assert_eq!(Setup::decode(setup).unwrap(), expected);
    }
}
