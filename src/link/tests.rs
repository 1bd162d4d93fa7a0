//! The link against an agent made of the protocol alone, and against hostile ones.

mod agent;

use super::*;
use crate::guest::{Accepted, Exit, ListenerAddress, OutputBudget, OutputEvent};
use crate::policy::{Rules, SendSignal};
use crate::telemetry::capture::{self, CapturedLog};
use crate::telemetry::{Log, LogFormat};
use crate::types::{ConnectionId, Size};
use agent::{SOON, TestAgent, carrier, linked};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use podgate_link::Lane;
use podgate_link::handshake::AgentHandshake;
use podgate_link::request::{Incoming, ProgramMessage, TerminalRequest};
use std::time::Duration;
use tokio::time::timeout;

const WIDE: u32 = 1 << 20;

fn program_named(name: &str) -> ProgramRequest {
    program_request(vec![name.into()], std::iter::empty(), None, Duration::from_secs(1))
}

async fn started(link: &AgentLink, agent: &mut TestAgent) -> (Program, u32) {
    let (program, number) = tokio::join!(link.start(program_named("true")), agent.accept(b""));
    (program.unwrap(), number)
}

async fn next(program: &mut Program) -> OutputEvent {
    timeout(SOON, program.output.next()).await.expect("an event")
}

fn is_lost(event: &OutputEvent) -> bool {
    matches!(event, OutputEvent::Exit(Exit::Lost(_)))
}

fn tcp(port: u16) -> Listen {
    Listen::Tcp { host: "localhost".to_owned(), port }
}

async fn listening(link: &AgentLink, agent: &mut TestAgent) -> (GuestListener, u32) {
    let (listener, number) = tokio::join!(link.listen(tcp(0)), agent.accept(&[0x1f, 0x90]));
    (listener.unwrap(), number)
}

#[tokio::test]
async fn peer_that_does_not_speak_the_protocol_is_no_agent() {
    let (log, _) = capture::log(LogFormat::Text);
    let log = log.connection(ConnectionId::random(), ([192, 0, 2, 7], 1).into());
    let refused = AgentHandshake::refusal(1, "no common version");
    let noise = Bytes::from(vec![b'x'; 100_000]);
    for (answer, expected) in
        [(noise, "it is not podgate-agent"), (refused, "the agent cannot be used: refused: no common version")]
    {
        let (sender, receiver, (output, _input)) = carrier();
        output.send(answer).unwrap();
        let error = connect((sender, receiver), &Tasks::new(), OutputBudget::unlimited(), log.clone())
            .await
            .err()
            .expect("no link");
        assert_eq!(error.to_string(), expected);
    }
    let (sender, receiver, (output, _input)) = carrier();
    drop(output);
    let error =
        connect((sender, receiver), &Tasks::new(), OutputBudget::unlimited(), log).await.err().expect("no link");
    assert!(matches!(error, ConnectError::Carrier(_)), "{error}");
}

#[tokio::test]
async fn agent_without_the_secret_gets_no_link() {
    let (log, _) = capture::log(LogFormat::Text);
    let log = log.connection(ConnectionId::random(), ([192, 0, 2, 7], 1).into());
    let (sender, receiver, (output, mut input)) = carrier();
    let forger = async {
        let (hello, _) = AgentHandshake::default().receive(&mut input.recv().await.unwrap()).unwrap().unwrap();
        let welcome = podgate_link::handshake::Welcome {
            version: 1,
            features: 0,
            nonce: [7; 32],
            epoch: 1,
            received: 0,
            window: WIDE,
            streams: 8,
        };
        let (_, answer) = AgentHandshake::welcome(hello, LinkSecret([0; 32]), welcome);
        output.send(answer).unwrap();
        input
    };
    let tasks = Tasks::new();
    let (link, _input) = tokio::join!(connect((sender, receiver), &tasks, OutputBudget::unlimited(), log), forger);
    let error = link.err().expect("no link");
    assert!(matches!(error, ConnectError::Handshake(HandshakeError::Proof)), "{error}");
}

