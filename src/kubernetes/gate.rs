//! The gate: a `/bin/sh` in front of a container's main process that holds it until we are attached, so that nothing of
//! what it says is lost. It answers every line on its standard input, which proves that its output reaches us, and lets
//! the program take its place when it is told to.
//!
//! What comes before the program's first byte (the gate's answers, and on a terminal the echo of our lines) is taken out.

use super::stty;
use crate::guest::{Exit, Output, Program, Refusal, Said};
use crate::types::Modes;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What the gate answers while it holds, and the last thing that it says before the program.
const HELD: &str = "podgate: attached";
/// In letters that every mode of a terminal lets pass.
const OPEN: &str = "PODGATE: STARTED";

/// Our lines: a question, and the word that opens.
const ASK: &[u8] = b"\n";
const GO: &[u8] = b"go\n";

/// How long an answer is waited for before the question is asked again: output that came before the runtime had made
/// the connection is gone.
const AGAIN: Duration = Duration::from_millis(500);

/// How much may come before the program, in bytes: the gate says a few dozen.
const MOST: usize = 64 * 1024;

/// As PID 1 a shell gets no signal that it does not trap. A standard input that ends is a session that is over.
const HOLD: &str = "trap 'exit 143' TERM HUP INT; \
     while :; do IFS= read -r podgate || exit 255; case $podgate in go) break;; esac; echo 'podgate: attached'; done; \
     unset podgate; trap - TERM HUP INT; ";

/// The program comes next.
const BEGIN: &str = "echo 'PODGATE: STARTED'; ";

/// Ends with a line of ours where `$1` is not there or no program.
pub(super) const LOOK: &str = "end() { echo \"podgate: $1\" >&2; exit $2; }; \
     case $1 in \
     */*) [ -e \"$1\" ] || end \"$1: not found in the container\" 127; \
     [ -x \"$1\" ] || end \"$1: may not be executed in the container\" 126;; \
     *) command -v \"$1\" >/dev/null 2>&1 || end \"$1: not found in the container\" 127;; \
     esac; ";

/// The command line that holds `program`, whose terminal gets these modes before it starts.
pub(super) fn hold(program: &[String], modes: &Modes) -> Vec<String> {
    let script = format!("{HOLD}{}{BEGIN}{LOOK}exec \"$@\"", stty::script(modes));
    let gate = ["/bin/sh", "-c", &script, "podgate"].map(str::to_owned);
    gate.into_iter().chain(program.iter().cloned()).collect()
}

/// Why a program did not come through its gate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The stream ended before; what it said.
    Ended(Exit),
    /// Something else than the gate talks there.
    Strange(Refusal),
}

/// Opens the gate of a program that we are attached to. What it returns begins with the program's first byte.
pub(super) async fn open(program: Program) -> Result<Program, Closed> {
    let Program { mut input, mut output } = program;
    let mut passage = Passage::default();
    let mut ask_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            said = output.next() => {
                let word = passage.take(said)?;
                match word {
                    Some(Word::Held) if !passage.told => {
                        passage.told = true;
                        // A gate that takes nothing any more has ended, which its output tells.
                        let _ended = input.write(BytesMut::from(GO)).await;
                    }
                    Some(Word::Open) => {
                        let output = Box::new(Begun { first: passage.rest, then: output });
                        return Ok(Program { input, output });
                    }
                    Some(Word::Held) | None => {}
                }
            }
            () = sleep_until(ask_at), if !passage.told => {
                let _ended = input.write(BytesMut::from(ASK)).await;
                ask_at = Instant::now() + AGAIN;
            }
        }
    }
}

/// A word of the gate's.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Held,
    Open,
}

/// What came so far.
#[derive(Debug, Default)]
struct Passage {
    before: BytesMut,
    /// Whether the gate was told to open.
    told: bool,
    /// What belongs to the program already.
    rest: VecDeque<Said>,
    bytes: usize,
}

impl Passage {
    /// Takes a piece in; the word is what the gate said last, once its line is whole.
    fn take(&mut self, said: Said) -> Result<Option<Word>, Closed> {
        match said {
            Said::Exit(exit) => Err(Closed::Ended(exit)),
            // The gate says nothing there: the runtime's two streams have overtaken each other.
            Said::Stderr(piece) => {
                self.count(&piece)?;
                self.rest.push_back(Said::Stderr(piece));
                Ok(None)
            }
            Said::Stdout(piece) => {
                self.count(&piece)?;
                self.before.extend_from_slice(&piece);
                if let Some(end) = end_of_line(&self.before, OPEN) {
                    let rest = self.before.split_off(end).freeze();
                    if !rest.is_empty() {
                        self.rest.push_back(Said::Stdout(rest));
                    }
                    return Ok(Some(Word::Open));
                }
                Ok(end_of_line(&self.before, HELD).map(|_| Word::Held))
            }
        }
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), Closed> {
        self.bytes += piece.len();
        if self.bytes <= MOST {
            return Ok(());
        }
        Err(Closed::Strange(Refusal::new("the program of the container did not wait until the session was attached")))
    }
}

/// Where the line that `word` begins has ended.
fn end_of_line(text: &[u8], word: &str) -> Option<usize> {
    let begin = text.windows(word.len()).position(|window| window == word.as_bytes())? + word.len();
    let end = text.get(begin..)?.iter().position(|byte| *byte == b'\n')?;
    Some(begin + end + 1)
}

/// An output of which a part came already.
pub(super) struct Begun {
    pub(super) first: VecDeque<Said>,
    pub(super) then: Box<dyn Output>,
}

impl Output for Begun {
    fn next(&mut self) -> BoxFuture<'_, Said> {
        Box::pin(async move {
            match self.first.pop_front() {
                Some(said) => said,
                None => self.then.next().await,
            }
        })
    }
}

#[cfg(test)]
mod tests;
