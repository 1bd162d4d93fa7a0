//! The WebSocket over a real stream: handshake, frames, end.

use super::*;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

async fn sent(far: &mut DuplexStream) -> (u8, Vec<u8>) {
    let mut head = [0; 6];
    far.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; usize::from(head[1] & 0x7F)];
    far.read_exact(&mut payload).await.unwrap();
    mask(&mut payload, [head[2], head[3], head[4], head[5]]);
    (head[0], payload)
}

#[test]
fn busy_stream_is_left_alone_and_a_quiet_one_gets_pings_and_an_hourly_message() {
    let mut quiet = Quiet::default();
    assert_eq!(quiet.tick(1, false), Keepalive::Nothing);
    assert_eq!(quiet.tick(1, true), Keepalive::Nothing);
    assert_eq!(quiet.tick(2, false), Keepalive::Nothing);
    assert_eq!(quiet.tick(2, false), Keepalive::Ping);
    assert_eq!(quiet.tick(2, false), Keepalive::Nothing);
    assert_eq!(quiet.tick(2, false), Keepalive::Ping);
    assert_eq!(quiet.tick(3, false), Keepalive::Nothing);
    quiet = Quiet { messages: 2, ticks: 0 };
    let hour: Vec<_> = (0..900).map(|_| quiet.tick(2, false)).collect();
    assert_eq!(hour.iter().filter(|kept| **kept == Keepalive::Ping).count(), 450);
    assert_eq!(hour.iter().position(|kept| *kept == Keepalive::Message), Some(899));
}

