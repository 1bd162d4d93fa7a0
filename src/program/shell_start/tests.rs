//! Long command lines before real shells, and what is taken for a mark.

use super::*;
use crate::guest::{Exit, InputClosed, ProgramInput};
use crate::policy::{Permit, SendSignal};
use crate::program::command_line::CommandLine;
use crate::types::Modes;
use crate::types::Size;
use futures_util::future::BoxFuture;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

fn line(argv: &[&str]) -> CommandLine {
    let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
    CommandLine { required: argv[0].clone(), argv, variables: 0, dropped_env: 0 }
}

/// A backend that takes at most 32 KiB.
fn fits(argv: &[String]) -> bool {
    argv.iter().map(String::len).sum::<usize>() <= 32 * 1024
}

fn under_shell(line: &CommandLine, terminal: Option<&Modes>) -> Result<(Vec<String>, ShellStart), Refusal> {
    line.under_shell(terminal, ExitWrapper::new(), fits)
}

fn piece(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

#[test]
fn word_that_no_linux_takes_is_refused() {
    let refused = under_shell(&line(&["env", &"x".repeat(128 << 10)]), None).unwrap_err();
    assert_eq!(refused.reason, "the command line is too long: Linux takes at most 128 KiB in one argument or variable");
    assert!(under_shell(&line(&["env", &"x".repeat((128 << 10) - 1)]), None).is_ok());
}

#[test]
fn short_command_is_not_waited_for_unless_its_terminal_has_modes() {
    let short = line(&["true"]);
    for (terminal, waits) in [
        (None, false),
        (Some(Modes::default()), false),
        (Some(Modes::new([(62, 1)])), false),
        (Some(Modes::new([(53, 0)])), true),
    ] {
        let (argv, start) = under_shell(&short, terminal.as_ref()).unwrap();
        assert_eq!((start.waits, start.rest, argv.len()), (waits, None, 6), "{terminal:?}");
    }
}

#[test]
fn command_that_the_backend_does_not_take_travels_on_standard_input() {
    for (word, long) in [("x".repeat(30_000), false), ("x".repeat(33_000), true)] {
        let (argv, start) = under_shell(&line(&["echo", &word]), None).unwrap();
        assert_eq!(start.rest.is_some(), long, "{}", word.len());
        assert!(fits(&argv));
    }
}

#[test]
fn mark_is_taken_out_however_it_is_cut_and_what_comes_around_it_is_kept() {
    let whole = "warning\n\0PODGATE: 200\0hello";
    for at in 0..whole.len() {
        let mut passage = MarkReader::default();
        let (first, second) = whole.split_at(at);
        assert!(!passage.take(OutputEvent::Stdout(piece(first))).unwrap());
        let early = passage.found(READY);
        assert!(!passage.take(OutputEvent::Stdout(piece(second))).unwrap());
        assert!(early || passage.found(READY), "{first:?}");
        let kept: Vec<u8> = passage
            .rest
            .iter()
            .flat_map(|said| match said {
                OutputEvent::Stdout(piece) => piece.to_vec(),
                other => panic!("{other:?}"),
            })
            .chain(passage.before)
            .collect();
        assert_eq!(kept, b"warning\nhello", "{first:?}");
    }
}

#[test]
fn shell_that_says_something_else_for_ever_is_refused_and_one_that_ends_is_heard() {
    let mut passage = MarkReader::default();
    assert!(!passage.take(OutputEvent::Stdout(Bytes::from(vec![b'x'; OUTPUT_MAX]))).unwrap());
    assert!(passage.take(OutputEvent::Stderr(piece("x"))).is_err());
    let mut passage = MarkReader::default();
    assert!(!passage.take(OutputEvent::Stdout(piece("no\0PODGATE: 2"))).unwrap());
    assert!(!passage.found(READY));
    let mut closed = MarkReader::default();
    assert!(!closed.take(OutputEvent::Stdout(piece("no"))).unwrap());
    assert!(!closed.take(OutputEvent::End).unwrap());
    assert!(closed.take(OutputEvent::Exit(Exit::Status(126))).unwrap());
    let said = [OutputEvent::Stdout(piece("no")), OutputEvent::End, OutputEvent::Exit(Exit::Status(126))];
    assert_eq!(closed.rest, said, "no output comes behind its end");
    assert!(passage.take(OutputEvent::Exit(Exit::Status(126))).unwrap());
    assert_eq!(passage.rest, [OutputEvent::Stdout(piece("no\0PODGATE: 2")), OutputEvent::Exit(Exit::Status(126))]);
}

/// A process's standard input.
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

/// A process's two outputs, and its end.
struct Process(mpsc::Receiver<OutputEvent>);

impl ProgramOutput for Process {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move { self.0.recv().await.unwrap() })
    }
}

async fn pump(mut from: impl AsyncRead + Unpin, to: mpsc::Sender<OutputEvent>, said: fn(Bytes) -> OutputEvent) {
    let mut room = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut room).await {
        to.send(said(Bytes::copy_from_slice(&room[..count]))).await.unwrap();
    }
}

