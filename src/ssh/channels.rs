//! The open channels of one connection, by number. The parts that every kind of channel has are here once: the inbox for
//! the client's data, the guard that ends the channel's task, and the account of the bytes that all inboxes hold.

use super::bandwidth::Bandwidth;
use super::connection_use::{ConnectionUse, UsedChannel};
use super::window::{ChannelWindow, PacketVerdict, ReceiveWindows};
use crate::policy::{Listen, Permit, SendSignal, SetEnv, Terminal};
use crate::session::inbox::{Inbox, InboxBudget};
use crate::session::{GrantedBytes, IdentityQueue, ProgramDecision, PromisedListener, QueueUse};
use crate::types::{EnvVar, Size};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The time for which a packet of a trickle waits for the inboxes to drain.
const TRICKLE_WAIT: Duration = Duration::from_millis(10);
/// The most channels that share this time, so that an answer to the client does not wait for all that trickle.
const TRICKLES: usize = 8;
/// Limit of the signals that wait for a program to take them; more are dropped.
const SIGNALS_MAX: usize = 16;

/// The channels of one connection. `K` is the number of a channel.
pub(super) struct ChannelTable<K> {
    channels: HashMap<K, Channel>,
    budget: InboxBudget,
    windows: ReceiveWindows,
    /// The limit of what the client sends.
    bandwidth: Bandwidth,
    /// The bytes that the client may still send, for its identity's account.
    granted: GrantedBytes,
    used: Arc<ConnectionUse>,
}

/// An open channel. Dropping it ends the channel's task.
struct Channel {
    inbox: Inbox,
    window: ChannelWindow,
    /// Set once somebody takes the client's data; data that comes before is dropped, as sshd drops it.
    takes_data: bool,
    /// Set if the task takes what the client sent before it closed the channel.
    drains: bool,
    kind: ChannelKind,
    done: CancellationToken,
    _close: DropGuard,
}

/// The part of a channel that depends on its kind.
pub(super) enum ChannelKind {
    Session(Box<SessionHandle>),
    /// A forwarded connection, to the guest or from it.
    Forward,
}

/// The guards of a channel's task, which holds them as long as it runs.
pub(super) struct ChannelGuards {
    /// Cancelled when the task must end.
    pub(super) closed: CancellationToken,
    _done: DropGuard,
    _used: UsedChannel,
}

/// The task ends with its channel, a moment later; bytes that nobody will take do not count against the other channels
/// meanwhile.
impl Drop for Channel {
    fn drop(&mut self) {
        if !self.drains {
            self.inbox.refuse();
        }
    }
}

impl<K: Eq + Hash> ChannelTable<K> {
    /// Makes the table of a connection, whose use it records. The connections of its identity may hold `max_queued` bytes;
    /// of these a quarter is memory that is kept for later. The client may send `rate` bytes a second.
    pub(super) fn new(
        used: Arc<ConnectionUse>,
        identity: Arc<IdentityQueue>,
        (max_queued, rate): (usize, Option<u64>),
    ) -> Self {
        let bandwidth = Bandwidth::new(rate);
        Self {
            channels: HashMap::new(),
            budget: InboxBudget::of(identity.clone(), max_queued / 4),
            windows: ReceiveWindows::new(max_queued, bandwidth.burst()),
            bandwidth,
            granted: GrantedBytes::of(identity),
            used,
        }
    }

    /// Adds a channel. Its task gets the inbox and the guards, and must end when `connection` does.
    pub(super) fn open(&mut self, id: K, kind: ChannelKind, connection: &CancellationToken) -> (Inbox, ChannelGuards) {
        self.channels.retain(|_, channel| !channel.done.is_cancelled());
        let (inbox, done) = (Inbox::new(self.budget.clone()), CancellationToken::new());
        let closed = connection.child_token();
        let close = closed.clone().drop_guard();
        let guards = ChannelGuards { closed, _done: done.clone().drop_guard(), _used: self.used.open_channel() };
        let takes_data = matches!(kind, ChannelKind::Forward);
        let window = ChannelWindow::new();
        let channel = Channel { inbox: inbox.clone(), window, takes_data, drains: false, kind, done, _close: close };
        self.channels.insert(id, channel);
        self.count_granted();
        (inbox, guards)
    }

