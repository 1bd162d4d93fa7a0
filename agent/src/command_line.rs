//! The agent's command line: ContainerSSH's modes with its flags, outputs and exit codes, and Podgate's own.
//!
//! A wrong argument is told on standard error, with the usage on standard output, and ends with 1, as ContainerSSH's agent
//! does it.

use crate::{console, forward_server, holder, install, scp, sftp, signals, write_file};
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::ExitCode;

/// Exit code of a wrong argument.
const WRONG_ARGUMENT: u8 = 1;

const USAGE: &str = "\
Usage: podgate-agent MODE

  console [--env NAME=VALUE]... [--wait] [--pid] -- PROGRAM [ARGUMENT]...
      Replaces itself with the program. PROGRAM is a path.
      --env   adds a variable to the environment
      --wait  first reads one byte, NUL or newline, from standard input
      --pid   first writes the process id to standard output, 4 bytes, little endian
  signal --pid PID --signal NAME
      Sends a signal, named without SIG.
  wait-signal --signal NAME [--signal NAME]... [--message TEXT]
      Waits for one of the signals, prints the text and ends. Reaps the children that it inherits.
  write-file PATH
      Writes standard input to the file, mode 0600.
  forward-server
      Forwards connections for ContainerSSH, by packets on standard input and output.
  link [--remove-self] [--directory DIRECTORY]
      Serves a Podgate gateway on standard input and output.
      --remove-self  first removes the agent's own file
      --directory    the working directory
  sftp-server
      Serves SFTP on standard input and output.
  scp [-d] [-p] [-r] [-v] -t PATH
  scp [-p] [-r] [-v] -f PATH...
      Takes or gives files by scp's old protocol on standard input and output. Also under the name scp, without a mode.
  install PATH
      Copies this program to the path, mode 0555.
  license
      Prints the license.
";

/// An argument that cannot be used; the text is for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct WrongArgument(pub(crate) String);

/// Runs the agent with its arguments, its own name first.
pub fn run(arguments: Vec<OsString>) -> ExitCode {
    let mut arguments = VecDeque::from(arguments);
    let (name, mode) = (arguments.pop_front(), arguments.pop_front());
    if name.as_deref().is_some_and(scp::is_name) {
        let left = mode.into_iter().chain(arguments).collect();
        return finish(scp::run(Arguments { name, left }));
    }
    let arguments = Arguments { name, left: arguments };
    let done = match mode.as_deref().and_then(OsStr::to_str) {
        Some("console") => console::run(arguments),
        Some("signal") => signals::send(arguments),
        Some("wait-signal") => signals::wait(arguments),
        Some("write-file") => write_file::run(arguments),
        Some("forward-server") => forward_server::run(arguments),
        Some("sftp-server") => sftp::run(arguments),
        Some("scp") => scp::run(arguments),
        Some("link") => holder::run(arguments),
        Some("install") => install::run(arguments),
        Some("license") => {
            print(include_str!("../../LICENSE"));
            Ok(0)
        }
        Some("-h" | "--help") => {
            print(USAGE);
            Ok(0)
        }
        Some(other) => Err(WrongArgument(format!("unknown mode: {other}"))),
        None => Err(WrongArgument("no mode".to_owned())),
    };
    finish(done)
}

fn finish(done: Result<u8, WrongArgument>) -> ExitCode {
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            complain(&error.to_string());
            print(USAGE);
            ExitCode::from(WRONG_ARGUMENT)
        }
    }
}

/// Arguments of a mode that are still to be read.
pub(crate) struct Arguments {
    /// The name by which the agent was started.
    pub(crate) name: Option<OsString>,
    left: VecDeque<OsString>,
}

impl Arguments {
    /// Takes the next argument.
    pub(crate) fn next(&mut self) -> Option<OsString> {
        self.left.pop_front()
    }

    /// The value of a flag.
    pub(crate) fn value(&mut self, flag: &str) -> Result<OsString, WrongArgument> {
        self.next().ok_or_else(|| WrongArgument(format!("{flag} needs a value")))
    }

    /// The value of a flag, which is text.
    pub(crate) fn text(&mut self, flag: &str) -> Result<String, WrongArgument> {
        self.value(flag)?.into_string().map_err(|_| WrongArgument(format!("the value of {flag} is not UTF-8")))
    }

    /// All that are left.
    pub(crate) fn rest(self) -> Vec<OsString> {
        self.left.into()
    }
}

/// An argument that no mode knows.
pub(crate) fn unknown(argument: &OsStr) -> WrongArgument {
    WrongArgument(format!("unknown argument: {}", argument.to_string_lossy()))
}

/// The system's own words for an error, as other programs write them.
pub(crate) fn text(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(number) = text.find(" (os error ") {
        text.truncate(number);
    }
    text
}

/// Writes a line to standard error. Nobody is left to tell where that fails.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
