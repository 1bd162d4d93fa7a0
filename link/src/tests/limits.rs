//! Hostile and greedy peers against the bounds of a link, and the throughput that the bounds leave.

use super::*;
use frame::{MAX_CONTROL, MAX_DATA, MAX_REASON};
use ledger::OVERHEAD;

const MANY: u32 = 300;

/// A gateway's and an agent's end with the sizes that a handshake agrees on.
struct RealPair {
    gateway: Link,
    agent: Link,
    now: Instant,
}

impl RealPair {
    fn new() -> Self {
        let limits = Limits {
            window: LEAST_WINDOW,
            budget: RECEIVE_BUDGET,
            peer_window: LEAST_WINDOW,
            peer_streams: MANY,
            streams: MANY,
        };
        let (mut gateway, mut agent) = (Link::new(Side::Gateway, limits), Link::new(Side::Agent, limits));
        let now = Instant::now();
        gateway.attach(0, now).unwrap();
        agent.attach(0, now).unwrap();
        Self { gateway, agent, now }
    }

    /// Carries everything that can be carried. The agent accepts what is opened.
    fn carry(&mut self) {
        loop {
            let mut out = [BytesMut::new(), BytesMut::new()];
            self.gateway.transmit(&mut out[0], 1 << 20, self.now).unwrap();
            self.agent.transmit(&mut out[1], 1 << 20, self.now).unwrap();
            if out.iter().all(BytesMut::is_empty) {
                return;
            }
            let [down, up] = out.map(BytesMut::freeze);
            receive(&mut self.agent, down, self.now).unwrap();
            receive(&mut self.gateway, up, self.now).unwrap();
            while let Some(notice) = self.agent.notice() {
                if let Notice::Opened(number, _) = notice {
                    self.agent.accept(number, Bytes::new()).unwrap();
                }
            }
            self.now += Duration::from_millis(1);
        }
    }

    fn open(&mut self) -> u32 {
        let number = self.gateway.open(Bytes::from_static(b"request")).unwrap();
        self.carry();
        number
    }

    /// Has the agent write as much as it may.
    fn fill(&mut self, number: u32) -> usize {
        let mut written = 0;
        loop {
            let taken = self.agent.write(number, Lane::Main, Bytes::from(vec![b'x'; MAX_DATA]));
            if taken == 0 {
                return written;
            }
            written += taken;
            self.carry();
        }
    }

    /// Has the gateway read everything of a stream.
    fn drain(&mut self, number: u32) -> usize {
        let mut read = 0;
        while let Some(piece) = self.gateway.read(number, Lane::Main) {
            read += piece.len();
        }
        self.carry();
        read
    }
}

/// Receives bytes in pieces as a carrier has them.
fn receive(link: &mut Link, mut bytes: Bytes, now: Instant) -> Result<(), ProtocolError> {
    while !bytes.is_empty() {
        link.receive(bytes.split_to(bytes.len().min(32 * 1024)), now)?;
    }
    Ok(())
}

fn frame(kind: FrameKind, stream: u32, payload: &[u8]) -> Bytes {
    let mut bytes =
        BytesMut::from(&frame::Header { kind, lane: Lane::Main, length: payload.len(), stream }.encode()[..]);
    bytes.extend_from_slice(payload);
    bytes.freeze()
}

/// A gateway's end with this many streams that its peer has accepted.
fn hostile(streams: u32) -> (Link, Vec<u32>, Instant) {
    let mut pair = RealPair::new();
    let numbers = (0..streams).map(|_| pair.open()).collect();
    (pair.gateway, numbers, pair.now)
}

