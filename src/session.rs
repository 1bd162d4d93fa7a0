//! The task of one session channel: from the request that starts a program to its exit. It waits for the guest, then runs
//! two pumps. It knows the backend as [`crate::guest`] and the client as [`Client`], and no wire.
//!
//! Invariants: the client is told an exit exactly once, after everything that the program wrote; a stream that was
//! lost is never an exit of 0; while anything waits for the client to read, the client's own data is taken or dropped.

mod carried_bytes;
mod client;
pub(crate) mod forward;
pub(crate) mod inbox;
mod listeners;
mod output_queue;
mod pump;
mod queued;
mod running;
mod wait;

use crate::audit::{Event, Recorder};
use crate::guest::{Exit, Guest, Program, Progress, Refusal, RefusalKind};
use crate::policy::{Denied, Permit, ProgramRequest, ProgramSpec, SendSignal};
use crate::types::{Notices, Size};
pub(crate) use carried_bytes::CarriedBytes;
use client::client_line;
pub(crate) use client::{Client, ClientExit, ClientGone};
use inbox::{Inbox, InboxItem};
pub(crate) use listeners::{AllowedProgram, ListenerOpener, PromisedListener};
use listeners::{Listening, open_listeners};
#[cfg(test)]
pub(crate) use output_queue::PIECE;
pub(crate) use output_queue::{OutputQueue, SocketBuffer};
pub(crate) use queued::{Crowd, GrantedBytes, IdentityQueue, QueueUse, QueuedBytes};
use running::{RunRecord, StartRecord};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
pub(crate) use wait::STARTING;
use wait::{ClientWait, PendingLine};

/// The exit status for a program that never ran, or whose end is unknown (OpenSSH's client uses it for itself).
const FAILED: u8 = 255;
/// The exit status after Ctrl-C, as in a shell.
const INTERRUPTED: u8 = 130;

/// Time that a client gets to show a line before it reads that its request is refused: OpenSSH's ends then, and drops what it
/// has not written out.
const SHOW_TIME: Duration = Duration::from_millis(100);

/// The task of a session channel, made when the channel opens.
pub(crate) struct SessionTask {
    pub client: Arc<dyn Client>,
    pub guest: Arc<dyn Guest>,
    /// Set to the reason when the connection's guest is gone or the connection is to end.
    pub ending: watch::Receiver<Option<Refusal>>,
    /// The last line for terminals.
    pub notices: watch::Receiver<Notices>,
    /// The client's data.
    pub inbox: Inbox,
    /// The decisions on the `shell`, `exec` or `subsystem` requests; their sender is dropped if the channel closes before.
    pub decisions: mpsc::Receiver<ProgramDecision>,
    /// False as long as a decision is acted on. Only a subsystem that the guest lacks is followed by another.
    pub is_idle: Arc<AtomicBool>,
    pub listeners: Arc<dyn ListenerOpener>,
    /// The terminal's size as it changes.
    pub size: watch::Receiver<Size>,
    pub signals: mpsc::Receiver<Permit<SendSignal>>,
    pub audit: Recorder,
}

/// The decision on a `shell`, `exec` or `subsystem` request.
pub(crate) struct ProgramDecision {
    pub decided: Result<AllowedProgram, Denied>,
    /// Set for a subsystem: the request is answered only now. The others were accepted when they came, so that the reason of
    /// a failure can be read in the channel.
    pub is_unanswered: bool,
}

/// The end of one decision.
enum Outcome {
    /// The channel ends with this.
    Exit(ClientExit),
    /// The request was refused, and the client may make another.
    RequestRefused,
}

impl SessionTask {
    /// Serves the channel to its end. Dropping the future ends the program as far as the backend can.
    pub(crate) async fn serve(mut self) {
        while let Some(ProgramDecision { decided, is_unanswered }) = self.decisions.recv().await {
            let outcome = match decided {
                Ok(allowed) => self.run(allowed, is_unanswered).await,
                Err(denied) if is_unanswered => self.refuse_request(&denied.to_string(), false).await,
                Err(denied) => {
                    self.inbox.refuse();
                    self.tell(&denied.to_string(), false).await;
                    Ok(Outcome::Exit(ClientExit::Status(FAILED)))
                }
            };
            let exit = match outcome {
                Ok(Outcome::RequestRefused) => continue,
                Ok(Outcome::Exit(exit)) => Ok(exit),
                Err(gone) => Err(gone),
            };
            self.inbox.refuse();
            if let Ok(exit) = exit {
                // A client that left meanwhile needs no answer.
                let _ = self.client.end(exit).await;
            }
            return;
        }
    }

