//! The frame codec, at every boundary.

use super::*;
use crate::kubernetes::api::fake_server::frame;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

fn all(bytes: &[u8]) -> Result<Vec<Decoded>, FrameError> {
    fed(&[bytes])
}

fn fed(parts: &[&[u8]]) -> Result<Vec<Decoded>, FrameError> {
    let (mut decoder, mut buffer, mut pieces) = (Decoder::default(), BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        while let Some(piece) = decoder.decode(&mut buffer)? {
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

/// Pieces of one message joined, so that what came in different portions compares equal.
fn joined(pieces: &[Decoded]) -> Vec<Decoded> {
    let mut whole: Vec<Decoded> = Vec::new();
    for piece in pieces {
        match (whole.last_mut(), piece) {
            (
                Some(Decoded::Data(MessagePiece { end: ended @ false, data: so_far, .. })),
                Decoded::Data(MessagePiece { start: false, end, data }),
            ) => {
                *so_far = [so_far.as_ref(), data.as_ref()].concat().into();
                *ended = *end;
            }
            _new => whole.push(piece.clone()),
        }
    }
    whole
}

#[test]
fn what_section_5_forbids_is_an_error() {
    let within = [frame(0x02, b"a"), frame(0x82, b"b")].concat();
    let long_control = frame(0x89, &[0; 126]);
    let cases: &[(&[u8], FrameError)] = &[
        (&[0xC2, 0], FrameError::Reserved),
        (&[0x92, 0], FrameError::Reserved),
        (&[0x82, 0x80], FrameError::Masked),
        (&[0x81, 0], FrameError::Text),
        (&[0x83, 0], FrameError::Opcode(3)),
        (&[0x8B, 0], FrameError::Opcode(11)),
        (&[0x80, 0], FrameError::Fragment),
        (&within, FrameError::Fragment),
        (&[0x09, 0], FrameError::Control),
        (&long_control, FrameError::Control),
        (&[0x82, 127, 0, 0, 0, 0, 4, 0, 0, 1], FrameError::Long((64 << 20) + 1)),
        (&[0x82, 127, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], FrameError::Long(u64::MAX)),
    ];
    for (bytes, error) in cases {
        assert_eq!(all(bytes), Err(error.clone()), "{bytes:?}");
    }
}

#[test]
fn part_of_a_frame_gives_nothing() {
    for bytes in [&[][..], &[0x82], &[0x82, 3, 1, 2], &[0x82, 126, 0], &[0x82, 127, 0, 0, 0, 0, 0, 0, 0], &[0x88, 2, 3]]
    {
        assert_eq!(all(bytes), Ok(vec![]), "{bytes:?}");
    }
}

#[test]
fn fragments_are_one_message_and_control_frames_may_come_between() {
    let bytes = [frame(0x02, b"ab"), frame(0x89, b"?"), frame(0x00, b""), frame(0x80, b"c"), frame(0x82, b"")].concat();
    let data =
        |start, end, data: &'static [u8]| Decoded::Data(MessagePiece { start, end, data: Bytes::from_static(data) });
    let expected = vec![
        data(true, false, b"ab"),
        Decoded::Ping(Bytes::from_static(b"?")),
        data(false, false, b""),
        data(false, true, b"c"),
        data(true, true, b""),
    ];
    assert_eq!(all(&bytes), Ok(expected));
}

#[test]
fn bytes_split_at_any_boundary_parse_the_same() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut payload = vec![0; 200_000];
    random.fill(&mut payload[..]);
    let bytes = [
        frame(0x82, &payload[..7]),
        frame(0x89, b"ping"),
        frame(0x82, &payload[..125]),
        frame(0x82, &payload[..126]),
        frame(0x02, &payload[..70_000]),
        frame(0x8A, b""),
        frame(0x80, &payload),
        frame(0x88, &[3, 0xE8, b'x']),
    ]
    .concat();
    let expected = joined(&all(&bytes).unwrap());
    assert_eq!(expected.len(), 8);
    for at in (0..400).chain(bytes.len() - 20..bytes.len()) {
        let (a, b) = bytes.split_at(at);
        assert_eq!(joined(&fed(&[a, b]).unwrap()), expected, "split at {at}");
    }
    for _ in 0..50 {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (part, tail) = rest.split_at(random.random_range(1..=rest.len().min(40_000)));
            parts.push(part);
            rest = tail;
        }
        assert_eq!(joined(&fed(&parts).unwrap()), expected);
    }
}

#[test]
fn random_bytes_never_panic_and_never_grow_a_piece() {
    let mut random = SmallRng::seed_from_u64(2);
    for _ in 0..20_000 {
        let mut bytes = vec![0; random.random_range(0..64)];
        random.fill(&mut bytes[..]);
        for piece in all(&bytes).unwrap_or_default() {
            if let Decoded::Data(MessagePiece { data, .. }) = piece {
                assert!(data.len() <= bytes.len());
            }
        }
    }
}

#[test]
fn sent_frame_read_by_the_rfc_is_the_message() {
    for (prefix, length) in [(None, 0), (Some(0), 0), (Some(4), 124), (Some(0), 125), (None, 126), (Some(0), 65_535)] {
        let payload: Vec<u8> = (0..length).map(|n: usize| u8::try_from(n % 251).unwrap()).collect();
        let key = [0x12, 0x34, 0x56, 0x78];
        let (head, turned) = Head::new(Opcode::Binary, prefix, payload.len(), key);
        let mut body = payload.clone();
        mask(&mut body, turned);
        let mut sent = [head.bytes(), &body].concat();
        // Unmask as a server would: the mask bit off, the key cut out, the payload turned back.
        let at = match sent[1] & 0x7F {
            126 => 4,
            127 => 10,
            _short => 2,
        };
        assert_eq!(sent[1] & 0x80, 0x80);
        sent[1] &= 0x7F;
        let key: Vec<u8> = sent.drain(at..at + 4).collect();
        for (index, byte) in sent[at..].iter_mut().enumerate() {
            *byte ^= key[index % 4];
        }
        let message: Vec<u8> = prefix.into_iter().chain(payload).collect();
        let expected = vec![Decoded::Data(MessagePiece { start: true, end: true, data: message.into() })];
        assert_eq!(joined(&all(&sent).unwrap()), expected, "{prefix:?} {length}");
    }
}

#[test]
fn masking_twice_gives_the_same_bytes() {
    for length in 0..40 {
        let plain: Vec<u8> = (0..length).collect();
        let mut data = plain.clone();
        mask(&mut data, [1, 2, 3, 4]);
        if length > 0 {
            assert_ne!(data, plain);
        }
        for (index, byte) in data.iter().enumerate() {
            assert_eq!(*byte, plain[index] ^ [1, 2, 3, 4][index % 4]);
        }
        mask(&mut data, [1, 2, 3, 4]);
        assert_eq!(data, plain);
    }
}
