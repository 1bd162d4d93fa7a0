//! The start of a program: its path, its environment and directory, and its pipes or its terminal.

use super::code;
use crate::holder::reason::text;
use crate::login::Login;
use crate::own_file;
use crate::terminal::Terminal;
use podgate_link::Close;
use podgate_link::request::{ProgramRequest, SftpRequest};
use process_wrap::std::{CommandWrap, ProcessSession};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Bytes that a program's output may hold before the program waits.
const PIPE: usize = 256 * 1024;

/// A program that could not be started.
#[derive(Debug, thiserror::Error)]
pub(in crate::holder) enum StartError {
    /// There is no such program.
    #[error("{}: command not found", .0.display())]
    NotFound(PathBuf),
    /// It cannot be run.
    #[error("{}: {}", path.display(), text(error))]
    CannotRun {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The arguments and variables are more than the system takes.
    #[error("the command line is too long: Linux takes at most 128 KiB in one argument or variable")]
    TooLong,
    /// The system gave no terminal.
    #[error("no terminal: {}", text(.0))]
    Terminal(#[source] io::Error),
    /// The system gave no pipe or process.
    #[error("{}", text(.0))]
    System(#[from] io::Error),
}

impl StartError {
    fn of(error: io::Error, path: PathBuf) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::TOOBIG) => Self::TooLong,
            Some(Errno::NOENT | Errno::NOTDIR) => Self::NotFound(path),
            Some(Errno::ACCESS | Errno::NOEXEC | Errno::ISDIR) => Self::CannotRun { path, error },
            _ => Self::System(error),
        }
    }

    pub(in crate::holder) fn close(&self) -> Close {
        let code = match self {
            Self::NotFound(_) => code::NOT_FOUND,
            Self::CannotRun { .. } => code::PERMISSION,
            Self::TooLong | Self::Terminal(_) | Self::System(_) => code::SYSTEM,
        };
        Close { code, reason: self.to_string() }
    }
}

/// Starts a program with pipes or at a terminal.
pub(super) fn program(
    request: &ProgramRequest,
    login: &Login,
    own_programs: Option<&Path>,
) -> Result<Started, StartError> {
    let mut environment = login.environment(&request.env);
    if let Some(folder) = own_programs
        && let Some(path) = environment.get_mut(OsStr::new("PATH"))
    {
        // Last: an image's own programs come first.
        path.push(":");
        path.push(folder);
    }
    // As by sshd, an empty TERM is none.
    if let Some(terminal) = request.terminal.as_ref().filter(|terminal| !terminal.term.is_empty()) {
        environment.insert("TERM".into(), OsStr::from_bytes(&terminal.term).to_owned());
    }
    let name = OsStr::from_bytes(&request.argv[0]);
    let path = resolve(name, environment.get(OsStr::new("PATH")).map(OsString::as_os_str))?;
    let arg0 = request.arg0.as_ref().unwrap_or(&request.argv[0]);
    let prepared = Prepared {
        path: path.clone(),
        arg0: OsStr::from_bytes(arg0).to_owned(),
        arguments: request.argv[1..].iter().map(|argument| OsStr::from_bytes(argument).to_owned()).collect(),
        environment,
        directory: directory(request.directory.as_deref(), login),
    };
    let started = match &request.terminal {
        Some(terminal) => spawn_at_terminal(prepared, Terminal::open(terminal).map_err(StartError::Terminal)?),
        None => spawn(prepared),
    };
    started.map_err(|error| StartError::of(error, path))
}

/// Starts the agent's own SFTP server.
pub(super) fn sftp(request: &SftpRequest, login: &Login) -> Result<Started, StartError> {
    let path = PathBuf::from(own_file::RUNNING);
    let prepared = Prepared {
        path: path.clone(),
        arg0: "sftp-server".into(),
        arguments: vec!["sftp-server".into()],
        environment: login.environment(&request.env),
        directory: directory(None, login),
    };
    spawn(prepared).map_err(|error| StartError::of(error, path))
}

/// The first directory that can be entered: the one that was asked for, the container's own unless that is the root (an image
/// that has a working directory means it), the user's home, the root.
fn directory(asked: Option<&[u8]>, login: &Login) -> PathBuf {
    let asked = asked.map(|directory| PathBuf::from(OsStr::from_bytes(directory)));
    let own = std::env::current_dir().ok().filter(|own| own.parent().is_some());
    let found = [asked, own, Some(PathBuf::from(&login.home))].into_iter().flatten().find(|path| can_be_entered(path));
    found.unwrap_or_else(|| "/".into())
}

fn can_be_entered(path: &Path) -> bool {
    path.is_dir() && access(path, Access::EXEC_OK).is_ok()
}

/// A process that was started, and our ends of its streams.
pub(super) struct Started {
    pub(super) pid: Pid,
    /// `None` at a terminal, which is its output, too.
    pub(super) input: Option<OwnedFd>,
    pub(super) output: OwnedFd,
    /// `None` at a terminal.
    pub(super) error: Option<OwnedFd>,
}

/// A program that is ready to be started.
struct Prepared {
    path: PathBuf,
    arg0: OsString,
    arguments: Vec<OsString>,
    environment: BTreeMap<OsString, OsString>,
    directory: PathBuf,
}

/// Starts a program with pipes, which leads a session of its own, as under sshd, and so a process group.
fn spawn(prepared: Prepared) -> io::Result<Started> {
    let mut command = Command::new(prepared.path);
    command.arg0(prepared.arg0).args(prepared.arguments).current_dir(prepared.directory);
    command.env_clear().envs(prepared.environment);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = CommandWrap::from(command).wrap(ProcessSession).spawn()?;
    let missing = || io::Error::other("a pipe is missing");
    let pid = process_id(child.id())?;
    let input = child.stdin().take().ok_or_else(missing)?;
    let output = child.stdout().take().ok_or_else(missing)?;
    let error = child.stderr().take().ok_or_else(missing)?;
    // Small writes gather in it while others have their turn. A user with many pipes gets no larger ones.
    let _ = fcntl_setpipe_size(&output, PIPE);
    Ok(Started { pid, input: Some(input.into()), output: output.into(), error: Some(error.into()) })
}

/// Starts a program that leads a session of its own, with the terminal as its controlling terminal.
fn spawn_at_terminal(mut prepared: Prepared, terminal: Terminal) -> io::Result<Started> {
    if let Some(path) = terminal.path() {
        prepared.environment.insert("SSH_TTY".into(), path);
    }
    let (master, slave) = terminal.into_parts();
    let command = pty_process::blocking::Command::new(prepared.path).arg0(prepared.arg0).args(prepared.arguments);
    let command = command.current_dir(prepared.directory).env_clear().envs(prepared.environment);
    let child = command.spawn(slave).map_err(|error| match error {
        pty_process::Error::Io(error) => error,
        error => io::Error::other(error),
    })?;
    let pid = process_id(child.id())?;
    Ok(Started { pid, input: None, output: master, error: None })
}

fn process_id(number: u32) -> io::Result<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("no process id"))
}

/// The path of a program: names without `/` are looked for in `PATH`, as by execvp(3).
pub(in crate::holder) fn resolve(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, StartError> {
    if name.as_bytes().contains(&b'/') {
        return Ok(name.into());
    }
    let folders = path.map(|path| std::env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| is_program(path));
    found.ok_or_else(|| StartError::NotFound(name.into()))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
