//! One session channel as the SSH side holds it: the port that the callbacks talk into, and the face through which its
//! task talks to the client.

use crate::policy::{Permit, SetEnv, Terminal};
use crate::registry::OpenChannel;
use crate::session::inbox::{Budget, Inbox};
use crate::session::{Begin, Client, ClientExit, ClientGone};
use crate::types::{EnvVar, Size};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf, Sig};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Signals that wait for a program to take them; more are dropped.
const SIGNALS: usize = 16;
/// `SSH_EXTENDED_DATA_STDERR` (RFC 4254 section 5.2).
const STDERR: u32 = 1;

/// What the callbacks hold of a channel. Dropping it ends the channel's task.
pub(super) struct Port {
    pub(super) inbox: Inbox,
    pub(super) terminal: Option<Permit<Terminal>>,
    env: Vec<Permit<EnvVar>>,
    env_bytes: usize,
    begin: Option<oneshot::Sender<Begin>>,
    size: watch::Sender<Size>,
    signals: mpsc::Sender<String>,
    done: CancellationToken,
    _close: DropGuard,
}

/// The other ends of a port, for the channel's task.
pub(super) struct Ends {
    pub(super) begin: oneshot::Receiver<Begin>,
    pub(super) size: watch::Receiver<Size>,
    pub(super) signals: mpsc::Receiver<String>,
    pub(super) life: Life,
}

/// How long the channel's task may run, and the news that it has ended.
pub(super) struct Life {
    pub(super) closed: CancellationToken,
    _done: DropGuard,
    _open: OpenChannel,
}

impl Port {
    /// A port and its ends. The task ends when `connection` does, too.
    pub(super) fn new(budget: &Budget, open: OpenChannel, connection: &CancellationToken) -> (Self, Ends) {
        let (begin, begun) = oneshot::channel();
        let (size, resized) = watch::channel(Size::default());
        let (signals, signalled) = mpsc::channel(SIGNALS);
        let closed = connection.child_token();
        let done = CancellationToken::new();
        let port = Self {
            inbox: Inbox::new(budget.clone()),
            env: Vec::new(),
            env_bytes: 0,
            terminal: None,
            begin: Some(begin),
            size,
            signals,
            done: done.clone(),
            _close: closed.clone().drop_guard(),
        };
        let life = Life { closed, _done: done.drop_guard(), _open: open };
        (port, Ends { begin: begun, size: resized, signals: signalled, life })
    }

    /// Whether nothing was asked to run yet.
    pub(super) fn idle(&self) -> bool {
        self.begin.is_some()
    }

    /// What it takes to set a variable beside those that the channel holds.
    pub(super) fn set_env(&self, name: &str, value: &str) -> SetEnv {
        SetEnv { name: name.to_owned(), value: value.to_owned(), held: self.env.len(), held_bytes: self.env_bytes }
    }

    /// Keeps a variable for the program.
    pub(super) fn hold_env(&mut self, variable: Permit<EnvVar>) {
        self.env_bytes += variable.request().name().as_str().len() + variable.request().value().len();
        self.env.push(variable);
    }

    /// What was kept for the program: its variables and its terminal.
    pub(super) fn take(&mut self) -> (Vec<Permit<EnvVar>>, Option<Permit<Terminal>>) {
        (std::mem::take(&mut self.env), self.terminal.take())
    }

    /// Whether the channel's task has ended.
    pub(super) fn done(&self) -> bool {
        self.done.is_cancelled()
    }

    /// Begins the program; a second time nothing happens.
    pub(super) fn begin(&mut self, begin: Begin) {
        if let Some(sender) = self.begin.take() {
            // The task is gone only where the connection is.
            let _ = sender.send(begin);
        }
    }

    /// Tells the terminal's size, before or after the start.
    pub(super) fn resize(&self, size: Size) {
        self.size.send_replace(size);
    }

    /// Hands a signal on; false when too many wait.
    pub(super) fn signal(&self, name: String) -> bool {
        self.signals.try_send(name).is_ok()
    }
}

/// The channel's task ends with its port, a moment later; what nobody will take is not held against the other channels
/// meanwhile.
impl Drop for Port {
    fn drop(&mut self) {
        self.inbox.refuse();
    }
}

/// The client's side of a channel over russh. Its write half waits for the client's window, where the handle's own `data`
/// would stop the output of every channel at one stalled one.
pub(super) struct Face {
    pub(super) write: ChannelWriteHalf<Msg>,
    pub(super) handle: Handle,
    pub(super) id: ChannelId,
}

impl Client for Face {
    fn stdout(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move { self.write.data_bytes(data).await.map_err(|_| ClientGone) })
    }

    fn stderr(&self, data: Bytes) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move { self.write.extended_data_bytes(STDERR, data).await.map_err(|_| ClientGone) })
    }

    /// In OpenSSH's order: the exit, EOF, CLOSE. All go through the queue that the data went through.
    fn end(&self, exit: ClientExit) -> BoxFuture<'_, Result<(), ClientGone>> {
        Box::pin(async move {
            match exit {
                ClientExit::Status(status) => {
                    self.write.exit_status(u32::from(status)).await.map_err(|_| ClientGone)?;
                }
                ClientExit::Signal { name, core } => {
                    let signal = signal_from(&name);
                    let told = self.handle.exit_signal_request(self.id, signal, core, String::new(), String::new());
                    told.await.map_err(|_| ClientGone)?;
                }
            }
            self.write.eof().await.map_err(|_| ClientGone)?;
            self.write.close().await.map_err(|_| ClientGone)
        })
    }
}

/// RFC 4254 section 6.10's name of a signal.
pub(super) fn signal_name(signal: &Sig) -> &str {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
}

fn signal_from(name: &str) -> Sig {
    let known = [
        Sig::ABRT,
        Sig::ALRM,
        Sig::FPE,
        Sig::HUP,
        Sig::ILL,
        Sig::INT,
        Sig::KILL,
        Sig::PIPE,
        Sig::QUIT,
        Sig::SEGV,
        Sig::TERM,
        Sig::USR1,
    ];
    known.into_iter().find(|signal| signal_name(signal) == name).unwrap_or_else(|| Sig::Custom(name.to_owned()))
}