    /// The bytes that the client may still send on all channels.
    fn left(&self) -> usize {
        let open = self.channels.values().filter(|channel| !channel.done.is_cancelled());
        open.map(|channel| channel.window.left()).sum()
    }

    fn queue_use(&self) -> QueueUse {
        QueueUse { is_over_rate: !self.bandwidth.debt().is_zero(), ..self.budget.in_use() }
    }

    fn count_granted(&mut self) {
        let promised = self.windows.promised(self.left());
        self.granted.set(promised);
    }

    /// Tells whether the table has a channel with that number.
    pub(super) fn has(&self, id: &K) -> bool {
        self.channels.contains_key(id)
    }

    /// Removes a channel that the client has closed. One that is not there is ignored.
    pub(super) fn close(&mut self, id: &K) {
        let Some(mut channel) = self.channels.remove(id) else { return };
        self.count_granted();
        if matches!(channel.kind, ChannelKind::Forward) {
            channel.inbox.end();
            channel.drains = true;
        }
    }

    /// Notes that the client will send no more data on a channel.
    pub(super) fn end_of_data(&self, id: &K) {
        if let Some(channel) = self.channels.get(id) {
            channel.inbox.end();
        }
    }

    /// Takes a packet of data and judges it by the window. Data for no channel, or for one whose data nobody takes, is
    /// dropped.
    pub(super) fn receive(&mut self, id: &K, data: &[u8]) -> PacketVerdict {
        self.bandwidth.count(data.len());
        let Some(channel) = self.channels.get_mut(id) else { return PacketVerdict::InTime };
        if channel.takes_data {
            channel.inbox.push(data);
        }
        let queued = QueueUse { is_over_rate: !self.bandwidth.debt().is_zero(), ..self.budget.in_use() };
        self.windows.judge(&mut channel.window, data.len(), queued)
    }

    /// Judges a packet whose data nobody wants by the window.
    pub(super) fn ignore(&mut self, id: &K, length: usize) -> PacketVerdict {
        let Some(channel) = self.channels.get_mut(id) else { return PacketVerdict::InTime };
        self.windows.skip(&mut channel.window, length)
    }

    /// Notes that russh has re-opened a channel's window to `size`, on behalf of the packet that comes next. Returns the size
    /// to which windows are re-opened from the next time on.
    pub(super) fn window_reopened(&mut self, id: &K, size: u32) -> u32 {
        let has_taken = self.channels.get_mut(id).is_some_and(|channel| {
            channel.window.reopen(size);
            channel.inbox.has_taken()
        });
        let (left, granted) = (self.left(), self.granted.bytes());
        let target = self.windows.next(self.queue_use(), (left, granted), has_taken);
        self.granted.set(self.windows.promised(left));
        target
    }

    /// Lets a packet of a trickle wait until the inboxes have drained, so that a slow client costs no processor time.
    pub(super) async fn wait_for_drain(&self) {
        let drained = async {
            while self.windows.is_pressed(self.queue_use()) {
                self.budget.drained().await;
            }
        };
        // Elapsed is the usual end: the trickle goes on.
        let _ = timeout(TRICKLE_WAIT / self.channels.len().clamp(1, TRICKLES) as u32, drained).await;
    }

    /// The session with that number.
    pub(super) fn session(&mut self, id: &K) -> Option<&mut SessionHandle> {
        match &mut self.channels.get_mut(id)?.kind {
            ChannelKind::Session(session) => Some(session),
            ChannelKind::Forward => None,
        }
    }

    /// Hands the decision on a `shell`, `exec` or `subsystem` request to the session's task, which takes data from now on.
    /// A decision beside another one does nothing.
    pub(super) fn begin_program(&mut self, id: &K, decision: ProgramDecision) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        let ChannelKind::Session(session) = &mut channel.kind else { return };
        if session.is_idle.swap(false, Ordering::AcqRel) {
            channel.takes_data = true;
            // The task is gone only if the connection is.
            let _ = session.decisions.try_send(decision);
        }
    }
}

