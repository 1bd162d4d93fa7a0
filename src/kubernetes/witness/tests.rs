//! The witness before real shells, and what is taken for its word.

use super::*;
use crate::guest::{Input, InputClosed, Refusal};
use crate::types::Size;
use bytes::BytesMut;
use std::collections::VecDeque;
use std::process::{Command, Output as Done, Stdio};

struct Script(VecDeque<Said>);

impl Output for Script {
    fn next(&mut self) -> BoxFuture<'_, Said> {
        let said = if self.0.len() == 1 { self.0.front().cloned() } else { self.0.pop_front() };
        Box::pin(async move { said.unwrap() })
    }
}

struct NoInput;

impl Input for NoInput {
    fn write(&mut self, _: BytesMut) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Err(InputClosed) })
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Ok(()) })
    }

    fn resize(&mut self, _: Size) -> BoxFuture<'_, Result<(), InputClosed>> {
        Box::pin(async { Ok(()) })
    }

    fn signal(&mut self, _: String) -> BoxFuture<'_, Result<(), Refusal>> {
        Box::pin(async { Ok(()) })
    }
}

/// What is heard of a stream that says `pieces`, the end twice.
async fn all(pieces: &[Said]) -> Vec<Said> {
    to_the_end(Script(pieces.iter().cloned().collect()), false).await
}

async fn to_the_end(script: impl Output + 'static, terminal: bool) -> Vec<Said> {
    let mut output = heard(Program { input: Box::new(NoInput), output: Box::new(script) }, terminal).output;
    let mut all = Vec::new();
    loop {
        let said = output.next().await;
        let over = matches!(said, Said::Exit(_));
        all.push(said);
        if over {
            assert_eq!(Some(&output.next().await), all.last(), "an exit stays");
            return all;
        }
    }
}

fn out(text: &'static str) -> Said {
    Said::Stdout(Bytes::from_static(text.as_bytes()))
}

fn err(text: &'static str) -> Said {
    Said::Stderr(Bytes::from_static(text.as_bytes()))
}

fn status(status: u8) -> Said {
    Said::Exit(Exit::Status(status))
}

#[tokio::test]
async fn success_that_no_witness_gave_is_a_lost_program() {
    let lost = || Said::Exit(exec::lost("success without its witness".to_owned()));
    let mark = || err("\0PODGATE: 255\0");
    let outlived = || err("\0PODGATE: 137\0");
    let killed = || Said::Exit(Exit::Signal { name: "KILL".to_owned(), core: false });
    for (pieces, expected) in [
        (vec![status(0)], vec![lost()]),
        (vec![err("x"), status(0)], vec![err("x"), lost()]),
        (vec![mark(), err("x"), status(0)], vec![err("\0PODGATE: 255\0x"), lost()]),
        (vec![err("\0PODGATE: 2"), status(0)], vec![err("\0PODGATE: 2"), lost()]),
        (vec![err("\0PODGATE: 2"), err("55"), status(0)], vec![err("\0PODGATE: 255"), lost()]),
        (vec![err("\0PODGATE: 2"), err("55\0"), status(0)], vec![status(255)]),
        (vec![err("x\0"), err("\0PODG"), err("ATE: 255\0"), status(0)], vec![err("x"), err("\0"), status(255)]),
        (vec![err("x\0"), out("y"), status(1)], vec![err("x"), out("y"), err("\0"), status(1)]),
        // The streams overtake each other.
        (vec![mark(), out("x"), out("y"), status(0)], vec![out("x"), out("y"), status(255)]),
        (vec![mark(), out("x"), err("y"), status(0)], vec![out("x"), err("\0PODGATE: 255\0y"), lost()]),
        // No witness talks there.
        (vec![out("\0PODGATE: 255\0"), status(0)], vec![out("\0PODGATE: 255\0"), lost()]),
        (vec![mark(), lost()], vec![mark(), lost()]),
        (vec![mark(), mark(), status(0)], vec![mark(), status(255)]),
        (vec![err("x\0PODGATE: 255\0"), status(0)], vec![err("x"), status(255)]),
        (vec![mark(), status(255)], vec![mark(), status(0)]),
        (vec![status(255)], vec![status(0)]),
        (vec![status(1)], vec![status(1)]),
        // Nobody outlived it.
        (vec![status(137)], vec![killed()]),
        (vec![err("x"), status(137)], vec![err("x"), killed()]),
        (vec![mark(), status(137)], vec![mark(), killed()]),
        (vec![outlived(), err("x"), status(137)], vec![err("\0PODGATE: 137\0x"), killed()]),
        (vec![outlived(), status(0)], vec![outlived(), lost()]),
        (vec![outlived(), status(137)], vec![status(137)]),
        (vec![err("x\0PODGATE"), err(": 137\0"), status(137)], vec![err("x"), status(137)]),
    ] {
        assert_eq!(all(&pieces).await, expected, "{pieces:?}");
    }
}

#[tokio::test]
async fn terminal_has_the_mark_on_its_one_stream() {
    for (pieces, expected) in [
        (vec![out("x\0PODGATE: 255\0"), status(0)], vec![out("x"), status(255)]),
        (vec![out("x\0POD"), out("GATE: 255\0"), status(0)], vec![out("x"), status(255)]),
    ] {
        assert_eq!(to_the_end(Script(pieces.into()), true).await, expected);
    }
}

/// Says its end at a time of its own.
struct Late {
    said: VecDeque<Said>,
    at: tokio::time::Instant,
}

impl Output for Late {
    fn next(&mut self) -> BoxFuture<'_, Said> {
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
    let mut output = heard(Program { input: Box::new(NoInput), output: Box::new(late) }, true).output;
    assert_eq!(output.next().await, out("ready"));
    assert_eq!(output.next().await, out("\0"));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(output.next().await, status(0));
}

/// Runs a program under the witness of a shell.
fn watched(shell: &[&str], program: &[&str]) -> Done {
    let argv: Vec<_> = program.iter().map(ToString::to_string).collect();
    // Behind an `env` it is the program that must be there.
    let needs = argv.iter().find(|word| *word != "env" && !word.contains('=')).unwrap().clone();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).arg("-c").arg(script()).arg("podgate").arg(needs).args(argv).stdin(Stdio::null());
    podgate_devcluster::leash(&mut command).unwrap().output().unwrap()
}

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
            ("kill -INT $$", 130),
            ("kill -INT $PPID $$", 130),
        ] {
            let done = watched(shell, &["/bin/sh", "-c", &format!("echo out; echo err >&2; {script}")]);
            let raw = status(u8::try_from(done.status.code().unwrap()).unwrap());
            let heard = all(&[Said::Stdout(done.stdout.into()), Said::Stderr(done.stderr.into()), raw]).await;
            let out = Said::Stdout(Bytes::from_static(b"out\n"));
            assert_eq!(heard, [out, err("err\n"), status(expected)], "{shell:?} {script}");
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