#[test]
fn streams_that_nobody_reads_hold_the_budget_and_their_least_windows_together() {
    let mut pair = RealPair::new();
    let streams: Vec<u32> = (0..MANY).map(|_| pair.open()).collect();
    // Each was read at first, so that its window has grown.
    for _ in 0..40 {
        for &number in &streams {
            pair.fill(number);
            pair.drain(number);
        }
    }
    let held: usize = streams.iter().map(|&number| pair.fill(number)).sum();
    assert!(held as u64 > u64::from(RECEIVE_BUDGET) / 2, "{held}");
    assert_eq!(pair.gateway.ledger.unread, held as u64);
    assert!(held as u64 <= u64::from(RECEIVE_BUDGET) + u64::from(LEAST_WINDOW) * u64::from(MANY), "{held}");
}

#[test]
fn stalled_streams_leave_every_other_its_least_window() {
    let mut pair = RealPair::new();
    let stalled: Vec<u32> = (0..MANY - 1).map(|_| pair.open()).collect();
    for &number in &stalled {
        for _ in 0..20 {
            pair.fill(number);
            pair.drain(number);
        }
        pair.fill(number);
    }
    let moving = pair.open();
    let mut read = 0;
    for _ in 0..100 {
        let filled = pair.fill(moving);
        assert!(filled >= LEAST_WINDOW as usize / 2, "{filled}");
        read += pair.drain(moving);
    }
    assert!(read > 100 * LEAST_WINDOW as usize / 2, "{read}");
    for &number in &stalled {
        assert!(pair.drain(number) > 0 && pair.fill(number) > 0);
    }
}

#[test]
fn stream_alone_gets_a_large_window_and_gives_it_back() {
    let mut pair = RealPair::new();
    let number = pair.open();
    assert!(pair.agent.peer_window(number) >= 256 * 1024, "the first window");
    let mut largest = 0;
    for _ in 0..30 {
        largest = largest.max(pair.fill(number));
        pair.drain(number);
    }
    assert!(largest >= 2 * 1024 * 1024, "{largest}");
    assert!(pair.gateway.ledger.free() < u64::from(RECEIVE_BUDGET));
    pair.gateway.close(number, &Close { code: 0, reason: String::new() });
    assert_eq!(pair.gateway.ledger.free(), u64::from(RECEIVE_BUDGET));
}

#[test]
fn window_of_a_slow_stream_shrinks() {
    let mut pair = RealPair::new();
    let number = pair.open();
    for _ in 0..30 {
        pair.fill(number);
        pair.drain(number);
    }
    for _ in 0..30 {
        pair.now += Duration::from_secs(1);
        pair.fill(number);
        pair.drain(number);
    }
    assert!(pair.fill(number) <= 512 * 1024);
}

#[test]
fn data_that_was_taken_counts_until_it_is_consumed() {
    let mut pair = RealPair::new();
    let number = pair.open();
    pair.fill(number);
    let mut taken = 0;
    while let Some(piece) = pair.gateway.take(number, Lane::Main) {
        taken += piece.len();
    }
    pair.carry();
    assert_eq!((pair.fill(number), pair.gateway.ledger.unread), (0, taken as u64));
    pair.gateway.consume(number, taken);
    pair.carry();
    assert!(pair.fill(number) > 0);
}

#[test]
fn peer_that_sends_beyond_what_it_was_granted_ends_the_link() {
    let (mut link, streams, now) = hostile(1);
    let data = frame(FrameKind::Data, streams[0], &[0; MAX_DATA]);
    let ended = (0..100).find_map(|_| receive(&mut link, data.clone(), now).err());
    assert_eq!(ended, Some(ProtocolError::WindowExceeded));
    assert!(link.ledger.unread <= 512 * 1024, "{:?}", link.ledger);
}

