//! Frames that somebody made up, and ours as a naive writer would write them.

use super::frame::{Decoded, Decoder, FrameError, Head, MessagePiece, Opcode, mask};
use bytes::BytesMut;

/// Something that came, the pieces of a message joined.
#[derive(Debug, PartialEq, Eq)]
enum Came {
    Message { start: bool, end: bool, data: Vec<u8> },
    Control(Decoded),
}

/// The first byte says how the rest is cut. However that is, the same must come of it.
pub(crate) fn frames(data: &[u8]) {
    let Some((size, bytes)) = data.split_first() else { return };
    let whole = decoded(std::iter::once(bytes));
    assert_eq!(whole, decoded(bytes.chunks(usize::from(*size).max(1))));
    encoded(*size, bytes);
}

fn decoded<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Came>, Option<FrameError>) {
    let (mut decoder, mut buffer, mut all) = (Decoder::default(), BytesMut::new(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(piece)) => join(&mut all, piece),
                Ok(None) => break,
                Err(error) => return (ended(all), Some(error)),
            }
        }
        assert!(decoder.wanted(buffer.len()) <= super::frame::PIECE);
    }
    (ended(all), None)
}

fn join(all: &mut Vec<Came>, piece: Decoded) {
    match (all.last_mut(), piece) {
        (
            Some(Came::Message { end: over @ false, data: joined, .. }),
            Decoded::Data(MessagePiece { start, end, data }),
        ) => {
            assert!(!start, "a message within a message");
            joined.extend_from_slice(&data);
            *over = end;
        }
        (_, Decoded::Data(MessagePiece { start, end, data })) => {
            all.push(Came::Message { start, end, data: data.to_vec() })
        }
        (_, control) => all.push(Came::Control(control)),
    }
}

/// Without the last message where it has no end: how much of it is handed out depends on the cuts.
fn ended(mut all: Vec<Came>) -> Vec<Came> {
    if matches!(all.last(), Some(Came::Message { end: false, .. })) {
        all.pop();
    }
    all
}

/// Our own frame is RFC 6455's, byte for byte.
fn encoded(channel: u8, data: &[u8]) {
    let key = [channel, 0x5A, 0, 0xFF];
    let (head, turned) = Head::new(Opcode::Binary, Some(channel), data.len(), key);
    let mut body = data.to_vec();
    mask(&mut body, turned);
    let payload = [&[channel], data].concat();
    let length = payload.len();
    let mut expected = vec![0x82];
    match length {
        ..=125 => expected.push(0x80 | length as u8),
        126..=0xFFFF => expected.extend([&[0x80 | 126], &(length as u16).to_be_bytes()[..]].concat()),
        _long => expected.extend([&[0x80 | 127], &(length as u64).to_be_bytes()[..]].concat()),
    }
    expected.extend(key);
    expected.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    assert_eq!([head.bytes(), &body].concat(), expected);
}
