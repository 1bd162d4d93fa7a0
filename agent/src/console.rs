//! The mode `console`: the process becomes the program, so that it keeps its process id. There is no search in `PATH`.
//!
//! As a container's main process it stays, with the program as its child: it forwards signals, reaps what nobody else waits
//! for, and ends as the program does.

use crate::command_line::{Arguments, WrongArgument, complain, text, unknown};
use crate::signals::{self, Child};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use signal_hook::consts::SIGCHLD;
use signal_hook::iterator::Signals;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Exit code after a byte that is neither NUL nor a newline, or no byte.
const NOT_STARTED: u8 = 2;
/// Exit code where the process id could not be written.
const NO_PID: u8 = 3;
/// Exit codes of a shell for a program that is not there, and for one that cannot be run.
const NOT_FOUND: u8 = 127;
const CANNOT_RUN: u8 = 126;

#[derive(Debug, Default)]
struct Console {
    env: Vec<OsString>,
    wait: bool,
    pid: bool,
    program: Vec<OsString>,
}

/// Becomes the program; returns only if that fails.
pub(crate) fn run(arguments: Arguments) -> Result<u8, WrongArgument> {
    let Some(console) = parse(arguments)? else {
        complain("-- is missing before the program");
        return Ok(NOT_STARTED);
    };
    if console.wait && !may_start() {
        return Ok(NOT_STARTED);
    }
    if console.pid {
        let mut out = io::stdout();
        if out.write_all(&std::process::id().to_le_bytes()).and_then(|()| out.flush()).is_err() {
            return Ok(NO_PID);
        }
    }
    let mut command = command(console);
    let failed = if std::process::id() == 1 {
        match supervise(&mut command) {
            Ok(code) => return Ok(code),
            Err(error) => error,
        }
    } else {
        command.exec()
    };
    complain(&text(&failed));
    let refused =
        [Errno::ACCESS, Errno::NOEXEC].iter().any(|errno| failed.raw_os_error() == Some(errno.raw_os_error()));
    Ok(if refused { CANNOT_RUN } else { NOT_FOUND })
}

/// Prepares the program. Of a variable that comes twice, the later counts.
fn command(console: Console) -> Command {
    let mut program = console.program.into_iter();
    let name = program.next().unwrap_or_default();
    // Without a slash it would be looked for in PATH.
    let path = if name.as_bytes().contains(&b'/') { name.clone() } else { Path::new(".").join(&name).into_os_string() };
    let mut command = Command::new(path);
    command.arg0(name).args(program);
    for variable in console.env {
        let bytes = variable.as_bytes();
        let at = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
        command.env(OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(bytes.get(at + 1..).unwrap_or_default()));
    }
    command
}

/// Signals that are forwarded to the program: those that others send on purpose.
const FORWARDED: [Signal; 9] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
    Signal::ALARM,
    Signal::CONT,
    Signal::WINCH,
];

/// Runs the program as a child to its end. Returns its exit code, 128 and the signal's number after a signal.
///
/// # Errors
/// It cannot be started.
fn supervise(command: &mut Command) -> io::Result<u8> {
    let mut signals = Signals::new(FORWARDED.iter().map(|signal| signal.as_raw()).chain([SIGCHLD]))?;
    // In a group of its own: what the terminal sends to its foreground comes to the program once, not by us again.
    let child = command.process_group(0).spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
    let input = io::stdin();
    if input.is_terminal() && tcgetpgrp(&input).is_ok() {
        // A program that read before was stopped. One that has ended needs neither.
        let _ = tcsetpgrp(&input, pid).and_then(|()| kill_process(pid, Signal::CONT));
    }
    for signal in signals.forever() {
        if signal == SIGCHLD {
            match signals::ended_children().find(|(ended, _)| *ended == pid) {
                Some((_, Child::Exited(code))) => return Ok(code),
                Some((_, Child::Killed(number, _))) => return Ok(128_u8.saturating_add(number.to_le_bytes()[0])),
                None => {}
            }
        } else if let Some(signal) = FORWARDED.iter().find(|known| known.as_raw() == signal) {
            // The program may have ended in this moment.
            let _ = kill_process(pid, *signal);
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// Reads the arguments. `None` where there is no `--`.
fn parse(mut arguments: Arguments) -> Result<Option<Console>, WrongArgument> {
    let mut console = Console::default();
    loop {
        let Some(argument) = arguments.next() else { return Ok(None) };
        match argument.as_bytes() {
            b"--wait" => console.wait = true,
            b"--pid" => console.pid = true,
            b"--env" => console.env.push(variable(arguments.value("--env")?)?),
            b"--" => break,
            _ => return Err(unknown(&argument)),
        }
    }
    console.program = arguments.rest();
    if console.program.is_empty() {
        return Err(WrongArgument("no program".to_owned()));
    }
    Ok(Some(console))
}

fn variable(value: OsString) -> Result<OsString, WrongArgument> {
    let bytes = value.as_bytes();
    if bytes.contains(&b'=') && !bytes.starts_with(b"--") {
        return Ok(value);
    }
    Err(WrongArgument(format!("--env needs NAME=VALUE, not {}", value.to_string_lossy())))
}

/// Waits for the byte that lets the program start. Not one more is taken: what follows is the program's.
fn may_start() -> bool {
    let mut byte = [0xff];
    loop {
        match rustix::io::read(io::stdin(), &mut byte) {
            Err(Errno::INTR) => {}
            read => return read == Ok(1) && matches!(byte, [0 | b'\n']),
        }
    }
}
