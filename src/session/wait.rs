//! A client's wait for its program, and the lines on standard error with the reason for the wait. Nothing here writes to
//! standard output.
//!
//! A terminal shows each reason at once. A client without one reads nothing in the first [`PATIENCE`], then one line, and
//! another whenever the reason changes. A wait that is dropped before [`ClientWait::over`] was given up by the client; the
//! log gets a line with the last known reason.
//!
//! A client that does not read delays its lines and nothing else: [`ClientWait::learn`] never waits, a line that is being
//! written is polled beside the wait itself, and of the reasons that come meanwhile the last one is written next.

use super::client::{Client, ClientGone, client_line};
use crate::audit::{Event, Recorder};
use crate::guest::USER_TEXT_MAX;
use crate::types::printable;
use futures_util::future::BoxFuture;
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The time for which a client without a terminal waits before it reads a reason.
const PATIENCE: Duration = Duration::from_secs(3);

/// The reason for a wait whose real one is not known.
pub(crate) const STARTING: &str = "the container is being started";

/// The wait of one client.
pub(super) struct ClientWait<'a> {
    client: &'a dyn Client,
    audit: &'a Recorder,
    pub(super) terminal: bool,
    over: bool,
    first_line_due: Instant,
    reason: Option<String>,
    /// The last reason that was written, or is being written.
    written: Option<String>,
    pending: PendingLine<'a>,
}

/// Lines that the client may not have taken yet.
#[derive(Default)]
pub(super) struct PendingLine<'a>(Option<BoxFuture<'a, ()>>);

impl<'a> PendingLine<'a> {
    /// Adds another line behind it.
    pub(super) fn then(self, line: BoxFuture<'a, Result<(), ClientGone>>) -> Self {
        Self(Some(Box::pin(async move {
            if let Some(first) = self.0 {
                first.await;
            }
            // The next step finds out whether the client is gone.
            let _ = line.await;
        })))
    }

    /// Tells whether they are still being written.
    pub(super) fn is_pending(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the rest of them. Cancel-safe.
    pub(super) async fn written(&mut self) {
        if let Some(line) = &mut self.0 {
            line.await;
            self.0 = None;
        }
    }
}

impl<'a> ClientWait<'a> {
    /// Begins a wait, whose patience runs from now.
    pub(super) fn new(client: &'a dyn Client, audit: &'a Recorder, terminal: bool) -> Self {
        let first_line_due = Instant::now() + PATIENCE;
        Self {
            client,
            audit,
            terminal,
            over: false,
            first_line_due,
            reason: None,
            written: None,
            pending: PendingLine::default(),
        }
    }

    /// Ends the wait: the program has started, or cannot. Returns the line that is still being written.
    pub(super) fn over(mut self) -> PendingLine<'a> {
        self.over = true;
        std::mem::take(&mut self.pending)
    }

    /// Takes a new reason, and begins to write it if that is due. `None` keeps the last one.
    pub(super) fn learn(&mut self, reason: Option<String>) {
        let Some(reason) = reason else { return };
        self.reason = Some(reason);
        self.write_if_due();
    }

    /// Finishes the line that is being written, or waits until the first one is due, and begins the next. Call it again and
    /// again while the wait lasts. Cancel-safe.
    pub(super) async fn proceed(&mut self) {
        if self.pending.is_pending() {
            self.pending.written().await;
            self.write_if_due();
        } else if self.written.is_none() {
            sleep_until(self.first_line_due).await;
            self.write();
        } else {
            pending().await
        }
    }

    fn write_if_due(&mut self) {
        if self.terminal || Instant::now() >= self.first_line_due {
            self.write();
        }
    }

    /// Begins to write the reason, unless a line is being written or the last one had the same reason.
    fn write(&mut self) {
        let reason = printable(self.reason.as_deref().unwrap_or(STARTING), USER_TEXT_MAX);
        if self.pending.is_pending() || self.written.as_ref() == Some(&reason) {
            return;
        }
        let (client, line) = (self.client, client_line(&format!("waiting: {reason}"), self.terminal));
        self.written = Some(reason);
        self.pending = PendingLine(Some(Box::pin(async move {
            // The next step finds out whether the client is gone.
            let _ = client.line(line).await;
        })));
    }
}

impl Drop for ClientWait<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.audit.note(Event::Abandoned { reason: self.reason.as_deref().unwrap_or(STARTING) });
        }
    }
}

#[cfg(test)]
mod tests;
