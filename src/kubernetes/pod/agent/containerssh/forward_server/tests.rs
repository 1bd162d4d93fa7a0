//! The process of an agent that is made up, in memory: each test says what it answers.

use super::*;
use crate::guest::{Accepted, ConnectionOutput, Exit, InputClosed, OutputEvent, ProgramInput, ProgramOutput};
use crate::policy::{Permit, SendSignal};
use crate::telemetry::{LogFormat, capture};
use crate::types::{ConnectionId, Size};
use futures_util::future::BoxFuture;
use std::future::{pending, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(600);

/// Takes what it may, by the other end's permits.
struct FakeInput(UnboundedSender<Bytes>, Arc<Semaphore>);

impl ProgramInput for FakeInput {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move {
            let _free = self.1.acquire().await;
            self.0.send(data.freeze()).map_err(|_| InputClosed)
        })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(ready(Ok(())))
    }

    fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(ready(Ok(())))
    }

    fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(pending())
    }
}

struct FakeOutput(UnboundedReceiver<OutputEvent>, Arc<AtomicUsize>);

impl ProgramOutput for FakeOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            match self.0.recv().await {
                Some(event) => {
                    self.1.fetch_add(1, Ordering::Relaxed);
                    event
                }
                None => pending().await,
            }
        })
    }
}

/// The agent's end: each test says what it answers.
struct FakeAgent {
    input: UnboundedReceiver<Bytes>,
    output: UnboundedSender<OutputEvent>,
    reader: PacketReader,
    /// The events that the server has taken.
    taken: Arc<AtomicUsize>,
    /// No permits while nothing is taken of what the server sends.
    takes: Arc<Semaphore>,
    /// The server's task, and what it says in the end.
    task: JoinHandle<bool>,
}

impl FakeAgent {
    fn start(listens: bool) -> (Arc<ForwardServer>, Self) {
        let ((input_sender, input), (output, output_receiver)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let (taken, takes) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(1)));
        let program = Program {
            input: Box::new(FakeInput(input_sender, Arc::clone(&takes))),
            output: Box::new(FakeOutput(output_receiver, Arc::clone(&taken))),
        };
        let (log, _captured) = capture::log(LogFormat::Ljson);
        let log = log.connection(ConnectionId::random(), ([127, 0, 0, 1], 5).into());
        let (server, task) = ForwardServer::over(carrier(program, Bytes::new(), log), listens);
        (server, Self { input, output, reader: PacketReader::default(), taken, takes, task: tokio::spawn(task) })
    }

    async fn next(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.reader.next().expect("packets") {
                return packet;
            }
            self.reader.push(&timeout(SOON, self.input.recv()).await.expect("in time").expect("a packet"));
        }
    }

    fn say(&self, bytes: &[u8]) {
        self.output.send(OutputEvent::Stdout(Bytes::copy_from_slice(bytes))).expect("a reader");
    }

    fn tell(&self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.encode(&mut bytes);
        self.say(&bytes);
    }

    fn data(&self, id: u64, data: &[u8]) {
        self.tell(&Packet { payload: Bytes::copy_from_slice(data), ..Packet::new(PacketType::Data, id) });
    }

    fn exit(&self) {
        self.output.send(OutputEvent::Exit(Exit::Status(0))).expect("a reader");
    }

    async fn ended(self) -> bool {
        timeout(SOON, self.task).await.expect("the task ends").expect("no panic")
    }
}

/// A connection that the agent has made.
async fn dialled() -> (ForwardedConnection, FakeAgent) {
    let (server, mut agent) = FakeAgent::start(false);
    let new = NewConnection { connected_port: 80, ..NewConnection::default() };
    let answering = async {
        let asked = agent.next().await;
        assert_eq!((asked.kind, asked.connection), (PacketType::NewConnection, 1));
        assert_eq!(agent.next().await.kind, PacketType::NoMoreConnections);
        agent.tell(&Packet::new(PacketType::Success, 1));
    };
    let (connection, ()) = tokio::join!(server.dial(&new), answering);
    (connection.expect("a connection"), agent)
}

async fn read(output: &mut dyn ConnectionOutput) -> Result<Option<Bytes>, String> {
    timeout(SOON, output.next()).await.expect("in time").map_err(|refusal| refusal.reason)
}

fn bytes(text: &'static str) -> Result<Option<Bytes>, String> {
    Ok(Some(Bytes::from_static(text.as_bytes())))
}

#[tokio::test]
async fn dial_that_the_agent_refuses_is_refused_and_one_that_is_lost_is_lost() {
    for exits in [false, true] {
        let (server, mut agent) = FakeAgent::start(false);
        let new = NewConnection::default();
        let answering = async {
            agent.next().await;
            if exits { agent.exit() } else { agent.tell(&Packet::new(PacketType::Error, 1)) }
        };
        let (dialled, ()) = tokio::join!(server.dial(&new), answering);
        let reason = dialled.err().expect("a refusal").reason;
        assert_eq!(reason == LOST, exits, "{reason}");
    }
}

