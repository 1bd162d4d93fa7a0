//! Clients whose requests do not end, against a server on loopback.

use super::*;
use http_body_util::BodyExt;
use hyper::service::service_fn;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Times that no test waits for, unless it shortens one.
const LONG: Duration = Duration::from_secs(60);
const LIMITS: ServerLimits =
    ServerLimits { connections: 3, handshake: LONG, header: LONG, idle: LONG, body: LONG, life: LONG, grace: LONG };

/// A server that reads each request's body and answers with it. It reports that a body is being read, and how that ended.
struct EchoServer {
    address: SocketAddr,
    read: mpsc::UnboundedReceiver<Result<usize, String>>,
    began: mpsc::UnboundedReceiver<()>,
    serving: JoinHandle<()>,
}

impl EchoServer {
    async fn start(limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let ((begins, began), (reads, read)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let service = service_fn(move |request: Request<RequestBody>| {
            let (begins, reads) = (begins.clone(), reads.clone());
            async move {
                begins.send(()).expect("the test");
                let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
                let told = body.as_ref().map(|body| body.len()).map_err(ToString::to_string);
                reads.send(told).expect("the test");
                body.map(|body| Response::new(http_body_util::Full::new(body)))
            }
        });
        let serving = tokio::spawn(LimitedServer::new(None, limits).run(listener, service, pending()));
        Self { address, read, began, serving }
    }

    /// Connects and sends the head of a request with a body of two bytes, of which it sends `body`.
    async fn post(&self, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.expect("a request");
        stream
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 1024];
    let count = timeout(LONG, stream.read(&mut answer)).await.expect("an answer in time").expect("an answer");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn clients_whose_bodies_do_not_end_keep_nobody_out() {
    let mut server = EchoServer::start(LIMITS).await;
    let mut slow = Vec::new();
    for _ in 0..LIMITS.connections {
        slow.push(server.post("a").await);
        server.began.recv().await.expect("a request");
    }
    let mut honest = server.post("ab").await;
    assert!(answer(&mut honest).await.starts_with("HTTP/1.1 200"));
    // The oldest has lost its place, and only that one.
    assert_eq!(answer(&mut slow[0]).await, "");
    slow[1].write_all(b"b").await.expect("the rest");
    assert!(answer(&mut slow[1]).await.starts_with("HTTP/1.1 200"));
    assert_eq!((server.read.recv().await, server.read.recv().await), (Some(Ok(2)), Some(Ok(2))));
}

#[tokio::test]
async fn service_that_reads_a_body_which_does_not_end_is_told_that_it_is_late() {
    let mut server = EchoServer::start(ServerLimits { body: Duration::from_millis(20), ..LIMITS }).await;
    let mut slow = server.post("a").await;
    let told = timeout(LONG, server.read.recv()).await.expect("the end of the body").expect("a body");
    assert_eq!(told, Err("the request's body did not end in time".to_owned()));
    assert_eq!(answer(&mut slow).await, "", "the service has failed");
}
