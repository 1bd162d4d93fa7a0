//! The exit wrapper in real shells, and the texts that are read as its marks.

use super::*;
use crate::guest::{InputClosed, ProgramInput, Refusal};
use crate::policy::{Permit, SendSignal};
use crate::types::Size;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::process::{Command, Output as Done, Stdio};

struct Script(VecDeque<OutputEvent>);

impl ProgramOutput for Script {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        let said = if self.0.len() == 1 { self.0.front().cloned() } else { self.0.pop_front() };
        Box::pin(async move { said.unwrap() })
    }
}

struct NoInput;

impl ProgramInput for NoInput {
    fn write(&mut self, _: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Ok(()) })
    }

    fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Ok(()) })
    }

    fn signal(&mut self, _: Permit<SendSignal>) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

/// The exit wrapper of these tests, and a mark of another one.
const WRAPPER: ExitWrapper = ExitWrapper { number: 0xA7 };
const MARK: &str = "\0PODGATE: 00000000000000A7 255\0";
const OUTLIVED: &str = "\0PODGATE: 00000000000000A7 137\0";
const OTHERS: &str = "\0PODGATE: 00000000000000A8 255\0";

/// What is heard of a stream that says `pieces`, the end twice.
async fn all(pieces: &[OutputEvent]) -> Vec<OutputEvent> {
    to_the_end(Script(pieces.iter().cloned().collect()), false).await
}

async fn to_the_end(script: impl ProgramOutput + 'static, terminal: bool) -> Vec<OutputEvent> {
    let mut output = WRAPPER.read_exit(Program { input: Box::new(NoInput), output: Box::new(script) }, terminal).output;
    let mut all = Vec::new();
    loop {
        let said = output.next().await;
        let over = matches!(said, OutputEvent::Exit(_));
        all.push(said);
        if over {
            assert_eq!(Some(&output.next().await), all.last(), "an exit stays");
            return all;
        }
    }
}

fn out(text: impl AsRef<[u8]>) -> OutputEvent {
    OutputEvent::Stdout(Bytes::copy_from_slice(text.as_ref()))
}

fn err(text: impl AsRef<[u8]>) -> OutputEvent {
    OutputEvent::Stderr(Bytes::copy_from_slice(text.as_ref()))
}

fn status(status: u8) -> OutputEvent {
    OutputEvent::Exit(Exit::Status(status))
}

fn lost() -> OutputEvent {
    OutputEvent::Exit(crate::program::lost("success without its witness".to_owned()))
}

fn killed() -> OutputEvent {
    OutputEvent::Exit(Exit::Signal { name: "KILL".to_owned(), core: false })
}

#[tokio::test]
async fn success_without_a_mark_is_a_lost_program() {
    for (pieces, expected) in [
        (vec![status(0)], vec![lost()]),
        (vec![err("x"), status(0)], vec![err("x"), lost()]),
        (vec![err(OTHERS), err("x"), status(0)], vec![err(&OTHERS[..30]), err("\0x"), lost()]),
        (vec![err(&MARK[..30]), status(0)], vec![err(&MARK[..30]), lost()]),
        (
            vec![err(&MARK[..MARK.len() - 1]), err("x"), status(0)],
            vec![err(format!("{}x", &MARK[..MARK.len() - 1])), lost()],
        ),
        (vec![err(&MARK[1..30]), status(0)], vec![err(&MARK[1..30]), lost()]),
        (vec![err(OUTLIVED), status(0)], vec![lost()]),
        // No wrapper prints there.
        (vec![out(MARK), status(0)], vec![out(MARK), lost()]),
        (vec![err(MARK), lost()], vec![lost()]),
        (vec![err(MARK), status(0)], vec![status(255)]),
    ] {
        assert_eq!(all(&pieces).await, expected, "{pieces:?}");
    }
}

#[tokio::test]
async fn kill_that_no_wrapper_outlived_may_be_the_containers() {
    for (pieces, expected) in [
        (vec![status(137)], vec![killed()]),
        (vec![err("x"), status(137)], vec![err("x"), killed()]),
        (vec![err(MARK), status(137)], vec![killed()]),
        (vec![err(OUTLIVED), status(137)], vec![status(137)]),
    ] {
        assert_eq!(all(&pieces).await, expected, "{pieces:?}");
    }
}

#[tokio::test]
async fn status_without_a_mark_is_the_programs_but_for_success() {
    for (told, expected) in [(255, 0), (1, 1), (126, 126), (254, 254)] {
        for mark in [None, Some(err(MARK)), Some(err(OUTLIVED))] {
            let pieces: Vec<OutputEvent> = mark.into_iter().chain([status(told)]).collect();
            assert_eq!(all(&pieces).await, [status(expected)], "{pieces:?}");
        }
    }
}

