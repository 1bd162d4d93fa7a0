//! The record of a running program: exactly one event when it is over for its client.

use crate::audit::{Event, Recorder};
use crate::guest::Exit;
use tokio::time::Instant;

/// The record of one program from its start to its end. If it is dropped before [`RunRecord::ended`], the client left first.
pub(super) struct RunRecord<'a> {
    audit: &'a Recorder,
    begun: Instant,
    ended: bool,
}

impl<'a> RunRecord<'a> {
    /// Begins the record of a program that has just started.
    pub(super) fn new(audit: &'a Recorder) -> Self {
        Self { audit, begun: Instant::now(), ended: false }
    }

    /// Records that the program ended by itself.
    pub(super) fn ended(mut self, exit: &Exit) {
        self.ended = true;
        self.audit.note(Event::ProgramEnded { exit, duration: self.begun.elapsed() });
    }
}

impl Drop for RunRecord<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.audit.note(Event::ProgramLeft { duration: self.begun.elapsed() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::capture::recorder;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn program_has_one_line_at_its_end_whoever_left_first() {
        for (exit, code) in [(None, "code=SSH_PROGRAM_LEFT"), (Some(Exit::Status(0)), "code=SSH_EXIT")] {
            let (audit, recorded) = recorder();
            let running = RunRecord::new(&audit);
            tokio::time::advance(Duration::from_secs(61)).await;
            match exit {
                Some(exit) => running.ended(&exit),
                None => drop(running),
            }
            let text = recorded.text();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(code) && text.contains("duration=61.000s"), "{text}");
        }
    }
}