#[tokio::test]
async fn program_of_a_lost_link_has_no_exit_status() {
    let (link, mut agent, log, tasks) = linked(WIDE).await;
    let (mut program, number) = started(&link, &mut agent).await;
    agent.write(number, Lane::Main, b"so far");
    assert_eq!(next(&mut program).await, OutputEvent::Stdout(Bytes::from_static(b"so far")));
    drop(agent);
    assert!(is_lost(&next(&mut program).await));
    assert!(link.is_over());
    assert!(program.input.write(BytesMut::from("x")).await.is_err());
    let refusal = link.start(program_named("true")).await.err().expect("a refusal");
    assert_eq!(refusal.reason, LOST);
    timeout(SOON, tasks.finish()).await.expect("the driver ends");
    assert!(log.text().contains("AGENT_LINK_LOST"), "{}", log.text());
}

#[tokio::test]
async fn program_whose_exit_is_not_told_is_lost() {
    let bad_name = ProgramMessage::ExitSignal(b"KILL\n".to_vec(), false).encode();
    for message in
        [None, Some(bad_name), Some(ProgramMessage::ExitStatus(256).encode()), Some(Bytes::from_static(b"\xff"))]
    {
        let (link, mut agent, _log, _tasks) = linked(WIDE).await;
        let (mut program, number) = started(&link, &mut agent).await;
        if let Some(message) = message.clone() {
            agent.message(number, message);
        }
        agent.close(number, 0, "");
        assert!(is_lost(&next(&mut program).await), "{message:?}");
    }
}

#[tokio::test]
async fn exit_before_output_that_a_lost_link_took_with_it_is_no_exit() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let (mut program, number) = started(&link, &mut agent).await;
    agent.message(number, ProgramMessage::ExitStatus(0).encode());
    agent.write(number, Lane::Main, b"half");
    assert_eq!(next(&mut program).await, OutputEvent::Stdout(Bytes::from_static(b"half")));
    drop(agent);
    assert!(is_lost(&next(&mut program).await));
}

#[tokio::test]
async fn exit_comes_behind_the_output() {
    for (message, expected) in [
        (ProgramMessage::ExitStatus(3), Exit::Status(3)),
        (ProgramMessage::ExitSignal(b"SEGV".to_vec(), true), Exit::Signal { name: "SEGV".to_owned(), core: true }),
        (
            ProgramMessage::ExitSignal(b"RT34@podgate".to_vec(), false),
            Exit::Signal { name: "RT34@podgate".to_owned(), core: false },
        ),
    ] {
        let (link, mut agent, _log, _tasks) = linked(WIDE).await;
        let (mut program, number) = started(&link, &mut agent).await;
        agent.message(number, message.encode());
        agent.write(number, Lane::Error, b"err");
        agent.write(number, Lane::Main, b"out");
        agent.close(number, 0, "");
        let mut pieces = [next(&mut program).await, next(&mut program).await];
        pieces.sort_by_key(|piece| matches!(piece, OutputEvent::Stderr(_)));
        let [out, err] = [&b"out"[..], b"err"].map(Bytes::from_static);
        assert_eq!(pieces, [OutputEvent::Stdout(out), OutputEvent::Stderr(err)]);
        assert_eq!(next(&mut program).await, OutputEvent::Exit(expected));
    }
}

#[tokio::test]
async fn end_of_all_output_is_told_while_the_program_runs_and_not_behind_its_exit() {
    let size = podgate_link::request::Size { columns: 80, rows: 24, width: 0, height: 0 };
    let terminal = TerminalRequest { term: Vec::new(), size, modes: Vec::new() };
    for (terminal, lanes) in [(None, &[Lane::Main, Lane::Error][..]), (Some(terminal), &[Lane::Main])] {
        let (link, mut agent, _log, _tasks) = linked(WIDE).await;
        let request = ProgramRequest { terminal, ..program_named("true") };
        let (program, number) = tokio::join!(link.start(request.clone()), agent.accept(b""));
        let mut program = program.unwrap();
        for lane in lanes {
            assert!(program.output.next().now_or_never().is_none(), "{lane:?}");
            agent.write(number, *lane, b"x");
            agent.finish(number, *lane);
            let (OutputEvent::Stdout(_) | OutputEvent::Stderr(_)) = next(&mut program).await else { panic!("output") };
        }
        assert_eq!(next(&mut program).await, OutputEvent::End);
        assert!(program.input.write(BytesMut::from("still taken")).await.is_ok());
        agent.message(number, ProgramMessage::ExitStatus(3).encode());
        agent.close(number, 0, "");
        assert_eq!(next(&mut program).await, OutputEvent::Exit(Exit::Status(3)));

        let (program, number) = tokio::join!(link.start(request), agent.accept(b""));
        let mut program = program.unwrap();
        agent.message(number, ProgramMessage::ExitStatus(4).encode());
        lanes.iter().for_each(|lane| agent.finish(number, *lane));
        agent.close(number, 0, "");
        assert_eq!(next(&mut program).await, OutputEvent::Exit(Exit::Status(4)));
    }
}

