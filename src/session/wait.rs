//! A client's wait for its program, and the lines on standard error that say what it waits for. Standard output gets no
//! byte from here.
//!
//! A terminal shows each reason at once. A client without one hears nothing in the first [`PATIENCE`], then one line, and
//! another whenever the reason changes. A wait that is dropped before [`Wait::over`] was given up by the client, and the
//! log says so with the last known reason.
//!
//! A client that does not read delays its lines and nothing else: [`Wait::learn`] never waits, a line that is being written
//! is polled beside the wait itself, and of the reasons that come meanwhile the last one is written next.

use super::{Client, line};
use crate::audit::{Event, Recorder};
use crate::guest::SHOWN;
use crate::types::printable;
use futures_util::future::BoxFuture;
use std::future::pending;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The time that a program's client waits before it is told anything.
const PATIENCE: Duration = Duration::from_secs(3);

/// The line for a wait of which no reason is known.
pub(crate) const STARTING: &str = "the container is being started";

/// One client's wait.
pub(super) struct Wait<'a> {
    client: &'a dyn Client,
    audit: &'a Recorder,
    pub(super) terminal: bool,
    over: bool,
    patient_until: Instant,
    reason: Option<String>,
    /// The last line that was written, or is being written.
    told: Option<String>,
    unread: Unread<'a>,
}

/// A line for the client that may not have been taken yet.
#[derive(Default)]
pub(super) struct Unread<'a>(Option<BoxFuture<'a, ()>>);

impl Unread<'_> {
    /// True while the line is being written.
    pub(super) fn is_pending(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the rest of the line. Cancel-safe.
    pub(super) async fn written(&mut self) {
        if let Some(line) = &mut self.0 {
            line.await;
            self.0 = None;
        }
    }
}

impl<'a> Wait<'a> {
    /// A wait that begins now.
    pub(super) fn new(client: &'a dyn Client, audit: &'a Recorder, terminal: bool) -> Self {
        let patient_until = Instant::now() + PATIENCE;
        Self {
            client,
            audit,
            terminal,
            over: false,
            patient_until,
            reason: None,
            told: None,
            unread: Unread::default(),
        }
    }

    /// Ends the wait: the program started, or cannot. Returns the line that is still being written.
    pub(super) fn over(mut self) -> Unread<'a> {
        self.over = true;
        std::mem::take(&mut self.unread)
    }

    /// Takes a new reason, and begins to write it if the client is to know by now. Without a reason the last one stands.
    pub(super) fn learn(&mut self, reason: Option<String>) {
        let Some(reason) = reason else { return };
        self.reason = Some(reason);
        self.tell_if_due();
    }

    /// Writes what is being written, or waits until a client that was told nothing yet is to be told, and begins the next
    /// line. To be called again and again as long as the wait lasts. Cancel-safe.
    pub(super) async fn proceed(&mut self) {
        if self.unread.is_pending() {
            self.unread.written().await;
            self.tell_if_due();
        } else if self.told.is_none() {
            sleep_until(self.patient_until).await;
            self.tell();
        } else {
            pending().await
        }
    }

    fn tell_if_due(&mut self) {
        if self.terminal || Instant::now() >= self.patient_until {
            self.tell();
        }
    }

    /// Begins to write the reason, unless a line is being written or that was the last one.
    fn tell(&mut self) {
        let reason = printable(self.reason.as_deref().unwrap_or(STARTING), SHOWN);
        if self.unread.is_pending() || self.told.as_ref() == Some(&reason) {
            return;
        }
        let (client, line) = (self.client, line(&format!("waiting: {reason}"), self.terminal));
        self.told = Some(reason);
        self.unread = Unread(Some(Box::pin(async move {
            // A client that is gone is found out by the next step.
            let _ = client.stderr(line).await;
        })));
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.audit.record(Event::Abandoned { reason: self.reason.as_deref().unwrap_or(STARTING) });
        }
    }
}

#[cfg(test)]
mod tests;
