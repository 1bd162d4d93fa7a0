//! Two ends of a link and a carrier that splits what it carries anywhere and is lost at any byte: the same streams come out.

mod limits;

use super::*;
use bytes::BytesMut;
use ledger::MAX_UNREAD_CONTROL;
use proptest::collection::vec;
use proptest::prelude::*;

const WINDOW: u32 = 4096;
const BUDGET: u32 = 64 * 1024;
const LIMITS: Limits = Limits { window: WINDOW, budget: BUDGET, peer_window: WINDOW, peer_streams: 8, streams: 8 };

/// The next step of one side of a test.
#[derive(Debug, Clone)]
enum Step {
    Open { agent: bool },
    Write { agent: bool, stream: usize, lane: bool, length: usize },
    Message { agent: bool, stream: usize, length: usize },
    Finish { agent: bool, stream: usize, lane: bool },
    Close { agent: bool, stream: usize },
    Read { agent: bool },
    Carry { agent: bool, bytes: usize },
    Lose,
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let agent = any::<bool>();
    prop_oneof![
        2 => any::<bool>().prop_map(|agent| Step::Open { agent }),
        8 => (any::<bool>(), 0..8_usize, any::<bool>(), 1..6000_usize)
            .prop_map(|(agent, stream, lane, length)| Step::Write { agent, stream, lane, length }),
        2 => (any::<bool>(), 0..8_usize, 0..300_usize)
            .prop_map(|(agent, stream, length)| Step::Message { agent, stream, length }),
        1 => (any::<bool>(), 0..8_usize, any::<bool>()).prop_map(|(agent, stream, lane)| Step::Finish { agent, stream, lane }),
        1 => (any::<bool>(), 0..8_usize).prop_map(|(agent, stream)| Step::Close { agent, stream }),
        6 => any::<bool>().prop_map(|agent| Step::Read { agent }),
        12 => (agent, prop_oneof![1..40_usize, 1..20_000_usize]).prop_map(|(agent, bytes)| Step::Carry { agent, bytes }),
        2 => Just(Step::Lose),
        1 => (1..200_u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// The bytes that went into a stream at one end, or came out at the other.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Record {
    request: Option<Vec<u8>>,
    lanes: [Vec<u8>; 2],
    finished: [bool; 2],
    messages: Vec<Vec<u8>>,
    closed: bool,
}

struct End {
    link: Link,
    /// By stream: what this end wrote, and what it read.
    wrote: BTreeMap<u32, Record>,
    read: BTreeMap<u32, Record>,
    open: Vec<u32>,
    /// Bytes on their way to the other end.
    wire: BytesMut,
    counter: u8,
}

impl End {
    fn new(side: Side) -> Self {
        let link = Link::new(side, LIMITS);
        Self {
            link,
            wrote: BTreeMap::new(),
            read: BTreeMap::new(),
            open: Vec::new(),
            wire: BytesMut::new(),
            counter: 0,
        }
    }

    fn bytes(&mut self, length: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(length);
        for _ in 0..length {
            self.counter = self.counter.wrapping_mul(31).wrapping_add(7);
            bytes.push(self.counter);
        }
        bytes.into()
    }

    fn pick(&self, stream: usize) -> Option<u32> {
        (!self.open.is_empty()).then(|| self.open[stream % self.open.len()])
    }

    /// Reads everything that there is.
    fn read(&mut self) {
        while let Some(notice) = self.link.notice() {
            match notice {
                Notice::Opened(number, request) => {
                    self.read.entry(number).or_default().request = Some(request.to_vec());
                    self.link.accept(number, Bytes::from_static(b"yes")).unwrap();
                    self.open.push(number);
                    self.read_stream(number);
                }
                Notice::Stream(number) => self.read_stream(number),
                Notice::Ended(_) => panic!("ended"),
            }
        }
    }

    fn read_stream(&mut self, number: u32) {
        let record = self.read.entry(number).or_default();
        for lane in [Lane::Main, Lane::Error] {
            while let Some(piece) = self.link.take(number, lane) {
                record.lanes[lane as usize].extend_from_slice(&piece);
                self.link.consume(number, piece.len());
            }
            record.finished[lane as usize] |= self.link.is_finished(number, lane);
        }
        while let Some(message) = self.link.read_message(number) {
            record.messages.push(message.to_vec());
        }
        if self.link.closed(number).is_some() {
            record.closed = true;
        }
    }
}

struct Pair {
    ends: [End; 2],
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let mut pair = Self { ends: [End::new(Side::Gateway), End::new(Side::Agent)], now: Instant::now() };
        pair.attach();
        pair
    }

    fn attach(&mut self) {
        let received = [self.ends[0].link.received(), self.ends[1].link.received()];
        self.ends[0].link.attach(received[1], self.now).unwrap();
        self.ends[1].link.attach(received[0], self.now).unwrap();
    }

    fn lose(&mut self) {
        for end in &mut self.ends {
            end.wire.clear();
            end.link.detach();
        }
        self.attach();
    }

    /// Carries up to `bytes` bytes from one end to the other.
    fn carry(&mut self, from: usize, bytes: usize) {
        let end = &mut self.ends[from];
        assert!(end.link.timer(self.now));
        let mut out = BytesMut::new();
        end.link.transmit(&mut out, bytes, self.now).unwrap();
        end.wire.unsplit(out);
        let taken = end.wire.len().min(bytes);
        let piece = end.wire.split_to(taken).freeze();
        if !piece.is_empty() {
            self.ends[1 - from].link.receive(piece, self.now).unwrap();
        }
        let link = &self.ends[1 - from].link;
        let unread = u64::from(WINDOW) * link.streams.len() as u64 + u64::from(BUDGET);
        assert!(link.ledger.unread <= unread, "{:?}", link.ledger);
        assert!(link.memory() < 500_000, "{:?}", link.ledger);
    }

    /// Closes every stream at both ends, and carries what is left.
    fn close_everything(&mut self) {
        for end in &mut self.ends {
            let open: Vec<u32> = end.link.streams.keys().copied().collect();
            for number in open {
                end.link.close(number, &Close { code: 0, reason: String::new() });
            }
        }
        self.settle();
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Open { agent } => {
                let end = &mut self.ends[usize::from(agent)];
                let request = end.bytes(20);
                if let Ok(number) = end.link.open(request.clone()) {
                    end.wrote.entry(number).or_default().request = Some(request.to_vec());
                    end.open.push(number);
                }
            }
            Step::Write { agent, stream, lane, length } => {
                let end = &mut self.ends[usize::from(agent)];
                let Some(number) = end.pick(stream) else { return };
                let data = end.bytes(length);
                let lane = if lane { Lane::Error } else { Lane::Main };
                let taken = end.link.write(number, lane, data.clone());
                end.wrote.entry(number).or_default().lanes[lane as usize].extend_from_slice(&data[..taken]);
            }
            Step::Message { agent, stream, length } => {
                let end = &mut self.ends[usize::from(agent)];
                let Some(number) = end.pick(stream) else { return };
                let message = end.bytes(length);
                if end.link.send_message(number, message.clone()).is_ok() {
                    end.wrote.entry(number).or_default().messages.push(message.to_vec());
                }
            }
            Step::Finish { agent, stream, lane } => {
                let end = &mut self.ends[usize::from(agent)];
                let Some(number) = end.pick(stream) else { return };
                let lane = if lane { Lane::Error } else { Lane::Main };
                end.link.finish(number, lane);
                end.wrote.entry(number).or_default().finished[lane as usize] = true;
            }
            Step::Close { agent, stream } => {
                let end = &mut self.ends[usize::from(agent)];
                let Some(number) = end.pick(stream) else { return };
                end.read_stream(number);
                end.link.close(number, &Close { code: 0, reason: "done".into() });
                end.open.retain(|open| *open != number);
                end.wrote.entry(number).or_default().closed = true;
            }
            Step::Read { agent } => self.ends[usize::from(agent)].read(),
            Step::Carry { agent, bytes } => self.carry(usize::from(agent), bytes),
            Step::Lose => self.lose(),
            Step::Wait { millis } => self.now += Duration::from_millis(millis),
        }
    }

