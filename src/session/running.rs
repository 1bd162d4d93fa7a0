//! A program that runs, as the log has it: each gets exactly one line when it is over for its client.

use crate::audit::{Event, Recorder};
use crate::guest::Exit;
use tokio::time::Instant;

/// The time from a program's start to its end. Dropped before [`Running::ended`], the client left first.
pub(super) struct Running<'a> {
    audit: &'a Recorder,
    begun: Instant,
    ended: bool,
}

impl<'a> Running<'a> {
    /// A program that starts now.
    pub(super) fn new(audit: &'a Recorder) -> Self {
        Self { audit, begun: Instant::now(), ended: false }
    }

    /// Records the program's own end.
    pub(super) fn ended(mut self, exit: &Exit) {
        self.ended = true;
        self.audit.record(Event::ProgramEnded { exit, duration: self.begun.elapsed() });
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.audit.record(Event::ProgramLeft { duration: self.begun.elapsed() });
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
            let running = Running::new(&audit);
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