#[tokio::test]
async fn connection_carries_both_ways_and_the_agents_close_ends_both() {
    let (ForwardedConnection { mut input, mut output }, mut agent) = dialled().await;
    input.write(BytesMut::from(&[b'x'; DATA_AND_ONE][..])).await.expect("an open connection");
    let (first, second) = (agent.next().await, agent.next().await);
    assert_eq!((first.payload.len(), second.payload.len()), (DATA_AND_ONE - 1, 1));
    agent.data(1, b"answer");
    agent.tell(&Packet::new(PacketType::CloseConnection, 1));
    assert_eq!(read(output.as_mut()).await, bytes("answer"));
    assert_eq!(read(output.as_mut()).await, Ok(None));
    assert_eq!(read(output.as_mut()).await, Ok(None));
    assert_eq!(agent.next().await, Packet::new(PacketType::Success, 1));
    assert_eq!(input.write(BytesMut::from("late")).await, Err(InputClosed));
}

const DATA_AND_ONE: usize = 32 * 1024 + 1;

/// Data and a close right behind the acceptance are not taken for a refusal.
#[tokio::test]
async fn connection_that_ends_at_once_has_its_bytes_and_its_end() {
    let (server, agent) = FakeAgent::start(false);
    let new = NewConnection::default();
    let answering = async {
        tokio::task::yield_now().await;
        let mut all = BytesMut::new();
        for (kind, payload) in
            [(PacketType::Success, ""), (PacketType::Data, "greeting"), (PacketType::CloseConnection, "")]
        {
            Packet { payload: Bytes::from_static(payload.as_bytes()), ..Packet::new(kind, 1) }.encode(&mut all);
        }
        agent.say(&all);
    };
    let (connection, ()) = tokio::join!(server.dial(&new), answering);
    let mut output = connection.expect("a connection").output;
    assert_eq!(read(output.as_mut()).await, bytes("greeting"));
    assert_eq!(read(output.as_mut()).await, Ok(None));
}

#[tokio::test]
async fn connection_of_a_process_that_ends_or_breaks_its_protocol_is_lost() {
    for exits in [false, true] {
        let (ForwardedConnection { mut input, mut output }, agent) = dialled().await;
        agent.data(1, b"half");
        if exits {
            agent.exit()
        } else {
            agent.say(b"\xff")
        }
        assert_eq!(read(output.as_mut()).await, bytes("half"));
        assert_eq!(read(output.as_mut()).await, Err(LOST.to_owned()));
        assert_eq!(input.write(BytesMut::from("late")).await, Err(InputClosed));
    }
}

#[tokio::test(start_paused = true)]
async fn answer_after_the_clients_end_arrives_and_a_silence_is_the_end() {
    let (ForwardedConnection { mut input, mut output }, mut agent) = dialled().await;
    input.close().await.expect("an open connection");
    let begun = tokio::time::Instant::now();
    assert!(timeout(Duration::from_secs(4), output.next()).await.is_err(), "the answer has time");
    agent.data(1, b"answer");
    assert_eq!(read(output.as_mut()).await, bytes("answer"));
    assert_eq!(read(output.as_mut()).await, Ok(None));
    assert_eq!(begun.elapsed(), Duration::from_secs(9), "4 s, and the silence behind the answer");
    drop((input, output));
    assert_eq!(agent.next().await, Packet::new(PacketType::CloseConnection, 1));
}

#[tokio::test]
async fn reader_that_does_not_read_costs_bounded_memory_and_loses_nothing() {
    const PIECES: usize = 200;
    let (ForwardedConnection { input: _input, mut output }, agent) = dialled().await;
    let piece = vec![b'x'; DATA_AND_ONE - 1];
    for _ in 0..PIECES {
        agent.data(1, &piece);
    }
    // One thread: the server's task runs until it waits for the reader.
    for _ in 0..10 * PIECES {
        tokio::task::yield_now().await;
    }
    let taken = agent.taken.load(Ordering::Relaxed);
    assert!((2..WAITING_MAX / piece.len() + 3).contains(&taken), "{taken} pieces were taken");
    for _ in 0..PIECES {
        assert_eq!(read(output.as_mut()).await, Ok(Some(Bytes::from(piece.clone()))));
    }
}