    /// Carries and reads until nothing moves.
    fn settle(&mut self) {
        for _ in 0..400 {
            for end in 0..2 {
                self.carry(end, 10_000);
                self.ends[1 - end].read();
            }
            self.now += Duration::from_millis(60);
        }
    }
}

/// A side that closed reads no more: what its peer wrote meanwhile may be missing at the end, but nothing is in it that was
/// not written. Everything else arrives whole.
fn compare(wrote: &BTreeMap<u32, Record>, read: &BTreeMap<u32, Record>, reader_wrote: &BTreeMap<u32, Record>) {
    for (number, wrote) in wrote {
        let empty = Record::default();
        let read = read.get(number).unwrap_or(&empty);
        let reader_closed = reader_wrote.get(number).is_some_and(|record| record.closed);
        for lane in 0..2 {
            assert!(wrote.lanes[lane].starts_with(&read.lanes[lane]), "stream {number} lane {lane} has other bytes");
        }
        assert!(wrote.messages.starts_with(&read.messages), "stream {number} has other messages");
        if !reader_closed {
            let request = wrote.request.is_none() || read.request == wrote.request;
            assert!(request, "stream {number} has another request");
            assert_eq!(read.lanes.each_ref().map(Vec::len), wrote.lanes.each_ref().map(Vec::len), "stream {number}");
            assert_eq!(read.messages.len(), wrote.messages.len(), "stream {number}");
            assert_eq!((read.closed, read.finished), (wrote.closed, wrote.finished), "stream {number}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn same_streams_come_out_however_bytes_are_split_and_carriers_lost(steps in vec(step(), 1..250)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.run(step);
        }
        pair.settle();
        let [gateway, agent] = &pair.ends;
        compare(&gateway.wrote, &agent.read, &agent.wrote);
        compare(&agent.wrote, &gateway.read, &gateway.wrote);
        pair.close_everything();
        for end in &pair.ends {
            assert!(end.link.streams.is_empty() && end.link.ledger.is_empty(), "{:?}", end.link.ledger);
        }
    }

    #[test]
    fn hostile_bytes_end_the_link_and_cost_bounded_memory(pieces in vec(hostile(), 1..200), agent in any::<bool>()) {
        let mut link = Link::new(if agent { Side::Agent } else { Side::Gateway }, LIMITS);
        let now = Instant::now();
        link.attach(0, now).unwrap();
        for piece in pieces {
            if link.receive(piece.into(), now).is_err() {
                break;
            }
            let mut out = BytesMut::new();
            link.transmit(&mut out, 10_000, now).unwrap();
            prop_assert!(link.ledger.arrived() <= u64::from(WINDOW) * 8 + u64::from(BUDGET) + MAX_UNREAD_CONTROL);
        }
    }
}

/// Bytes that look like frames, mostly.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let frame = (0..20_u8, 0..3_u8, 0..70_000_usize, 0..6_u32, vec(any::<u8>(), 0..64)).prop_map(
        |(kind, lane, length, stream, payload)| {
            let length = if length < 64 { length } else { payload.len() };
            let mut bytes = vec![kind, lane];
            bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            bytes.extend_from_slice(&stream.to_be_bytes());
            bytes.extend_from_slice(&payload);
            bytes
        },
    );
    prop_oneof![9 => frame, 1 => vec(any::<u8>(), 0..100)]
}
