//! An agent made of the protocol alone, in memory: each test says what it answers.

use super::*;
use crate::guest::OutputBudget;
use podgate_link::handshake::{AgentHandshake, Welcome};
use podgate_link::{Lane, Notice};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The time for what must happen.
pub(super) const SOON: Duration = Duration::from_secs(60);

struct MemorySender(mpsc::UnboundedSender<Bytes>);

impl CarrierSender for MemorySender {
    fn send(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), CarrierLost>> {
        let sent = self.0.send(data.freeze());
        Box::pin(std::future::ready(sent.map_err(|_| CarrierLost("the agent is gone".to_owned()))))
    }
}

struct MemoryReceiver(mpsc::UnboundedReceiver<Bytes>);

impl CarrierReceiver for MemoryReceiver {
    fn next(&mut self) -> BoxFuture<'_, Result<Bytes, CarrierLost>> {
        Box::pin(async move { self.0.recv().await.ok_or_else(|| CarrierLost("the carrier was cut".to_owned())) })
    }
}

/// The agent's end. Dropping it cuts the carrier.
pub(super) struct TestAgent {
    pub(super) link: Link,
    opened: Vec<(u32, GatewayRequest)>,
    pub(super) ended: Option<Close>,
    output: mpsc::UnboundedSender<Bytes>,
    input: mpsc::UnboundedReceiver<Bytes>,
}

/// A carrier in memory: the gateway's halves, and the agent's.
pub(super) type Halves = (mpsc::UnboundedSender<Bytes>, mpsc::UnboundedReceiver<Bytes>);

pub(super) fn carrier() -> (Box<dyn CarrierSender>, Box<dyn CarrierReceiver>, Halves) {
    let ((up, input), (output, down)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    (Box::new(MemorySender(up)), Box::new(MemoryReceiver(down)), (output, input))
}

/// The log of a test.
pub(super) struct TestLog {
    log: Log,
    captured: CapturedLog,
}

impl TestLog {
    pub(super) fn text(&self) -> String {
        self.captured.text(&self.log)
    }
}

/// Brings up a link with a test's agent, whose window for each stream is `window` bytes.
pub(super) async fn linked(window: u32) -> (AgentLink, TestAgent, TestLog, Tasks) {
    let (log, captured) = capture::log(LogFormat::Text);
    let (sender, receiver, halves) = carrier();
    let tasks = Tasks::new();
    let connection = log.connection(ConnectionId::random(), ([192, 0, 2, 7], 1).into());
    let (link, agent) = tokio::join!(
        connect((sender, receiver), &tasks, OutputBudget::unlimited(), connection),
        TestAgent::greet(halves, window)
    );
    (link.unwrap(), agent, TestLog { log, captured }, tasks)
}

impl TestAgent {
    /// Shakes hands as a real agent does.
    async fn greet((output, mut input): Halves, window: u32) -> Self {
        let mut handshake = AgentHandshake::default();
        let mut bytes = input.recv().await.unwrap();
        let (hello, secret) = handshake.receive(&mut bytes).unwrap().unwrap();
        let welcome = Welcome { version: 1, features: 0, nonce: [7; 32], epoch: 1, received: 0, window, streams: 1000 };
        let (mut proof, answer) = AgentHandshake::welcome(hello, secret, welcome);
        output.send(answer).unwrap();
        let mut bytes = input.recv().await.unwrap();
        let agreement = proof.receive(&mut bytes).unwrap().unwrap();
        // Its windows stay as wide as the test says.
        let mut link = Link::new(Side::Agent, Limits { budget: 0, ..agreement.limits });
        link.attach(agreement.peer_received, Instant::now()).unwrap();
        Self { link, opened: Vec::new(), ended: None, output, input }
    }

    /// Moves bytes both ways until `found` finds something.
    pub(super) async fn until<T>(&mut self, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let moving = async {
            loop {
                while let Some(notice) = self.link.notice() {
                    match notice {
                        Notice::Opened(number, request) => {
                            self.opened.push((number, GatewayRequest::decode(request).unwrap()));
                        }
                        Notice::Ended(close) => self.ended = Some(close),
                        Notice::Stream(_) => {}
                    }
                }
                let done = found(self);
                self.transmit();
                if let Some(done) = done {
                    return done;
                }
                let arrived = timeout(Duration::from_millis(20), self.input.recv()).await;
                match arrived {
                    Ok(Some(bytes)) => self.link.receive(bytes, Instant::now()).unwrap(),
                    Ok(None) => assert!(found(self).is_some(), "the gateway closed the carrier"),
                    // An acknowledgement may be due.
                    Err(_elapsed) => {}
                }
            }
        };
        timeout(SOON, moving).await.expect("it happens")
    }

    fn transmit(&mut self) {
        let mut out = BytesMut::new();
        self.link.transmit(&mut out, 1 << 20, Instant::now()).unwrap();
        if !out.is_empty() {
            // A gateway that has left reads no more.
            let _ = self.output.send(out.freeze());
        }
    }

    /// Takes the next stream that the gateway opens.
    pub(super) async fn opened(&mut self) -> (u32, GatewayRequest) {
        self.until(|agent| (!agent.opened.is_empty()).then(|| agent.opened.remove(0))).await
    }

    /// Takes the next stream, and accepts it with this reply.
    pub(super) async fn accept(&mut self, reply: &[u8]) -> u32 {
        let (number, _) = self.opened().await;
        self.link.accept(number, Bytes::copy_from_slice(reply)).unwrap();
        self.transmit();
        number
    }

    pub(super) fn write(&mut self, number: u32, lane: Lane, data: &[u8]) {
        assert_eq!(self.link.write(number, lane, Bytes::copy_from_slice(data)), data.len());
        self.transmit();
    }

    pub(super) fn finish(&mut self, number: u32, lane: Lane) {
        self.link.finish(number, lane);
        self.transmit();
    }

    pub(super) fn message(&mut self, number: u32, message: Bytes) {
        self.link.send_message(number, message).unwrap();
        self.transmit();
    }

    pub(super) fn close(&mut self, number: u32, code: u16, reason: &str) {
        self.link.close(number, &Close { code, reason: reason.to_owned() });
        self.transmit();
    }

    /// Opens a stream for a connection that came to this listener.
    pub(super) fn incoming(&mut self, listener: u32) -> u32 {
        let incoming = Incoming { listener, origin: (b"192.0.2.9\x1b".to_vec(), 4711) };
        let number = self.link.open(incoming.encode()).unwrap();
        self.transmit();
        number
    }

    /// Sends bytes that no link made.
    pub(super) fn garbage(&self, bytes: &'static [u8]) {
        self.output.send(Bytes::from_static(bytes)).unwrap();
    }
}