    async fn run(&mut self, allowed: AllowedProgram, is_unanswered: bool) -> Result<Outcome, ClientGone> {
        let ProgramSpec { request, terminal, .. } = allowed.program.request();
        let (request, interrupt) = (request.clone(), terminal.as_ref().map(|terminal| terminal.modes.interrupt()));
        let terminal = interrupt.is_some();
        if let Some(key) = interrupt.flatten() {
            self.inbox.interrupt_by(key);
        }
        let (audit, client) = (self.audit.clone(), self.client.clone());
        let mut wait = ClientWait::new(client.as_ref(), &audit, terminal);
        let progress = Progress::default();
        let record = StartRecord::new(&audit, &request, progress.clone());
        let started = match self.audit.record_effect(Event::ProgramStarting { request: &request, terminal }).await {
            Ok(()) => self.start(allowed, &mut wait, progress).await,
            Err(unrecorded) => Err(NotStarted::Refused(unrecorded.into())),
        };
        let started = match started {
            Ok(started) => self.record_start(&request, started, terminal),
            Err(NotStarted::Interrupted) => return Ok(Outcome::Exit(ClientExit::Status(INTERRUPTED))),
            Err(NotStarted::Refused(refusal)) => Err(refusal),
        };
        let mut pending_line = wait.over();
        match started {
            Ok((program, notices)) => {
                if is_unanswered {
                    self.client.answer(true).await?;
                }
                // Only a person at a terminal is told: elsewhere a program may read standard error.
                for notice in notices.iter().filter(|_| terminal) {
                    pending_line = pending_line.then(client.stderr(client_line(notice, terminal)));
                }
                record.over();
                let exit = self.run_program(program, pending_line, (&request, terminal)).await?;
                Ok(Outcome::Exit(exit))
            }
            Err(refusal) => {
                record.over();
                self.end_unstarted((&request, refusal), pending_line, terminal, is_unanswered).await
            }
        }
    }

    /// Records that the program runs. One that cannot be recorded ends here, with its two halves, and has run.
    fn record_start(
        &self,
        request: &ProgramRequest,
        started: (Program, Vec<String>),
        terminal: bool,
    ) -> Result<(Program, Vec<String>), Refusal> {
        let recorded = self.audit.record(Event::ProgramStarted { request, terminal });
        recorded.map_err(|unrecorded| Refusal::from(unrecorded).unanswered())?;
        Ok(started)
    }

    async fn run_program(
        &mut self,
        program: Program,
        pending_line: PendingLine<'_>,
        (request, terminal): (&ProgramRequest, bool),
    ) -> Result<ClientExit, ClientGone> {
        if matches!(request, ProgramRequest::Subsystem(name) if name == "sftp") {
            self.audit = self.audit.following_sftp();
        }
        let audit = self.audit.clone();
        let record = RunRecord::new(&audit, request, terminal);
        let exit = self.pump(program, pending_line, (terminal, record.carried())).await?;
        record.ended(&exit);
        self.inbox.refuse();
        Ok(match exit {
            Exit::Status(status) => ClientExit::Status(status),
            Exit::Signal { name, core } => ClientExit::Signal { name, core },
            Exit::Lost(refusal) => {
                self.tell(&refusal.reason, terminal).await;
                ClientExit::Status(refusal.status().max(1))
            }
        })
    }

    async fn end_unstarted(
        &self,
        (request, refusal): (&ProgramRequest, Refusal),
        mut pending_line: PendingLine<'_>,
        terminal: bool,
        is_unanswered: bool,
    ) -> Result<Outcome, ClientGone> {
        self.audit.note(Event::ProgramRefused { request, refusal: &refusal });
        if is_unanswered && matches!(refusal.kind, RefusalKind::NotFound | RefusalKind::NotExecutable) {
            self.while_discarding(pending_line.written()).await;
            return self.refuse_request(&refusal.reason, terminal).await;
        }
        self.inbox.refuse();
        pending_line.written().await;
        if is_unanswered {
            // The reason concerns the whole connection, and is read in the channel.
            self.client.answer(true).await?;
        }
        self.tell(&refusal.reason, terminal).await;
        Ok(Outcome::Exit(ClientExit::Status(refusal.status())))
    }

