//! The one face of every backend. A [`Guest`] stands for one connection's container, before and after it runs; a
//! [`Program`] for one thing that runs in it. Nothing starts, dials or listens without a [`Permit`].
//!
//! A stream that ends without a status is [`Exit::Lost`], never success.

use crate::auth::Identity;
use crate::policy::{Dial, Launch, Listen, Permit};
use crate::settings::Settings;
use crate::telemetry::ConnectionLog;
use crate::types::{ConnectionId, Size, printable};
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::future::ready;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// A connection's container, or what makes one for each of its programs. Where it is one, the backend starts to make it
/// when the guest is made, and every call waits for it.
pub trait Guest: Send + Sync {
    /// Starts a program. What a person who waits for it may want to know goes to `news`, one line at a time. Dropping the
    /// future gives the program up.
    fn start(
        &self,
        launch: Permit<Launch>,
        news: watch::Sender<Option<String>>,
    ) -> BoxFuture<'_, Result<Program, Refusal>>;

    /// Opens a connection from inside the guest.
    fn dial(&self, dial: Permit<Dial>) -> BoxFuture<'_, Result<Box<dyn Stream>, Refusal>>;

    /// Listens inside the guest.
    fn listen(&self, listen: Permit<Listen>) -> BoxFuture<'_, Result<Box<dyn Listener>, Refusal>>;

    /// Writes a file of the identity's inside the guest, mode 0600.
    fn write_file(&self, path: String, content: Bytes) -> BoxFuture<'_, Result<(), Refusal>>;

    /// Where the guest stands; changes are news for a waiting user and end what runs when it is [`State::Gone`].
    fn state(&self) -> watch::Receiver<State>;

    /// Ends the guest and waits until it is gone or the backend has given up. Later calls do nothing.
    fn end(&self) -> BoxFuture<'_, ()>;
}

/// What makes guests.
pub trait Backend: Send + Sync {
    /// A guest for one connection. It is being made when this returns; it goes when [`Guest::end`] is called or it is
    /// dropped.
    fn guest(&self, arrival: Arrival) -> Arc<dyn Guest>;
}

/// A connection that has logged in and wants its guest.
#[derive(Debug)]
pub struct Arrival {
    /// The connection's id.
    pub id: ConnectionId,
    /// The client's address.
    pub remote: SocketAddr,
    /// Who it is.
    pub identity: Identity,
    /// What it gets.
    pub settings: Arc<Settings>,
    /// Where its lines go.
    pub log: ConnectionLog,
}

/// The guest of a connection that cannot have one: it says why to whoever asks.
#[derive(Debug)]
pub struct Unavailable {
    refusal: Refusal,
    state: watch::Sender<State>,
}

impl Unavailable {
    /// A guest that is gone from the start.
    #[must_use]
    pub fn new(refusal: Refusal) -> Self {
        Self { state: watch::Sender::new(State::Gone(refusal.clone())), refusal }
    }
}

impl Guest for Unavailable {
    fn start(&self, _: Permit<Launch>, _: watch::Sender<Option<String>>) -> BoxFuture<'_, Result<Program, Refusal>> {
        Box::pin(ready(Err(self.refusal.clone())))
    }

    fn dial(&self, _: Permit<Dial>) -> BoxFuture<'_, Result<Box<dyn Stream>, Refusal>> {
        Box::pin(ready(Err(self.refusal.clone())))
    }

    fn listen(&self, _: Permit<Listen>) -> BoxFuture<'_, Result<Box<dyn Listener>, Refusal>> {
        Box::pin(ready(Err(self.refusal.clone())))
    }

    fn write_file(&self, _: String, _: Bytes) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(ready(Err(self.refusal.clone())))
    }

    fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(ready(()))
    }
}

/// Where a guest stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Being made. The text is what a waiting person may want to know, one line.
    Starting(Option<String>),
    /// Programs can start.
    Ready,
    /// It will never be ready (again): everything that ran in it is over.
    Gone(Refusal),
}

/// The longest reason that a user reads, in characters.
pub const SHOWN: usize = 400;
/// The longest text of Kubernetes' that the log has, in characters.
pub const WHOLE: usize = 4096;

/// Why something cannot be had from a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What the user may read: one line, no secrets, printable.
    pub reason: String,
    /// What the session ends with: 255, or 126 and 127 where a shell would say them.
    pub status: u8,
    /// What the log says beside the reason.
    pub detail: Option<String>,
    /// Set once the log has a line about it at `error`, so that one failure is one line there.
    pub logged: bool,
}

impl Refusal {
    /// A refusal that ends the session with 255. A reason above 400 characters is cut for the user, and whole in the log.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        let whole = printable(&reason.into(), WHOLE);
        let reason = printable(&whole, SHOWN);
        let detail = (reason != whole).then_some(whole);
        Self { reason, status: 255, detail, logged: false }
    }

    /// The same with more for the log.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// Both directions of a dialled or accepted connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listener inside the guest.
pub trait Listener: Send {
    /// The next connection that the guest accepted; `None` when the listener is over.
    fn accept(&mut self) -> BoxFuture<'_, Option<Box<dyn Stream>>>;
}

/// A running program. Dropping both halves ends it as far as the backend can.
pub struct Program {
    /// What goes to it.
    pub input: Box<dyn Input>,
    /// What comes from it.
    pub output: Box<dyn Output>,
}

/// How many bytes of input are best handed over at a time: with a frame's head before them they fill sixteen TLS records
/// (RFC 8446 section 5.1), an eighth of them two, and begin no other, which a server would read by itself. Smaller frames
/// cost the node more, larger ones no less.
pub const PIECE: usize = 256 * 1024 - 32;

/// The way to a running program. A write waits until the backend has taken the bytes.
pub trait Input: Send {
    /// Hands over a piece of stdin.
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Ends stdin; output goes on.
    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Tells the terminal's new size.
    fn resize(&mut self, size: Size) -> BoxFuture<'_, Result<(), InputClosed>>;
    /// Sends a signal (name without SIG, RFC 4254 section 6.10) to the program.
    fn signal(&mut self, name: String) -> BoxFuture<'_, Result<(), Refusal>>;
}

/// The program takes nothing any more. Not a failure of its own: the exit tells what happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the program takes no more input")]
pub struct InputClosed;

/// The way from a running program.
pub trait Output: Send {
    /// The next thing that it said. After [`Said::Exit`] there is nothing more to ask for. Cancel-safe. An exit that may be
    /// the guest's own end is held back until that is told, or until the guest is known to live.
    fn next(&mut self) -> BoxFuture<'_, Said>;
}

/// One thing that a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A piece of standard output, or of the terminal.
    Stdout(Bytes),
    /// A piece of standard error.
    Stderr(Bytes),
    /// The end.
    Exit(Exit),
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// With a status.
    Status(u8),
    /// By a signal.
    Signal {
        /// The signal's name without SIG.
        name: String,
        /// Whether a core was dumped.
        core: bool,
    },
    /// Nobody knows: the stream ended without a status. Never success.
    Lost(Refusal),
}
