//! `podgate audit`: what an operator does with recordings. Order and exit codes only. 66 is a file that cannot be read
//! (sysexits' `EX_NOINPUT`).

#[path = "audit/verify.rs"]
mod verify;

use super::{fail, print, print_line};
use clap::Subcommand;
use podgate::printable;
use podgate_recording::{DecodeError, End, decode};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use verify::Coverage;

/// The limit of a printed path (Linux's `PATH_MAX`).
const PATH: usize = 4096;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Prints each message of a recording in the binary format as a line of JSON, as ContainerSSH's decoder does. Exit status 1:
    /// the recording is damaged, or its chain beside it does not fit; what can be decoded is printed first. 66: the file cannot be
    /// read. A recording that ends inside a message is not damaged: its writer was killed, or is still writing. What is behind the
    /// chain's last part is not printed: nobody knows who wrote it.
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
        match verify::coverage(file) {
            Coverage::NoChain => Box::new(opened),
            Coverage::Up { to, uncovered } => {
                if uncovered > 0 {
                    tell(file, &format!("{uncovered} bytes behind the chain's last part are left out"));
                }
                Box::new(opened.take(to))
            }
            Coverage::Unsound(fault) => {
                tell(file, &format!("do not rely on it: {fault}"));
                is_sound = false;
                Box::new(opened)
            }
        }
    };
    let code = print_decoded(file, recording);
    if is_sound || code != ExitCode::SUCCESS { code } else { ExitCode::FAILURE }
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
