//! The interface of every backend. A [`Guest`] is one connection's container, before and after it runs; a [`Program`] is
//! one program that runs in it. Nothing starts, dials or listens without a [`Permit`].
//!
//! A stream that ends without a status is [`Exit::Lost`], never success.

mod output_budget;

pub(crate) use output_budget::{OutputBudget, UserAccount};

use crate::auth::Identity;
use crate::policy::{Dial, Listen, Permit, ProgramSpec, SendSignal};
use crate::settings::BackendSettings;
use crate::telemetry::ConnectionLog;
use crate::types::{ConnectionId, Size, printable};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::watch;

/// A connection's container, or the maker of one for each of its programs. A container that serves the whole connection is
/// created when its guest is, and every call waits for it.
///
/// A call that waits tells its [`Progress`] what it waits for: there is no other way for that to reach a user.
pub(crate) trait Guest: Send + Sync {
    /// Starts the program of a `shell`, `exec` or `subsystem` request. Dropping the future gives the program up.
    ///
    /// A `subsystem` request is answered by the result: the program of one that has started exists and runs, and one that
    /// the guest lacks is refused with [`RefusalKind::NotFound`] or [`RefusalKind::NotExecutable`], not started to end with
    /// 127 or 126.
    fn start(&self, program: Permit<ProgramSpec>, progress: Progress) -> BoxFuture<'_, Result<Program, Refusal>>;

    /// Connects to an address inside the guest, as a process there would.
    fn dial(&self, dial: Permit<Dial>, progress: Progress) -> BoxFuture<'_, Result<ForwardedConnection, Refusal>>;

    /// Listens inside the guest.
    fn listen(&self, listen: Permit<Listen>, progress: Progress) -> BoxFuture<'_, Result<GuestListener, Refusal>>;

    /// Waits until programs can start, as [`Guest::start`] does.
    fn ready(&self, progress: Progress) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Waits until the guest can never be used again: whatever ran in it is over.
    fn gone(&self) -> BoxFuture<'_, Refusal>;

    /// The pod of the whole connection as `namespace/name`, once there is one.
    fn pod(&self) -> Option<String> {
        None
    }

    /// Ends the guest and waits until it is gone or the backend has given up. Later calls do nothing.
    fn end(&self) -> BoxFuture<'_, ()>;
}

/// A maker of guests.
pub(crate) trait Backend: Send + Sync {
    /// Makes the guest of one connection, without waiting for its container. It goes when [`Guest::end`] is called or it
    /// is dropped.
    fn guest(&self, arrival: Arrival) -> Arc<dyn Guest>;
}

/// A connection that has logged in and needs a guest.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub id: ConnectionId,
    /// The client's address.
    pub remote: SocketAddr,
    pub identity: Identity,
    pub settings: BackendSettings,
    pub log: ConnectionLog,
    /// The budget for what the guest sends and nobody has taken.
    pub output: OutputBudget,
}

/// The progress of one wait: its last report, one line that a user may read, and whether the request is on its way. Clones
/// are the same progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    reports: watch::Sender<Option<String>>,
    is_sent: Arc<AtomicBool>,
}

impl Progress {
    /// Replaces the last report.
    pub(crate) fn report(&self, reason: String) {
        self.reports.send_replace(Some(reason));
    }

    /// The last report, and those to come.
    pub(crate) fn reports(&self) -> watch::Receiver<Option<String>> {
        self.reports.subscribe()
    }

    /// Notes that the program's request goes out now: from here on, only an answer tells that it does not run.
    pub(crate) fn send(&self) {
        self.is_sent.store(true, Ordering::Release);
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.is_sent.load(Ordering::Acquire)
    }
}

/// The guest of a connection that cannot have one. It refuses everything for the same reason.
#[derive(Debug)]
pub(crate) struct Unavailable(Refusal);

impl Unavailable {
    pub(crate) fn new(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl Guest for Unavailable {
    fn start(&self, _: Permit<ProgramSpec>, _: Progress) -> BoxFuture<'_, Result<Program, Refusal>> {
        Box::pin(ready(Err(self.0.clone())))
    }

    fn dial(&self, _: Permit<Dial>, _: Progress) -> BoxFuture<'_, Result<ForwardedConnection, Refusal>> {
        Box::pin(ready(Err(self.0.clone())))
    }

    fn listen(&self, _: Permit<Listen>, _: Progress) -> BoxFuture<'_, Result<GuestListener, Refusal>> {
        Box::pin(ready(Err(self.0.clone())))
    }

    fn ready(&self, _: Progress) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(ready(Err(self.0.clone())))
    }

    fn gone(&self) -> BoxFuture<'_, Refusal> {
        Box::pin(ready(self.0.clone()))
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// Limit of a reason that a user reads, in characters.
pub(crate) const USER_TEXT_MAX: usize = 400;
/// Limit of a backend's text in the log, in characters.
pub(crate) const LOG_TEXT_MAX: usize = 4096;

/// A guest's refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refusal {
    /// The part of it that decides something; the texts decide nothing.
    pub kind: RefusalKind,
    /// The text for the user: one line, printable, no secrets.
    pub reason: String,
    /// More for the log.
    pub detail: Option<String>,
    /// Set once the log has a line about it at `error`, so that one failure is one line there.
    pub logged: bool,
}

/// The kind of a [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// The container has no such program, or the settings no such subsystem.
    NotFound,
    /// The container has the program, and cannot run it.
    NotExecutable,
    /// The container does not run, so that nothing was started.
    ContainerStopped,
    /// The answer to the request was lost: whether it was carried out is not known.
    Unanswered,
    /// Anything else.
    Other,
}

