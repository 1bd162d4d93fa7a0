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

/// What the witness says when the program ended with 255. Too short to be torn by a pipe; a terminal does not change it.
const MARK: &[u8] = b"\0podgate: 255\0";

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
pub(super) fn heard(program: Program) -> Program {
    let Program { input, output } = program;
    Program { input, output: Box::new(Heard { output, mark: None, behind: None, ended: None }) }
}

struct Heard {
    output: Box<dyn Output>,
    /// A mark that came last: it is one if the end comes next.
    mark: Option<Said>,
    /// What came behind a mark that was none.
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
                    None => self.output.next().await,
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
    fn take(&mut self, said: Said) -> Option<Said> {
        if let Some(mark) = self.mark.take() {
            if said == Said::Exit(Exit::Status(0)) {
                return Some(Said::Exit(Exit::Status(255)));
            }
            self.behind = Some(said);
            return Some(mark);
        }
        match said {
            Said::Stdout(data) => self.hold(data, Said::Stdout),
            Said::Stderr(data) => self.hold(data, Said::Stderr),
            Said::Exit(Exit::Status(255)) => Some(Said::Exit(Exit::Status(0))),
            Said::Exit(Exit::Status(0)) => Some(Said::Exit(exec::lost("success without its witness".to_owned()))),
            exit @ Said::Exit(_) => Some(exit),
        }
    }

    /// Keeps back a mark at the end.
    fn hold(&mut self, mut data: Bytes, kind: fn(Bytes) -> Said) -> Option<Said> {
        if data.ends_with(MARK) {
            self.mark = Some(kind(data.split_off(data.len() - MARK.len())));
        }
        (!data.is_empty()).then(|| kind(data))
    }
}

#[cfg(test)]
mod tests;
