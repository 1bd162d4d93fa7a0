//! Streams of clients that are silent, gone, or say what they must not.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn pair() -> (TcpStream, ClientStream, StreamMonitor) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (wire, line) = split(listener.accept().await.unwrap().0, BytesMut::new());
    (client, wire, line)
}

#[tokio::test]
async fn cut_wakes_a_waiting_read() {
    let (_client, mut wire, line) = pair().await;
    let (read, ()) = tokio::join!(wire.read_u8(), async { line.cut() });
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn pair_of_writes_arrives_in_one_piece_and_the_third_by_itself() {
    let (mut client, mut wire, line) = pair().await;
    let mut piece = [0; 16];
    line.pair();
    wire.write_all(b"no").await.unwrap();
    wire.flush().await.unwrap();
    let unread = client.try_read(&mut piece).map_err(|error| error.kind());
    assert_eq!(unread, Err(io::ErrorKind::WouldBlock));
    wire.write_all(b" because").await.unwrap();
    wire.flush().await.unwrap();
    let read = client.read(&mut piece).await.unwrap();
    assert_eq!(&piece[..read], b"no because");
    wire.write_all(b"end").await.unwrap();
    let read = client.read(&mut piece).await.unwrap();
    assert_eq!(&piece[..read], b"end");
}

#[tokio::test]
async fn first_of_a_pair_is_not_lost_where_no_second_comes() {
    let (mut client, mut wire, line) = pair().await;
    line.pair();
    wire.write_all(b"no").await.unwrap();
    wire.shutdown().await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"no");
}

#[tokio::test]
async fn identification_lines_are_exchanged_once_and_russh_reads_the_client_s() {
    for (sent, known) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n\0\0\0\x0crest"[..], "SSH-2.0-OpenSSH_9.2"),
        (b"SSH-2.0-x y\n", "SSH-2.0-x y"),
        (b"no line", ""),
        (&[b'a'; 300], &"a".repeat(ID_LINE_MAX)),
    ] {
        let (mut client, mut wire, _line) = pair().await;
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(wire.exchange_identification("SSH-2.0-Podgate").await.unwrap(), known);
        // As russh does.
        wire.write_all(b"SSH-2.0-Podgate\r\n").await.unwrap();
        wire.write_all(b"packet").await.unwrap();
        let mut read = Vec::new();
        wire.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, sent);
        drop(wire);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"SSH-2.0-Podgate\r\npacket");
    }
}

#[tokio::test]
async fn only_a_client_that_was_sent_the_host_key_considers_it() {
    let packet = |message: u8| [&[0, 0, 0, 12, 4, message][..], &[0; 10]].concat();
    let (mut client, mut wire, line) = pair().await;
    // The client's half of an exchange: the begin of its key, then the rest.
    client.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    wire.exchange_identification("SSH-2.0-Podgate").await.unwrap();
    wire.write_all(b"SSH-2.0-Podgate\r\n").await.unwrap();
    client.write_all(&[packet(20), packet(30)].concat()).await.unwrap();
    let mut read = vec![0; b"SSH-2.0-x\r\n".len() + 2 * packet(0).len()];
    wire.read_exact(&mut read).await.unwrap();
    assert!(!line.considers_host_key(), "nothing but what the client sent says so");
    let answer = [packet(20), packet(31)].concat();
    let (almost, last) = answer.split_at(answer.len() - 1);
    wire.write_all(almost).await.unwrap();
    assert!(!line.considers_host_key());
    wire.write_all(last).await.unwrap();
    assert!(line.considers_host_key());
    wire.write_all(&packet(21)).await.unwrap();
    client.write_all(&packet(21)).await.unwrap();
    wire.read_exact(&mut read[..packet(0).len()]).await.unwrap();
    assert!(!line.considers_host_key(), "it went on");
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_close_after_our_end_is_read_no_longer() {
    let (_client, mut wire, _line) = pair().await;
    wire.shutdown().await.unwrap();
    assert_eq!(wire.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn close_is_seen_behind_pending_bytes_which_are_still_read() {
    let (mut client, mut wire, line) = pair().await;
    client.write_all(b"SSH-2.0-x y\r\n\0\0\0\x0crest").await.unwrap();
    drop(client);
    assert_eq!(line.closed().await, ClosedBy::Client);
    let mut all = Vec::new();
    wire.read_to_end(&mut all).await.unwrap();
    assert_eq!(all, b"SSH-2.0-x y\r\n\0\0\0\x0crest");
    assert_eq!(line.client_version(), "SSH-2.0-x y");
}
