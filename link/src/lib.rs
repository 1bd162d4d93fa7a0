//! The link: one multiplexed byte stream between gateway and agent that outlives its carriers. No I/O and no clock of its
//! own: bytes and the time go in, notices and bytes come out. `agent/PROTOCOL.md` specifies it.
//!
//! A [`Link`] begins detached. A carrier (an exec's standard streams, a TCP connection) is attached after the handshake;
//! when it is lost, everything stays as it is until another is attached, and no byte is lost or comes twice.
//!
//! Invariants, each of which holds whatever the peer does:
//! - A stream that is not read stops no other, and no operation costs more for the streams that are open beside its own.
//! - Unread data of all streams is at most their least windows and the budget; unread requests, replies, messages and
//!   reasons are at most 2 MiB, of which a stream's messages are at most 256 KiB.
//! - At most [`MAX_KEPT`] bytes of data are kept that were not sent or not acknowledged, and as much again of other frames.

pub mod frame;
pub mod handshake;
mod lane;
mod ledger;
mod receive;
pub mod request;
mod sent;
mod stream;
#[cfg(test)]
mod tests;
mod transmit;
mod window;

pub use frame::Lane;
pub use ledger::Lender;
pub use sent::WrongPosition;
pub use stream::Close;
pub use window::{LEAST_WINDOW, RECEIVE_BUDGET};

use bytes::Bytes;
use frame::{Decoder, FrameError, FrameKind};
use ledger::Ledger;
use sent::SentFrames;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};
use stream::{Phase, Stream};

/// Bytes that are kept for the peer: not sent yet, or not acknowledged, each frame with an overhead. Above it no data is
/// taken; other frames are taken up to twice, and a peer that acknowledges nothing beyond three times ends the link.
pub const MAX_KEPT: u64 = 8 * 1024 * 1024;
/// The largest buffer that a carrier may read into, in bytes: what it hands to [`Link::receive`] keeps no more alive.
pub const CARRIER_BUFFER: usize = 72 * 1024;
/// Received bytes after which the peer is told at once.
const ACK_BYTES: u64 = 512 * 1024;
/// The longest time until the peer is told what was received.
const ACK_DELAY: Duration = Duration::from_millis(50);
/// Silence after which a peer that owes an acknowledgement is asked for it.
const PROBE_AFTER: Duration = Duration::from_secs(5);
/// Silence after which a carrier whose peer owes an acknowledgement counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(20);

/// The end of a link that this process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens streams with even numbers, from 2 on.
    Gateway,
    /// Opens streams with odd numbers, from 1 on.
    Agent,
}

impl Side {
    fn peer(self) -> Self {
        match self {
            Self::Gateway => Self::Agent,
            Self::Agent => Self::Gateway,
        }
    }
}

/// Bounds of a link, agreed in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that the peer may send on each stream before they are consumed, at the least.
    pub window: u32,
    /// Bytes that the peer may be granted beyond it, on all streams together.
    pub budget: u32,
    /// Bytes that we may send on a stream before the peer has granted more.
    pub peer_window: u32,
    /// Streams of the peer's that may be open at once.
    pub peer_streams: u32,
    /// Streams of ours that may be open at once.
    pub streams: u32,
}

/// A violation of the protocol by the peer. The link is over; nothing else is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The frame format was broken.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A position was acknowledged that cannot be.
    #[error(transparent)]
    Position(#[from] WrongPosition),
    /// A frame for a stream that is not open.
    #[error("a frame for stream {0}, which is not open")]
    UnknownStream(u32),
    /// A stream was opened with a number that is not the peer's next.
    #[error("stream {0} cannot be opened")]
    WrongNumber(u32),
    /// The peer opened more streams than it may.
    #[error("too many open streams")]
    TooManyStreams,
    /// A stream was accepted that was not requested, or data came before it was accepted.
    #[error("stream {0} has not been requested, or not been accepted")]
    WrongPhase(u32),
    /// Data beyond the window.
    #[error("data beyond the window")]
    WindowExceeded,
    /// A window became smaller.
    #[error("a window became smaller")]
    WindowShrunk,
    /// Data after the end of its lane.
    #[error("data after the end of its lane")]
    AfterFinish,
    /// More unread messages than a stream may hold.
    #[error("too many messages at once")]
    TooManyMessages,
    /// More unread requests, replies, messages and reasons than a link may hold.
    #[error("too many requests, messages and reasons at once")]
    ControlExceeded,
    /// A close frame without a code.
    #[error("a close frame without a code")]
    ShortClose,
    /// The peer acknowledges nothing.
    #[error("the peer does not acknowledge what it receives")]
    NothingAcknowledged,
}

