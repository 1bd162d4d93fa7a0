//! The witness: a `/bin/sh` that stands by a program and says how it ended, in such a way that no success comes from a
//! stream that was cut.
//!
//! An API server takes a node's stream that ends without a word for the program's good end: it says Success. So Success is
//! what no program of ours ends with: the witness ends with 255 for 0. For the rare 255 it ends with 0, and says so on the
//! stream that carries what is wrong; a Success without that mark is a program of which nobody knows how it ended.
//! Whoever makes the mark by other means gets 255.
//!
//! KILL may come to the whole container. A witness who sees that its program was killed, and can start another, lives in a
//! container that lives, and says so by another mark; 137 without it is told as [`Exit::Signal`].

use super::end::KILLED;
use super::exec;
use super::gate;
use crate::guest::{Exit, Output, Program, Said};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;

/// What the witness says when the program ended with 255, on standard error, which on a terminal is the one stream there
/// is. A terminal does not change it.
const MARK: &[u8] = b"\0PODGATE: 255\0";

/// What it says when the program was killed and the witness was not.
const OUTLIVED: &[u8] = b"\0PODGATE: 137\0";

/// The other part of a torn mark comes within this.
const TORN: Duration = Duration::from_millis(200);

/// A keyboard's signals are the program's. A hang-up ends the witness: the kernel hangs up the terminal's programs then.
/// What a shell says of a child that was killed is nobody's business. In a container whose first process is dead no other
/// can be started (a pid namespace takes none); a shell that fails at that ends there.
const WATCH: &str = "trap : INT QUIT; exec 3>&2 2>/dev/null; (exec \"$@\" 2>&3 3>&-); s=$?; \
     case $s in 0) exit 255;; 255) printf '\\0PODGATE: 255\\0' >&3; exit 0;; \
     137) trap 'exit 137' 0; (:) && printf '\\0PODGATE: 137\\0' >&3;; esac; exit $s";

/// The witness's script, for a shell whose words are what must be there and the program with its arguments.
pub(super) fn script() -> String {
    format!("{}shift; {WATCH}", gate::LOOK)
}

/// The watched program as it would be alone.
pub(super) fn heard(program: Program, terminal: bool) -> Program {
    let Program { input, output } = program;
    Program { input, output: Box::new(Heard { output, terminal, kept: Bytes::new(), behind: None, ended: None }) }
}

struct Heard {
    output: Box<dyn Output>,
    terminal: bool,
    /// What the mark's stream said last, if that is a mark or the first part of one: it is one if the end comes next on
    /// this stream. (The other one may be behind.)
    kept: Bytes,
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
        let whole = self.kept.is_empty() || self.kept == MARK || self.kept == OUTLIVED;
        if whole { Some(next.await) } else { timeout(TORN, next).await.ok() }
    }

    fn take(&mut self, said: Said) -> Option<Said> {
        match said {
            Said::Stdout(data) if self.terminal => self.keep(data).map(Said::Stdout),
            Said::Stderr(data) if !self.terminal => self.keep(data).map(Said::Stderr),
            Said::Exit(Exit::Status(0)) if self.kept == MARK => Some(Said::Exit(Exit::Status(255))),
            killed @ Said::Exit(Exit::Status(KILLED)) if self.kept == OUTLIVED => Some(killed),
            exit @ Said::Exit(_) if !self.kept.is_empty() => {
                self.behind = Some(exit);
                Some(self.let_go())
            }
            Said::Exit(Exit::Status(255)) => Some(Said::Exit(Exit::Status(0))),
            Said::Exit(Exit::Status(0)) => Some(Said::Exit(exec::lost("success without its witness".to_owned()))),
            Said::Exit(Exit::Status(KILLED)) => Some(Said::Exit(Exit::Signal { name: "KILL".to_owned(), core: false })),
            other => Some(other),
        }
    }

    /// Keeps back what may be a mark at the end.
    fn keep(&mut self, mut data: Bytes) -> Option<Bytes> {
        if !self.kept.is_empty() {
            data = [&self.kept[..], &data].concat().into();
        }
        let end_of = |mark: &[u8]| (0..=mark.len()).rev().find(|length| data.ends_with(&mark[..*length]));
        let longest = end_of(MARK).max(end_of(OUTLIVED)).unwrap_or(0);
        self.kept = data.split_off(data.len() - longest);
        (!data.is_empty()).then_some(data)
    }

    /// What was kept is the program's own.
    fn let_go(&mut self) -> Said {
        let kept = std::mem::take(&mut self.kept);
        if self.terminal { Said::Stdout(kept) } else { Said::Stderr(kept) }
    }
}

#[cfg(test)]
mod tests;
