//! The witness: a `/bin/sh` that stands by a program and says how it ended, in such a way that no success comes from a
//! stream that was cut.
//!
//! An API server takes a node's stream that ends without a word for the program's good end: it says Success. So Success is
//! what no program of ours ends with: the witness ends with 255 for 0. For the rare 255 it ends with 0, and says so on the
//! stream that carries what is wrong; a Success without that mark is a program of which nobody knows how it ended.
//! Whoever makes the mark by other means gets 255.

use super::argv::Line;
use super::exec;
use super::gate;
use crate::guest::{Exit, Output, Program, Said};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use std::time::Duration;
use tokio::time::timeout;

/// What the witness says when the program ended with 255, on standard error, which on a terminal is the one stream there
/// is. A terminal does not change it.
const MARK: &[u8] = b"\0podgate: 255\0";

/// The other part of a torn mark comes within this.
const TORN: Duration = Duration::from_millis(200);

/// A keyboard's signals are the program's. A hang-up ends the witness: the kernel hangs up the terminal's programs then.
/// What a shell says of a child that was killed is nobody's business.
const WATCH: &str = "trap : INT QUIT; exec 3>&2 2>/dev/null; (exec \"$@\" 2>&3 3>&-); s=$?; \
     case $s in 0) exit 255;; 255) printf '\\0podgate: 255\\0' >&3; exit 0;; esac; exit $s";

/// The command line that has the program of `line` watched.
pub(super) fn over(line: &Line) -> Vec<String> {
    let script = format!("{}shift; {WATCH}", gate::LOOK);
    let witness = ["/bin/sh", "-c", &script, "podgate", &line.needs].map(str::to_owned);
    witness.into_iter().chain(line.argv.iter().cloned()).collect()
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
        if self.kept.is_empty() || self.kept == MARK { Some(next.await) } else { timeout(TORN, next).await.ok() }
    }

    fn take(&mut self, said: Said) -> Option<Said> {
        match said {
            Said::Stdout(data) if self.terminal => self.keep(data).map(Said::Stdout),
            Said::Stderr(data) if !self.terminal => self.keep(data).map(Said::Stderr),
            Said::Exit(Exit::Status(0)) if self.kept == MARK => Some(Said::Exit(Exit::Status(255))),
            exit @ Said::Exit(_) if !self.kept.is_empty() => {
                self.behind = Some(exit);
                Some(self.let_go())
            }
            Said::Exit(Exit::Status(255)) => Some(Said::Exit(Exit::Status(0))),
            Said::Exit(Exit::Status(0)) => Some(Said::Exit(exec::lost("success without its witness".to_owned()))),
            other => Some(other),
        }
    }

    /// Keeps back what may be a mark at the end.
    fn keep(&mut self, mut data: Bytes) -> Option<Bytes> {
        if !self.kept.is_empty() {
            data = [&self.kept[..], &data].concat().into();
        }
        let longest = (0..=MARK.len()).rev().find(|length| data.ends_with(&MARK[..*length]));
        self.kept = data.split_off(data.len() - longest.unwrap_or(0));
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