/// The link cannot take more now: a limit is reached, or it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link takes no more now")]
pub struct Full;

/// Something that the owner of a link is to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The peer opened a stream with this request: accept or close it.
    Opened(u32, Bytes),
    /// A stream has something to read, can be written again, was accepted, or was closed.
    Stream(u32),
    /// The peer ended the link on purpose.
    Ended(Close),
}

/// One end of a link.
#[derive(Debug)]
pub struct Link {
    side: Side,
    limits: Limits,
    streams: BTreeMap<u32, Stream>,
    /// Streams of ours, and of the peer's.
    own_streams: usize,
    peer_streams: usize,
    ledger: Ledger,
    next_number: u32,
    last_peer_number: u32,
    /// Streams with frames to send, in turn.
    turn: VecDeque<u32>,
    windows_due: BTreeSet<u32>,
    sent: SentFrames,
    decoder: Decoder,
    acknowledged: u64,
    ack_due: Option<Instant>,
    attached: bool,
    probe_due: bool,
    heard: Option<Instant>,
    probed: bool,
    end: Option<Close>,
    end_sent: bool,
    ended: bool,
    notices: VecDeque<Notice>,
    flagged: BTreeSet<u32>,
    /// Set if there may be something new to transmit.
    work: bool,
}

impl Link {
    /// A link without a carrier.
    pub fn new(side: Side, limits: Limits) -> Self {
        let next_number = if side == Side::Gateway { 2 } else { 1 };
        Self {
            side,
            limits,
            streams: BTreeMap::new(),
            own_streams: 0,
            peer_streams: 0,
            ledger: Ledger::new(limits.budget),
            next_number,
            last_peer_number: 0,
            turn: VecDeque::new(),
            windows_due: BTreeSet::new(),
            sent: SentFrames::default(),
            decoder: Decoder::new(side.peer()),
            acknowledged: 0,
            ack_due: None,
            attached: false,
            probe_due: false,
            heard: None,
            probed: false,
            end: None,
            end_sent: false,
            ended: false,
            notices: VecDeque::new(),
            flagged: BTreeSet::new(),
            work: false,
        }
    }

    /// Grants windows above the least out of a budget that other links share, too.
    pub fn share_budget(&mut self, lender: Box<dyn Lender>) {
        self.ledger.share(lender);
    }

    /// The position up to which this end has received: what the handshake of a new carrier tells the peer.
    pub fn received(&self) -> u64 {
        self.decoder.received()
    }

    /// Goes on over a new carrier, after its handshake; `peer_received` is the position that the peer told in it.
    ///
    /// # Errors
    /// The position cannot be: the link is over.
    pub fn attach(&mut self, peer_received: u64, now: Instant) -> Result<(), ProtocolError> {
        self.detach();
        self.sent.resume_at(peer_received)?;
        self.acknowledged = self.decoder.received();
        self.attached = true;
        self.heard = Some(now);
        self.end_sent = false;
        Ok(())
    }

    /// Gives up the carrier. What the peer has not acknowledged is sent again over the next one.
    pub fn detach(&mut self) {
        self.decoder.carrier_lost();
        self.attached = false;
        (self.ack_due, self.heard) = (None, None);
        (self.probe_due, self.probed) = (false, false);
    }

    /// Opens a stream; the number names it from now on. Data may be written at once.
    ///
    /// # Errors
    /// Too many streams are open, or too much waits to be acknowledged.
    pub fn open(&mut self, request: Bytes) -> Result<u32, Full> {
        if self.own_streams >= self.limits.streams as usize || !self.takes_control(FrameKind::Open, request.len()) {
            return Err(Full);
        }
        let number = self.next_number;
        self.next_number = number.checked_add(2).ok_or(Full)?;
        let mut stream = Stream::new(Phase::Requested, self.limits.peer_window, self.limits.window);
        stream.queue(FrameKind::Open, request, &mut self.ledger);
        self.streams.insert(number, stream);
        self.own_streams += 1;
        self.take_turn(number);
        Ok(number)
    }