#[tokio::test]
async fn mark_is_taken_out_wherever_it_stands_and_however_it_is_cut() {
    for (around, terminal) in [("", false), ("", true), ("\0", false), ("\0PODGATE: 0", false), (OTHERS, true)] {
        let whole = [around, MARK, around].concat();
        for at in 0..whole.len() {
            let said = |text: &str| if terminal { out(text) } else { err(text) };
            let script = Script([said(&whole[..at]), said(&whole[at..]), status(0)].into());
            let heard = to_the_end(script, terminal).await;
            let shown: Vec<u8> = heard
                .iter()
                .flat_map(|said| match said {
                    OutputEvent::Stdout(data) if terminal => data.to_vec(),
                    OutputEvent::Stderr(data) if !terminal => data.to_vec(),
                    OutputEvent::Exit(_) => Vec::new(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(shown, [around, around].concat().as_bytes(), "{at}");
            assert_eq!(heard.last(), Some(&status(255)), "{at}");
        }
    }
}

#[tokio::test]
async fn streams_that_overtake_each_other_do_not_hide_the_mark() {
    let script = [err(&MARK[..9]), out("x"), err(&MARK[9..]), out("y"), err("late"), status(0)];
    assert_eq!(all(&script).await, [out("x"), out("y"), err("late"), status(255)]);
}

/// Says its end at a time of its own.
struct Late {
    said: VecDeque<OutputEvent>,
    at: tokio::time::Instant,
}

impl ProgramOutput for Late {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            if self.said.len() == 1 {
                tokio::time::sleep_until(self.at).await;
            }
            if self.said.len() == 1 { self.said[0].clone() } else { self.said.pop_front().unwrap() }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn what_only_begins_like_a_mark_is_shown_before_the_program_says_more() {
    let begun = tokio::time::Instant::now();
    let late = Late { said: [out("ready\0"), status(255)].into(), at: begun + Duration::from_secs(60) };
    let mut output = WRAPPER.read_exit(Program { input: Box::new(NoInput), output: Box::new(late) }, true).output;
    assert_eq!(output.next().await, out("ready"));
    assert_eq!(output.next().await, out("\0"));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(output.next().await, status(0));
}

/// Runs a program under the exit wrapper in a shell.
fn watched(shell: &[&str], program: &[&str]) -> Done {
    let argv: Vec<_> = program.iter().map(ToString::to_string).collect();
    // Behind an `env` it is the program that must be there.
    let needs = argv.iter().find(|word| *word != "env" && !word.contains('=')).unwrap().clone();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg("-c").arg(WRAPPER.script()).arg("podgate").arg(needs).args(argv).stdin(Stdio::null());
    podgate_devcluster::leash(&mut command).unwrap().output().unwrap()
}

/// Starts a child that writes when the program and its wrapper have ended.
const LATE: &str = "(while [ -e /proc/$PPID/exe ]; do :; done; echo late >&2) & ";

#[tokio::test]
async fn every_status_comes_through_every_shell_and_nothing_else_does() {
    let shells: [&[&str]; 4] = [&["/bin/sh"], &["dash"], &["bash", "--posix"], &["busybox", "sh"]];
    let there = |shell: &&&[&str]| Command::new(shell[0]).arg(shell.get(1).unwrap_or(&"-c")).output().is_ok();
    for shell in shells.iter().filter(there) {
        for (script, expected) in [
            ("exit 0", 0),
            ("exit 1", 1),
            ("exit 254", 254),
            ("exit 255", 255),
            ("kill -9 $$", 137),
            ("exec 2>&- 3>&-; exit 255", 255),
            ("exec 2>&- 3>&-; exit 137", 137),
            (&*format!("{LATE}exit 255"), 255),
            (&*format!("{LATE}kill -9 $$"), 137),
            (&*format!("{LATE}exit 0"), 0),
            ("kill -INT $$", 130),
            ("kill -INT $PPID $$", 130),
        ] {
            let done = watched(shell, &["/bin/sh", "-c", &format!("echo out; echo err >&2; {script}")]);
            let raw = status(u8::try_from(done.status.code().unwrap()).unwrap());
            let heard =
                all(&[OutputEvent::Stdout(done.stdout.into()), OutputEvent::Stderr(done.stderr.into()), raw]).await;
            let shown = if script.starts_with(LATE) { "err\nlate\n" } else { "err\n" };
            assert_eq!(heard, [out("out\n"), err(shown), status(expected)], "{shell:?} {script}");
        }
        for (program, expected, line) in [
            ("/no/such", 127, "podgate: /no/such: not found in the container\n"),
            ("no-such", 127, "podgate: no-such: not found in the container\n"),
            ("/etc/passwd", 126, "podgate: /etc/passwd: may not be executed in the container\n"),
        ] {
            for words in [&[program][..], &["env", "A=1", program]] {
                let done = watched(shell, words);
                let told = (done.status.code(), String::from_utf8(done.stderr).unwrap());
                assert_eq!(told, (Some(expected), line.to_owned()), "{shell:?}");
            }
        }
    }
}
