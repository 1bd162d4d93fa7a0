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
    let script = Script(pieces.iter().cloned().collect());
    let mut output = heard(Program { input: Box::new(NoInput), output: Box::new(script) }).output;
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

fn err(text: &'static str) -> Said {
    Said::Stderr(Bytes::from_static(text.as_bytes()))
}

fn status(status: u8) -> Said {
    Said::Exit(Exit::Status(status))
}

#[tokio::test]
async fn success_that_no_witness_gave_is_a_lost_program() {
    let lost = || Said::Exit(exec::lost("success without its witness".to_owned()));
    let mark = || err("\0podgate: 255\0");
    for (pieces, expected) in [
        (vec![status(0)], vec![lost()]),
        (vec![err("x"), status(0)], vec![err("x"), lost()]),
        (vec![mark(), err("x"), status(0)], vec![mark(), err("x"), lost()]),
        (vec![err("\0podgate: 2"), err("55\0"), status(0)], vec![err("\0podgate: 2"), err("55\0"), lost()]),
        (vec![mark(), lost()], vec![mark(), lost()]),
        (vec![mark(), mark(), status(0)], vec![mark(), status(255)]),
        (vec![err("x\0podgate: 255\0"), status(0)], vec![err("x"), status(255)]),
        (vec![mark(), status(255)], vec![mark(), status(0)]),
        (vec![status(255)], vec![status(0)]),
        (vec![status(1)], vec![status(1)]),
    ] {
        assert_eq!(all(&pieces).await, expected, "{pieces:?}");
    }
}

/// Runs a program under the witness of a shell.
fn watched(shell: &[&str], program: &[&str]) -> Done {
    let argv: Vec<_> = program.iter().map(ToString::to_string).collect();
    // Behind an `env` it is the program that must be there.
    let needs = argv.iter().find(|word| *word != "env" && !word.contains('=')).unwrap().clone();
    let line = over(&Line { argv, needs, left_out: 0 });
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(&line[1..]).stdin(Stdio::null());
    command.output().unwrap()
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
