//! A process of ContainerSSH's agent in the mode `forward-server`, and the connections that it carries.
//!
//! Each dial and each listener has a process of its own: the protocol has no windows, so that one connection which nobody
//! reads stops all others of its process, and ContainerSSH's agent can hang for good between the two directions of one.
//!
//! Invariants: what a process holds is bounded in bytes, both ways; an agent that breaks the protocol loses its process;
//! a process ends once nobody uses it, by itself or by a signal.

mod connection;
mod listener;

use super::exchange::{Exchange, Received};
use super::packet::{NewConnection, Packet, PacketError, PacketReader, PacketType, Setup};
use super::{ContainerSshAgent, PidOutput};
use crate::guest::{ForwardedConnection, GuestListener, INPUT_CHUNK, ListenerAddress, Program, Refusal};
use crate::kubernetes::pod::agent::carrier::{ProgramCarrier, carrier};
use crate::link::carrier::{CarrierLost, CarrierReceiver, CarrierSender};
use crate::program::LOST;
use bytes::{Bytes, BytesMut};
use connection::OpenConnection;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Limit of the data that waits for the agent, and of the data that waits for its readers, in bytes.
const WAITING_MAX: usize = 512 * 1024;
/// The cost of one piece beyond its bytes.
const PIECE: usize = 256;
/// Limit of the packets without data that wait for the agent.
const ANSWERS_MAX: usize = 1024;
/// The time that a process has to take its last packets, and then to end by itself.
const END: Duration = Duration::from_secs(2);
/// The time for the signal that ends one that does not.
const KILL: Duration = Duration::from_secs(10);

/// A process that is in use. The last of its users ends it.
pub(super) struct ForwardServer {
    shared: Arc<Shared>,
    _unused: DropGuard,
}

struct Shared {
    state: Mutex<State>,
    /// Told whenever the state has changed.
    changed: Notify,
    outgoing: UnboundedSender<Outgoing>,
    room: Arc<Semaphore>,
}

struct State {
    exchange: Exchange,
    /// The readers of open connections.
    readers: HashMap<u64, UnboundedSender<Piece>>,
    /// The connections that came and nobody has taken, and where they are from.
    offers: VecDeque<(u64, (String, u16))>,
    /// Packets without data that wait for the agent.
    answers: usize,
    /// The reason for which the process is over, once it is.
    over: Option<String>,
}

/// A packet that waits for the agent, and the room that its data takes.
struct Outgoing {
    packet: Packet,
    room: Option<OwnedSemaphorePermit>,
}

/// A piece of what came on a connection.
enum Piece {
    /// The agent has made the connection.
    Opened,
    Data(Bytes, OwnedSemaphorePermit),
    End,
}

/// The end of a process.
#[derive(Debug, thiserror::Error)]
enum ProcessEnd {
    #[error("{0}")]
    Carrier(#[from] CarrierLost),
    #[error("ContainerSSH's agent broke its protocol: {0}")]
    Protocol(#[from] PacketError),
    #[error("nobody uses it")]
    Unused,
}

impl ForwardServer {
    /// Starts a process. It has taken its set-up when this returns.
    pub(super) async fn start(
        agent: &ContainerSshAgent,
        setup: &Setup,
        env: Option<String>,
        listens: bool,
    ) -> Result<Arc<Self>, Refusal> {
        let mut argv = vec![agent.path.to_string(), "console".to_owned(), "--pid".to_owned()];
        argv.extend(env.into_iter().flat_map(|variable| ["--env".to_owned(), variable]));
        argv.extend(["--", &*agent.path, "forward-server"].map(str::to_owned));
        let program = agent.container.helper(&argv, agent.within).await?;
        let (told, pid) = watch::channel(None);
        let output = PidOutput::new(program.output, told, false);
        let program = Program { input: program.input, output: Box::new(output) };
        let carrier = carrier(program, Bytes::new(), agent.log.clone());
        let (server, task) = Self::over(carrier, listens);
        let agent_of_task = agent.clone();
        agent.tasks.spawn(async move {
            let is_over = task.await;
            let pid = *pid.borrow();
            if let (false, Some(pid)) = (is_over, pid) {
                // A container that is gone has no process left.
                let _ = agent_of_task.signal(pid, "KILL", KILL).await;
            }
        });
        server.shared.tell([setup.packet()]);
        let ready = server.shared.until(|state| state.is_over_or(state.exchange.is_ready()));
        match timeout(agent.within, ready).await {
            Ok(Ok(())) => Ok(server),
            Ok(Err(reason)) => Err(Refusal::new("ContainerSSH's agent does not forward").detail(reason)),
            Err(_elapsed) => Err(Refusal::new("ContainerSSH's agent does not answer")),
        }
    }

    /// Serves a process that runs. The future drives it, and tells in the end if it is known to be over.
    fn over(carrier: ProgramCarrier, listens: bool) -> (Arc<Self>, impl Future<Output = bool> + Send + use<>) {
        let (outgoing, queue) = unbounded_channel();
        let state = State {
            exchange: Exchange::new(listens),
            readers: HashMap::new(),
            offers: VecDeque::new(),
            answers: 0,
            over: None,
        };
        let room = Arc::new(Semaphore::new(WAITING_MAX));
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), outgoing, room });
        let unused = CancellationToken::new();
        let server = Self { shared: Arc::clone(&shared), _unused: unused.clone().drop_guard() };
        (Arc::new(server), drive(shared, carrier, queue, unused))
    }

    /// Connects to an address inside the guest.
    pub(super) async fn dial(self: Arc<Self>, new: &NewConnection) -> Result<ForwardedConnection, Refusal> {
        let (id, mut pieces) = self.shared.ask(new);
        let connection = OpenConnection::new(self, id);
        match pieces.recv().await {
            Some(Piece::Opened | Piece::Data(..)) => {}
            Some(Piece::End) => {
                let reason = "the connection cannot be made, for a reason that ContainerSSH's agent does not tell";
                return Err(Refusal::new(reason));
            }
            None => return Err(connection.shared().lost()),
        }
        Ok(connection::forwarded(connection, pieces))
    }

    /// Waits until the process listens.
    pub(super) async fn listener(
        self: Arc<Self>,
        address: ListenerAddress,
        within: Duration,
    ) -> Result<GuestListener, Refusal> {
        self.shared.tell([Exchange::prove_listening()]);
        let listens = self.shared.until(|state| state.is_over_or(state.exchange.listens()));
        match timeout(within, listens).await {
            Ok(Ok(())) => Ok(listener::listener(self, address)),
            Ok(Err(reason)) => Err(Refusal::new("ContainerSSH's agent cannot listen there").detail(reason)),
            Err(_elapsed) => Err(Refusal::new("ContainerSSH's agent does not answer")),
        }
    }
}