#[tokio::test]
async fn program_that_does_not_start_is_refused_with_the_agents_reason() {
    for (code, kind) in [(4, RefusalKind::NotFound), (5, RefusalKind::NotExecutable), (3, RefusalKind::Other)] {
        let (link, mut agent, _log, _tasks) = linked(WIDE).await;
        let refusing = async {
            let (number, _) = agent.opened().await;
            agent.close(number, code, "\x1b[31mno");
        };
        let (program, ()) = tokio::join!(link.start(program_named("nothing")), refusing);
        let refusal = program.err().expect("a refusal");
        assert_eq!((refusal.kind, refusal.reason.as_str()), (kind, "[31mno"));
    }
}

#[tokio::test]
async fn program_whose_answer_is_lost_with_the_link_may_have_run() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let losing = async {
        agent.opened().await;
        drop(agent);
    };
    let (program, ()) = tokio::join!(link.start(program_named("true")), losing);
    let refusal = program.err().expect("a refusal");
    assert_eq!((refusal.kind, refusal.reason.as_str()), (RefusalKind::Unanswered, LOST));
    let refusal = link.start(program_named("true")).await.err().expect("a refusal");
    assert_eq!((refusal.kind, refusal.reason.as_str()), (RefusalKind::Other, LOST));
}

#[tokio::test]
async fn stream_for_no_listener_is_never_taken() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let (program, number) = started(&link, &mut agent).await;
    let nothing = agent.incoming(99);
    let for_a_program = agent.incoming(number);
    for stream in [nothing, for_a_program] {
        agent.until(|agent| agent.link.closed(stream).cloned()).await;
    }
    drop(program);
}

#[tokio::test]
async fn connection_of_a_dropped_listener_is_closed() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let (listener, number) = listening(&link, &mut agent).await;
    let waiting = agent.incoming(number);
    drop(listener);
    agent.until(|agent| agent.link.closed(number).cloned()).await;
    let late = agent.incoming(number);
    for stream in [waiting, late] {
        agent.until(|agent| agent.link.closed(stream).cloned()).await;
    }
}

#[tokio::test]
async fn listener_is_closed_once_the_agent_says_so() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let (mut listener, number) = listening(&link, &mut agent).await;
    let mut closing = tokio::spawn(async move { listener.accepted.close().await });
    agent.until(|agent| agent.link.closed(number).cloned()).await;
    assert!(!closing.is_finished());
    agent.close(number, 0, "");
    timeout(SOON, &mut closing).await.expect("it is closed").unwrap();
}

#[tokio::test]
async fn connections_that_nobody_takes_are_bounded() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let (mut listener, number) = listening(&link, &mut agent).await;
    let streams: Vec<u32> = (0..70).map(|_| agent.incoming(number)).collect();
    for stream in &streams[64..] {
        agent.until(|agent| agent.link.closed(*stream).cloned()).await;
    }
    let (accepted, _) = tokio::join!(listener.accepted.next(), agent.until(|agent| agent.link.reply(streams[0])));
    let Accepted { origin, connection: _connection } = accepted.expect("a connection");
    assert_eq!(origin, ("192.0.2.9".to_owned(), 4711));
    assert!(agent.link.closed(streams[63]).is_none());
}

#[tokio::test]
async fn address_that_a_listener_cannot_have_is_refused() {
    let rows: [(Listen, &[u8]); 6] = [
        (tcp(0), &[0, 0]),
        (tcp(80), &[0, 81]),
        (tcp(80), b"80 "),
        (Listen::Agent, b"relative"),
        (Listen::Agent, b"/with\nline"),
        (Listen::X11(X11_ASKED), b"no authority"),
    ];
    for (listen, reply) in rows {
        let (link, mut agent, _log, _tasks) = linked(WIDE).await;
        let shown = format!("{listen} {reply:?}");
        let (listener, _) = tokio::join!(link.listen(listen), agent.accept(reply));
        assert_eq!(listener.err().expect(&shown).reason, "the guest's agent does not say where it listens");
    }
}