    /// Accepts a stream that the peer opened.
    ///
    /// # Errors
    /// The stream is not waiting for it, or too much waits to be acknowledged.
    pub fn accept(&mut self, number: u32, reply: Bytes) -> Result<(), Full> {
        if !self.takes_control(FrameKind::Accept, reply.len()) {
            return Err(Full);
        }
        let stream = self.streams.get_mut(&number).filter(|stream| stream.phase == Phase::Offered).ok_or(Full)?;
        stream.phase = Phase::Open;
        stream.queue(FrameKind::Accept, reply, &mut self.ledger);
        self.take_turn(number);
        Ok(())
    }

    /// Writes data to a stream, as much as its window takes; returns how many bytes that was. The data's buffer is kept
    /// until the peer has acknowledged it: a small part of a large buffer is better copied before.
    pub fn write(&mut self, number: u32, lane: Lane, data: Bytes) -> usize {
        let budget = self.budget();
        let Some(stream) = self.streams.get_mut(&number).filter(|stream| stream.phase != Phase::Offered) else {
            return 0;
        };
        let taken = stream.write(lane, data, budget, &mut self.ledger);
        if taken > 0 {
            self.take_turn(number);
        }
        taken
    }

    /// Data bytes that [`Link::write`] would take now.
    pub fn writable(&self, number: u32) -> usize {
        self.peer_window(number).min(self.budget())
    }

    /// Data bytes that the peer's window for a stream takes now.
    pub fn peer_window(&self, number: u32) -> usize {
        self.streams.get(&number).map_or(0, Stream::writable)
    }

    /// Ends a lane: the peer reads its end behind the data.
    pub fn finish(&mut self, number: u32, lane: Lane) {
        if let Some(stream) = self.streams.get_mut(&number) {
            stream.finish(lane, &mut self.ledger);
            self.take_turn(number);
        }
    }

    /// Sends a message of the stream's protocol, in order with its data.
    ///
    /// # Errors
    /// The stream is not open, or too much waits to be acknowledged.
    pub fn send_message(&mut self, number: u32, message: Bytes) -> Result<(), Full> {
        if !self.takes_control(FrameKind::Message, message.len()) {
            return Err(Full);
        }
        let stream = self.streams.get_mut(&number).filter(|stream| !stream.close_sent && stream.closed.is_none());
        stream.ok_or(Full)?.queue(FrameKind::Message, message, &mut self.ledger);
        self.take_turn(number);
        Ok(())
    }