#[test]
fn replies_messages_and_reasons_are_bounded_in_sum() {
    let message = [0; MAX_CONTROL];
    let (mut link, streams, now) = hostile(MANY);
    let ended = streams.iter().find_map(|&number| {
        (0..3).find_map(|_| receive(&mut link, frame(FrameKind::Message, number, &message), now).err())
    });
    assert_eq!(ended, Some(ProtocolError::ControlExceeded));
    let (mut link, streams, now) = hostile(1);
    let ended = (0..10).find_map(|_| receive(&mut link, frame(FrameKind::Message, streams[0], &message), now).err());
    assert_eq!(ended, Some(ProtocolError::TooManyMessages));
    let (mut link, streams, now) = hostile(1);
    let empty = frame(FrameKind::Message, streams[0], b"");
    let count = (0..100_000).find(|_| receive(&mut link, empty.clone(), now).is_err());
    assert!(count.is_some_and(|count| count < 10_000), "{count:?}");
    let mut link = RealPair::new().gateway;
    let ended = (0..MANY)
        .find_map(|number| receive(&mut link, frame(FrameKind::Open, 2 * number + 1, &message), Instant::now()).err());
    assert_eq!(ended, Some(ProtocolError::ControlExceeded));
}

#[test]
fn too_long_control_frames_end_the_link_at_their_header() {
    for (kind, length) in [
        (FrameKind::Open, MAX_CONTROL + 1),
        (FrameKind::Accept, MAX_CONTROL + 1),
        (FrameKind::Message, MAX_CONTROL + 1),
        (FrameKind::Close, MAX_REASON + 3),
        (FrameKind::End, MAX_REASON + 3),
    ] {
        let stream = if kind == FrameKind::End { 0 } else { 1 };
        let header = frame::Header { kind, lane: Lane::Main, length, stream }.encode();
        let received = RealPair::new().gateway.receive(Bytes::copy_from_slice(&header), Instant::now());
        assert_eq!(received, Err(ProtocolError::Frame(FrameError::TooLong { kind, length })));
    }
    let mut link = RealPair::new().gateway;
    assert!(link.open(vec![0; frame::MAX_REQUEST].into()).is_ok());
    assert_eq!(link.open(vec![0; frame::MAX_REQUEST + 1].into()), Err(Full));
}

#[test]
fn long_reason_is_cut_and_not_refused() {
    let mut pair = RealPair::new();
    let number = pair.open();
    pair.agent.close(number, &Close { code: 3, reason: "é".repeat(10_000) });
    pair.carry();
    assert_eq!(pair.gateway.closed(number).map(|close| close.reason.len()), Some(MAX_REASON));
}

#[test]
fn frames_that_wait_for_an_acknowledgement_are_bounded_with_their_overhead() {
    let (mut link, streams, now) = hostile(1);
    // The peer takes everything and acknowledges nothing.
    receive(&mut link, frame(FrameKind::Window, streams[0], &u64::MAX.to_be_bytes()), now).unwrap();
    let mut written = 0;
    while link.write(streams[0], Lane::Main, Bytes::from_static(b"x")) > 0 {
        written += 1;
        let mut out = BytesMut::new();
        link.transmit(&mut out, 1000, now).unwrap();
    }
    assert!(written > 1000 && written <= MAX_KEPT / OVERHEAD, "{written}");
    assert!(link.memory() <= MAX_KEPT + 1000, "{}", link.memory());
}

#[test]
fn peer_that_acknowledges_no_windows_ends_the_link() {
    let limits = Limits { window: 4, budget: 0, peer_window: 4, peer_streams: 1, streams: 1 };
    let (mut link, now) = (Link::new(Side::Gateway, limits), Instant::now());
    link.attach(0, now).unwrap();
    let number = link.open(Bytes::new()).unwrap();
    link.transmit(&mut BytesMut::new(), 1000, now).unwrap();
    receive(&mut link, frame(FrameKind::Accept, number, b""), now).unwrap();
    let piece = frame(FrameKind::Data, number, b"x");
    let ended = (0..1_000_000).find_map(|_| {
        receive(&mut link, piece.clone(), now).unwrap();
        assert!(link.read(number, Lane::Main).is_some());
        link.transmit(&mut BytesMut::new(), 1000, now).err()
    });
    assert_eq!(ended, Some(ProtocolError::NothingAcknowledged));
    assert!(link.memory() <= 3 * MAX_KEPT + 100_000, "{}", link.memory());
}
