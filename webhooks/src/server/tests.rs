//! Clients that are slow, silent or deaf, by a clock that runs when everyone waits.

use super::*;
use crate::toolkit::{Decide, router};
use podgate_http_server::Place;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

struct Nobody;
impl Decide for Nobody {}

const HEAD: &str = "POST /authz HTTP/1.1\r\nHost: x\r\n";

struct Client {
    read: ReadHalf<DuplexStream>,
    write: WriteHalf<DuplexStream>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    begun: Instant,
}

impl Client {
    fn new() -> Self {
        let (near, far) = duplex(1024);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serving = tokio::spawn(async move {
            let service = TowerToHyperService::new(router(Nobody));
            LimitedServer::new(None, LIMITS).serve((far, Place::single()), service, &stopped).await;
        });
        let (read, write) = split(near);
        Self { read, write, stop, serving, begun: Instant::now() }
    }

    /// Writes a byte a second until the server has had enough.
    async fn dribble(&mut self, text: &str) {
        for byte in text.bytes().chain(std::iter::repeat(b'a')) {
            if self.serving.is_finished() || self.write.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    }

    async fn answer(&mut self) -> String {
        let mut answer = vec![0; 1024];
        let count = self.read.read(&mut answer).await.expect("an answer");
        String::from_utf8_lossy(&answer[..count]).into_owned()
    }

    /// The seconds that the connection lived.
    async fn end(self) -> u64 {
        self.serving.await.expect("no panic");
        self.begun.elapsed().as_secs()
    }
}

#[tokio::test(start_paused = true)]
async fn silent_client_is_left_after_the_header_timeout() {
    assert_eq!(Client::new().end().await, 2);
}

#[tokio::test(start_paused = true)]
async fn client_that_is_silent_after_its_request_is_left_as_well() {
    let mut client = Client::new();
    for _ in 0..3 {
        client.write.write_all(format!("{HEAD}Content-Length: 2\r\n\r\n{{}}").as_bytes()).await.expect("a request");
        assert!(client.answer().await.starts_with("HTTP/1.1 400"));
        sleep(Duration::from_secs(20)).await;
    }
    assert_eq!(client.end().await, 70);
}

#[tokio::test(start_paused = true)]
async fn header_that_comes_byte_by_byte_has_the_same_time_as_one_that_does_not_come() {
    let mut client = Client::new();
    client.dribble(HEAD).await;
    assert!((2..=3).contains(&client.end().await));
}

#[tokio::test(start_paused = true)]
async fn body_that_comes_byte_by_byte_is_given_up() {
    let mut client = Client::new();
    client.write.write_all(format!("{HEAD}Content-Length: 1000\r\n\r\n").as_bytes()).await.expect("a head");
    client.dribble("").await;
    assert!(client.answer().await.starts_with("HTTP/1.1 408"));
    assert!((10..=12).contains(&client.end().await));
}

#[tokio::test(start_paused = true)]
async fn client_that_never_reads_its_answers_ends_with_the_connections_age() {
    let mut client = Client::new();
    let request = format!("{HEAD}Content-Length: 2\r\n\r\n{{}}");
    // As many as fit while nothing is read.
    while timeout(Duration::from_secs(1), client.write.write_all(request.as_bytes())).await.is_ok() {}
    let lived = client.end().await;
    assert!((600..=611).contains(&lived), "{lived}");
}

#[tokio::test(start_paused = true)]
async fn stop_ends_a_silent_client_at_once_and_a_slow_one_after_the_grace() {
    let client = Client::new();
    client.stop.cancel();
    assert_eq!(client.end().await, 0);

    let mut client = Client::new();
    client.write.write_all(format!("{HEAD}Content-Length: 2\r\n\r\n").as_bytes()).await.expect("a head");
    tokio::task::yield_now().await;
    client.stop.cancel();
    assert_eq!(client.end().await, 10);
}
