//! The start of a program under a shell, on the program's own streams and before the user's first byte: a terminal gets its
//! modes, and a command line that is too long for an exec is read from standard input.
//!
//! A shell's `read` takes no byte behind its line (POSIX, XCU `read`), so the user's input can follow the script at once.
//! On a terminal `/bin/sh` says by a mark that it is ready for what comes next, and no key is sent before the last mark,
//! while the terminal is not set up. Output before a mark (a loader's warning) is handed to the user; the marks are not.

use super::exit_wrapper::ExitWrapper;
use super::gate::{self, PrefixedOutput};
use crate::guest::{Exit, OutputEvent, Program, ProgramInput, ProgramOutput, Refusal, RefusalKind};
use crate::types::printable;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;
use tokio::time::timeout;

/// The mark of a terminal that takes the rest of the script unchanged.
const ASKS: &[u8] = b"\0PODGATE: 100\0";
/// The mark of a program that starts.
const READY: &[u8] = b"\0PODGATE: 200\0";

/// The shell's command that prints [`READY`].
pub(super) const SAY_READY: &str = "printf '\\0PODGATE: 200\\0'; ";

/// Limit of the output before a mark, in bytes.
const OUTPUT_MAX: usize = 64 * 1024;

/// The start of a program under the shell of its [exit wrapper](super::exit_wrapper).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ShellStart {
    pub(super) wrapper: ExitWrapper,
    /// The rest of the script, sent to standard input before the user's first byte.
    pub(super) rest: Option<BytesMut>,
    /// Set if the shell says by a mark that it is ready.
    pub(super) waits: bool,
    pub(super) terminal: bool,
    /// The program that is refused if the image lacks it.
    pub(super) proven: Option<String>,
}

/// Time in which a runtime that cannot start a program says so.
const RUNTIME: Duration = Duration::from_secs(1);

/// Refuses a program that the runtime could not start, in an image without a shell.
pub(crate) async fn prove_by_runtime(program: Program) -> Result<Program, Refusal> {
    let Program { input, mut output } = program;
    let first = match timeout(RUNTIME, output.next()).await {
        Ok(OutputEvent::Exit(Exit::Lost(refusal))) if refusal.kind != RefusalKind::Other => return Err(refusal),
        Ok(event) => VecDeque::from([event]),
        Err(_elapsed) => VecDeque::new(),
    };
    Ok(Program { input, output: Box::new(PrefixedOutput { first, then: output }) })
}

/// The refusal of a program that the wrapper did not find.
fn lacking(program: &str, events: &VecDeque<OutputEvent>) -> Option<Refusal> {
    match events.back()? {
        OutputEvent::Exit(Exit::Status(127)) => unstartable(program, RefusalKind::NotFound),
        OutputEvent::Exit(Exit::Status(126)) => unstartable(program, RefusalKind::NotExecutable),
        _ => None,
    }
}

/// The refusal of a program that the container lacks or cannot run, by whatever means it was to start; `None` for another
/// kind, whose reason is its own.
pub(crate) fn unstartable(program: &str, kind: RefusalKind) -> Option<Refusal> {
    let what = match kind {
        RefusalKind::NotFound => "not found in the container",
        RefusalKind::NotExecutable => "may not be executed in the container",
        RefusalKind::ContainerStopped | RefusalKind::Unanswered | RefusalKind::Other => return None,
    };
    Some(Refusal::new(format!("{}: {what}", printable(program, 200))).kind(kind))
}

impl ShellStart {
    /// Has the shell say by its mark that the image has the program. A terminal's programs are not asked about, nor those of
    /// a command line that travels on standard input.
    pub(super) fn prove(&mut self, argv: &mut [String], program: &str) {
        if self.terminal || self.rest.is_some() {
            return;
        }
        if let Some(script) = argv.get_mut(2) {
            *script = format!("{}{SAY_READY}{script}", gate::CHECK_PROGRAM);
            (self.waits, self.proven) = (true, Some(program.to_owned()));
        }
    }

