//! `podgate audit`: what an operator does with recordings. Order and exit codes only. 66 is a file that cannot be read
//! (sysexits' `EX_NOINPUT`).

use super::{fail, print_line};
use clap::Subcommand;
use podgate::printable;
use podgate_recording::{DecodeError, End, decode};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The limit of a printed path (Linux's `PATH_MAX`).
const PATH: usize = 4096;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Prints each message of a recording in the binary format as a line of JSON, as ContainerSSH's decoder does. Exit status 1:
    /// the recording is damaged; what can be decoded is printed first. 66: the file cannot be read. A recording that ends inside a
    /// message is not damaged: its writer was killed, or is still writing.
    Decode {
        /// The recording; - is standard input.
        file: PathBuf,
    },
}

pub(crate) fn run(command: &AuditCommand) -> ExitCode {
    match command {
        AuditCommand::Decode { file } => print_messages(file),
    }
}

fn print_messages(file: &Path) -> ExitCode {
    let recording: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        match File::open(file) {
            Ok(file) => Box::new(file),
            Err(error) => return unread(file, &error),
        }
    };
    match decode(recording, &mut BufWriter::new(io::stdout().lock())) {
        Ok(End::Whole) => ExitCode::SUCCESS,
        Ok(End::Cut) => {
            tell(file, &"the recording ends inside a message");
            ExitCode::SUCCESS
        }
        // A reader that has enough closes the pipe.
        Err(DecodeError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error @ DecodeError::Write(_)) => fail(&error),
        Err(error @ DecodeError::Read(_)) => unread(file, &error),
        Err(error) => {
            tell(file, &error);
            ExitCode::FAILURE
        }
    }
}

fn unread(file: &Path, error: &dyn Display) -> ExitCode {
    tell(file, error);
    ExitCode::from(66)
}

fn tell(file: &Path, what: &dyn Display) {
    print_line(&mut io::stderr(), &format!("podgate: {}: {what}", printable(&file.to_string_lossy(), PATH)));
}