/// Starts the words of an exec in that shell.
fn launch(shell: &[&str], argv: &[String]) -> Program {
    let mut command = Command::new(shell[0]);
    podgate_devcluster::leash(command.as_std_mut()).unwrap();
    command.args(&shell[1..]).args(&argv[1..]).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, receiver) = mpsc::channel(1);
    let input = Box::new(Pipe(child.stdin.take()));
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    tokio::spawn(async move {
        tokio::join!(pump(out, sender.clone(), OutputEvent::Stdout), pump(err, sender.clone(), OutputEvent::Stderr));
        let code = child.wait().await.unwrap().code().unwrap();
        sender.send(OutputEvent::Exit(Exit::Status(u8::try_from(code).unwrap()))).await.unwrap();
    });
    Program { input, output: Box::new(Process(receiver)) }
}

/// Runs a command line in that shell, with input of the user's.
async fn run(shell: &[&str], line: &CommandLine, user: &[u8]) -> (Vec<u8>, Vec<u8>, Exit) {
    let (argv, start) = under_shell(line, None).unwrap();
    assert!(start.rest.is_some());
    let Program { mut input, mut output } = start.finish(launch(shell, &argv)).await.unwrap();
    let typing = async {
        // A program that does not start takes no input.
        let _ = input.write(BytesMut::from(user)).await;
        input.close().await.unwrap();
    };
    let hearing = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match output.next().await {
                OutputEvent::Stdout(piece) => out.extend_from_slice(&piece),
                OutputEvent::Stderr(piece) => err.extend_from_slice(&piece),
                OutputEvent::End => {}
                OutputEvent::Exit(exit) => return (out, err, exit),
            }
        }
    };
    tokio::join!(hearing, typing).0
}

/// The shells of this machine.
fn shells() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 4] = [&["/bin/sh"], &["/bin/bash"], &["/bin/dash"], &["/bin/busybox", "sh"]];
    all.into_iter().filter(|shell| std::path::Path::new(shell[0]).exists()).collect()
}

/// Text of so many bytes at most that holds every ASCII character but NUL, many others, and ends of lines at its end.
fn every_character(bytes: usize) -> String {
    let mut text = String::new();
    let all = || (1..=0x24F).chain([0x20AC, 0xFFFD, 0x1_F600]).filter_map(char::from_u32);
    for character in all().cycle() {
        if text.len() + character.len_utf8() + 3 > bytes {
            break;
        }
        text.push(character);
    }
    text + "\n\n\n"
}

#[tokio::test]
async fn long_command_line_comes_through_every_shell_with_every_character_and_the_input_behind_it() {
    let text = every_character(120_000);
    for shell in shells() {
        for word in [&*text, &"'".repeat(120_000), &"\n".repeat(120_000), &"%".repeat(131_071)] {
            let line = line(&["/bin/sh", "-c", "printf %s \"$1\"; echo err >&2; cat; exit 7", "x", word]);
            let (out, err, exit) = run(shell, &line, text.as_bytes()).await;
            let expected = [word.as_bytes(), text.as_bytes()].concat();
            assert!(out == expected, "{shell:?}: {} of {} bytes", out.len(), expected.len());
            assert_eq!((&*err, exit), (&b"err\n"[..], Exit::Status(7)), "{shell:?}");
        }
    }
}

#[tokio::test]
async fn many_long_variables_are_set_and_none_is_changed() {
    let variables: Vec<String> = (0..10).map(|n| format!("V{n}={n}{}", every_character(20_000))).collect();
    let mut argv = vec!["env", "-i"];
    argv.extend(variables.iter().map(String::as_str));
    argv.extend(["env", "-0"]);
    for shell in shells() {
        let (out, err, exit) = run(shell, &line(&argv), b"").await;
        let set: Vec<&[u8]> = out.split(|byte| *byte == 0).filter(|set| !set.is_empty()).collect();
        let wanted: Vec<&[u8]> = variables.iter().map(String::as_bytes).collect();
        assert!(set == wanted, "{shell:?}");
        assert_eq!((&*err, exit), (&b""[..], Exit::Status(0)), "{shell:?}");
    }
}

#[tokio::test]
async fn long_command_whose_program_is_not_there_is_127_with_a_line_of_ours() {
    let word = "x".repeat(100_000);
    for shell in shells() {
        let (_, err, exit) = run(shell, &line(&["/no/such", &word]), b"in").await;
        let told = String::from_utf8(err).unwrap();
        assert_eq!((&*told, exit), ("podgate: /no/such: not found in the container\n", Exit::Status(127)), "{shell:?}");
    }
}

#[tokio::test]
async fn program_to_prove_that_the_image_lacks_is_refused_and_another_one_starts() {
    for (program, expected) in [
        ("/nonexistent", Some(RefusalKind::NotFound)),
        ("/etc", None),
        ("/etc/passwd", Some(RefusalKind::NotExecutable)),
        ("cat", None),
    ] {
        let line = line(&[program]);
        for shell in shells() {
            let (mut argv, mut start) = under_shell(&line, None).unwrap();
            start.prove(&mut argv, program);
            let finished = start.finish(launch(shell, &argv)).await;
            assert_eq!(finished.err().map(|refusal| refusal.kind), expected, "{program} {shell:?}");
        }
    }
}
