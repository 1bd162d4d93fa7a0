//! Starting programs: resolved against the container's own PATH first, so that a missing program is told apart from one
//! that ran and failed, in the words of the container runtime. Every program leads a process group of its own.

pub(crate) mod signals;
pub(crate) mod sweep;
pub(crate) mod watchdog;

use parking_lot::Mutex;
use pty_process::{OwnedReadPty, OwnedWritePty};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

/// A terminal's descriptor is inheritable for an instant after it was opened: while one is made, nothing is spawned.
static SPAWNING: Mutex<()> = Mutex::new(());

/// Bytes that a container's input holds unread: a FIFO and a pipe in containerd.
const INPUT: usize = 128 << 10;

/// A program to start.
#[derive(Debug, Clone)]
pub(crate) struct ProgramLaunch {
    pub(crate) argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub(crate) env: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    pub(crate) streams: ProgramStreams,
}

/// The standard streams of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProgramStreams {
    /// A terminal for all three.
    Terminal,
    /// Pipes; what is false is `/dev/null`.
    Pipes { stdin: bool, stdout: bool, stderr: bool },
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct RunningProgram {
    pub(crate) child: Child,
    pub(crate) pid: Option<Pid>,
    pub(crate) io: Io,
}

/// Our ends of a program's streams.
#[derive(Debug)]
pub(crate) enum Io {
    Pipes { stdin: Option<InputPipe>, stdout: Option<ChildStdout>, stderr: Option<ChildStderr> },
    Terminal { output: OwnedReadPty, input: OwnedWritePty },
}

/// A program's piped input. containerd holds the end that the program reads from as well: it never learns that nobody
/// reads any more, and what is written then stays.
#[derive(Debug)]
pub(crate) struct InputPipe {
    pub(crate) write: ChildStdin,
    _read: PipeReader,
}

