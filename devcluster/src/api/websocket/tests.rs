//! Framing against hand-made frames.

use super::*;

fn frame(opcode: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        middle @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(middle).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

async fn payload(reader: &mut FrameReader<&[u8]>) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = reader.piece().await.unwrap() {
        all.extend_from_slice(piece);
    }
    all
}

#[tokio::test]
async fn an_unmasked_or_huge_frame_is_an_error() {
    assert!(FrameReader::new(&b""[..], &[0x82, 0x01, 0, 0, 0, 0, 0]).next_frame().await.is_err());
    let huge = [0x82, 0xff, 0, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3, 4];
    assert!(FrameReader::new(&b""[..], &huge).next_frame().await.is_err());
}

#[tokio::test]
async fn a_frame_cut_short_is_an_error_and_no_frame_is_the_end() {
    let whole = frame(2, b"hello", [1, 2, 3, 4]);
    let mut reader = FrameReader::new(&b""[..], &whole[..8]);
    assert_eq!(reader.next_frame().await.unwrap(), Some(FrameKind::Data));
    assert_eq!(reader.piece().await.unwrap().map(|piece| piece.len()), Some(2));
    assert!(reader.piece().await.is_err());
    assert_eq!(FrameReader::new(&b""[..], b"").next_frame().await.unwrap(), None);
}

#[tokio::test]
async fn payloads_of_every_length_and_split_are_unmasked() {
    let data: Vec<u8> = (0..200_000_u32).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
    for length in [0, 1, 15, 16, 17, 125, 126, 65_535, 65_536, 200_000] {
        for split in [0, 3, 9, 40] {
            let mut bytes = frame(2, &data[..length], [9, 200, 3, 77]);
            bytes.extend(frame(9, b"ping", [0; 4]));
            let split = split.min(bytes.len());
            let (already, later) = bytes.split_at(split);
            let mut reader = FrameReader::new(later, already);
            assert_eq!(reader.next_frame().await.unwrap(), Some(FrameKind::Data));
            assert!(payload(&mut reader).await == data[..length], "{length} {split}");
            assert_eq!(reader.next_frame().await.unwrap(), Some(FrameKind::Ping));
            assert_eq!(payload(&mut reader).await, b"ping");
        }
    }
}

#[tokio::test]
async fn output_is_split_into_frames_that_the_api_server_would_send() {
    for (length, sizes) in
        [(0, vec![1]), (1, vec![2]), (200, vec![201]), (65_536, vec![32_769, 32_769]), (32_769, vec![32_769, 2])]
    {
        let data: Vec<u8> = (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut room = [vec![0; HEAD], data.clone()].concat();
        let mut sent = Vec::new();
        FrameWriter::new(&mut sent).send(1, &mut room).await.unwrap();
        let (mut seen, mut payloads, mut rest) = (Vec::new(), Vec::new(), sent.as_slice());
        while let [0x82, size, tail @ ..] = rest {
            let (size, tail) = match size {
                126 => (usize::from(u16::from_be_bytes([tail[0], tail[1]])), &tail[2..]),
                size => (usize::from(*size), tail),
            };
            assert_eq!(tail[0], 1);
            payloads.extend_from_slice(&tail[1..size]);
            seen.push(size);
            rest = &tail[size..];
        }
        assert!(rest.is_empty());
        assert_eq!(seen, sizes);
        assert!(payloads == data);
    }
}

#[test]
fn the_accept_value_is_the_one_of_the_rfc() {
    let mut headers = HeaderMap::new();
    headers.insert(header::UPGRADE, "WebSocket".parse().unwrap());
    headers.insert(header::CONNECTION, "keep-alive, Upgrade".parse().unwrap());
    headers.insert(header::SEC_WEBSOCKET_VERSION, "13".parse().unwrap());
    headers.insert(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    assert_eq!(negotiate(&headers).unwrap_err().code(), 403);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io, v5.channel.k8s.io".parse().unwrap());
    assert_eq!(negotiate(&headers).unwrap(), (Protocol::V5, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()));
}