/// Sees when something arrives.
async fn silence_before_the_next_frame(far: &mut DuplexStream) -> Duration {
    let begun = Instant::now();
    sent(far).await;
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn no_silence_is_longer_than_8_s_whenever_the_last_message_was() {
    for late in [0, 1, 1999, 3999, 4000, 4001, 5000, 7999, 8000, 11_500] {
        let (near, mut far) = duplex(1000);
        let (mut sender, mut receiver) = split(near, b"");
        let waiting = tokio::spawn(async move { receiver.next().await.map(|part| part.data) });
        let reading = async {
            let mut longest = Duration::ZERO;
            for _ in 0..6 {
                longest = longest.max(silence_before_the_next_frame(&mut far).await);
            }
            longest
        };
        let writing = async {
            tokio::time::sleep(Duration::from_millis(late)).await;
            sender.send(0, BytesMut::from(&b"x"[..])).await.unwrap();
        };
        let (longest, ()) = tokio::join!(reading, writing);
        assert!(longest <= Duration::from_secs(8), "{longest:?} after {late} ms");
        waiting.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn pings_and_pongs_that_the_peer_does_not_take_do_not_pile_up() {
    let (near, mut far) = duplex(16);
    let (_sender, mut receiver) = split(near, b"");
    let mut pings = [0x89, 2, 0, 0].repeat(500);
    for (number, ping) in pings.chunks_exact_mut(4).enumerate() {
        ping[2..].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
    }
    let asking = async {
        far.write_all(&pings).await.unwrap();
        far.write_all(&[0x82, 1, 7]).await.unwrap();
    };
    let (part, ()) = tokio::join!(receiver.next(), asking);
    assert_eq!(part.unwrap().data.as_ref(), [7]);
    tokio::time::timeout(Duration::from_secs(3600), receiver.next()).await.expect_err("nothing comes");
    let held = receiver.socket.outgoing.try_lock().unwrap().unsent.len() + receiver.control.len();
    assert!(held <= 2 * 8, "{held} bytes");
    let waiting = tokio::spawn(async move { receiver.next().await.map(|part| part.data) });
    let mut taken = vec![sent(&mut far).await];
    while taken.last() != Some(&(0x8A, 499_u16.to_be_bytes().to_vec())) {
        taken.push(sent(&mut far).await);
    }
    assert!(taken.len() <= 5, "{taken:?}");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn quiet_stream_is_pinged_and_lives_without_a_pong() {
    let (near, mut far) = duplex(1000);
    let (_sender, mut receiver) = split(near, b"");
    let started = Instant::now();
    let waiting = tokio::spawn(async move { receiver.next().await.map(|part| part.data) });
    let mut kinds = Vec::new();
    for _ in 0..451 {
        kinds.push(sent(&mut far).await);
    }
    assert_eq!(started.elapsed(), Duration::from_secs(3600));
    assert_eq!(kinds.pop(), Some((0x82, Vec::new())), "the hourly message is empty");
    assert!(kinds.iter().all(|kind| *kind == (0x89, Vec::new())));
    far.write_all(&[0x82, 1, 7]).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().as_ref(), [7]);
}

#[tokio::test(start_paused = true)]
async fn stream_with_input_in_flight_is_not_pinged() {
    let (near, mut far) = duplex(16);
    let (mut sender, mut receiver) = split(near, b"");
    let sending = tokio::spawn(async move { sender.send(0, BytesMut::from(&[7; 100][..])).await });
    let waiting = tokio::spawn(async move { receiver.next().await.map(|part| part.data) });
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(sent(&mut far).await.1.len(), 101);
    sending.await.unwrap().unwrap();
    far.write_all(&[0x82, 0]).await.unwrap();
    assert!(waiting.await.unwrap().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn message_that_is_given_up_before_its_first_byte_harms_nothing_and_in_its_middle_ends_it() {
    let (near, mut far) = duplex(16);
    let (mut sender, _receiver) = split(near, b"");
    sender.send(0, BytesMut::from(&b"123456789"[..])).await.unwrap();
    let late = Duration::from_secs(1);
    tokio::time::timeout(late, sender.send(4, BytesMut::from(&b"size"[..]))).await.expect_err("no room");
    assert_eq!(sent(&mut far).await.1, b"\x00123456789");
    sender.send(0, BytesMut::from(&b"b"[..])).await.unwrap();
    assert_eq!(sent(&mut far).await.1, b"\0b");
    tokio::time::timeout(late, sender.send(0, BytesMut::from(&[7; 20][..]))).await.expect_err("no room for it all");
    let torn = sender.send(0, BytesMut::from(&b"c"[..])).await.unwrap_err();
    assert_eq!(torn.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn ping_is_answered_between_two_frames() {
    let (near, mut far) = duplex(1000);
    let (mut sender, mut receiver) = split(near, b"");
    sender.send(0, BytesMut::from(&b"a"[..])).await.unwrap();
    far.write_all(&[0x89, 2, b'h', b'i', 0x82, 1, 9]).await.unwrap();
    assert_eq!(receiver.next().await.unwrap().data.as_ref(), [9]);
    far.write_all(&[0x82, 1, 9]).await.unwrap();
    assert_eq!(receiver.next().await.unwrap().data.as_ref(), [9]);
    sender.send(0, BytesMut::from(&b"b"[..])).await.unwrap();
    assert_eq!(sent(&mut far).await, (0x82, b"\0a".to_vec()));
    assert_eq!(sent(&mut far).await, (0x8A, b"hi".to_vec()));
    assert_eq!(sent(&mut far).await, (0x82, b"\0b".to_vec()));
}

#[tokio::test]
async fn pieces_are_slices_of_the_read_buffer_and_its_memory_is_used_again() {
    let (near, mut far) = duplex(200_000);
    let (_sender, mut receiver) = split(near, b"");
    let message = [&[0x82, 126, 0x80, 0x01, 1][..], &[5; 32 * 1024]].concat();
    for _ in 0..200 {
        far.write_all(&message).await.unwrap();
        let mut left = 32 * 1024 + 1;
        while left > 0 {
            left -= receiver.next().await.unwrap().data.len();
        }
    }
    assert_eq!(receiver.step, LARGE);
    assert!(receiver.buffer.capacity() <= LARGE + RECORD, "{}", receiver.buffer.capacity());
}

#[tokio::test(start_paused = true)]
async fn quiet_stream_gives_its_large_buffer_back() {
    let (near, mut far) = duplex(200_000);
    let (_sender, mut receiver) = split(near, b"");
    far.write_all(&[&[0x82, 126, 0x80, 0x00][..], &[5; 32 * 1024]].concat()).await.unwrap();
    let mut left = 32 * 1024;
    while left > 0 {
        left -= receiver.next().await.unwrap().data.len();
    }
    assert_eq!(receiver.step, LARGE);
    tokio::time::timeout(Duration::from_secs(60), receiver.next()).await.expect_err("nothing comes");
    assert_eq!(receiver.step, SMALL);
    assert!(receiver.buffer.capacity() <= SMALL);
}

#[tokio::test]
async fn end_without_a_close_and_a_close_are_told_apart() {
    let (near, far) = duplex(1000);
    let (_sender, mut receiver) = split(near, b"");
    drop(far);
    assert!(matches!(receiver.next().await, Err(StreamError::Ended)));
    let (near, mut far) = duplex(1000);
    let (_sender, mut receiver) = split(near, b"\x88\x05");
    far.write_all(&[0x03, 0xE9, b'b', b'y', b'e']).await.unwrap();
    let error = receiver.next().await.unwrap_err().to_string();
    assert_eq!(error, "the server closed the connection: 1001 bye");
}
