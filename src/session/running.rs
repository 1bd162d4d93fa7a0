//! The record of a program that is started and runs: exactly one event when it is over for its client.

use super::carried_bytes::CarriedBytes;
use crate::audit::{Event, ProgramRun, Recorder, Traffic};
use crate::guest::{Exit, Progress, Refusal, RefusalKind};
use crate::policy::ProgramRequest;
use tokio::time::Instant;

/// The record of a program that is being started. If it is dropped before [`StartRecord::over`] and the request was sent, the
/// client gave up a program that may run.
pub(super) struct StartRecord<'a> {
    audit: &'a Recorder,
    request: &'a ProgramRequest,
    progress: Progress,
    over: bool,
}

impl<'a> StartRecord<'a> {
    pub(super) fn new(audit: &'a Recorder, request: &'a ProgramRequest, progress: Progress) -> Self {
        Self { audit, request, progress, over: false }
    }

    /// Hands over to the event of the program that runs, or of the refusal.
    pub(super) fn over(mut self) {
        self.over = true;
    }
}

impl Drop for StartRecord<'_> {
    fn drop(&mut self) {
        if !self.over && self.progress.is_sent() {
            let refusal = Refusal::new("the client left before it was known whether the program runs");
            let refusal = refusal.kind(RefusalKind::Unanswered);
            self.audit.note(Event::ProgramRefused { request: self.request, refusal: &refusal });
        }
    }
}

/// The record of one program from its start to its end. If it is dropped before [`RunRecord::ended`], the client left first.
pub(super) struct RunRecord<'a> {
    audit: &'a Recorder,
    request: &'a ProgramRequest,
    terminal: bool,
    begun: Instant,
    carried: CarriedBytes,
    ended: bool,
}

impl<'a> RunRecord<'a> {
    /// Begins the record of a program that has just started.
    pub(super) fn new(audit: &'a Recorder, request: &'a ProgramRequest, terminal: bool) -> Self {
        let carried = CarriedBytes::default();
        Self { audit, request, terminal, begun: Instant::now(), carried, ended: false }
    }

    /// The count of what the program takes and gives.
    pub(super) fn carried(&self) -> &CarriedBytes {
        &self.carried
    }

    /// Records that the program ended by itself.
    pub(super) fn ended(mut self, exit: &Exit) {
        self.ended = true;
        self.audit.end_sftp();
        self.audit.note(Event::ProgramEnded { exit, run: self.run() });
    }

    fn run(&self) -> ProgramRun<'a> {
        let traffic = Traffic { received: self.carried.to_guest(), sent: self.carried.to_client() };
        ProgramRun { request: self.request, terminal: self.terminal, duration: self.begun.elapsed(), traffic }
    }
}

impl Drop for RunRecord<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.audit.end_sftp();
            self.audit.note(Event::ProgramLeft { run: self.run() });
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
            let command = ProgramRequest::Exec("true".to_owned());
            let running = RunRecord::new(&audit, &command, false);
            running.carried().add_to_client(7);
            tokio::time::advance(Duration::from_secs(61)).await;
            match exit {
                Some(exit) => running.ended(&exit),
                None => drop(running),
            }
            let text = recorded.text();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.contains(code) && text.contains("duration=61.000s bytesReceived=0 bytesSent=7"), "{text}");
        }
    }
}