impl Refusal {
    /// Makes a refusal of the kind [`RefusalKind::Other`]. The user reads at most [`USER_TEXT_MAX`] characters of a reason;
    /// the log has the rest.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        let full = printable(&reason.into(), LOG_TEXT_MAX);
        let reason = printable(&full, USER_TEXT_MAX);
        let detail = (reason != full).then_some(full);
        Self { kind: RefusalKind::Other, reason, detail, logged: false }
    }

    /// Sets the kind.
    pub(crate) fn kind(mut self, kind: RefusalKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sets the kind of one that is no more than the loss of an answer.
    pub(crate) fn unanswered(self) -> Self {
        match self.kind {
            RefusalKind::Other => self.kind(RefusalKind::Unanswered),
            _ => self,
        }
    }

    /// Sets the text for the log.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The exit status of the session: 126 and 127 as a shell's, else 255.
    pub(crate) fn status(&self) -> u8 {
        match self.kind {
            RefusalKind::NotFound => 127,
            RefusalKind::NotExecutable => 126,
            RefusalKind::ContainerStopped | RefusalKind::Unanswered | RefusalKind::Other => 255,
        }
    }
}

/// A running program. Dropping both halves ends it as far as the backend can.
pub(crate) struct Program {
    pub input: Box<dyn ProgramInput>,
    pub output: Box<dyn ProgramOutput>,
}

/// The best length of one write of input, in bytes: with a frame's head before it, it fills sixteen TLS records (RFC 8446
/// section 5.1), an eighth of it two, and begins no other, which a server would read by itself. Smaller frames cost the
/// node more, larger ones no less.
pub(crate) const INPUT_CHUNK: usize = 256 * 1024 - 32;

/// The input of a running program. A write waits until the backend has taken the bytes.
pub(crate) trait ProgramInput: Send {
    /// Writes to stdin.
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Ends stdin; output goes on.
    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Sets the terminal's size.
    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Sends a signal to the program.
    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>>;
    /// The way for sizes and signals that waits for no write; `None` where all that is sent has one order. Made once.
    fn control(&mut self) -> Option<Box<dyn ProgramControl>> {
        None
    }
}

/// The sizes and signals of a running program, beside its input.
pub(crate) trait ProgramControl: Send {
    /// Sets the terminal's size.
    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Sends a signal to the program.
    fn signal(&mut self, signal: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>>;
}

/// The error of a program that takes no more input. It is not a failure of its own: the exit tells what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program takes no more input")]
pub(crate) struct InputClosed;

/// The output of a running program.
pub(crate) trait ProgramOutput: Send {
    /// Waits for the next event. [`OutputEvent::Exit`] is the last one, and the only one behind an [`OutputEvent::End`].
    /// Cancel-safe. A backend holds back an exit that may
    /// be the end of the guest itself until it knows whether the guest lives.
    fn next(&mut self) -> BoxFuture<'_, OutputEvent>;
}

/// An event on a program's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputEvent {
    /// A piece of standard output, or of the terminal's output.
    Stdout(Bytes),
    /// A piece of standard error.
    Stderr(Bytes),
    /// The end of all output of a program that runs on. Not every backend learns of it.
    End,
    /// The end of the program.
    Exit(Exit),
}

/// The end of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It ended with this status.
    Status(u8),
    /// A signal ended it.
    Signal {
        /// The signal's name without SIG.
        name: String,
        /// Set if a core was dumped.
        core: bool,
    },
    /// Its stream ended without a status. Never success.
    Lost(Refusal),
}

/// A connection to or from a socket inside the guest. Dropping both halves closes it.
pub(crate) struct ForwardedConnection {
    pub input: Box<dyn ConnectionInput>,
    pub output: Box<dyn ConnectionOutput>,
}

/// The half of a forwarded connection that writes to the guest.
pub(crate) trait ConnectionInput: Send {
    /// Waits until the guest has taken the bytes.
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Sends the end behind the bytes; the other direction goes on.
    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>>;
}

/// The half of a forwarded connection that reads from the guest.
pub(crate) trait ConnectionOutput: Send {
    /// Waits for the next bytes; `None` is the end. An error is no end: bytes of the connection may be missing. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, Refusal>>;
}

/// A listener inside the guest. Dropping it closes the socket; its connections stay.
pub(crate) struct GuestListener {
    pub address: ListenerAddress,
    pub accepted: Box<dyn AcceptedConnections>,
}

/// The connections that come to a listener.
pub(crate) trait AcceptedConnections: Send {
    /// Waits for the next one; `None` is the end of the listener. Cancel-safe.
    fn next(&mut self) -> BoxFuture<'_, Option<Accepted>>;
    /// Closes the socket, and waits until the guest has closed it. No connection comes afterwards.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// A connection that came to a listener.
pub(crate) struct Accepted {
    /// The address and port of the peer, as the guest says; empty and 0 for a Unix socket.
    pub origin: (String, u16),
    pub connection: ForwardedConnection,
}

/// The address of a listener inside the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenerAddress {
    /// A TCP port, chosen by the guest's system if 0 was asked for.
    Port(u16),
    /// The path of a Unix socket.
    Path(String),
    /// An X11 display.
    Display {
        /// The value of `DISPLAY`.
        display: String,
        /// The value of `XAUTHORITY`: the path of the file with the cookie.
        authority: String,
    },
}
