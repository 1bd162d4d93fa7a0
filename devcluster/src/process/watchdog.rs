//! Cleaning up after this process when it could not: a small shell that waits at a pipe. When the pipe closes without a
//! word (SIGKILL, Ctrl-C on a test run, an abort), it kills every process of a mark and removes the mark's directory.

use crate::process::sweep::{self, ProcessMark};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// `$1` is the variable and the beginning of its value, `$2` the directory, empty for none. The signals that end our
/// process are not for the watchdog. A program that was forked and has not begun yet has no mark: one look that finds
/// nothing is not enough. A look costs a few programs, however many processes the machine has.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
read -r word && exit 0
adrift() {
    ls -ld /proc/[0-9]*/cwd | grep -F -- "/cwd -> $1/" | while read -r line; do
        process=${line%%/cwd -> *}
        process=${process##*/}
        grep -qsz . "/proc/$process/environ" || echo "$process"
    done
}
round=0 clean=0
while [ "$round" -lt 200 ] && [ "$clean" -lt 3 ]; do
    clean=$((clean + 1))
    for process in $(grep -lsz "^$1" /proc/[0-9]*/environ) $([ -z "$2" ] || adrift "$2"); do
        process=${process#/proc/}
        kill -KILL "${process%/environ}" && clean=0
    done
    round=$((round + 1))
    sleep 0.02
done
[ -z "$2" ] || rm -rf -- "$2"
"#;

/// A watchdog; dropping it without [`dismiss`](Self::dismiss) lets it do its work.
#[derive(Debug)]
pub(crate) struct Watchdog {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts the watchdog over the processes of a mark.
    pub(crate) fn start(mark: &ProcessMark) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "podgate-devcluster-watchdog"]);
        command.arg(format!("{}={}", sweep::VARIABLE, mark.value)).arg(&mark.directory);
        command.env_clear().env("PATH", "/usr/bin:/bin").current_dir("/").process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Sends it away: everything has been cleaned up.
    pub(crate) fn dismiss(mut self) {
        if let Some(pipe) = &mut self.pipe {
            // A watchdog that was killed needs no word.
            let _gone = pipe.write_all(b"done\n");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It is our child and ends by itself; there is no failure to tell.
        let _ended = self.child.wait();
    }
}