const X11_ASKED: crate::policy::X11Forwarding = crate::policy::X11Forwarding {
    single_connection: false,
    auth_protocol: String::new(),
    auth_cookie: String::new(),
    screen: 0,
};

#[tokio::test]
async fn listener_says_where_it_is() {
    let display = ListenerAddress::Display { display: "localhost:10.0".to_owned(), authority: "/tmp/x".to_owned() };
    let rows: [(Listen, &[u8], ListenerAddress); 3] = [
        (tcp(80), &[0, 80], ListenerAddress::Port(80)),
        (Listen::Agent, b"/tmp/a", ListenerAddress::Path("/tmp/a".to_owned())),
        (Listen::X11(X11_ASKED), b"localhost:10.0\0/tmp/x", display),
    ];
    for (listen, reply, expected) in rows {
        let (link, mut agent, _log, _tasks) = linked(WIDE).await;
        let (listener, _) = tokio::join!(link.listen(listen), agent.accept(reply));
        assert_eq!(listener.expect("a listener").address, expected);
    }
}

#[tokio::test]
async fn agent_that_breaks_the_protocol_loses_its_link_and_the_log_warns() {
    let (link, mut agent, log, tasks) = linked(WIDE).await;
    let (mut program, _) = started(&link, &mut agent).await;
    agent.garbage(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    assert!(is_lost(&next(&mut program).await));
    timeout(SOON, tasks.finish()).await.expect("the driver ends");
    let text = log.text();
    assert!(text.contains("AGENT_LINK_LOST") && text.to_lowercase().contains("warning"), "{text}");
}

#[tokio::test]
async fn write_waits_for_the_window_and_stops_no_other_program() {
    let (link, mut agent, _log, _tasks) = linked(1000).await;
    let (mut stalled, first) = started(&link, &mut agent).await;
    let (mut other, second) = started(&link, &mut agent).await;
    let mut writing = tokio::spawn(async move { stalled.input.write(BytesMut::from(&[b'x'; 3000][..])).await });
    agent.until(|agent| (agent.link.memory() >= 1000).then_some(())).await;
    other.input.write(BytesMut::from("go")).await.unwrap();
    let read = agent.until(|agent| agent.link.read(second, Lane::Main)).await;
    assert_eq!(&read[..], b"go");
    assert!(!writing.is_finished());
    let mut taken = 0;
    agent
        .until(|agent| {
            while let Some(piece) = agent.link.read(first, Lane::Main) {
                taken += piece.len();
            }
            (taken == 3000).then_some(())
        })
        .await;
    assert_eq!(timeout(SOON, &mut writing).await.unwrap().unwrap(), Ok(()));
}

#[tokio::test]
async fn program_that_nobody_holds_is_closed_at_the_agent() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let (program, number) = started(&link, &mut agent).await;
    let Program { input, output } = program;
    drop(input);
    agent.write(number, Lane::Main, b"still read");
    drop(output);
    agent.until(|agent| agent.link.closed(number).cloned()).await;
}

#[tokio::test]
async fn end_of_the_link_is_told_to_the_agent() {
    let (link, mut agent, log, tasks) = linked(WIDE).await;
    let (mut program, _) = started(&link, &mut agent).await;
    drop(link);
    agent.until(|agent| agent.ended.clone()).await;
    assert!(is_lost(&next(&mut program).await));
    timeout(SOON, tasks.finish()).await.expect("the driver ends");
    assert!(!log.text().contains("AGENT_LINK_LOST"), "{}", log.text());
}

#[tokio::test]
async fn file_is_written_when_the_agent_says_so() {
    for (code, reason, expected) in [(0, "", None), (5, "permission denied", Some("permission denied"))] {
        let (link, mut agent, _log, _tasks) = linked(WIDE).await;
        let writer = async {
            let number = agent.accept(b"").await;
            let mut content = Vec::new();
            agent
                .until(|agent| {
                    while let Some(piece) = agent.link.read(number, Lane::Main) {
                        content.extend_from_slice(&piece);
                    }
                    agent.link.is_finished(number, Lane::Main).then_some(())
                })
                .await;
            agent.close(number, code, reason);
            content
        };
        let (written, content) = tokio::join!(link.write_file("/a", Bytes::from_static(b"secret")), writer);
        assert_eq!(written.err().map(|refusal| refusal.reason), expected.map(str::to_owned));
        assert_eq!(content, b"secret");
    }
}

