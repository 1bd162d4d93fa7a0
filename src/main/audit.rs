//! `podgate audit`: what an operator does with recordings. Order and exit codes only. 66 is a file that cannot be read
//! (sysexits' `EX_NOINPUT`).

#[path = "audit/verify.rs"]
mod verify;

use super::{fail, print, print_line};
use clap::Subcommand;
use podgate::printable;
use podgate_recording::file::CAST_SUFFIX;
use podgate_recording::{DecodeError, End, Fault, decode, escaped};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The limit of a printed path (Linux's `PATH_MAX`).
const PATH: usize = 4096;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Prints each message of a recording in the binary format as a line of JSON, as ContainerSSH's decoder does, and the
    /// lines of an asciicast, which begins with a brace. Exit status 1: the recording is damaged, or its chain beside it does not
    /// fit. 66: the file cannot be read. A recording that ends inside a message is not damaged: its writer was killed, or is
    /// still writing. Bytes that the chain does not cover are not printed: nobody knows who wrote them.
    Decode {
        /// The recording; - is standard input, which has no chain.
        file: PathBuf,
    },
    /// Checks recordings against the chains beside them, and says in a line for each what is sure. Exit status 0: all are
    /// proven, that is signed by a key that was given, sealed, and complete. 2: nothing is wrong with one as far as its chain goes, but
    /// it is not proven. 1: one was changed or cut. 66: a file cannot be read. 64: the command line is wrong.
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The recordings, under the names that they were written with.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A public key that may have signed, in OpenSSH's form (`ssh-ed25519 …`).
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Takes a recording for proven that nobody signed. Whoever can write the files can make such a one.
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// The hash of the last line, as the gateway's log has it (`lastHash`). For one recording.
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
}

pub(crate) fn run(command: &AuditCommand) -> ExitCode {
    match command {
        AuditCommand::Decode { file } => print_messages(file),
        AuditCommand::Verify(args) => verify::run(args),
    }
}

fn print_messages(file: &Path) -> ExitCode {
    let mut is_sound = true;
    let recording: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = match File::open(file) {
            Ok(opened) => opened,
            Err(error) => return unread(file, &error),
        };
        let size = opened.metadata().map_or(0, |found| found.len());
        match verify::coverage(file) {
            None => {
                tell(file, &"no chain is beside it: nothing shows whether it was changed");
                Box::new(opened)
            }
            Some((to, fault)) => {
                // Of a writer that was killed as it began there is a header, and nothing to cover.
                let is_empty = matches!(fault, Some(Fault::Nothing));
                let to = if is_empty { size } else { to };
                if let Some(fault) = fault.filter(|fault| !matches!(fault, Fault::Nothing)) {
                    tell(file, &format!("do not rely on it: {fault}"));
                    is_sound = false;
                }
                if to == 0 && !is_sound {
                    return ExitCode::FAILURE;
                }
                if size > to {
                    tell(file, &format!("{} bytes that the chain does not cover are left out", size - to));
                }
                Box::new(opened.take(to))
            }
        }
    };
    let code = print_recording(file, recording);
    if is_sound || code != ExitCode::SUCCESS { code } else { ExitCode::FAILURE }
}

/// Prints a recording in the format that its first byte shows.
fn print_recording(file: &Path, recording: Box<dyn Read>) -> ExitCode {
    let mut recording = BufReader::new(recording);
    let first = match recording.fill_buf() {
        Ok(begun) => begun.first().copied(),
        Err(error) => return unread(file, &error),
    };
    let is_named_cast = file.to_string_lossy().ends_with(CAST_SUFFIX);
    match first {
        Some(b'{') => print_lines(file, recording),
        None if is_named_cast => ExitCode::SUCCESS,
        Some(_) if is_named_cast => {
            tell(file, &"this is no asciicast");
            ExitCode::FAILURE
        }
        _ => print_decoded(file, Box::new(recording)),
    }
}

/// Prints the lines of an asciicast, whose texts do not act on the terminal. One without an end was not written whole.
fn print_lines(file: &Path, mut lines: impl BufRead) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) if !line.ends_with(b"\n") => {
                tell(file, &"the recording ends inside a line");
                break;
            }
            Ok(_) => {}
            Err(error) => return unread(file, &error),
        }
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or_default());
        match writeln!(out, "{}", escaped(&text)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
            Err(error) => return fail(&error),
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(&error),
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

fn print_decoded(file: &Path, recording: Box<dyn Read>) -> ExitCode {
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
