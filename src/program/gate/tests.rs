//! The gate before real shells, and what is taken for the gate's.

use super::*;
use crate::guest::{InputClosed, ProgramInput};
use crate::policy::{Permit, SendSignal};
use crate::types::{Modes, Size};
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

fn said(passage: &mut GateReader, text: &'static str) -> Result<Option<GateLine>, GateError> {
    passage.take(OutputEvent::Stdout(Bytes::from_static(text.as_bytes())))
}

#[test]
fn program_that_is_not_held_is_not_taken_for_the_gate() {
    let mut passage = GateReader::default();
    let flood = Bytes::from(vec![b'x'; OUTPUT_MAX]);
    assert_eq!(passage.take(OutputEvent::Stdout(flood.clone())), Ok(None));
    assert!(matches!(passage.take(OutputEvent::Stderr(flood)), Err(GateError::NotAGate(_))));
    let ended = OutputEvent::Exit(Exit::Status(0));
    assert_eq!(GateReader::default().take(ended), Err(GateError::Ended(Exit::Status(0))));
}

#[test]
fn what_is_not_the_programs_is_taken_out_however_it_is_cut() {
    let whole = "\r\npodgate: attached\r\ngo\r\n\r\npodgate: attached\r\nPODGATE: STARTED\r\nhello\r\n";
    for at in 0..whole.len() {
        let mut passage = GateReader::default();
        let (first, second) = whole.split_at(at);
        let opened = said(&mut passage, first).unwrap() == Some(GateLine::Open);
        if !opened {
            assert_eq!(said(&mut passage, second), Ok(Some(GateLine::Open)), "{first:?}");
        }
        let behind = if opened { second } else { "" };
        let begun = passage.rest.pop_front();
        let begun = if let Some(OutputEvent::Stdout(piece)) = begun { piece } else { Bytes::new() };
        assert_eq!([&begun, behind.as_bytes()].concat(), b"hello\r\n", "{first:?}");
    }
}

#[test]
fn standard_error_that_overtakes_is_kept() {
    let mut passage = GateReader::default();
    assert_eq!(passage.take(OutputEvent::Stderr(Bytes::from_static(b"err"))), Ok(None));
    assert_eq!(said(&mut passage, "podgate: attached\n"), Ok(Some(GateLine::Held)));
    assert_eq!(said(&mut passage, "PODGATE: STARTED\nout"), Ok(Some(GateLine::Open)));
    let expected = [OutputEvent::Stderr(Bytes::from_static(b"err")), OutputEvent::Stdout(Bytes::from_static(b"out"))];
    assert_eq!(passage.rest, expected);
}

/// A process's streams as a program's.
struct Pipe(Option<ChildStdin>);

impl ProgramInput for Pipe {
    fn write(&mut self, data: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async move { self.0.as_mut().ok_or(InputClosed)?.write_all(&data).await.map_err(|_| InputClosed) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        self.0 = None;
        Box::pin(async { Ok(()) })
    }

    fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Ok(()) })
    }

    fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

struct Process(ChildStdout, Child);

impl ProgramOutput for Process {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            let mut piece = vec![0; 4096];
            match self.0.read(&mut piece).await.unwrap() {
                0 => OutputEvent::Exit(Exit::Status(self.1.wait().await.unwrap().code().unwrap().try_into().unwrap())),
                read => OutputEvent::Stdout(Bytes::copy_from_slice(&piece[..read])),
            }
        })
    }
}

/// The program behind its gate, run by that shell.
fn held(shell: &[&str], program: &[&str]) -> Program {
    let words: Vec<String> = program.iter().map(|word| (*word).to_owned()).collect();
    let gate = held_command(&words, &Modes::default());
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(&gate[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    podgate_devcluster::leash(command.as_std_mut()).unwrap();
    let mut child = command.spawn().unwrap();
    let (input, output) = (Pipe(child.stdin.take()), child.stdout.take().unwrap());
    Program { input: Box::new(input), output: Box::new(Process(output, child)) }
}

/// The shells of this machine.
fn shells() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 4] = [&["/bin/sh"], &["/bin/bash"], &["/bin/dash"], &["/bin/busybox", "sh"]];
    all.into_iter().filter(|shell| std::path::Path::new(shell[0]).exists()).collect()
}

async fn to_its_end(program: &mut Program) -> (String, Exit) {
    let mut text = String::new();
    loop {
        match program.output.next().await {
            OutputEvent::Stdout(piece) => text.push_str(std::str::from_utf8(&piece).unwrap()),
            OutputEvent::Exit(exit) => return (text, exit),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn input_that_ends_before_it_was_opened_starts_nothing() {
    for shell in shells() {
        let mut program = held(shell, &["/bin/sh", "-c", "echo ran"]);
        program.input.close().await.unwrap();
        assert_eq!(to_its_end(&mut program).await, (String::new(), Exit::Status(255)), "{shell:?}");
    }
}

#[tokio::test]
async fn program_behind_the_gate_gets_its_words_its_input_and_nothing_else() {
    for shell in shells() {
        let program = held(shell, &["/bin/sh", "-c", "echo \"$1\"; cat; exit 7", "x", "a  b $HOME \\"]);
        let mut program = open(program).await.map_err(|_| "closed").unwrap();
        program.input.write(BytesMut::from("in\n")).await.unwrap();
        program.input.close().await.unwrap();
        let (text, exit) = to_its_end(&mut program).await;
        assert_eq!((&*text, exit), ("a  b $HOME \\\nin\n", Exit::Status(7)), "{shell:?}");
    }
}

#[tokio::test]
async fn program_that_cannot_be_started_is_127_or_126() {
    for shell in shells() {
        for (program, status) in [("/no/such", 127), ("podgate-no-such-program", 127), ("/etc/passwd", 126)] {
            let mut program = open(held(shell, &[program])).await.map_err(|_| "closed").unwrap();
            let (text, exit) = to_its_end(&mut program).await;
            assert_eq!((&*text, exit), ("", Exit::Status(status)), "{shell:?}");
        }
    }
}

#[tokio::test]
async fn held_shell_ends_at_once_when_it_is_told_to() {
    for shell in shells() {
        let mut child = Command::new(shell[0]);
        let gate = held_command(&["true".to_owned()], &Modes::default());
        child.args(&shell[1..]).args(&gate[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        podgate_devcluster::leash(child.as_std_mut()).unwrap();
        let mut child = child.spawn().unwrap();
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        input.write_all(ASK).await.unwrap();
        let mut answer = vec![0; HELD.len() + 1];
        output.read_exact(&mut answer).await.unwrap();
        let pid = child.id().unwrap().to_string();
        // A signal in the moment between the answer and the next read waits for a line: shells look for signals between
        // commands. So it is told again.
        let telling = async {
            let mut again = tokio::time::interval(Duration::from_secs(1));
            loop {
                again.tick().await;
                assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
            }
        };
        let ended = tokio::select! {
            ended = tokio::time::timeout(Duration::from_secs(10), child.wait()) => ended,
            () = telling => unreachable!("it tells for ever"),
        };
        assert_eq!(ended.expect("it ends").unwrap().code(), Some(143), "{shell:?}");
    }
}