    /// Leads the started program to the point where the user's input may follow.
    pub(crate) async fn finish(self, program: Program) -> Result<Program, Refusal> {
        let Program { mut input, mut output } = program;
        let mut marks = MarkReader::default();
        match self.rest {
            // A shell that takes no more of it has ended, and its end tells the reason.
            Some(rest) if !self.terminal => drop(input.write(rest).await),
            Some(rest) => marks.hand_over(rest, input.as_mut(), output.as_mut()).await?,
            None if self.waits => {
                if marks.wait(output.as_mut(), READY).await? == MarkWait::End
                    && let Some(refusal) = self.proven.as_deref().and_then(|program| lacking(program, &marks.rest))
                {
                    return Err(refusal);
                }
            }
            None => {}
        }
        if !marks.rest.is_empty() {
            output = Box::new(PrefixedOutput { first: marks.rest, then: output });
        }
        Ok(self.wrapper.read_exit(Program { input, output }, self.terminal))
    }
}

/// The result of a wait for a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MarkWait {
    Mark,
    /// The program's end, which is among the output for the user.
    End,
}

/// A reader of the output up to a mark.
#[derive(Debug, Default)]
struct MarkReader {
    /// Output since the last mark.
    before: BytesMut,
    /// Output for the user.
    rest: VecDeque<OutputEvent>,
    bytes: usize,
}

impl MarkReader {
    /// Waits for a mark, or for the end.
    async fn wait(&mut self, output: &mut dyn ProgramOutput, mark: &[u8]) -> Result<MarkWait, Refusal> {
        while !self.found(mark) {
            if self.take(output.next().await)? {
                return Ok(MarkWait::End);
            }
        }
        Ok(MarkWait::Mark)
    }

    /// Gives the script to a terminal's shell once it asks, and waits until the shell is ready.
    async fn hand_over(
        &mut self,
        rest: BytesMut,
        input: &mut dyn ProgramInput,
        output: &mut dyn ProgramOutput,
    ) -> Result<(), Refusal> {
        if self.wait(output, ASKS).await? == MarkWait::End {
            return Ok(());
        }
        let mut writing = pin!(input.write(rest));
        let mut ready = pin!(self.wait(output, READY));
        tokio::select! {
            biased;
            _written = &mut writing => drop(ready.await?),
            wait = &mut ready => if wait? == MarkWait::Mark {
                let _written = writing.await;
            },
        }
        Ok(())
    }

    /// Takes an event in; true for the end.
    fn take(&mut self, event: OutputEvent) -> Result<bool, Refusal> {
        let length = match &event {
            OutputEvent::Stdout(piece) | OutputEvent::Stderr(piece) => piece.len(),
            OutputEvent::End | OutputEvent::Exit(_) => 0,
        };
        self.bytes += length;
        if self.bytes > OUTPUT_MAX {
            return Err(Refusal::new("the container's /bin/sh printed something else instead of starting the program"));
        }
        match event {
            OutputEvent::Stdout(piece) => self.before.extend_from_slice(&piece),
            OutputEvent::Exit(_) => {
                let before = self.before.split().freeze();
                self.keep(before);
                self.rest.push_back(event);
                return Ok(true);
            }
            OutputEvent::End => {
                // No mark can come any more, and no output behind the end.
                let before = self.before.split().freeze();
                self.keep(before);
                self.rest.push_back(event);
            }
            OutputEvent::Stderr(_) => self.rest.push_back(event),
        }
        Ok(false)
    }

    /// Looks for the mark, and removes it.
    fn found(&mut self, mark: &[u8]) -> bool {
        let Some(at) = self.before.windows(mark.len()).position(|window| window == mark) else { return false };
        let before = self.before.split_to(at).freeze();
        self.keep(before);
        let _mark = self.before.split_to(mark.len());
        if mark == READY {
            let behind = self.before.split().freeze();
            self.keep(behind);
        }
        true
    }

    fn keep(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.rest.push_back(OutputEvent::Stdout(piece));
        }
    }
}

#[cfg(test)]
mod tests;
