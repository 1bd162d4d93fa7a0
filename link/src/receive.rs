//! The way of what a carrier brought into the streams of a [`Link`].
//!
//! Invariant: nothing that arrives is kept beyond what the limits of the link and its streams allow; the first byte beyond
//! them is the end of the link.

use super::frame::{Arrived, FrameKind};
use super::stream::{Phase, Stream};
use super::{ACK_BYTES, ACK_DELAY, Close, Link, Notice, ProtocolError, position};
use bytes::Bytes;
use std::time::Instant;

impl Link {
    /// Takes bytes that the carrier brought.
    ///
    /// # Errors
    /// The peer broke the protocol: the link is over.
    pub fn receive(&mut self, mut bytes: Bytes, now: Instant) -> Result<(), ProtocolError> {
        (self.heard, self.probed) = (Some(now), false);
        while !self.ended
            && let Some(arrived) = self.decoder.next(&mut bytes)?
        {
            match arrived.kind {
                FrameKind::Ack => self.sent.acknowledge(position(&arrived.payload))?,
                FrameKind::Probe => self.ack_is_due(now),
                FrameKind::End => {
                    self.ended = true;
                    self.notices.push_back(Notice::Ended(Close::decode(&arrived.payload)?));
                }
                FrameKind::Open => self.opened(arrived)?,
                _ => self.stream_frame(arrived)?,
            }
        }
        let owed = self.decoder.received() - self.acknowledged;
        if owed > 0 {
            let due = if owed >= ACK_BYTES { now } else { now + ACK_DELAY };
            self.ack_is_due(due);
        }
        Ok(())
    }

    fn opened(&mut self, arrived: Arrived) -> Result<(), ProtocolError> {
        let number = arrived.stream;
        if self.is_ours(number) || number <= self.last_peer_number {
            return Err(ProtocolError::WrongNumber(number));
        }
        if self.peer_streams >= self.limits.peer_streams as usize {
            return Err(ProtocolError::TooManyStreams);
        }
        self.last_peer_number = number;
        let stream = Stream::new(Phase::Offered, self.limits.peer_window, self.limits.window);
        self.streams.insert(number, stream);
        self.peer_streams += 1;
        self.ledger.keep_control(arrived.payload.len())?;
        self.notices.push_back(Notice::Opened(number, Bytes::copy_from_slice(&arrived.payload)));
        Ok(())
    }

    fn stream_frame(&mut self, arrived: Arrived) -> Result<(), ProtocolError> {
        let number = arrived.stream;
        let ledger = &mut self.ledger;
        let stream = self.streams.get_mut(&number).ok_or(ProtocolError::UnknownStream(number))?;
        let accepts = arrived.kind == FrameKind::Accept;
        let may_refuse = arrived.kind == FrameKind::Close;
        if stream.closed.is_some() {
            return Err(ProtocolError::UnknownStream(number));
        }
        if accepts != (stream.phase == Phase::Requested) && (accepts || !may_refuse) {
            return Err(ProtocolError::WrongPhase(number));
        }
        match arrived.kind {
            FrameKind::Accept => stream.accepted(&arrived.payload, ledger)?,
            FrameKind::Data => stream.arrived(arrived.lane, arrived.payload, ledger)?,
            FrameKind::Finish => stream.lane_finished(arrived.lane, ledger)?,
            FrameKind::Window => stream.raise_limit(position(&arrived.payload))?,
            FrameKind::Message => stream.message_arrived(&arrived.payload, ledger)?,
            _ => {
                stream.close_arrived(Close::decode(&arrived.payload)?, ledger)?;
                self.windows_due.remove(&number);
            }
        }
        let is_news = !stream.close_sent || stream.closed.is_some();
        self.forget_if_closed(number);
        if is_news {
            self.flagged.insert(number);
        }
        Ok(())
    }

    fn ack_is_due(&mut self, at: Instant) {
        if self.ack_due.is_none_or(|due| due > at) {
            self.ack_due = Some(at);
            self.work = true;
        }
    }
}