impl State {
    /// `None` until the condition holds, or the process is over: then the reason.
    fn is_over_or(&self, holds: bool) -> Option<Result<(), String>> {
        if holds { Some(Ok(())) } else { self.over.clone().map(Err) }
    }
}

impl Shared {
    /// The refusal of what was under way when the process ended.
    fn lost(&self) -> Refusal {
        Refusal::new(LOST).detail(self.state.lock().over.clone().unwrap_or_default())
    }

    /// Waits until `look` finds something; it is called anew whenever the state has changed.
    async fn until<T>(&self, mut look: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let found = look(&mut self.state.lock());
            if let Some(found) = found {
                return found;
            }
            changed.await;
        }
    }

    /// Waits until the agent has taken all data.
    async fn has_sent(&self) {
        self.until(|_| (self.room.available_permits() == WAITING_MAX).then_some(())).await;
    }

    /// Queues packets without data.
    fn tell(&self, packets: impl IntoIterator<Item = Packet>) {
        for packet in packets {
            self.state.lock().answers += 1;
            // The task that would send it has ended.
            let _ = self.outgoing.send(Outgoing { packet, room: None });
        }
    }

    /// Asks for a connection, and for no other after it.
    fn ask(&self, new: &NewConnection) -> (u64, UnboundedReceiver<Piece>) {
        let (sender, pieces) = unbounded_channel();
        let (id, asked) = {
            let mut state = self.state.lock();
            let (id, asked) = state.exchange.ask(new);
            state.readers.insert(id, sender);
            (id, asked)
        };
        // So that the process ends with the connection.
        self.tell([asked, Packet::new(PacketType::NoMoreConnections, 0)]);
        (id, pieces)
    }

    /// Accepts a connection that was offered; `None` if it is over.
    fn accept(&self, id: u64) -> Option<UnboundedReceiver<Piece>> {
        let (sender, pieces) = unbounded_channel();
        let accepted = {
            let mut state = self.state.lock();
            let accepted = state.exchange.accept(id)?;
            state.readers.insert(id, sender);
            accepted
        };
        self.tell([accepted]);
        Some(pieces)
    }

    fn close(&self, id: u64) {
        let closed = {
            let mut state = self.state.lock();
            state.readers.remove(&id);
            state.exchange.close(id)
        };
        self.tell(closed);
    }

    fn stop_listening(&self) {
        let packets = {
            let mut state = self.state.lock();
            state.offers.clear();
            state.exchange.stop_listening()
        };
        self.tell(packets);
    }

    /// Takes what came from the agent; waits for the readers of its data.
    async fn take(&self, packet: Packet, waiting: &Arc<Semaphore>) -> Result<(), PacketError> {
        let (received, answer, reader) = {
            let mut state = self.state.lock();
            let (received, answer) = state.exchange.receive(packet)?;
            if answer.is_some() && state.answers >= ANSWERS_MAX {
                return Err(PacketError::Flood);
            }
            let reader = match &received {
                Received::Data(id, _) | Received::Opened(id) => state.readers.get(id).cloned(),
                Received::Ended(id) => {
                    state.offers.retain(|(offered, _)| offered != id);
                    state.readers.remove(id)
                }
                Received::Nothing => None,
                Received::Offered(id, origin) => {
                    let offer = (*id, origin.clone());
                    state.offers.push_back(offer);
                    None
                }
            };
            (received, answer, reader)
        };
        self.tell(answer);
        // A reader that is gone takes no more.
        match (received, reader) {
            (Received::Data(_, data), Some(reader)) => {
                let size = u32::try_from(data.len() + PIECE).unwrap_or(u32::MAX);
                if let Ok(room) = Arc::clone(waiting).acquire_many_owned(size).await {
                    let _ = reader.send(Piece::Data(data, room));
                }
            }
            (Received::Opened(_), Some(reader)) => drop(reader.send(Piece::Opened)),
            (Received::Ended(_), Some(reader)) => {
                let _ = reader.send(Piece::End);
                self.changed.notify_waiters();
            }
            (Received::Data(..) | Received::Opened(_) | Received::Ended(_), None) => {}
            (Received::Nothing | Received::Offered(..), _) => self.changed.notify_waiters(),
        }
        Ok(())
    }

    fn set_over(&self, reason: &str) {
        let mut state = self.state.lock();
        state.over = Some(reason.to_owned());
        state.readers.clear();
        state.offers.clear();
        drop(state);
        self.room.close();
        self.changed.notify_waiters();
    }
}

