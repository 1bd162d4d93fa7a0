//! The witness: a `/bin/sh` that stands by a program and says how it ended, in such a way that no success comes from a
//! stream that was cut.
//!
//! An API server takes a node's stream that ends without a word for the program's good end: it says Success. So Success is
//! what no program of ours ends with: the witness ends with 255 for 0. For the rare 255 it ends with 0, and says so on the
//! stream that carries what is wrong; a Success without that mark is a program of which nobody knows how it ended.
//!
//! KILL may come to the whole container. A witness who sees that its program was killed, and can start another, lives in a
//! container that lives, and says so by another mark; 137 without it is told as [`Exit::Signal`].
//!
//! A mark holds a random number of its program's, so it is one wherever it stands (a child that outlives the program may
//! write behind it), and nothing else is. Whoever looks the number up and makes the mark by other means gets 255 or 137.

use super::end::KILLED;
use super::exec;
use super::gate;
use crate::guest::{Exit, Output, Program, Said};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;

/// The other part of a torn mark comes within this.
const TORN: Duration = Duration::from_millis(200);

/// One program's witness.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Witness {
    number: u64,
}

impl Witness {
    pub(super) fn new() -> Self {
        Self { number: rand::random() }
    }

    /// The witness's script, for a shell whose words are what must be there and the program with its arguments.
    ///
    /// A keyboard's signals are the program's. A hang-up ends the witness: the kernel hangs up the terminal's programs
    /// then. What a shell says of a child that was killed is nobody's business. In a container whose first process is dead
    /// no other can be started (a pid namespace takes none); a shell that fails at that ends there. The marks go to
    /// standard error, which on a terminal is the one stream there is, even where it stops writers in the background.
    pub(super) fn script(&self) -> String {
        let (look, number) = (gate::LOOK, self.number);
        format!(
            "{look}shift; trap : INT QUIT; exec 3>&2 2>/dev/null; s=0; (exec \"$@\" 2>&3 3>&-) || s=$?; \
             say() {{ trap '' TTOU; printf '\\0PODGATE: {number:016X} %s\\0' $s >&3; }}; \
             case $s in 0) exit 255;; 255) say; exit 0;; 137) trap 'exit 137' 0; (:) && say;; esac; exit $s"
        )
    }

    /// The watched program as it would be alone.
    pub(super) fn heard(&self, program: Program, terminal: bool) -> Program {
        let Program { input, output } = program;
        let mark = format!("\0PODGATE: {:016X} ", self.number);
        let (kept, said, behind, ended) = (Bytes::new(), None, None, None);
        Program { input, output: Box::new(Heard { output, terminal, mark, kept, said, behind, ended }) }
    }
}

struct Heard {
    output: Box<dyn Output>,
    terminal: bool,
    /// Beginning of a mark; the status and a NUL follow. A terminal does not change it.
    mark: String,
    /// The end of what the mark's stream said, if that may be the first part of a mark.
    kept: Bytes,
    /// The status in the witness's mark.
    said: Option<u8>,
    /// What came behind something kept that was no mark.
    behind: Option<Said>,
    ended: Option<Exit>,
}

impl Output for Heard {
    fn next(&mut self) -> BoxFuture<'_, Said> {
        Box::pin(async move {
            loop {
                if let Some(exit) = &self.ended {
                    return Said::Exit(exit.clone());
                }
                let said = match self.behind.take() {
                    Some(said) => said,
                    None => match self.within().await {
                        Some(said) => said,
                        None => return self.let_go(),
                    },
                };
                match self.take(said) {
                    Some(Said::Exit(exit)) => self.ended = Some(exit),
                    Some(said) => return said,
                    None => {}
                }
            }
        })
    }
}

impl Heard {
    /// What comes next; nothing, if there is a torn mark whose other part is late.
    async fn within(&mut self) -> Option<Said> {
        let next = self.output.next();
        if self.kept.is_empty() { Some(next.await) } else { timeout(TORN, next).await.ok() }
    }

    fn take(&mut self, said: Said) -> Option<Said> {
        match said {
            Said::Stdout(data) if self.terminal => self.listen(data).map(Said::Stdout),
            Said::Stderr(data) if !self.terminal => self.listen(data).map(Said::Stderr),
            Said::Exit(exit) if self.kept.is_empty() => Some(Said::Exit(self.judge(exit))),
            exit @ Said::Exit(_) => {
                self.behind = Some(exit);
                Some(self.let_go())
            }
            other => Some(other),
        }
    }

    fn judge(&self, exit: Exit) -> Exit {
        match (exit, self.said) {
            (Exit::Status(255), _) => Exit::Status(0),
            (Exit::Status(0), Some(255)) => Exit::Status(255),
            (Exit::Status(0), _) => exec::lost("success without its witness".to_owned()),
            (Exit::Status(KILLED), said) if said != Some(KILLED) => {
                Exit::Signal { name: "KILL".to_owned(), core: false }
            }
            (other, _) => other,
        }
    }

    /// Takes marks out, and keeps back what may be the first part of one at the end.
    fn listen(&mut self, mut data: Bytes) -> Option<Bytes> {
        if !self.kept.is_empty() {
            data = [&std::mem::take(&mut self.kept)[..], &data].concat().into();
        }
        let mut from = 0;
        while let Some(begin) = data[from..].iter().position(|byte| *byte == 0) {
            let at = from + begin;
            from = at;
            match self.read(&data[at..]) {
                Read::Mark { status, length } => {
                    self.said = Some(status);
                    data = [&data[..at], &data[at + length..]].concat().into();
                }
                Read::Part => {
                    self.kept = data.split_off(at);
                    break;
                }
                Read::Other => from += 1,
            }
        }
        (!data.is_empty()).then_some(data)
    }

    /// Reads the beginning of `text` as a mark with the program's number.
    fn read(&self, text: &[u8]) -> Read {
        let mark = self.mark.as_bytes();
        // Zeros come in masses, and differ in the second byte.
        if text.iter().zip(mark).any(|(one, other)| one != other) {
            return Read::Other;
        }
        match text.get(mark.len()..) {
            None => Read::Part,
            Some(rest) => match rest {
                [b'2', b'5', b'5', 0, ..] => Read::Mark { status: 255, length: mark.len() + 4 },
                [b'1', b'3', b'7', 0, ..] => Read::Mark { status: KILLED, length: mark.len() + 4 },
                _ if rest.len() < 4 => Read::Part,
                _ => Read::Other,
            },
        }
    }

    /// What was kept is the program's own.
    fn let_go(&mut self) -> Said {
        let kept = std::mem::take(&mut self.kept);
        if self.terminal { Said::Stdout(kept) } else { Said::Stderr(kept) }
    }
}

/// Kind of a text that begins with a NUL.
enum Read {
    Mark {
        status: u8,
        length: usize,
    },
    /// As far as it goes, a mark.
    Part,
    Other,
}

#[cfg(test)]
mod tests;
