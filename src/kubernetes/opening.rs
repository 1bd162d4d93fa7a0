//! What is done on a program's own streams before the user's first byte goes there: a terminal gets its modes, and a
//! command line that is too long for a request's target is read from standard input.
//!
//! A shell's `read` takes no byte behind its line (POSIX, XCU `read`), so the user's input can follow the script at once.
//! On a terminal `/bin/sh` says by a mark that it is ready for what comes next, and no key is pressed before the last one,
//! while the terminal is not set up. What comes before a mark (a loader's warning) is the user's to read; the marks are not.

use super::argv::Line;
use super::gate::Begun;
use super::witness::Witness;
use super::{exec, stty};
use crate::guest::{Input, Output, Program, Refusal, Said};
use crate::types::Modes;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::pin::pin;

/// A terminal takes the rest of the script as it is.
const ASKS: &[u8] = b"\0PODGATE: 100\0";
/// The program starts.
const READY: &[u8] = b"\0PODGATE: 200\0";

/// Says so, in the shell.
const SAY_READY: &str = "printf '\\0PODGATE: 200\\0'; ";

/// Limit of the output before a mark, in bytes.
const MOST: usize = 64 * 1024;

/// Linux takes no argument and no variable of more bytes (`MAX_ARG_STRLEN`, with its NUL).
const LONGEST_WORD: usize = 128 * 1024 - 1;

/// Reads the rest of the script, one line, where `$1` stands for the ends of lines.
const READ: &str = "IFS= read -r podgate || exit 126; eval \"$podgate\"";

/// The same on a terminal, whose own rules for lines would bend what is read and bound it.
const READ_RAW: &str = "stty -g >/dev/null 2>&1 || \
     { echo 'podgate: the command is too long for a terminal of an image without stty'; exit 126; }; \
     set -- \"$1\" \"$(stty -g)\"; stty raw -echo; printf '\\0PODGATE: 100\\0'; \
     IFS= read -r podgate || exit 126; stty \"$2\"; eval \"$podgate\"";

/// Start of a program under its [witness](super::witness).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// Command line of the exec.
    pub(super) argv: Vec<String>,
    /// Rest of the script, sent to standard input before the user's first byte.
    rest: Option<BytesMut>,
    /// Set where the shell says by a mark that it is ready.
    waits: bool,
    terminal: bool,
}

impl Opening {
    /// Prepares the start of `line` under `witness`, on a terminal with these modes.
    ///
    /// # Errors
    /// No Linux would start it.
    pub(super) fn new(line: &Line, terminal: Option<&Modes>, witness: &Witness) -> Result<Self, Refusal> {
        if line.argv.iter().any(|word| word.len() > LONGEST_WORD) {
            return Err(Refusal::new(
                "the command line is too long: Linux takes at most 128 KiB in one argument or variable",
            ));
        }
        let modes = terminal.map(stty::script).unwrap_or_default();
        let (waits, terminal) = (!modes.is_empty(), terminal.is_some());
        let words = || std::iter::once(&line.needs).chain(&line.argv);
        let script = |ready| format!("{modes}{}{}", if ready { SAY_READY } else { "" }, witness.script());
        let argv: Vec<String> = shell(&script(waits)).into_iter().chain(words().cloned()).collect();
        if exec::fits(&argv) {
            return Ok(Self { argv, rest: None, waits, terminal });
        }
        let words: String = words().map(|word| quoted(word)).collect();
        let rest = format!("set --{words}; unset podgate; {}\n", script(terminal));
        let mut argv = shell(if terminal { READ_RAW } else { READ });
        argv.push("\n".to_owned());
        Ok(Self { argv, rest: Some(BytesMut::from(rest.as_str())), waits: terminal, terminal })
    }

    /// Leads the program that was started so to where the user's input may come.
    pub(super) async fn lead(self, program: Program) -> Result<Program, Refusal> {
        let Program { mut input, mut output } = program;
        let mut passage = Passage::default();
        match self.rest {
            // A shell that takes no more of it has ended, and its end tells why.
            Some(rest) if !self.terminal => drop(input.write(rest).await),
            Some(rest) => passage.hand_over(rest, input.as_mut(), output.as_mut()).await?,
            None if self.waits => drop(passage.wait(output.as_mut(), READY).await?),
            None => {}
        }
        if !passage.rest.is_empty() {
            output = Box::new(Begun { first: passage.rest, then: output });
        }
        Ok(Program { input, output })
    }
}

fn shell(script: &str) -> Vec<String> {
    ["/bin/sh", "-c", script, "podgate"].map(str::to_owned).to_vec()
}

/// A word behind a space, on one line, as a shell reads it whose `$1` is the end of a line.
fn quoted(word: &str) -> String {
    format!(" '{}'", word.replace('\'', "'\\''").replace('\n', "'\"$1\"'"))
}

/// Result of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Mark,
    /// The end, which is among what is the user's to read.
    End,
}

/// Output so far.
#[derive(Debug, Default)]
struct Passage {
    /// Output of the terminal since the last mark.
    before: BytesMut,
    /// Output for the user.
    rest: VecDeque<Said>,
    bytes: usize,
}

impl Passage {
    /// Waits for a mark, or for the end.
    async fn wait(&mut self, output: &mut dyn Output, mark: &[u8]) -> Result<Came, Refusal> {
        while !self.found(mark) {
            if self.take(output.next().await)? {
                return Ok(Came::End);
            }
        }
        Ok(Came::Mark)
    }

    /// Gives the script to a terminal's shell once it asks, and waits until that is ready.
    async fn hand_over(
        &mut self,
        rest: BytesMut,
        input: &mut dyn Input,
        output: &mut dyn Output,
    ) -> Result<(), Refusal> {
        if self.wait(output, ASKS).await? == Came::End {
            return Ok(());
        }
        let mut writing = pin!(input.write(rest));
        let mut ready = pin!(self.wait(output, READY));
        tokio::select! {
            biased;
            _written = &mut writing => drop(ready.await?),
            came = &mut ready => if came? == Came::Mark {
                let _written = writing.await;
            },
        }
        Ok(())
    }

    /// Takes in what came; says whether it was the end.
    fn take(&mut self, said: Said) -> Result<bool, Refusal> {
        let length = match &said {
            Said::Stdout(piece) | Said::Stderr(piece) => piece.len(),
            Said::Exit(_) => 0,
        };
        self.bytes += length;
        if self.bytes > MOST {
            return Err(Refusal::new("the container's /bin/sh printed something else instead of starting the program"));
        }
        match said {
            Said::Stdout(piece) => self.before.extend_from_slice(&piece),
            Said::Exit(_) => {
                let before = self.before.split().freeze();
                self.keep(before);
                self.rest.push_back(said);
                return Ok(true);
            }
            Said::Stderr(_) => self.rest.push_back(said),
        }
        Ok(false)
    }

    /// Looks for the mark, and takes it out.
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
            self.rest.push_back(Said::Stdout(piece));
        }
    }
}

#[cfg(test)]
mod tests;
