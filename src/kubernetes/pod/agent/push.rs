//! The agent brought into a container over the exec that then carries the link: the image's shell looks for a place that can be
//! written and executed, makes a folder there, takes the file from standard input, and becomes the agent.
//!
//! Each step ends with a mark on standard output, and the gateway sends nothing for the next before it: a program that reads
//! more than its part can take nothing of the link. File and folder are removed on each way out; the agent removes them when it starts.

use super::file::AgentFile;
use crate::guest::{Exit, OutputEvent, Program, ProgramInput, ProgramOutput};
use crate::types::printable;
use bytes::{Buf, Bytes, BytesMut};
use std::pin::pin;

/// The beginning of a mark, which is a line.
const MARK: &[u8] = b"PODGATE-AGENT: ";
/// Limit of what comes before a mark, in bytes.
const NOISE_MAX: usize = 64 * 1024;

/// The script; `$1` is the name of a folder of its own, `$2` the file's length. Others may write where the folder is made, and
/// exchange it (another container with the same volume): the script enters it, sees that what it is in is its own, and from
/// then on names nothing but what is in it. A place is tested by a program of two lines: whether a file system is mounted
/// `noexec` can be known in no other way. bash's `exec` makes an absolute path of `./agent`, which leads through the place
/// again; the one below `/proc` leads to what the shell is in. `read` takes no byte behind its line (POSIX, XCU `read`).
const SCRIPT: &str = r#"umask 077; d=; w=$(pwd)
clean() { [ -z "$d" ] || { rm -f agent 2>/dev/null || : >agent; cd / && rmdir "$d" 2>/dev/null; }; d=; }
say() { echo "PODGATE-AGENT: $*"; }
trap clean 0; trap 'exit 1' HUP INT TERM PIPE
for p in "$TMPDIR" /tmp /dev/shm /var/tmp /run "$HOME" "$w"; do
  case $p in /*) ;; *) continue;; esac
  [ -d "$p" ] && [ -w "$p" ] && mkdir -m 700 "${p%/}/$1" 2>/dev/null || continue
  cd "${p%/}/$1" 2>/dev/null && [ -O . ] && chmod 700 . || { cd /; rmdir "${p%/}/$1" 2>/dev/null; continue; }
  d=${p%/}/$1
  (set -C; echo '#!/bin/sh
exit 7' >agent) 2>/dev/null && [ -f agent ] && [ ! -L agent ] && [ -O agent ] || { cd / && rmdir "$d" 2>/dev/null; d=; continue; }
  chmod 700 agent 2>/dev/null
  ./agent </dev/null >/dev/null 2>&1
  [ $? = 7 ] && break
  clean
done
[ -n "$d" ] || { say nowhere; exit 0; }
say ready "$(uname -m 2>/dev/null)"
take() {
  if printf x | head -c 1 >/dev/null 2>&1; then head -c "$1"
  else dd bs="$1" count=1 iflag=fullblock
  fi
}
take "$2" >agent 2>/dev/null || { say unwritten; exit 0; }
./agent --help </dev/null >/dev/null 2>&1 || { say unusable; exit 0; }
say written
IFS= read -r go && [ "$go" = start ] || exit 0
f=/proc/self/cwd/agent; [ -x "$f" ] || f=./agent
exec "$f" link --remove-self --directory "$w""#;

/// The answer to the mark `written`.
const START: &[u8] = b"start\n";

/// The failure to bring the agent. Each is the image's own, and comes again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PushError {
    #[error("the container has no place that can be written and executed")]
    Nowhere,
    #[error("the agent's file could not be written in the container")]
    Unwritten,
    #[error("the agent does not run in the container")]
    Unusable,
    #[error("the gateway's agent is for {own}, and the container runs on {container}")]
    OtherMachine { own: &'static str, container: String },
    /// The shell did not do what the script says.
    #[error("the image's shell does not answer as a shell does")]
    Strange,
    /// The exec ended before.
    #[error("the exec ended before the agent could start")]
    Ended(Exit),
}

/// The command line of the exec. `name` is that of the file's folder.
pub(super) fn command(name: &str, file: &AgentFile) -> Vec<String> {
    ["/bin/sh", "-c", SCRIPT, "podgate", name, &file.content.len().to_string()].map(str::to_owned).to_vec()
}

/// A name for the folder, which nobody can have guessed.
pub(super) fn folder_name() -> String {
    format!(".podgate-agent-{:032x}", rand::random::<u128>())
}

/// Leads the exec of [`command`] to the point where its program is the agent. The bytes are the agent's first. Dropping the
/// future ends the exec, and the shell removes the file.
pub(super) async fn push(program: Program, file: &AgentFile) -> Result<(Program, Bytes), PushError> {
    let Program { mut input, mut output } = program;
    let mut marks = Marks { output: output.as_mut(), before: BytesMut::new() };
    let ready = marks.next().await?;
    let container = match ready.split_once(' ') {
        Some(("ready", machine)) => machine.trim(),
        _ if ready == "nowhere" => return Err(PushError::Nowhere),
        _ if ready == "ready" => "",
        _ => return Err(PushError::Strange),
    };
    if let Some(own) = file.other_machine(container) {
        return Err(PushError::OtherMachine { own, container: container.to_owned() });
    }
    match send(input.as_mut(), &file.content, &mut marks).await?.as_str() {
        "written" => {}
        "unwritten" => return Err(PushError::Unwritten),
        "unusable" => return Err(PushError::Unusable),
        _ => return Err(PushError::Strange),
    }
    let rest = marks.before.freeze();
    // A shell that takes no more has ended, and the link finds that out.
    let _closed = input.write(BytesMut::from(START)).await;
    Ok((Program { input, output }, rest))
}

/// Sends the file and waits for the mark behind it, which comes earlier where the file cannot be written.
async fn send(input: &mut dyn ProgramInput, content: &Bytes, marks: &mut Marks<'_>) -> Result<String, PushError> {
    let mut writing = pin!(input.write(BytesMut::from(&content[..])));
    let mut mark = pin!(marks.next());
    tokio::select! {
        biased;
        mark = &mut mark => mark,
        _written = &mut writing => mark.await,
    }
}

/// A reader of the marks in a program's output.
struct Marks<'a> {
    output: &'a mut dyn ProgramOutput,
    /// Output behind the last mark.
    before: BytesMut,
}

impl Marks<'_> {
    /// Waits for the next mark, and returns what it says. Other output before it is dropped.
    async fn next(&mut self) -> Result<String, PushError> {
        loop {
            if let Some(mark) = self.take() {
                return Ok(mark);
            }
            if self.before.len() > NOISE_MAX {
                return Err(PushError::Strange);
            }
            match self.output.next().await {
                OutputEvent::Stdout(data) => self.before.extend_from_slice(&data),
                OutputEvent::Stderr(_) | OutputEvent::End => {}
                OutputEvent::Exit(exit) => return Err(PushError::Ended(exit)),
            }
        }
    }

    fn take(&mut self) -> Option<String> {
        let start = self.before.windows(MARK.len()).position(|bytes| bytes == MARK)?;
        let end = start + self.before[start..].iter().position(|byte| *byte == b'\n')?;
        let mark = printable(&String::from_utf8_lossy(&self.before[start + MARK.len()..end]), 80);
        self.before.advance(end + 1);
        Some(mark)
    }
}

#[cfg(test)]
mod tests;