/// Error of a program's start; displays as runc's text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnError {
    #[error("args must not be empty")]
    Empty,
    #[error("cannot exec in a stopped container")]
    Ended,
    #[error("unable to start container process: exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("unable to start container process: exec: {0:?}: stat {0}: no such file or directory")]
    Missing(String),
    #[error("unable to start container process: exec: {0:?}: permission denied")]
    NotExecutable(String),
    #[error(
        "unable to start container process: chdir to cwd ({0:?}) set in config.json failed: no such file or directory"
    )]
    Directory(PathBuf),
    #[error("unable to start container process: exec: {argv0:?}: {source}")]
    Start { argv0: String, source: io::Error },
    #[error("unable to start container process: open pipe: {0}")]
    Pipe(#[from] io::Error),
    #[error("unable to start container process: open terminal: {0}")]
    Terminal(#[from] pty_process::Error),
}

/// Starts a program. One that the kernel does not execute has started all the same, as with runc: it says why on its
/// standard error and ends with 1.
pub(crate) fn spawn(launch: &ProgramLaunch) -> Result<RunningProgram, SpawnError> {
    let refused = match try_spawn(launch) {
        Err(SpawnError::Start { argv0, source }) if source.raw_os_error().is_some() => {
            let error = source.to_string().to_lowercase();
            format!("exec {argv0}: {}", error.split(" (os error").next().unwrap_or_default())
        }
        tried => return tried,
    };
    let argv = ["/bin/sh", "-c", "echo \"$0\" >&2; exit 1", &refused].map(str::to_owned).to_vec();
    try_spawn(&ProgramLaunch { argv, ..launch.clone() })
}

fn try_spawn(launch: &ProgramLaunch) -> Result<RunningProgram, SpawnError> {
    let program = resolve(launch)?;
    let (argv0, arguments) = launch.argv.split_first().ok_or(SpawnError::Empty)?;
    let _alone = SPAWNING.lock();
    match launch.streams {
        ProgramStreams::Terminal => spawn_in_terminal(launch, &program, argv0, arguments),
        ProgramStreams::Pipes { stdin, stdout, stderr } => {
            let pipe = |wanted| if wanted { Stdio::piped() } else { Stdio::null() };
            let mut command = Command::new(&program);
            command.arg0(argv0).args(arguments).env_clear().envs(launch.env.iter().map(|(k, v)| (k, v)));
            command.current_dir(&launch.directory).process_group(0);
            let (theirs, ours) = input(stdin)?;
            command.stdin(theirs).stdout(pipe(stdout)).stderr(pipe(stderr));
            let start = |source| SpawnError::Start { argv0: argv0.clone(), source };
            let mut child = command.spawn().map_err(start)?;
            let io = Io::Pipes { stdin: ours, stdout: child.stdout.take(), stderr: child.stderr.take() };
            Ok(RunningProgram { pid: pid_of(&child), child, io })
        }
    }
}

fn input(wanted: bool) -> io::Result<(Stdio, Option<InputPipe>)> {
    if !wanted {
        return Ok((Stdio::null(), None));
    }
    let (read, write) = io::pipe()?;
    // A user's pipes together have a limit (`pipe-user-pages-soft`); beyond it this one holds less, which no program
    // can rely on.
    match rustix::pipe::fcntl_setpipe_size(&write, INPUT) {
        Ok(_) | Err(Errno::PERM | Errno::BUSY | Errno::NOMEM) => {}
        Err(error) => return Err(error.into()),
    }
    let theirs = read.try_clone()?;
    let write = ChildStdin::from_std(OwnedFd::from(write).into())?;
    Ok((theirs.into(), Some(InputPipe { write, _read: read })))
}

fn spawn_in_terminal(
    launch: &ProgramLaunch,
    program: &Path,
    argv0: &str,
    arguments: &[String],
) -> Result<RunningProgram, SpawnError> {
    let (terminal, inside) = pty_process::open()?;
    let command = pty_process::Command::new(program).args(arguments).env_clear();
    let command = command.envs(launch.env.iter().map(|(k, v)| (k, v))).current_dir(&launch.directory);
    let child = command.spawn(inside).map_err(|error| match error {
        pty_process::Error::Io(source) => SpawnError::Start { argv0: argv0.to_owned(), source },
        error => SpawnError::Terminal(error),
    })?;
    let (output, input) = terminal.into_split();
    Ok(RunningProgram { pid: pid_of(&child), child, io: Io::Terminal { output, input } })
}

fn pid_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

fn resolve(launch: &ProgramLaunch) -> Result<PathBuf, SpawnError> {
    if !launch.directory.is_dir() {
        return Err(SpawnError::Directory(launch.directory.clone()));
    }
    let argv0 = launch.argv.first().ok_or(SpawnError::Empty)?;
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

    fn launch(argv: &[&str]) -> ProgramLaunch {
        ProgramLaunch {
            argv: argv.iter().map(|s| (*s).to_owned()).collect(),
            env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            directory: "/".into(),
            streams: ProgramStreams::Pipes { stdin: false, stdout: false, stderr: false },
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_named_as_the_runtime_does() {
        let text = |argv: &[&str]| spawn(&launch(argv)).unwrap_err().to_string();
        let start = "unable to start container process: exec:";
        assert_eq!(text(&["/nope"]), format!("{start} \"/nope\": stat /nope: no such file or directory"));
        assert_eq!(text(&["nope-nope"]), format!("{start} \"nope-nope\": executable file not found in $PATH"));
        assert_eq!(text(&["/etc/passwd"]), format!("{start} \"/etc/passwd\": permission denied"));
        assert_eq!(text(&["/etc"]), format!("{start} \"/etc\": permission denied"));
        assert_eq!(text(&[""]), format!("{start} \"\": executable file not found in $PATH"));
        assert_eq!(text(&[]), "args must not be empty");
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_execute_has_started_and_ends_with_1() {
        use tokio::io::AsyncReadExt;
        let folder = tempfile::tempdir().unwrap();
        for (name, text, told) in [
            ("garbage", "garbage", "exec ./garbage: exec format error\n"),
            ("script", "#!/no/such/interpreter\n", "exec ./script: no such file or directory\n"),
        ] {
            let path = folder.path().join(name);
            // By a shell: a child of another test could hold a file open that this process writes, which keeps it from running.
            let script = "printf %s \"$0\" >\"$1\" && chmod 755 \"$1\"";
            let made = std::process::Command::new("/bin/sh").args(["-c", script, text]).arg(&path).status().unwrap();
            assert!(made.success());
            let streams = ProgramStreams::Pipes { stdin: true, stdout: true, stderr: true };
            let launch =
                ProgramLaunch { directory: folder.path().to_owned(), streams, ..launch(&[&format!("./{name}")]) };
            let mut running = spawn(&launch).unwrap();
            let Io::Pipes { stderr: Some(mut stderr), .. } = running.io else { panic!() };
            let mut said = String::new();
            stderr.read_to_string(&mut said).await.unwrap();
            assert_eq!((said.as_str(), exit_code(running.child.wait().await.unwrap())), (told, 1));
        }
        let gone = ProgramLaunch { directory: folder.path().join("gone"), ..launch(&["true"]) };
        let text = spawn(&gone).unwrap_err().to_string();
        assert!(text.contains("chdir to cwd (") && text.ends_with("failed: no such file or directory"), "{text}");
    }

    #[tokio::test]
    async fn a_signal_is_128_and_its_number() {
        let mut killed = spawn(&launch(&["sh", "-c", "kill -TERM $$"])).unwrap();
        assert_eq!(exit_code(killed.child.wait().await.unwrap()), 143);
        let mut failed = spawn(&launch(&["sh", "-c", "exit 7"])).unwrap();
        assert_eq!(exit_code(failed.child.wait().await.unwrap()), 7);
    }
}
