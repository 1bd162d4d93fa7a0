//! `podgate audit`: what an operator does with recordings. Order and exit codes only.

use super::{fail, print_line};
use clap::Subcommand;
use podgate_recording::{DecodeError, decode};
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Prints each message of a recording in the binary format as a line of JSON, as ContainerSSH's decoder does. Exit status 1:
    /// the recording is damaged; what can be decoded is printed first.
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
            Err(error) => return failed(file, &error),
        }
    };
    match decode(recording, &mut BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has enough closes the pipe.
        Err(DecodeError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error @ DecodeError::Write(_)) => fail(&error),
        Err(error) => failed(file, &error),
    }
}

fn failed(file: &Path, error: &dyn std::fmt::Display) -> ExitCode {
    print_line(&mut io::stderr(), &format!("podgate: {}: {error}", file.display()));
    ExitCode::FAILURE
}
