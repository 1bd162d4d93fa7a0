//! One stream of a link: what waits to be sent, what has arrived and was not read, and the windows of both directions.
//!
//! Invariants: a stream holds at most what its windows grant of unread data, [`MAX_UNREAD_MESSAGES`] bytes of unread
//! messages, and at most the peer's window of unsent data; the link's [`Ledger`] counts all of it.

use super::ProtocolError;
use super::frame::{FrameKind, Header, Lane, MAX_DATA, MAX_REASON};
use super::lane::LaneBuffer;
use super::ledger::{Ledger, cost};
use super::window::ReceiveWindow;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::time::Instant;

/// Bytes of messages that a stream may hold unread, each with its overhead.
const MAX_UNREAD_MESSAGES: u64 = 256 * 1024;

/// The way of a stream from its request to its acceptance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Opened by us, not accepted yet.
    Requested,
    /// Opened by the peer, not accepted yet.
    Offered,
    /// Accepted by the end that did not open it.
    Open,
}

/// The reason for which a stream or a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// A code of PROTOCOL.md, "Codes"; 0 is no failure.
    pub code: u16,
    /// The reason for people; the peer's words. No more than [`MAX_REASON`] bytes are sent or taken.
    pub reason: String,
}

impl Close {
    pub(super) fn encode(&self) -> Bytes {
        let reason = &self.reason[..self.reason.floor_char_boundary(MAX_REASON)];
        let mut bytes = BytesMut::with_capacity(2 + reason.len());
        bytes.extend_from_slice(&self.code.to_be_bytes());
        bytes.extend_from_slice(reason.as_bytes());
        bytes.freeze()
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let (code, reason) = bytes.split_first_chunk().ok_or(ProtocolError::ShortClose)?;
        Ok(Self { code: u16::from_be_bytes(*code), reason: String::from_utf8_lossy(reason).into_owned() })
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) phase: Phase,
    queue: VecDeque<(FrameKind, Lane, Bytes)>,
    /// Set while the stream is among those that have their turn.
    pub(super) in_turn: bool,
    /// Set once the frame that opens or accepts the stream has its place: a window may follow.
    announced: bool,
    /// Data bytes that were queued or sent, and how many may be.
    sent: u64,
    send_limit: u64,
    finished: [bool; 2],
    pub(super) close_sent: bool,
    window: ReceiveWindow,
    lanes: [LaneBuffer; 2],
    messages: VecDeque<Bytes>,
    message_bytes: u64,
    reply: Option<Bytes>,
    pub(super) closed: Option<Close>,
}

impl Stream {
    pub(super) fn new(phase: Phase, send_window: u32, window: u32) -> Self {
        Self {
            phase,
            queue: VecDeque::new(),
            in_turn: false,
            announced: false,
            sent: 0,
            send_limit: u64::from(send_window),
            finished: [false; 2],
            close_sent: false,
            window: ReceiveWindow::new(window),
            lanes: Default::default(),
            messages: VecDeque::new(),
            message_bytes: 0,
            reply: None,
            closed: None,
        }
    }

    /// Data bytes that the peer's window takes now.
    pub(super) fn writable(&self) -> usize {
        if self.close_sent || self.closed.is_some() {
            return 0;
        }
        usize::try_from(self.send_limit - self.sent).unwrap_or(usize::MAX)
    }

