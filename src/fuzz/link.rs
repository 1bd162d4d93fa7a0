//! The link's bytes as a hostile agent or gateway may make them up, and what must hold of either end.

use bytes::{Bytes, BytesMut};
use podgate_link::handshake::{AgentHandshake, GatewayHandshake, Hello, LinkSecret, Purpose};
use podgate_link::request::{GatewayRequest, Incoming, ProgramMessage};
use podgate_link::{Lane, Limits, Link, Notice, Side};
use std::time::Instant;

const WINDOW: u32 = 4096;
const STREAMS: u32 = 8;
/// The bytes by which the windows may be larger in sum.
const BUDGET: u32 = 16 * 1024;
/// Most memory of a link with these bounds: its windows, 2 MiB of what is no data, and a little that it sends.
const MEMORY: u64 = WINDOW as u64 * 2 * STREAMS as u64 + BUDGET as u64 + 2 * 1024 * 1024 + 64 * 1024;

/// Frames for one end; the first byte says for which, and in pieces of which size they come.
pub(super) fn link(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let side = if first % 2 == 0 { Side::Gateway } else { Side::Agent };
    let limits =
        Limits { window: WINDOW, budget: BUDGET, peer_window: WINDOW, peer_streams: STREAMS, streams: STREAMS };
    let (mut link, now) = (Link::new(side, limits), Instant::now());
    assert!(link.attach(0, now).is_ok());
    // So that replies, data and closes can come to something.
    let own = link.open(Bytes::from_static(b"request"));
    assert!(own.is_ok());
    for piece in data.chunks(usize::from(first / 2) + 1) {
        if link.receive(Bytes::copy_from_slice(piece), now).is_err() {
            return;
        }
        while let Some(notice) = link.notice() {
            match notice {
                Notice::Opened(number, _) => drop(link.accept(number, Bytes::new())),
                // Half of the streams are not read.
                Notice::Stream(number) if number % 4 < 2 => while link.read(number, Lane::Main).is_some() {},
                Notice::Stream(_) => {}
                Notice::Ended(_) => return,
            }
        }
        let mut out = BytesMut::new();
        if link.transmit(&mut out, 10_000, now).is_err() {
            return;
        }
        assert!(link.memory() < MEMORY, "{}", link.memory());
    }
}

/// The answer of an agent, and the hello of a gateway, which know no secret.
pub(super) fn handshake(data: &[u8]) {
    let hello = Hello {
        purpose: Purpose::New,
        versions: (1, 1),
        features: 0,
        link: [1; 16],
        nonce: [2; 32],
        epoch: 1,
        received: 0,
        window: WINDOW,
        streams: STREAMS,
    };
    let (mut gateway, _) = GatewayHandshake::new(hello, LinkSecret([3; 32]));
    let agreed = gateway.receive(&mut Bytes::copy_from_slice(data));
    assert!(!matches!(agreed, Ok(Some(_))), "an agent without the secret was believed");
    let mut input = Bytes::copy_from_slice(data);
    if let Ok(Some((hello, _))) = AgentHandshake::default().receive(&mut input) {
        assert!(hello.versions.0 <= hello.versions.1);
    }
}

/// Requests and messages of either end: what was read is written and read as the same.
pub(super) fn messages(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(request) = GatewayRequest::decode(bytes.clone()) {
        assert_eq!(GatewayRequest::decode(request.encode()), Ok(request));
    }
    if let Ok(incoming) = Incoming::decode(bytes.clone()) {
        assert_eq!(Incoming::decode(incoming.encode()), Ok(incoming));
    }
    if let Ok(message) = ProgramMessage::decode(bytes) {
        assert_eq!(ProgramMessage::decode(message.encode()), Ok(message));
    }
}