    /// Refuses a request that is not answered yet, as sshd does: the client learns it from the answer, which some wait for,
    /// and may make another request. What it has sent was for this one.
    async fn refuse_request(&self, reason: &str, terminal: bool) -> Result<Outcome, ClientGone> {
        self.while_discarding(self.tell(reason, terminal)).await;
        sleep(SHOW_TIME).await;
        self.inbox.discard();
        self.is_idle.store(true, Ordering::Release);
        self.client.answer(false).await?;
        Ok(Outcome::RequestRefused)
    }

    /// Starts the program, which waits for the guest. At a terminal, the interrupt key (usually Ctrl-C) ends the wait.
    ///
    /// Returns the program, and a line for each listener that it was promised and has not.
    async fn start(
        &self,
        allowed: AllowedProgram,
        wait: &mut ClientWait<'_>,
        progress: Progress,
    ) -> Result<(Program, Vec<String>), NotStarted> {
        let mut reports = progress.reports();
        let starting = async {
            let Listening { program, notices } = open_listeners(allowed, self.listeners.as_ref(), &progress).await;
            Ok((self.guest.start(program, progress.clone()).await?, notices))
        };
        let ending = ended(self.ending.clone());
        tokio::pin!(starting, ending);
        loop {
            tokio::select! {
                biased;
                started = &mut starting => return started.map_err(NotStarted::Refused),
                refusal = &mut ending => {
                    let refusal = if progress.is_sent() { refusal.kind(RefusalKind::Unanswered) } else { refusal };
                    return Err(NotStarted::Refused(refusal));
                }
                () = self.inbox.interrupted(), if wait.terminal => return Err(NotStarted::Interrupted),
                Ok(()) = reports.changed() => {
                    let reason = reports.borrow_and_update().clone();
                    wait.learn(reason);
                }
                () = wait.proceed() => {}
            }
        }
    }

    /// Runs both pumps until the program has ended, or the connection's guest has: then the program is over, even if its
    /// stream still stands.
    async fn pump(
        &mut self,
        program: Program,
        pending_line: PendingLine<'_>,
        (terminal, carried): (bool, &CarriedBytes),
    ) -> Result<Exit, ClientGone> {
        let Program { input, output } = program;
        let ending = ended(self.ending.clone());
        let commands = pump::Commands { size: &mut self.size, signals: &mut self.signals, audit: &self.audit };
        let to_program = pump::InputPump { inbox: &self.inbox, terminal, carried, commands };
        let to_client = pump::pump_output(output, (self.client.as_ref(), &self.audit, carried), pending_line);
        let notices = show_notices(self.notices.clone(), self.client.as_ref(), terminal);
        tokio::pin!(to_client, ending);
        tokio::select! {
            biased;
            exit = to_client => exit,
            refusal = &mut ending => Ok(Exit::Lost(refusal)),
            never = to_program.run(input) => match never {},
            never = notices => match never {},
        }
    }

    /// Waits for something that a client which does not read may delay. Its data is dropped meanwhile: one that reads only
    /// once it has sent everything must not wait for us.
    async fn while_discarding(&self, waiting: impl Future<Output = ()>) {
        let discarding = async {
            while self.inbox.take().await != InboxItem::End {}
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = waiting => {}
            () = discarding => {}
        }
    }

    /// Writes a line to the client's standard error. The next step finds out whether the client is gone.
    async fn tell(&self, text: &str, terminal: bool) {
        let _ = self.client.line(client_line(text, terminal)).await;
    }
}

/// The reason that no program was started.
enum NotStarted {
    Interrupted,
    Refused(Refusal),
}

/// Shows each notice to a person at a terminal: elsewhere a program may read standard error.
async fn show_notices(mut notices: watch::Receiver<Notices>, client: &dyn Client, terminal: bool) -> Infallible {
    // The last line may have been there before this terminal, and concerns it, too.
    let mut seen = notices.borrow().count().saturating_sub(1);
    while terminal && notices.changed().await.is_ok() {
        let new = notices.borrow_and_update().clone();
        for notice in new.after(seen) {
            // The pumps find out whether the client is gone.
            let _ = client.line(client_line(notice, terminal)).await;
        }
        seen = new.count();
    }
    pending().await
}

/// Waits until the connection is to end.
pub(crate) async fn ended(mut ending: watch::Receiver<Option<Refusal>>) -> Refusal {
    match ending.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(refusal)) => refusal.clone(),
        Ok(None) | Err(_) => Refusal::new("the connection is being closed"),
    }
}

#[cfg(test)]
mod tests;
