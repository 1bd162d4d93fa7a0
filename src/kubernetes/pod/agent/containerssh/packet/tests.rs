//! Packets that ContainerSSH's agent sends, and what is none.

use super::*;

fn read(bytes: &[u8]) -> Result<Option<Packet>, PacketError> {
    let mut reader = PacketReader::default();
    reader.push(bytes);
    reader.next()
}

fn written(packet: &Packet) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    packet.encode(&mut bytes);
    bytes.to_vec()
}

fn data(connection: u64, payload: &'static [u8]) -> Packet {
    Packet { kind: PacketType::Data, connection, payload: Bytes::from_static(payload) }
}

/// The bytes that ContainerSSH's agent was seen to send.
#[test]
fn packets_are_containerssh_s_byte_by_byte() {
    let rows: [(Packet, &[u8]); 4] = [
        (Packet::new(PacketType::Success, 0), b"\xa3\x64Type\x01\x6cConnectionId\x00\x67Payload\xf6"),
        (data(1, b"world"), b"\xa3\x64Type\x03\x6cConnectionId\x01\x67Payload\x45world"),
        (data(24, b""), b"\xa3\x64Type\x03\x6cConnectionId\x18\x18\x67Payload\x40"),
        (
            Packet::new(PacketType::CloseConnection, 1 << 32),
            b"\xa3\x64Type\x05\x6cConnectionId\x1b\0\0\0\x01\0\0\0\0\x67Payload\xf6",
        ),
    ];
    for (packet, bytes) in rows {
        assert_eq!(written(&packet).escape_ascii().to_string(), bytes.escape_ascii().to_string());
        assert_eq!(read(bytes), Ok(Some(packet)));
    }
}

#[test]
fn setup_is_containerssh_s_byte_by_byte() {
    let setup = Setup {
        connection_type: ConnectionType::PortForward,
        bind_host: "localhost".to_owned(),
        bind_port: 8080,
        protocol: "tcp",
        screen: String::new(),
        single_connection: false,
        auth_protocol: String::new(),
        auth_cookie: String::new(),
    };
    let payload = b"\xa8\x6eConnectionType\x01\x68BindHost\x69localhost\x68BindPort\x19\x1f\x90\x68Protocol\x63tcp\
        \x66Screen\x60\x70SingleConnection\xf4\x6cAuthProtocol\x60\x6aAuthCookie\x60";
    assert_eq!(setup.packet().payload.escape_ascii().to_string(), payload.escape_ascii().to_string());
}

#[test]
fn packets_come_in_any_pieces() {
    let packets = [data(1, b"some bytes"), Packet::new(PacketType::Success, 7), data(0x1234_5678, b"x")];
    let bytes: Vec<u8> = packets.iter().flat_map(written).collect();
    for size in 1..bytes.len() {
        let (mut reader, mut read) = (PacketReader::default(), Vec::new());
        for piece in bytes.chunks(size) {
            reader.push(piece);
            while let Some(packet) = reader.next().unwrap() {
                read.push(packet);
            }
        }
        assert_eq!(read, packets, "pieces of {size}");
    }
}

#[test]
fn what_is_no_packet_is_refused_before_its_bytes_have_come() {
    for (bytes, expected) in [
        (&b"\x01"[..], PacketError::Malformed),
        (b"\xa4", PacketError::Malformed),
        (b"\xbf", PacketError::Malformed),
        (b"\xa3\x64type", PacketError::Malformed),
        (b"\xa3\x6cConnectionId", PacketError::Malformed),
        (b"\xa3\x64Type\x09", PacketError::Unexpected(9)),
        (b"\xa3\x64Type\x20", PacketError::Malformed),
        (b"\xa3\x64Type\x03\x6cConnectionId\x01\x67Payload\x5f", PacketError::Malformed),
        (b"\xa3\x64Type\x03\x6cConnectionId\x01\x67Payload\x61", PacketError::Malformed),
        (b"\xa3\x64Type\x03\x6cConnectionId\x01\x67Payload\x5a\0\x01\0\x01", PacketError::TooLong),
        (b"\xa3\x64Type\x03\x6cConnectionId\x01\x67Payload\x5b\xff\xff\xff\xff\xff\xff\xff\xff", PacketError::TooLong),
        (b"\xa3\x7a\xff\xff\xff\xff", PacketError::TooLong),
    ] {
        assert_eq!(read(bytes), Err(expected), "{}", bytes.escape_ascii());
    }
    assert_eq!(read(b"\xa3\x64Type\x03\x6cConnectionId\x01\x67Payload\x5a\0\x01\0\0"), Ok(None));
}

#[test]
fn new_connection_comes_back_and_nothing_may_be_behind_it() {
    let new = NewConnection {
        protocol: "tcp".to_owned(),
        connected_address: "127.0.0.1".to_owned(),
        connected_port: 80,
        originator_address: "10.0.0.1".to_owned(),
        originator_port: 65535,
    };
    let payload = new.packet(1).payload;
    assert_eq!(NewConnection::decode(&payload), Ok(new));
    assert_eq!(NewConnection::decode(&[&payload[..], b"\0"].concat()), Err(PacketError::Malformed));
    for end in 0..payload.len() {
        assert_eq!(NewConnection::decode(&payload[..end]), Err(PacketError::Malformed), "{end}");
    }
}
