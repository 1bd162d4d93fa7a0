//! The way of what the streams of a [`Link`] have to send to its carrier: windows first, then a frame of each stream in turn.
//!
//! Invariant: a frame gets its position when it is next, and keeps it; nothing is between the bytes of one.

use super::frame::{FrameKind, HEADER, Header, Lane};
use super::{Link, MAX_KEPT, ProtocolError};
use bytes::{Bytes, BytesMut};
use std::time::Instant;

impl Link {
    /// Appends bytes for the carrier to `out`, as long as there are fewer than `max`.
    ///
    /// # Errors
    /// The peer acknowledges nothing: the link is over.
    pub fn transmit(&mut self, out: &mut BytesMut, max: usize, now: Instant) -> Result<(), ProtocolError> {
        if !self.attached {
            return Ok(());
        }
        if let Some(close) = &self.end {
            // A sequenced frame that was sent in part cannot be followed by anything else: the carrier is closed instead.
            if !std::mem::replace(&mut self.end_sent, true) && self.sent.at_frame_boundary() {
                push(out, FrameKind::End, &close.encode());
            }
            return Ok(());
        }
        self.queue_windows(now)?;
        out.reserve(self.unsent().min(max.saturating_sub(out.len())));
        loop {
            if self.sent.at_frame_boundary() {
                self.transmit_unsequenced(out, now);
            }
            if self.sent.all_sent() && !self.next_frame(now)? {
                return Ok(());
            }
            if out.len() >= max {
                return Ok(());
            }
            if self.sent.in_flight() == 0 {
                // Nothing was owed before: silence counts from here on.
                (self.heard, self.probed) = (Some(now), false);
            }
            self.sent.transmit_frame(out, max - out.len());
        }
    }

    fn transmit_unsequenced(&mut self, out: &mut BytesMut, now: Instant) {
        let owed = self.decoder.received() > self.acknowledged;
        if self.ack_due.is_some_and(|due| due <= now) || (owed && !(self.sent.all_sent() && self.turn.is_empty())) {
            self.acknowledged = self.decoder.received();
            self.ack_due = None;
            push(out, FrameKind::Ack, &self.acknowledged.to_be_bytes());
        }
        if std::mem::take(&mut self.probe_due) {
            push(out, FrameKind::Probe, &[]);
        }
    }

    fn queue_windows(&mut self, now: Instant) -> Result<(), ProtocolError> {
        while let Some(number) = self.windows_due.pop_first() {
            self.queue_window(number, now)?;
        }
        Ok(())
    }

    fn queue_window(&mut self, number: u32, now: Instant) -> Result<(), ProtocolError> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        let Some(limit) = stream.due_limit(&mut self.ledger, now) else { return Ok(()) };
        let header = Header { kind: FrameKind::Window, lane: Lane::Main, length: 8, stream: number };
        self.sent.push(header, Bytes::copy_from_slice(&limit.to_be_bytes()));
        self.check_kept()
    }

    /// Numbers the next frame of the streams in turn. Returns false if there is none.
    fn next_frame(&mut self, now: Instant) -> Result<bool, ProtocolError> {
        while let Some(number) = self.turn.pop_front() {
            let Some(stream) = self.streams.get_mut(&number) else { continue };
            stream.in_turn = false;
            let Some((header, payload)) = stream.next_frame(number, &mut self.ledger) else { continue };
            self.sent.push(header, payload);
            if stream.has_frames() {
                stream.in_turn = true;
                self.turn.push_back(number);
            }
            if matches!(header.kind, FrameKind::Open | FrameKind::Accept) {
                self.queue_window(number, now)?;
            }
            self.forget_if_closed(number);
            return self.check_kept().map(|()| true);
        }
        Ok(false)
    }

    /// Ends the link with a peer that acknowledges nothing.
    fn check_kept(&self) -> Result<(), ProtocolError> {
        if self.kept() > 3 * MAX_KEPT { Err(ProtocolError::NothingAcknowledged) } else { Ok(()) }
    }
}

/// Appends a frame of the carrier.
fn push(out: &mut BytesMut, kind: FrameKind, payload: &[u8]) {
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&Header { kind, lane: Lane::Main, length: payload.len(), stream: 0 }.encode());
    out.extend_from_slice(payload);
}