/// The callbacks' side of a session channel: its requests so far, and the way to its task.
pub(super) struct SessionHandle {
    terminal: Option<Permit<Terminal>>,
    env: Vec<Permit<EnvVar>>,
    env_bytes: usize,
    agent: Option<PromisedListener>,
    x11: Option<PromisedListener>,
    decisions: mpsc::Sender<ProgramDecision>,
    /// False from a decision on; a task that refuses a subsystem sets it again.
    is_idle: Arc<AtomicBool>,
    size: watch::Sender<Size>,
    signals: mpsc::Sender<Permit<SendSignal>>,
    /// Cancelled when the session is over.
    over: CancellationToken,
}

/// The task's side of a session channel.
pub(super) struct SessionReceivers {
    pub(super) decisions: mpsc::Receiver<ProgramDecision>,
    pub(super) is_idle: Arc<AtomicBool>,
    pub(super) size: watch::Receiver<Size>,
    pub(super) signals: mpsc::Receiver<Permit<SendSignal>>,
    /// Cancels what belongs to the session when it is dropped.
    pub(super) over: DropGuard,
}

impl SessionHandle {
    /// Makes both sides of a session on a connection.
    pub(super) fn new(connection: &CancellationToken) -> (Self, SessionReceivers) {
        let (decisions, decided) = mpsc::channel(1);
        let is_idle = Arc::new(AtomicBool::new(true));
        let (size, resized) = watch::channel(Size::default());
        let (signals, signalled) = mpsc::channel(SIGNALS_MAX);
        let over = connection.child_token();
        let receivers = SessionReceivers {
            decisions: decided,
            is_idle: is_idle.clone(),
            size: resized,
            signals: signalled,
            over: over.clone().drop_guard(),
        };
        let handle = Self {
            terminal: None,
            env: Vec::new(),
            env_bytes: 0,
            agent: None,
            x11: None,
            decisions,
            is_idle,
            size,
            signals,
            over,
        };
        (handle, receivers)
    }

    /// Tells whether the session waits for a `shell`, `exec` or `subsystem` request.
    pub(super) fn is_idle(&self) -> bool {
        self.is_idle.load(Ordering::Acquire)
    }

    /// Tells whether the session can still get a terminal.
    pub(super) fn can_get_terminal(&self) -> bool {
        self.is_idle() && self.terminal.is_none()
    }

    pub(super) fn set_terminal(&mut self, terminal: Permit<Terminal>) {
        self.terminal = Some(terminal);
    }

    /// The token that is cancelled when the session is over.
    pub(super) fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    /// Tells whether the session can still be promised a listener.
    pub(super) fn can_be_promised(&self, listen: &Listen) -> bool {
        let promised = if *listen == Listen::Agent { &self.agent } else { &self.x11 };
        self.is_idle() && promised.is_none()
    }

    /// Keeps an agent's socket for the program.
    pub(super) fn promise_agent(&mut self, listener: PromisedListener) {
        self.agent = Some(listener);
    }

    /// Keeps an X11 display for the program.
    pub(super) fn promise_x11(&mut self, listener: PromisedListener) {
        self.x11 = Some(listener);
    }

    /// Takes the program's listeners.
    pub(super) fn take_promised(&mut self) -> Vec<PromisedListener> {
        self.agent.take().into_iter().chain(self.x11.take()).collect()
    }

    /// The request to set a variable beside those that the session has.
    pub(super) fn set_env(&self, name: &str, value: &str) -> SetEnv {
        SetEnv { name: name.to_owned(), value: value.to_owned(), held: self.env.len(), held_bytes: self.env_bytes }
    }

    /// Keeps a variable for the program.
    pub(super) fn keep_env(&mut self, variable: Permit<EnvVar>) {
        self.env_bytes += variable.request().name().as_str().len() + variable.request().value().len();
        self.env.push(variable);
    }

    /// Takes the program's variables and its terminal.
    pub(super) fn take_permits(&mut self) -> (Vec<Permit<EnvVar>>, Option<Permit<Terminal>>) {
        (std::mem::take(&mut self.env), self.terminal.take())
    }

    /// Sets the terminal's size: before the program is requested it is the program's first one.
    pub(super) fn resize(&mut self, size: Size) {
        match &mut self.terminal {
            Some(terminal) => terminal.resize(size),
            None => drop(self.size.send_replace(size)),
        }
    }

    /// Hands a signal to the program; false if too many wait.
    pub(super) fn signal(&self, signal: Permit<SendSignal>) -> bool {
        self.signals.try_send(signal).is_ok()
    }
}

#[cfg(test)]
mod tests;
