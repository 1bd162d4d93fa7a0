//! One session channel: from the request to start a program to its exit. A small machine (waiting for the guest, then
//! running) around two pumps. It knows the backend as [`crate::guest`] and the client as [`Client`], and no wire.
//!
//! What always holds: the client is told an exit exactly once, after everything that the program wrote; a stream that was
//! lost is never an exit of 0.

pub mod inbox;
mod pump;
mod running;
mod wait;

use crate::audit::{Event, Recorder};
use crate::guest::{Exit, Guest, Program, Refusal, State};
use crate::policy::{Launch, Permit};
use crate::types::Size;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use inbox::Inbox;
use running::Running;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
pub(crate) use wait::STARTING;
use wait::{Unread, Wait};

/// The exit status of whatever never ran, or ended nobody knows how (as OpenSSH's client says it).
const FAILED: u8 = 255;
/// The exit status after Ctrl-C, as a shell says it.
const INTERRUPTED: u8 = 130;

/// The client's side of a session channel. A write waits for the client's window.
pub trait Client: Send + Sync {
    /// Sends standard output.
    fn stdout(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Sends standard error.
    fn stderr(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>>;
    /// Tells how it ended, and closes the channel.
    fn end(&self, exit: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>>;
}

/// The channel or the connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct ClientGone;

/// How a program's end is told to the client (RFC 4254 section 6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientExit {
    /// `exit-status`
    Status(u8),
    /// `exit-signal`
    Signal {
        /// The name without SIG.
        name: String,
        /// Whether a core was dumped.
        core: bool,
    },
}

/// What a channel's task is given when the channel opens.
pub struct Channel {
    /// The way to the client.
    pub client: Arc<dyn Client>,
    /// The connection's guest.
    pub guest: Arc<dyn Guest>,
    /// Where the guest stands, or that the connection is to end.
    pub state: watch::Receiver<State>,
    /// What the client sends.
    pub inbox: Inbox,
    /// The request that starts the program; dropped when the channel closes before.
    pub begin: oneshot::Receiver<Begin>,
    /// The terminal's size as it changes.
    pub size: watch::Receiver<Size>,
    /// Signals that were allowed.
    pub signals: mpsc::Receiver<String>,
    /// Where effects are recorded.
    pub audit: Recorder,
}

/// What the client's `shell`, `exec` or `subsystem` came to.
#[derive(Debug)]
pub enum Begin {
    /// It may run.
    Launch(Permit<Launch>),
    /// It may not; the text is for the client.
    Denied(String),
}

impl Channel {
    /// Serves the channel to its end. Dropping the future ends the program as far as the backend can.
    pub async fn serve(mut self) {
        let Ok(begin) = (&mut self.begin).await else { return };
        let exit = match begin {
            Begin::Denied(reason) => {
                self.inbox.refuse();
                self.tell(&reason, false).await;
                Ok(ClientExit::Status(FAILED))
            }
            Begin::Launch(launch) => self.run(launch).await,
        };
        self.inbox.refuse();
        if let Ok(exit) = exit {
            // A client that left meanwhile needs no answer.
            let _ = self.client.end(exit).await;
        }
    }

    async fn run(&mut self, launch: Permit<Launch>) -> Result<ClientExit, ClientGone> {
        let terminal = launch.request().terminal.is_some();
        let what = launch.request().what.clone();
        if let Some(key) = launch.request().terminal.as_ref().and_then(|terminal| terminal.modes.interrupt()) {
            self.inbox.interrupt_by(key);
        }
        let (audit, client) = (self.audit.clone(), self.client.clone());
        let mut wait = Wait::new(client.as_ref(), &audit, terminal);
        let started = match self.wait_until_ready(&mut wait).await {
            Ok(()) => {
                self.audit.record(Event::ProgramStarting { what: &what, terminal });
                self.start(launch, &mut wait).await
            }
            Err(stop) => Err(stop),
        };
        let exit = match started {
            Ok(program) => {
                self.audit.record(Event::ProgramStarted { what: &what, terminal });
                let running = Running::new(&audit);
                let exit = self.pump(program, wait.over(), terminal).await?;
                running.ended(&exit);
                exit
            }
            Err(Stop::Interrupted) => return Ok(ClientExit::Status(INTERRUPTED)),
            Err(Stop::Refused(refusal)) => {
                self.audit.record(Event::ProgramRefused { refusal: &refusal });
                wait.over().written().await;
                self.tell(&refusal.reason, terminal).await;
                return Ok(ClientExit::Status(refusal.status));
            }
        };
        Ok(match exit {
            Exit::Status(status) => ClientExit::Status(status),
            Exit::Signal { name, core } => ClientExit::Signal { name, core },
            Exit::Lost(refusal) => {
                self.tell(&refusal.reason, terminal).await;
                ClientExit::Status(refusal.status.max(1))
            }
        })
    }

    /// Waits for the guest. At a terminal, the key that interrupts there (Ctrl-C, mostly) ends the wait.
    async fn wait_until_ready(&self, wait: &mut Wait<'_>) -> Result<(), Stop> {
        let mut state = self.state.clone();
        loop {
            let now = state.borrow_and_update().clone();
            match now {
                State::Ready => return Ok(()),
                State::Gone(refusal) => return Err(Stop::Refused(refusal)),
                State::Starting(reason) => wait.learn(reason),
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() {
                    return Err(Stop::Refused(Refusal::new("the connection is being closed")));
                },
                () = self.inbox.interrupted(), if wait.terminal => return Err(Stop::Interrupted),
                () = wait.proceed() => {}
            }
        }
    }

    /// Starts the program, for which a guest may have to be made first: the wait goes on as before.
    async fn start(&self, launch: Permit<Launch>, wait: &mut Wait<'_>) -> Result<Program, Stop> {
        let (news, mut told) = watch::channel(None);
        let starting = self.guest.start(launch, news);
        let gone = gone(self.state.clone());
        tokio::pin!(starting, gone);
        loop {
            tokio::select! {
                biased;
                started = &mut starting => return started.map_err(Stop::Refused),
                refusal = &mut gone => return Err(Stop::Refused(refusal)),
                () = self.inbox.interrupted(), if wait.terminal => return Err(Stop::Interrupted),
                Ok(()) = told.changed() => {
                    let reason = told.borrow_and_update().clone();
                    wait.learn(reason);
                }
                () = wait.proceed() => {}
            }
        }
    }

    /// Runs both pumps until the program has ended, or its guest has: then what runs in it is over, even where its
    /// stream still stands.
    async fn pump(&mut self, program: Program, unread: Unread<'_>, terminal: bool) -> Result<Exit, ClientGone> {
        let Program { input, output } = program;
        let gone = gone(self.state.clone());
        let to_program = pump::Inward {
            inbox: &self.inbox,
            size: &mut self.size,
            signals: &mut self.signals,
            audit: &self.audit,
            terminal,
        };
        let to_client = pump::outward(output, self.client.as_ref(), unread);
        tokio::pin!(to_client, gone);
        tokio::select! {
            biased;
            exit = to_client => exit,
            refusal = &mut gone => Ok(Exit::Lost(refusal)),
            never = to_program.run(input) => match never {},
        }
    }

    async fn tell(&self, text: &str, terminal: bool) {
        tell(self.client.as_ref(), text, terminal).await;
    }
}

/// Writes one line of ours to the client's standard error. A client that is gone is found out by the next step.
async fn tell(client: &dyn Client, text: &str, terminal: bool) {
    let _ = client.stderr(line(text, terminal)).await;
}

/// A line of ours as it goes to a client.
fn line(text: &str, terminal: bool) -> Bytes {
    let end = if terminal { "\r\n" } else { "\n" };
    Bytes::from(format!("podgate: {text}{end}"))
}

/// Why nothing was started.
enum Stop {
    Interrupted,
    Refused(Refusal),
}

/// Waits until the guest is gone.
pub(crate) async fn gone(mut state: watch::Receiver<State>) -> Refusal {
    loop {
        if let State::Gone(refusal) = &*state.borrow_and_update() {
            return refusal.clone();
        }
        if state.changed().await.is_err() {
            return Refusal::new("the connection is being closed");
        }
    }
}
