//! Requests and messages come back as they were, and no bytes make a reader panic.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn requests() -> Vec<GatewayRequest> {
    let size = Size { columns: 80, rows: 24, width: 640, height: 480 };
    let terminal = TerminalRequest { term: b"xterm".to_vec(), size, modes: vec![(1, 3), (53, 0)] };
    let program = ProgramRequest {
        argv: vec![b"/bin/sh".to_vec(), b"-c".to_vec(), vec![0xff, b'x']],
        arg0: Some(b"-sh".to_vec()),
        env: vec![(b"A".to_vec(), b"b=c".to_vec()), (b"E".to_vec(), Vec::new())],
        directory: Some(b"/tmp".to_vec()),
        terminal: Some(terminal),
        grace_millis: 10_000,
    };
    let plain = ProgramRequest { argv: vec![b"true".to_vec()], ..ProgramRequest::default() };
    let x11 = X11 { single: true, protocol: b"MIT-MAGIC-COOKIE-1".to_vec(), cookie: vec![0, 1, 2], screen: 3 };
    vec![
        GatewayRequest::Program(program),
        GatewayRequest::Program(plain),
        GatewayRequest::Dial(Address::Tcp(b"::1".to_vec(), 65535)),
        GatewayRequest::Dial(Address::Unix(b"/run/x".to_vec())),
        GatewayRequest::Listen(Listen::Tcp(Vec::new(), 0)),
        GatewayRequest::Listen(Listen::Unix(b"/run/y".to_vec())),
        GatewayRequest::Listen(Listen::Agent),
        GatewayRequest::Listen(Listen::X11(x11)),
        GatewayRequest::WriteFile(b"/a".to_vec()),
        GatewayRequest::Sftp(SftpRequest { env: vec![(b"A".to_vec(), b"b".to_vec())], grace_millis: 7 }),
    ]
}

#[test]
fn requests_and_messages_come_back() {
    for request in requests() {
        assert_eq!(GatewayRequest::decode(request.encode()), Ok(request));
    }
    let incoming = Incoming { listener: 4, origin: (b"10.0.0.1".to_vec(), 5) };
    assert_eq!(Incoming::decode(incoming.encode()), Ok(incoming));
    let size = Size { columns: 1, rows: 2, width: 3, height: 4 };
    let messages = [
        ProgramMessage::Resize(size),
        ProgramMessage::Signal(b"INT".to_vec()),
        ProgramMessage::ExitStatus(255),
        ProgramMessage::ExitSignal(b"SEGV".to_vec(), true),
    ];
    for message in messages {
        assert_eq!(ProgramMessage::decode(message.encode()), Ok(message));
    }
}

#[test]
fn malformed_requests_are_refused() {
    let refused: [&[u8]; 6] = [
        b"",
        &[1, 1, 0, 0, 0],
        &[1, 1, 0, 0, 0, 9, b'x'],
        &[1],
        &[1, 1, 0, 0, 0, 2, b'a', 0, 8, 0, 0, 0, 4, 0, 0, 0, 0],
        &[2, 9, 0, 0, 0, 1, b'h', 10, 0, 0, 0, 4, 0, 1, 0, 0],
    ];
    for bytes in refused {
        assert_eq!(GatewayRequest::decode(Bytes::from_static(bytes)), Err(MessageError::Malformed), "{bytes:?}");
    }
    assert_eq!(GatewayRequest::decode(Bytes::from_static(&[9])), Err(MessageError::UnknownKind(9)));
}

#[test]
fn unknown_fields_are_passed_over() {
    let mut bytes = BytesMut::from(&requests()[2].encode()[..]);
    bytes.extend_from_slice(&[200, 0, 0, 0, 1, b'x']);
    assert_eq!(GatewayRequest::decode(bytes.freeze()), Ok(requests().remove(2)));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = GatewayRequest::decode(bytes.clone());
        let _ = Incoming::decode(bytes.clone());
        let _ = ProgramMessage::decode(bytes);
    }
}