#[tokio::test]
async fn listener_is_there_once_the_agent_proves_it_and_no_connection_comes_after_its_close() {
    let (server, mut agent) = FakeAgent::start(true);
    let proving = async {
        let asked = agent.next().await;
        assert_eq!(asked.kind, PacketType::NewConnection);
        agent.tell(&Packet::new(PacketType::Error, asked.connection));
        asked.connection
    };
    let (listener, own) = tokio::join!(server.listener(ListenerAddress::Port(80), SOON), proving);
    let mut listener = listener.expect("a listener");
    let offer = |id| {
        NewConnection { originator_address: "192.0.2.1\n".to_owned(), originator_port: 7, ..NewConnection::default() }
            .packet(id)
    };
    agent.tell(&offer(own + 1));
    let Accepted { origin, connection } = listener.accepted.next().await.expect("a connection");
    assert_eq!(origin, ("192.0.2.1".to_owned(), 7));
    assert_eq!(agent.next().await, Packet::new(PacketType::Success, own + 1));
    let closing = async {
        assert_eq!(agent.next().await.kind, PacketType::NoMoreConnections);
        let asked = agent.next().await;
        agent.tell(&offer(own + 2));
        assert_eq!(agent.next().await, Packet::new(PacketType::Error, own + 2));
        agent.tell(&Packet::new(PacketType::Error, asked.connection));
    };
    tokio::join!(listener.accepted.close(), closing);
    assert!(listener.accepted.next().await.is_none());
    let ForwardedConnection { input: _input, mut output } = connection;
    drop(listener);
    agent.data(own + 1, b"still here");
    assert_eq!(read(output.as_mut()).await, bytes("still here"));
}

#[tokio::test]
async fn listener_that_cannot_be_bound_is_refused_with_the_end_of_the_process() {
    let (server, mut agent) = FakeAgent::start(true);
    let failing = async {
        agent.next().await;
        agent.output.send(OutputEvent::Exit(Exit::Status(1))).expect("a reader");
    };
    let (listener, ()) = tokio::join!(server.listener(ListenerAddress::Port(80), SOON), failing);
    let refusal = listener.err().expect("a refusal");
    assert_eq!(refusal.reason, "ContainerSSH's agent cannot listen there");
    assert_eq!(refusal.detail.as_deref(), Some("its program ended with the status 1"));
}

#[tokio::test(start_paused = true)]
async fn process_that_nobody_uses_has_its_last_packets_and_is_known_to_be_over_or_not() {
    for exits in [false, true] {
        let (connection, mut agent) = dialled().await;
        drop(connection);
        assert_eq!(agent.next().await, Packet::new(PacketType::CloseConnection, 1));
        if exits {
            agent.exit();
        }
        assert_eq!(agent.ended().await, exits);
    }
}

#[tokio::test]
async fn agent_that_reads_no_answer_is_given_up() {
    let (_server, agent) = FakeAgent::start(false);
    // Nothing of these is read before all of them are there: each would be declined.
    let mut offers = BytesMut::new();
    for id in 1..=ANSWERS_MAX as u64 + 1 {
        NewConnection::default().packet(id).encode(&mut offers);
    }
    agent.say(&offers);
    assert!(!agent.ended().await);
}

#[tokio::test(start_paused = true)]
async fn data_of_a_client_that_closes_behind_it_arrives_whole_and_in_order() {
    const PIECES: usize = 12;
    let (connection, mut agent) = dialled().await;
    let nothing_is_taken = Arc::clone(&agent.takes).acquire_owned().await.expect("open");
    let ForwardedConnection { mut input, output } = connection;
    for number in 0..PIECES {
        input.write(BytesMut::from(&vec![u8::try_from(number).unwrap(); DATA_AND_ONE - 1][..])).await.unwrap();
        // The first ones are on their way when the connection is dropped.
        tokio::task::yield_now().await;
    }
    drop((input, output));
    tokio::task::yield_now().await;
    drop(nothing_is_taken);
    for number in 0..PIECES {
        let packet = agent.next().await;
        assert_eq!(packet.kind, PacketType::Data);
        assert_eq!(packet.payload, vec![u8::try_from(number).unwrap(); DATA_AND_ONE - 1]);
    }
    assert_eq!(agent.next().await, Packet::new(PacketType::CloseConnection, 1));
    agent.exit();
    assert!(agent.ended().await);
}

#[tokio::test(start_paused = true)]
async fn silence_after_a_clients_end_begins_when_its_data_is_taken() {
    let (connection, mut agent) = dialled().await;
    let nothing_is_taken = Arc::clone(&agent.takes).acquire_owned().await.expect("open");
    let ForwardedConnection { mut input, mut output } = connection;
    input.write(BytesMut::from("all of it")).await.unwrap();
    input.close().await.unwrap();
    assert!(timeout(Duration::from_secs(60), output.next()).await.is_err(), "the guest has not taken it");
    drop(nothing_is_taken);
    assert_eq!(agent.next().await.payload, "all of it");
    assert_eq!(timeout(SOON, output.next()).await.unwrap().ok(), Some(None), "the guest is silent");
}
