//! Sequenced frames that the peer has not acknowledged, by their absolute positions. They are sent again, from the byte that
//! the peer misses, when a carrier is replaced. No I/O.

use super::frame::{HEADER, Header};
use super::ledger::OVERHEAD;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::VecDeque;

/// The frames from the first unacknowledged byte to the last one that was made.
#[derive(Debug, Default)]
pub(super) struct SentFrames {
    frames: VecDeque<SentFrame>,
    /// Position of the first frame's first byte.
    start: u64,
    acknowledged: u64,
    /// Position of the next byte for the carrier, the frame that it is in, and where that frame begins.
    next: u64,
    next_frame: usize,
    next_start: u64,
    end: u64,
}

#[derive(Debug)]
struct SentFrame {
    header: [u8; HEADER],
    payload: Bytes,
}

impl SentFrame {
    fn length(&self) -> u64 {
        (HEADER + self.payload.len()) as u64
    }
}

/// An acknowledgement of bytes that were never sent, or were acknowledged before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("position {position} is outside of {from}..={to}")]
pub struct WrongPosition {
    /// The position that the peer named.
    pub position: u64,
    /// The last acknowledged position.
    pub from: u64,
    /// The last position that was sent.
    pub to: u64,
}

impl SentFrames {
    /// Adds a frame behind the others.
    pub(super) fn push(&mut self, header: Header, payload: Bytes) {
        let frame = SentFrame { header: header.encode(), payload };
        self.end += frame.length();
        self.frames.push_back(frame);
    }

    /// Bytes that the peer has been sent and has not acknowledged.
    pub(super) fn in_flight(&self) -> u64 {
        self.next - self.acknowledged
    }

    /// The cost of the frames that are kept: their bytes, and an overhead for each.
    pub(super) fn kept(&self) -> u64 {
        self.end - self.start + self.frames.len() as u64 * OVERHEAD
    }

    /// Bytes that were not handed to the carrier.
    pub(super) fn not_sent(&self) -> u64 {
        self.end - self.next
    }

    /// Returns true if every frame has been handed to the carrier.
    pub(super) fn all_sent(&self) -> bool {
        self.next == self.end
    }

    /// Forgets the frames before the position.
    ///
    /// # Errors
    /// Such bytes were not sent, or were acknowledged before.
    pub(super) fn acknowledge(&mut self, position: u64) -> Result<(), WrongPosition> {
        if position < self.acknowledged || position > self.next {
            return Err(WrongPosition { position, from: self.acknowledged, to: self.next });
        }
        self.acknowledged = position;
        while let Some(first) = self.frames.front()
            && self.start + first.length() <= position
        {
            self.start += first.length();
            self.frames.pop_front();
            self.next_frame = self.next_frame.saturating_sub(1);
        }
        self.next_start = self.next_start.max(self.start);
        Ok(())
    }

    /// Goes back to the position that the peer has received on an earlier carrier.
    ///
    /// # Errors
    /// As [`SentFrames::acknowledge`].
    pub(super) fn resume_at(&mut self, position: u64) -> Result<(), WrongPosition> {
        self.acknowledge(position)?;
        (self.next, self.next_frame, self.next_start) = (position, 0, self.start);
        Ok(())
    }

    /// Returns true if the next byte for the carrier begins a frame, or there is none.
    pub(super) fn at_frame_boundary(&self) -> bool {
        self.next == self.next_start
    }

    /// Copies what is left of the next frame to `out`, at most `max` bytes.
    pub(super) fn transmit_frame(&mut self, out: &mut BytesMut, max: usize) {
        let Some(frame) = self.frames.get(self.next_frame) else { return };
        let mut skip = usize::try_from(self.next - self.next_start).unwrap_or(usize::MAX);
        let mut left = max;
        for part in [&frame.header[..], &frame.payload[..]] {
            let from = skip.min(part.len());
            skip -= from;
            let taken = (part.len() - from).min(left);
            out.put_slice(&part[from..from + taken]);
            left -= taken;
            self.next += taken as u64;
        }
        if self.next == self.next_start + frame.length() {
            self.next_start = self.next;
            self.next_frame += 1;
        }
    }
}
