//! The gate: a `/bin/sh` in front of a container's main process that holds it until we are attached, so that none of its
//! output is lost. It answers every line on its standard input, which proves that its output reaches us, and is replaced
//! by the program on the line that opens it.
//!
//! Output before the program's first byte (the gate's answers, and on a terminal the echo of our lines) is removed.

use super::stty;
use crate::guest::{Exit, OutputEvent, Program, ProgramOutput, Refusal};
use crate::types::Modes;
use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The gate's answer while it holds.
const HELD: &str = "podgate: attached";
/// The gate's last line before the program, in letters that every mode of a terminal lets pass.
const OPEN: &str = "PODGATE: STARTED";

/// Our question to the gate.
const ASK: &[u8] = b"\n";
/// Our line that opens the gate.
const GO: &[u8] = b"go\n";

/// The time after which an unanswered question is repeated: output from before the runtime had made the connection is
/// lost.
const AGAIN: Duration = Duration::from_millis(500);

/// Limit of the output before the program, in bytes: the gate prints a few dozen.
const OUTPUT_MAX: usize = 64 * 1024;

/// The loop of the gate. As PID 1 a shell gets no signal that it does not trap. The end of standard input is the end of
/// the session.
const HOLD: &str = "trap 'exit 143' TERM HUP INT; \
     while :; do IFS= read -r podgate || exit 255; case $podgate in go) break;; esac; echo 'podgate: attached'; done; \
     unset podgate; trap - TERM HUP INT; ";

/// Prints the line [`OPEN`].
const BEGIN: &str = "echo 'PODGATE: STARTED'; ";

/// Ends with a line of ours if `$1` does not exist or is no program.
pub(super) const CHECK_PROGRAM: &str = "end() { echo \"podgate: $1\" >&2; exit $2; }; \
     case $1 in \
     */*) [ -e \"$1\" ] || end \"$1: not found in the container\" 127; \
     [ -x \"$1\" ] || end \"$1: may not be executed in the container\" 126;; \
     *) command -v \"$1\" >/dev/null 2>&1 || end \"$1: not found in the container\" 127;; \
     esac; ";

/// The command line that holds `program`, whose terminal gets these modes before it starts.
pub(super) fn held_command(program: &[String], modes: &Modes) -> Vec<String> {
    let script = format!("{HOLD}{}{BEGIN}{CHECK_PROGRAM}exec \"$@\"", stty::script(modes));
    let gate = ["/bin/sh", "-c", &script, "podgate"].map(str::to_owned);
    gate.into_iter().chain(program.iter().cloned()).collect()
}

/// The error of a gate that was not passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GateError {
    /// The stream ended before the program started.
    Ended(Exit),
    /// Another program than the gate prints there.
    NotAGate(Refusal),
}

/// Opens the gate of a program that we are attached to. The output of the result begins with the program's first byte.
pub(crate) async fn open(program: Program) -> Result<Program, GateError> {
    let Program { mut input, mut output } = program;
    let mut reader = GateReader::default();
    let mut ask_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            event = output.next() => {
                match reader.take(event)? {
                    Some(GateLine::Held) if !reader.opened => {
                        reader.opened = true;
                        // A gate that takes nothing any more has ended, which its output tells.
                        let _ended = input.write(BytesMut::from(GO)).await;
                    }
                    Some(GateLine::Open) => {
                        let output = Box::new(PrefixedOutput { first: reader.rest, then: output });
                        return Ok(Program { input, output });
                    }
                    Some(GateLine::Held) | None => {}
                }
            }
            () = sleep_until(ask_at), if !reader.opened => {
                let _ended = input.write(BytesMut::from(ASK)).await;
                ask_at = Instant::now() + AGAIN;
            }
        }
    }
}

/// A line of the gate.
#[derive(Debug, PartialEq, Eq)]
enum GateLine {
    Held,
    Open,
}

/// A reader of the gate's output.
#[derive(Debug, Default)]
struct GateReader {
    before: BytesMut,
    /// Set once the line that opens the gate was sent.
    opened: bool,
    /// Output of the program.
    rest: VecDeque<OutputEvent>,
    bytes: usize,
}

impl GateReader {
    /// Takes an event in; the result is the gate's last line, once it is complete.
    fn take(&mut self, event: OutputEvent) -> Result<Option<GateLine>, GateError> {
        match event {
            OutputEvent::Exit(exit) => Err(GateError::Ended(exit)),
            // Only the exit is left.
            OutputEvent::End => Ok(None),
            // The gate prints nothing there: the program's errors have overtaken its output.
            OutputEvent::Stderr(piece) => {
                self.count(&piece)?;
                self.rest.push_back(OutputEvent::Stderr(piece));
                Ok(None)
            }
            OutputEvent::Stdout(piece) => {
                self.count(&piece)?;
                self.before.extend_from_slice(&piece);
                if let Some(end) = end_of_line(&self.before, OPEN) {
                    let rest = self.before.split_off(end).freeze();
                    if !rest.is_empty() {
                        self.rest.push_back(OutputEvent::Stdout(rest));
                    }
                    return Ok(Some(GateLine::Open));
                }
                Ok(end_of_line(&self.before, HELD).map(|_| GateLine::Held))
            }
        }
    }

    fn count(&mut self, piece: &Bytes) -> Result<(), GateError> {
        self.bytes += piece.len();
        if self.bytes <= OUTPUT_MAX {
            return Ok(());
        }
        Err(GateError::NotAGate(Refusal::new(
            "the program of the container did not wait until the session was attached",
        )))
    }
}

/// The end of the line that begins with `word`, if it is complete.
fn end_of_line(text: &[u8], word: &str) -> Option<usize> {
    let begin = text.windows(word.len()).position(|window| window == word.as_bytes())? + word.len();
    let end = text.get(begin..)?.iter().position(|byte| *byte == b'\n')?;
    Some(begin + end + 1)
}

/// An output that begins with events that were read already.
pub(super) struct PrefixedOutput {
    pub(super) first: VecDeque<OutputEvent>,
    pub(super) then: Box<dyn ProgramOutput>,
}

impl ProgramOutput for PrefixedOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            match self.first.pop_front() {
                Some(event) => event,
                None => self.then.next().await,
            }
        })
    }
}

#[cfg(test)]
mod tests;