    /// Closes a stream: this end neither sends on it nor reads it any more. What was written before is still sent. A stream
    /// whose peer has closed it, too, is gone, and its number means nothing any more.
    pub fn close(&mut self, number: u32, close: &Close) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        if !std::mem::replace(&mut stream.close_sent, true) {
            stream.queue(FrameKind::Close, close.encode(), &mut self.ledger);
            stream.drop_unread(&mut self.ledger);
            self.windows_due.remove(&number);
            self.flagged.remove(&number);
            self.take_turn(number);
        }
    }

    /// Takes data that arrived on a stream, and counts it as consumed.
    pub fn read(&mut self, number: u32, lane: Lane) -> Option<Bytes> {
        let piece = self.take(number, lane)?;
        self.consume(number, piece.len());
        Some(piece)
    }

    /// Takes data that arrived on a stream. Until [`Link::consume`] it counts as unread, and the peer sends no other in its
    /// place.
    pub fn take(&mut self, number: u32, lane: Lane) -> Option<Bytes> {
        self.streams.get_mut(&number)?.take(lane)
    }

    /// Counts data that was taken as consumed.
    pub fn consume(&mut self, number: u32, bytes: usize) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        if stream.consume(bytes, &mut self.ledger) {
            self.windows_due.insert(number);
            self.work = true;
        }
    }

    /// Returns true if the peer ended a lane and all of it was read.
    pub fn is_finished(&self, number: u32, lane: Lane) -> bool {
        self.streams.get(&number).is_some_and(|stream| stream.is_finished(lane))
    }

    /// Takes the peer's reply to [`Link::open`], once.
    pub fn reply(&mut self, number: u32) -> Option<Bytes> {
        self.streams.get_mut(&number)?.take_reply(&mut self.ledger)
    }

    /// Takes a message that arrived on a stream.
    pub fn read_message(&mut self, number: u32) -> Option<Bytes> {
        self.streams.get_mut(&number)?.read_message(&mut self.ledger)
    }

    /// The peer's close of a stream; data that came before it can still be read.
    pub fn closed(&self, number: u32) -> Option<&Close> {
        self.streams.get(&number)?.closed.as_ref()
    }

    /// Tells whether the peer has closed a stream that was open.
    pub fn is_closed_by_peer(&self, number: u32) -> bool {
        self.streams.get(&number).is_none_or(|stream| stream.closed.is_some())
    }

    /// Ends the link on purpose: the peer gives up resuming it. What is still to be sent is dropped.
    pub fn end(&mut self, close: Close) {
        self.end = Some(close);
        self.work = true;
    }

    /// The next thing to look at.
    pub fn notice(&mut self) -> Option<Notice> {
        let notice = self.notices.pop_front();
        if let Some(Notice::Opened(_, request)) = &notice {
            self.ledger.drop_control(request.len());
        }
        notice.or_else(|| self.flagged.pop_first().map(Notice::Stream))
    }

    /// Tells once that there may be something new to transmit, or an earlier time for [`Link::timer`].
    pub fn take_work(&mut self) -> bool {
        std::mem::take(&mut self.work)
    }

    /// The time at which [`Link::timer`] is to be called.
    pub fn next_timer(&self) -> Option<Instant> {
        let silence = if self.probed { LOST_AFTER } else { PROBE_AFTER };
        let waits = self.sent.in_flight() > 0;
        let silent = self.heard.filter(|_| self.attached && waits).map(|heard| heard + silence);
        self.ack_due.filter(|_| self.attached).into_iter().chain(silent).min()
    }

    /// Does what is due. Returns false if the carrier must be given up: its peer owes an acknowledgement and is silent.
    pub fn timer(&mut self, now: Instant) -> bool {
        let Some(heard) = self.heard.filter(|_| self.attached && self.sent.in_flight() > 0) else { return true };
        if !self.probed && now >= heard + PROBE_AFTER {
            (self.probed, self.probe_due) = (true, true);
        }
        now < heard + LOST_AFTER
    }

    /// Bytes that wait for the carrier, each frame of a stream with an overhead.
    pub fn unsent(&self) -> usize {
        usize::try_from(self.ledger.queued + self.sent.not_sent()).unwrap_or(usize::MAX)
    }

    /// Bytes that are kept for all streams: unread, unsent and unacknowledged.
    pub fn memory(&self) -> u64 {
        self.kept() + self.ledger.arrived()
    }

    fn is_ours(&self, number: u32) -> bool {
        number.is_multiple_of(2) == (self.side == Side::Gateway)
    }

    fn takes_control(&self, kind: FrameKind, length: usize) -> bool {
        length <= kind.max_payload(self.side) && !self.ended && self.end.is_none() && self.kept() <= 2 * MAX_KEPT
    }

    /// Data bytes that may be kept beside those that are.
    fn budget(&self) -> usize {
        usize::try_from(MAX_KEPT.saturating_sub(self.kept())).unwrap_or(usize::MAX)
    }

    /// Bytes that wait for the carrier or for an acknowledgement.
    fn kept(&self) -> u64 {
        self.sent.kept() + self.ledger.queued
    }

    fn take_turn(&mut self, number: u32) {
        let Some(stream) = self.streams.get_mut(&number) else { return };
        if !std::mem::replace(&mut stream.in_turn, true) {
            self.turn.push_back(number);
        }
        self.work = true;
    }

    fn forget_if_closed(&mut self, number: u32) {
        let done = |stream: &Stream| stream.closed.is_some() && stream.close_sent && !stream.has_frames();
        if !self.streams.get(&number).is_some_and(done) {
            return;
        }
        if let Some(stream) = self.streams.remove(&number) {
            stream.forget(&mut self.ledger);
            match self.is_ours(number) {
                true => self.own_streams -= 1,
                false => self.peer_streams -= 1,
            }
        }
        self.flagged.remove(&number);
        self.windows_due.remove(&number);
    }
}

/// The number of a window or ack frame; the decoder has checked that it has eight bytes.
fn position(payload: &Bytes) -> u64 {
    payload.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