#[tokio::test]
async fn connection_ends_in_each_direction_by_itself() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let dial = Dial::Tcp { host: "localhost".to_owned(), port: 80 };
    let (connection, number) = tokio::join!(link.dial(dial), agent.accept(b""));
    let ForwardedConnection { mut input, mut output } = connection.unwrap();
    agent.write(number, Lane::Main, b"last words");
    agent.link.finish(number, Lane::Main);
    agent.until(|agent| (agent.link.unsent() == 0).then_some(())).await;
    let last_words = Bytes::from_static(b"last words");
    assert_eq!(timeout(SOON, output.next()).await.unwrap(), Ok(Some(last_words)));
    assert_eq!(timeout(SOON, output.next()).await.unwrap(), Ok(None));
    input.write(BytesMut::from("answer")).await.unwrap();
    input.close().await.unwrap();
    let read = agent.until(|agent| agent.link.read(number, Lane::Main)).await;
    assert_eq!(&read[..], b"answer");
    agent.until(|agent| agent.link.is_finished(number, Lane::Main).then_some(())).await;
}

#[tokio::test]
async fn connection_of_a_lost_link_has_no_end() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let dial = Dial::Tcp { host: "localhost".to_owned(), port: 80 };
    let (connection, number) = tokio::join!(link.dial(dial), agent.accept(b""));
    let ForwardedConnection { input: _input, mut output } = connection.unwrap();
    agent.write(number, Lane::Main, b"half");
    assert_eq!(timeout(SOON, output.next()).await.unwrap(), Ok(Some(Bytes::from_static(b"half"))));
    drop(agent);
    assert_eq!(timeout(SOON, output.next()).await.unwrap().map_err(|refusal| refusal.reason), Err(LOST.to_owned()));
}

#[tokio::test]
async fn signals_and_sizes_do_not_wait_for_the_window() {
    let (link, mut agent, _log, _tasks) = linked(1000).await;
    let (Program { mut input, output: _output }, number) = started(&link, &mut agent).await;
    let mut control = input.control().expect("a way of their own");
    let writing = tokio::spawn(async move { input.write(BytesMut::from(&[b'x'; 3000][..])).await });
    agent.until(|agent| (agent.link.memory() >= 1000).then_some(())).await;
    control.resize(Size { columns: 100, rows: 40 }).await.unwrap();
    let signal = Rules::default().decide(SendSignal { name: "TERM".to_owned() }).unwrap();
    control.signal(signal).await.unwrap();
    let mut messages = Vec::new();
    agent
        .until(|agent| {
            messages.extend(agent.link.read_message(number).map(|message| ProgramMessage::decode(message).unwrap()));
            (messages.len() == 2).then_some(())
        })
        .await;
    let size = podgate_link::request::Size { columns: 100, rows: 40, width: 0, height: 0 };
    assert_eq!(messages, [ProgramMessage::Resize(size), ProgramMessage::Signal(b"TERM".to_vec())]);
    assert!(!writing.is_finished());
}

/// Bytes that a reader holds keep the agent from sending others in their place.
#[tokio::test]
async fn data_counts_until_its_reader_comes_back() {
    let (link, mut agent, _log, _tasks) = linked(WIDE).await;
    let (mut program, number) = started(&link, &mut agent).await;
    let fill = |agent: &mut TestAgent| agent.link.write(number, Lane::Main, Bytes::from(vec![b'x'; 1 << 24]));
    let mut granted = 0;
    agent
        .until(|agent| {
            granted += fill(agent);
            (granted >= 256 * 1024 && agent.link.unsent() == 0).then_some(())
        })
        .await;
    let mut read = 0;
    while read < granted {
        let OutputEvent::Stdout(piece) = next(&mut program).await else { panic!("output") };
        read += piece.len();
    }
    // The last piece is in the reader's hand.
    let held = link.shared.look(|state| state.link.memory());
    assert!(held > 0, "{held}");
    let more = timeout(Duration::from_millis(50), program.output.next()).await;
    assert!(more.is_err() && link.shared.look(|state| state.link.memory()) < held);
}
