//! A gateway's end of a link for tests: blocking, with a deadline for everything that it waits for.

use crate::agent;
use bytes::{Bytes, BytesMut};
use podgate_link::handshake::{GatewayHandshake, Hello, LinkSecret, Purpose};
use podgate_link::request::{GatewayRequest, ProgramMessage, ProgramRequest};
use podgate_link::{Close, Lane, Link, Notice, Side};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Gateway {
    child: Child,
    input: Option<ChildStdin>,
    arriving: Receiver<Vec<u8>>,
    link: Link,
    read: BTreeMap<u32, Vec<u8>>,
    opened: Vec<(u32, Bytes)>,
}

/// All that came on a stream.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) output: Vec<u8>,
    pub(crate) error: Vec<u8>,
    pub(crate) exit: Option<ProgramMessage>,
    pub(crate) close: Close,
    /// Pieces in which the output came.
    pub(crate) pieces: u32,
}

/// A program without a terminal, and with a short grace.
pub(crate) fn program(argv: &[&str]) -> GatewayRequest {
    let argv = argv.iter().map(|argument| argument.as_bytes().to_vec()).collect();
    GatewayRequest::Program(ProgramRequest { argv, grace_millis: 100, ..ProgramRequest::default() })
}

impl Gateway {
    /// Starts an agent and a link with it.
    pub(crate) fn start() -> Self {
        Self::started_by(agent(&["link"]))
    }

    /// Starts a link with the agent of a command.
    pub(crate) fn started_by(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (sender, arriving) = channel();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 100_000];
            while let Ok(length) = output.read(&mut buffer)
                && length > 0
                && sender.send(buffer[..length].to_vec()).is_ok()
            {}
        });
        let hello = Hello {
            purpose: Purpose::New,
            versions: (1, 1),
            features: 0,
            link: [1; 16],
            nonce: [2; 32],
            epoch: 1,
            received: 0,
            window: 1024 * 1024,
            streams: 100,
        };
        let (mut handshake, first) = GatewayHandshake::new(hello, LinkSecret([3; 32]));
        input.write_all(&first).unwrap();
        let (agreement, proof, rest) = loop {
            let mut bytes = Bytes::from(arriving.recv_timeout(SOON).unwrap());
            if let Some((agreement, proof)) = handshake.receive(&mut bytes).unwrap() {
                break (agreement, proof, bytes);
            }
        };
        input.write_all(&proof).unwrap();
        let mut link = Link::new(Side::Gateway, agreement.limits);
        link.attach(agreement.peer_received, Instant::now()).unwrap();
        link.receive(rest, Instant::now()).unwrap();
        Self { child, input: Some(input), arriving, link, read: BTreeMap::new(), opened: Vec::new() }
    }

    /// The agent's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn open(&mut self, request: GatewayRequest) -> u32 {
        self.link.open(request.encode()).unwrap()
    }

    pub(crate) fn write(&mut self, stream: u32, data: &[u8]) {
        let mut data = Bytes::copy_from_slice(data);
        self.until(|gateway| {
            let taken = gateway.link.write(stream, Lane::Main, data.clone());
            let _ = data.split_to(taken);
            data.is_empty().then_some(())
        });
    }

    pub(crate) fn end_input(&mut self, stream: u32) {
        self.link.finish(stream, Lane::Main);
    }

    pub(crate) fn message(&mut self, stream: u32, message: &ProgramMessage) {
        self.link.send_message(stream, message.encode()).unwrap();
    }

    /// The reply of a stream that was accepted.
    pub(crate) fn reply(&mut self, stream: u32) -> Bytes {
        self.until(|gateway| {
            assert_eq!(gateway.link.closed(stream), None);
            gateway.link.reply(stream)
        })
    }

    /// The next stream that the agent opens, and its request.
    pub(crate) fn opened(&mut self) -> (u32, Bytes) {
        self.until(|gateway| gateway.opened.pop())
    }

    pub(crate) fn accept(&mut self, stream: u32) {
        self.link.accept(stream, Bytes::new()).unwrap();
    }

    pub(crate) fn close(&mut self, stream: u32) {
        self.link.close(stream, &Close { code: 0, reason: String::new() });
    }

    /// Reads until the text has come.
    pub(crate) fn read_until(&mut self, stream: u32, text: &[u8]) -> Vec<u8> {
        self.until(|gateway| {
            while let Some(piece) = gateway.link.read(stream, Lane::Main) {
                gateway.read.entry(stream).or_default().extend_from_slice(&piece);
            }
            let read = gateway.read.get(&stream)?;
            read.windows(text.len()).any(|part| part == text).then(|| read.clone())
        })
    }

    /// Reads until one of the streams has brought the text.
    pub(crate) fn any_read(&mut self, streams: &[u32], text: &[u8]) {
        self.until(|gateway| {
            let read = streams.iter().filter_map(|stream| gateway.link.read(*stream, Lane::Main));
            let found = read.collect::<Vec<_>>().iter().any(|piece| &**piece == text);
            found.then_some(())
        });
    }

    /// Waits until the output of the stream has ended.
    pub(crate) fn output_ended(&mut self, stream: u32) {
        self.until(|gateway| gateway.link.is_finished(stream, Lane::Main).then_some(()));
    }

    /// Reads the stream to its end.
    pub(crate) fn ended(&mut self, stream: u32) -> Ended {
        let mut error = Vec::new();
        let (mut exit, mut pieces) = (None, 0);
        let close = self.until(|gateway| {
            while let Some(piece) = gateway.link.read(stream, Lane::Main) {
                gateway.read.entry(stream).or_default().extend_from_slice(&piece);
                pieces += 1;
            }
            while let Some(piece) = gateway.link.read(stream, Lane::Error) {
                error.extend_from_slice(&piece);
            }
            while let Some(message) = gateway.link.read_message(stream) {
                exit = Some(ProgramMessage::decode(message).unwrap());
            }
            gateway.link.closed(stream).cloned()
        });
        self.close(stream);
        Ended { output: self.read.remove(&stream).unwrap_or_default(), error, exit, close, pieces }
    }

    /// Ends the carrier, and waits for the agent's end.
    pub(crate) fn finish(mut self) {
        self.until(|gateway| (gateway.link.unsent() == 0).then_some(()));
        self.input = None;
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    fn until<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + SOON;
        loop {
            while let Some(notice) = self.link.notice() {
                if let Notice::Opened(number, request) = notice {
                    self.opened.push((number, request));
                }
            }
            if let Some(found) = done(self) {
                return found;
            }
            self.turn();
            assert!(Instant::now() < deadline, "it did not happen");
        }
    }

    /// Sends what waits, and takes what comes within a moment.
    fn turn(&mut self) {
        let mut out = BytesMut::new();
        self.link.transmit(&mut out, 200_000, Instant::now()).unwrap();
        self.input.as_mut().unwrap().write_all(&out).unwrap();
        if let Ok(bytes) = self.arriving.recv_timeout(Duration::from_millis(5)) {
            self.link.receive(bytes.into(), Instant::now()).unwrap();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Only a test that failed still has it running.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
