//! A client's wait for its program, and the lines on standard error that say what it waits for. Standard output gets no
//! byte from here.
//!
//! A terminal shows each reason at once. A client without one hears nothing in the first [`PATIENCE`], then one line, and
//! another whenever the reason changes. A wait that is dropped before [`Wait::over`] was given up by the client, and the
//! log says so with the last known reason.

use super::{Client, tell};
use crate::audit::{Event, Recorder};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The time that a program's client waits before it is told anything.
const PATIENCE: Duration = Duration::from_secs(3);

/// The line for a wait of which no reason is known.
const STARTING: &str = "the container is being started";

/// One client's wait.
pub(super) struct Wait<'a> {
    client: &'a dyn Client,
    audit: &'a Recorder,
    pub(super) terminal: bool,
    over: bool,
    patient_until: Instant,
    reason: Option<String>,
    /// The last line that was written.
    told: Option<String>,
}

impl<'a> Wait<'a> {
    /// A wait that begins now.
    pub(super) fn new(client: &'a dyn Client, audit: &'a Recorder, terminal: bool) -> Self {
        let patient_until = Instant::now() + PATIENCE;
        Self { client, audit, terminal, over: false, patient_until, reason: None, told: None }
    }

    /// Ends the wait: the program started, or cannot.
    pub(super) fn over(mut self) {
        self.over = true;
    }

    /// Takes a new reason, and writes it if the client is to know by now. Without a reason the last one stands.
    pub(super) async fn learn(&mut self, reason: Option<String>) {
        let Some(reason) = reason else { return };
        self.reason = Some(reason);
        if self.terminal || Instant::now() >= self.patient_until {
            self.tell().await;
        }
    }

    /// Waits until a client that was told nothing yet is to be told. Cancel-safe.
    pub(super) async fn patience(&self) {
        match self.told {
            None => sleep_until(self.patient_until).await,
            Some(_) => std::future::pending().await,
        }
    }

    /// Writes the reason, unless that is the last line already.
    pub(super) async fn tell(&mut self) {
        let line = self.reason.as_deref().unwrap_or(STARTING);
        if self.told.as_deref() != Some(line) {
            tell(self.client, &format!("waiting: {line}"), self.terminal).await;
            self.told = Some(line.to_owned());
        }
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
