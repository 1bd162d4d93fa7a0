//! The exit wrapper: a `/bin/sh` around a program that reports the program's exit in such a way that a stream that was cut
//! never means success.
//!
//! An API server takes a node's stream that ends without a word for the program's good end: it says Success. So no wrapped
//! program ends with Success: the wrapper ends with 255 for 0. For the rare 255 it ends with 0, and prints a mark on the
//! stream of errors; after a Success without that mark, the program's end is unknown.
//!
//! KILL may hit the whole container. A wrapper that sees its program killed and can start another lives in a container
//! that lives, and says so by another mark; 137 without it is reported as [`Exit::Signal`].
//!
//! A mark holds a random number of its program, so it counts wherever it stands (a child that outlives the program may
//! write behind it), and nothing else does. A user who reads the number and forges the mark gets 255 or 137.

use super::confirmed_end::KILLED;
use super::gate;
use crate::guest::{Exit, OutputEvent, Program, ProgramOutput};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;

/// Limit of the time between the parts of a torn mark.
const TORN: Duration = Duration::from_millis(200);

/// The exit wrapper of one program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExitWrapper {
    number: u64,
}

impl ExitWrapper {
    pub(crate) fn new() -> Self {
        Self { number: rand::random() }
    }

    /// The wrapper's script, for a shell whose arguments are the required program and the program with its arguments.
    ///
    /// A keyboard's signals are for the program. A hang-up ends the wrapper: the kernel then hangs up the terminal's
    /// programs. A shell's own message about a killed child is dropped. In a container whose first process is dead no other
    /// can be started (a pid namespace takes none); a shell that fails at that ends there. The marks go to standard error,
    /// on a terminal its only stream, even where it stops writers in the background.
    pub(crate) fn script(&self) -> String {
        let (check, number) = (gate::CHECK_PROGRAM, self.number);
        format!(
            "{check}shift; trap : INT QUIT; exec 3>&2 2>/dev/null; s=0; (exec \"$@\" 2>&3 3>&-) || s=$?; \
             say() {{ trap '' TTOU; printf '\\0PODGATE: {number:016X} %s\\0' $s >&3; }}; \
             case $s in 0) exit 255;; 255) say; exit 0;; 137) trap 'exit 137' 0; (:) && say;; esac; exit $s"
        )
    }

    /// Reads the marks out of the program's output and reports its own exit.
    pub(crate) fn read_exit(&self, program: Program, terminal: bool) -> Program {
        let Program { input, output } = program;
        let mark = format!("\0PODGATE: {:016X} ", self.number);
        let (partial, marked, exit) = (Bytes::new(), None, None);
        Program { input, output: Box::new(WrappedOutput { output, terminal, mark, partial, marked, exit }) }
    }
}

/// The output of a wrapped program.
struct WrappedOutput {
    output: Box<dyn ProgramOutput>,
    terminal: bool,
    /// The beginning of a mark; the status and a NUL follow. A terminal does not change it.
    mark: String,
    /// The end of the output so far, if it may be the first part of a mark.
    partial: Bytes,
    /// The status in the wrapper's mark.
    marked: Option<u8>,
    exit: Option<Exit>,
}

impl ProgramOutput for WrappedOutput {
    fn next(&mut self) -> BoxFuture<'_, OutputEvent> {
        Box::pin(async move {
            loop {
                if let Some(exit) = &self.exit {
                    return OutputEvent::Exit(exit.clone());
                }
                let Some(event) = self.next_in_time().await else { return self.release_partial() };
                match self.take(event) {
                    Some(OutputEvent::Exit(exit)) => self.exit = Some(exit),
                    Some(event) => return event,
                    None => {}
                }
            }
        })
    }
}

impl WrappedOutput {
    /// Waits for the next event; `None` if the other part of a torn mark is late.
    async fn next_in_time(&mut self) -> Option<OutputEvent> {
        let next = self.output.next();
        if self.partial.is_empty() { Some(next.await) } else { timeout(TORN, next).await.ok() }
    }

    fn take(&mut self, event: OutputEvent) -> Option<OutputEvent> {
        match event {
            OutputEvent::Stdout(data) if self.terminal => self.strip_marks(data).map(OutputEvent::Stdout),
            OutputEvent::Stderr(data) if !self.terminal => self.strip_marks(data).map(OutputEvent::Stderr),
            OutputEvent::Exit(exit) if self.partial.is_empty() => Some(OutputEvent::Exit(self.own_exit(exit))),
            OutputEvent::Exit(exit) => {
                self.exit = Some(self.own_exit(exit));
                Some(self.release_partial())
            }
            // The wrapper's own streams stay open.
            OutputEvent::End => None,
            other => Some(other),
        }
    }

    /// The program's exit behind the wrapper's.
    fn own_exit(&self, exit: Exit) -> Exit {
        match (exit, self.marked) {
            (Exit::Status(255), _) => Exit::Status(0),
            (Exit::Status(0), Some(255)) => Exit::Status(255),
            (Exit::Status(0), _) => super::lost("success without its witness".to_owned()),
            (Exit::Status(KILLED), marked) if marked != Some(KILLED) => {
                Exit::Signal { name: "KILL".to_owned(), core: false }
            }
            (other, _) => other,
        }
    }

    /// Removes marks, and holds back an end that may be the first part of one.
    fn strip_marks(&mut self, mut data: Bytes) -> Option<Bytes> {
        if !self.partial.is_empty() {
            data = [&std::mem::take(&mut self.partial)[..], &data].concat().into();
        }
        let mut from = 0;
        while let Some(begin) = data[from..].iter().position(|byte| *byte == 0) {
            let at = from + begin;
            from = at;
            match self.read(&data[at..]) {
                MarkMatch::Mark { status, length } => {
                    self.marked = Some(status);
                    data = [&data[..at], &data[at + length..]].concat().into();
                }
                MarkMatch::Partial => {
                    self.partial = data.split_off(at);
                    break;
                }
                MarkMatch::Other => from += 1,
            }
        }
        (!data.is_empty()).then_some(data)
    }

    /// Compares the beginning of `text` with a mark of the program's number.
    fn read(&self, text: &[u8]) -> MarkMatch {
        let mark = self.mark.as_bytes();
        // Zeros come in masses, and differ in the second byte.
        if text.iter().zip(mark).any(|(one, other)| one != other) {
            return MarkMatch::Other;
        }
        match text.get(mark.len()..) {
            None => MarkMatch::Partial,
            Some(rest) => match rest {
                [b'2', b'5', b'5', 0, ..] => MarkMatch::Mark { status: 255, length: mark.len() + 4 },
                [b'1', b'3', b'7', 0, ..] => MarkMatch::Mark { status: KILLED, length: mark.len() + 4 },
                _ if rest.len() < 4 => MarkMatch::Partial,
                _ => MarkMatch::Other,
            },
        }
    }

    /// Hands on the partial mark, which was the program's own output.
    fn release_partial(&mut self) -> OutputEvent {
        let partial = std::mem::take(&mut self.partial);
        if self.terminal { OutputEvent::Stdout(partial) } else { OutputEvent::Stderr(partial) }
    }
}

/// The result of a comparison with a mark.
enum MarkMatch {
    Mark {
        status: u8,
        length: usize,
    },
    /// The text ends within what may be a mark.
    Partial,
    Other,
}

#[cfg(test)]
mod tests;