    /// Queues data, as much as the window and `budget` take; returns how many bytes that was.
    pub(super) fn write(&mut self, lane: Lane, mut data: Bytes, budget: usize, ledger: &mut Ledger) -> usize {
        if self.finished[lane as usize] {
            return 0;
        }
        data.truncate(self.writable().min(budget));
        let taken = data.len();
        self.sent += taken as u64;
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(MAX_DATA));
            self.push(FrameKind::Data, lane, piece, ledger);
        }
        taken
    }

    /// Queues the end of a lane, once.
    pub(super) fn finish(&mut self, lane: Lane, ledger: &mut Ledger) {
        if !self.close_sent && self.closed.is_none() && !std::mem::replace(&mut self.finished[lane as usize], true) {
            self.push(FrameKind::Finish, lane, Bytes::new(), ledger);
        }
    }

    /// Queues a frame behind the data.
    pub(super) fn queue(&mut self, kind: FrameKind, payload: Bytes, ledger: &mut Ledger) {
        self.push(kind, Lane::Main, payload, ledger);
    }

    fn push(&mut self, kind: FrameKind, lane: Lane, payload: Bytes, ledger: &mut Ledger) {
        ledger.queued += cost(payload.len());
        self.queue.push_back((kind, lane, payload));
    }

    /// Takes the next frame for the carrier.
    pub(super) fn next_frame(&mut self, stream: u32, ledger: &mut Ledger) -> Option<(Header, Bytes)> {
        let (kind, lane, payload) = self.queue.pop_front()?;
        ledger.queued -= cost(payload.len());
        self.announced |= matches!(kind, FrameKind::Open | FrameKind::Accept);
        Some((Header { kind, lane, length: payload.len(), stream }, payload))
    }

    pub(super) fn has_frames(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Learns how many bytes the peer takes in all. A limit never shrinks.
    pub(super) fn raise_limit(&mut self, limit: u64) -> Result<(), ProtocolError> {
        if limit < self.send_limit {
            return Err(ProtocolError::WindowShrunk);
        }
        self.send_limit = limit;
        Ok(())
    }

    /// Keeps the peer's acceptance for its reader.
    pub(super) fn accepted(&mut self, reply: &[u8], ledger: &mut Ledger) -> Result<(), ProtocolError> {
        self.phase = Phase::Open;
        if !self.close_sent {
            ledger.keep_control(reply.len())?;
            self.reply = Some(Bytes::copy_from_slice(reply));
        }
        Ok(())
    }

    /// Takes the reply of the peer's acceptance, once.
    pub(super) fn take_reply(&mut self, ledger: &mut Ledger) -> Option<Bytes> {
        let reply = self.reply.take()?;
        ledger.drop_control(reply.len());
        Some(reply)
    }

    /// Keeps a piece of data for the reader.
    pub(super) fn arrived(&mut self, lane: Lane, piece: Bytes, ledger: &mut Ledger) -> Result<(), ProtocolError> {
        let buffer = &mut self.lanes[lane as usize];
        if buffer.finished {
            return Err(ProtocolError::AfterFinish);
        }
        if self.window.arrived(piece.len(), ledger)? {
            buffer.push(piece);
        }
        Ok(())
    }

    /// Learns that a lane has no more data.
    pub(super) fn lane_finished(&mut self, lane: Lane, ledger: &mut Ledger) -> Result<(), ProtocolError> {
        if std::mem::replace(&mut self.lanes[lane as usize].finished, true) {
            return Err(ProtocolError::AfterFinish);
        }
        if self.lanes.iter().all(|lane| lane.finished) {
            self.window.end(ledger);
        }
        Ok(())
    }

    /// Keeps a message for the reader.
    pub(super) fn message_arrived(&mut self, message: &[u8], ledger: &mut Ledger) -> Result<(), ProtocolError> {
        if self.close_sent {
            return Ok(());
        }
        self.message_bytes += cost(message.len());
        if self.message_bytes > MAX_UNREAD_MESSAGES {
            return Err(ProtocolError::TooManyMessages);
        }
        ledger.keep_control(message.len())?;
        // A slice would keep the whole buffer that it came in.
        self.messages.push_back(Bytes::copy_from_slice(message));
        Ok(())
    }

    /// Learns that the peer has closed the stream. What waits to be sent means nothing to it any more.
    pub(super) fn close_arrived(&mut self, close: Close, ledger: &mut Ledger) -> Result<(), ProtocolError> {
        ledger.keep_control(close.reason.len())?;
        self.closed = Some(close);
        self.window.end(ledger);
        if !self.close_sent {
            self.drop_queue(ledger);
        }
        Ok(())
    }

    /// Takes data that has arrived; its bytes count until [`Stream::consume`].
    pub(super) fn take(&mut self, lane: Lane) -> Option<Bytes> {
        // The peer takes no new limit before its stream was accepted.
        if self.phase == Phase::Offered { None } else { self.lanes[lane as usize].pop() }
    }

    /// Counts data that was taken as consumed. Returns whether a new limit is due.
    pub(super) fn consume(&mut self, bytes: usize, ledger: &mut Ledger) -> bool {
        self.window.consume(bytes, ledger);
        self.is_window_due(ledger)
    }

    /// Returns true if a lane has ended and all of it was read.
    pub(super) fn is_finished(&self, lane: Lane) -> bool {
        let buffer = &self.lanes[lane as usize];
        buffer.finished && buffer.is_empty()
    }

    /// Takes a message that has arrived.
    pub(super) fn read_message(&mut self, ledger: &mut Ledger) -> Option<Bytes> {
        let message = self.messages.pop_front()?;
        self.message_bytes -= cost(message.len());
        ledger.drop_control(message.len());
        Some(message)
    }

    /// Drops what has arrived and was not read, and what will arrive.
    pub(super) fn drop_unread(&mut self, ledger: &mut Ledger) {
        self.take_reply(ledger);
        while self.read_message(ledger).is_some() {}
        self.messages = VecDeque::new();
        self.lanes.iter_mut().for_each(LaneBuffer::clear);
        self.window.discard(ledger);
    }

    /// Takes everything that the stream holds out of the ledger: it is over.
    pub(super) fn forget(mut self, ledger: &mut Ledger) {
        self.drop_queue(ledger);
        self.drop_unread(ledger);
        if let Some(close) = &self.closed {
            ledger.drop_control(close.reason.len());
        }
    }

    fn drop_queue(&mut self, ledger: &mut Ledger) {
        ledger.queued -= self.queue.iter().map(|(_, _, payload)| cost(payload.len())).sum::<u64>();
        self.queue = VecDeque::new();
    }

    fn is_window_due(&self, ledger: &Ledger) -> bool {
        let sends = self.closed.is_none() && !self.lanes.iter().all(|lane| lane.finished);
        sends && self.announced && !self.close_sent && self.window.is_due(ledger)
    }

    /// The limit that the peer is to be told.
    pub(super) fn due_limit(&mut self, ledger: &mut Ledger, now: Instant) -> Option<u64> {
        if self.is_window_due(ledger) { self.window.grant(ledger, now) } else { None }
    }
}
