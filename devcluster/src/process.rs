//! Starting programs: resolved against the container's own PATH first, so that a missing program is told apart from one
//! that ran and failed, in the words of the container runtime. Every program leads a process group of its own.

pub(crate) mod sweep;

use pty_process::{OwnedReadPty, OwnedWritePty};
use rustix::process::{Pid, Signal};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// A terminal's descriptor is inheritable for an instant after it was opened: while one is made, nothing is spawned.
static SPAWNING: Mutex<()> = Mutex::new(());

/// A program to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    pub(crate) streams: Streams,
}

/// Which streams a program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// A terminal for all three.
    Terminal,
    /// Pipes; what is false is `/dev/null`.
    Pipes { stdin: bool, stdout: bool, stderr: bool },
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) pid: Option<Pid>,
    pub(crate) io: Io,
}

/// Our ends of a program's streams.
#[derive(Debug)]
pub(crate) enum Io {
    Pipes { stdin: Option<ChildStdin>, stdout: Option<ChildStdout>, stderr: Option<ChildStderr> },
    Terminal { output: OwnedReadPty, input: OwnedWritePty },
}

/// Why a program did not start; displays as the container runtime's text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("no command specified")]
    Empty,
    #[error("container not running")]
    Ended,
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    Missing(String),
    #[error("exec: {0:?}: permission denied")]
    NotExecutable(String),
    #[error("exec: {argv0:?}: {source}")]
    Start { argv0: String, source: std::io::Error },
    #[error("open terminal: {0}")]
    Terminal(#[from] pty_process::Error),
}

/// Starts a program.
pub(crate) fn spawn(launch: &Launch) -> Result<Running, SpawnError> {
    let program = resolve(launch)?;
    let (argv0, arguments) = launch.argv.split_first().ok_or(SpawnError::Empty)?;
    let _alone = SPAWNING.lock().unwrap_or_else(PoisonError::into_inner);
    match launch.streams {
        Streams::Terminal => spawn_in_terminal(launch, &program, arguments),
        Streams::Pipes { stdin, stdout, stderr } => {
            let pipe = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
            let mut command = Command::new(&program);
            command.arg0(argv0).args(arguments).env_clear().envs(launch.env.iter().map(|(k, v)| (k, v)));
            command.current_dir(&launch.directory).process_group(0);
            command.stdin(pipe(stdin)).stdout(pipe(stdout)).stderr(pipe(stderr));
            let start = |source| SpawnError::Start { argv0: argv0.clone(), source };
            let mut child = command.spawn().map_err(start)?;
            let io = Io::Pipes { stdin: child.stdin.take(), stdout: child.stdout.take(), stderr: child.stderr.take() };
            Ok(Running { pid: pid_of(&child), child, io })
        }
    }
}

fn spawn_in_terminal(launch: &Launch, program: &Path, arguments: &[String]) -> Result<Running, SpawnError> {
    let (terminal, inside) = pty_process::open()?;
    let command = pty_process::Command::new(program).args(arguments).env_clear();
    let command = command.envs(launch.env.iter().map(|(k, v)| (k, v))).current_dir(&launch.directory);
    let child = command.spawn(inside)?;
    let (output, input) = terminal.into_split();
    Ok(Running { pid: pid_of(&child), child, io: Io::Terminal { output, input } })
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn resolve(launch: &Launch) -> Result<PathBuf, SpawnError> {
    let argv0 = launch.argv.first().filter(|name| !name.is_empty()).ok_or(SpawnError::Empty)?;
    if argv0.contains('/') {
        let path = launch.directory.join(argv0);
        return match std::fs::metadata(&path) {
            Err(_) => Err(SpawnError::Missing(argv0.clone())),
            Ok(meta) if meta.is_dir() || meta.permissions().mode() & 0o111 == 0 => {
                Err(SpawnError::NotExecutable(argv0.clone()))
            }
            Ok(_) => Ok(path),
        };
    }
    let path = launch.env.iter().rev().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value);
    let executable =
        |path: &PathBuf| std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    let mut candidates = path.split(':').map(|directory| Path::new(directory).join(argv0));
    candidates.find(executable).ok_or_else(|| SpawnError::NotInPath(argv0.clone()))
}

/// The exit code as container runtimes give it: 128+n after a signal.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

/// Signals a program's process group; a group that is gone is no error.
pub(crate) fn signal_group(leader: Pid, signal: Signal) {
    // The only failure that can happen to a group of ours is that it has ended.
    let _ended = rustix::process::kill_process_group(leader, signal);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(argv: &[&str]) -> Launch {
        Launch {
            argv: argv.iter().map(|s| (*s).to_owned()).collect(),
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            directory: "/".into(),
            streams: Streams::Pipes { stdin: false, stdout: false, stderr: false },
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_named_as_the_runtime_does() {
        let text = |argv: &[&str]| spawn(&launch(argv)).unwrap_err().to_string();
        assert_eq!(text(&["/nope"]), "exec: \"/nope\": stat /nope: no such file or directory");
        assert_eq!(text(&["nope-nope"]), "exec: \"nope-nope\": executable file not found in $PATH");
        assert_eq!(text(&["/etc/passwd"]), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(text(&[]), "no command specified");
    }

    #[tokio::test]
    async fn a_signal_is_128_and_its_number() {
        let mut killed = spawn(&launch(&["sh", "-c", "kill -TERM $$"])).unwrap();
        assert_eq!(exit_code(killed.child.wait().await.unwrap()), 143);
        let mut failed = spawn(&launch(&["sh", "-c", "exit 7"])).unwrap();
        assert_eq!(exit_code(failed.child.wait().await.unwrap()), 7);
    }
}