/// Drives a process until it ends or nobody uses it; returns false if it may still be there.
async fn drive(
    shared: Arc<Shared>,
    carrier: ProgramCarrier,
    mut queue: UnboundedReceiver<Outgoing>,
    unused: CancellationToken,
) -> bool {
    let ProgramCarrier { mut sender, mut receiver, report } = carrier;
    report.forget();
    let over = CancellationToken::new();
    let mut sending = pin!(send(&shared, sender.as_mut(), &mut queue, &over));
    let mut receiving = pin!(receive(&shared, receiver.as_mut()));
    let end = tokio::select! {
        end = &mut receiving => end,
        lost = &mut sending => lost.into(),
        () = unused.cancelled() => ProcessEnd::Unused,
    };
    shared.set_over(&end.to_string());
    over.cancel();
    if matches!(end, ProcessEnd::Unused) {
        // What clients have sent is still for the guest: also a send that has begun goes on. What the process still says
        // is for nobody, but it may wait for a reader.
        let ending = async { tokio::join!(sending, receiving) };
        while_taking(&shared, ending).await;
    }
    report.exit().is_some()
}

/// Waits for the end of a process as long as it takes data, and [`END`] longer.
async fn while_taking(shared: &Shared, ending: impl Future) {
    let mut ending = pin!(ending);
    loop {
        let before = shared.room.available_permits();
        if timeout(END, &mut ending).await.is_ok() || shared.room.available_permits() == before {
            return;
        }
    }
}

/// Sends what is queued, to the end of what is there once the process is `over`.
async fn send(
    shared: &Shared,
    sender: &mut dyn CarrierSender,
    queue: &mut UnboundedReceiver<Outgoing>,
    over: &CancellationToken,
) -> CarrierLost {
    loop {
        let next = tokio::select! {
            biased;
            next = queue.recv() => next,
            () = over.cancelled() => None,
        };
        let Some(outgoing) = next else { return CarrierLost("nobody sends any more".to_owned()) };
        if let Err(lost) = send_all(shared, sender, queue, outgoing).await {
            return lost;
        }
    }
}

/// Sends a packet, and as many behind it as one write holds.
async fn send_all(
    shared: &Shared,
    sender: &mut dyn CarrierSender,
    queue: &mut UnboundedReceiver<Outgoing>,
    first: Outgoing,
) -> Result<(), CarrierLost> {
    let (mut bytes, mut rooms, mut answers, mut next) = (BytesMut::new(), Vec::new(), 0, Some(first));
    while let Some(Outgoing { packet, room }) = next {
        packet.encode(&mut bytes);
        answers += usize::from(room.is_none());
        rooms.extend(room);
        next = if bytes.len() < INPUT_CHUNK / 2 { queue.try_recv().ok() } else { None };
    }
    sender.send(bytes).await?;
    shared.state.lock().answers -= answers;
    drop(rooms);
    shared.changed.notify_waiters();
    Ok(())
}

/// Takes what comes, to the end of the process.
async fn receive(shared: &Shared, receiver: &mut dyn CarrierReceiver) -> ProcessEnd {
    let (mut reader, waiting) = (PacketReader::default(), Arc::new(Semaphore::new(WAITING_MAX)));
    loop {
        match receiver.next().await {
            Ok(bytes) => reader.push(&bytes),
            Err(lost) => return lost.into(),
        }
        loop {
            let taken = match reader.next() {
                Ok(Some(packet)) => shared.take(packet, &waiting).await,
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return error.into();
            }
        }
    }
}

#[cfg(test)]
mod tests;
