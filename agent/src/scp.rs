//! The mode `scp`, and the agent under the name `scp`: the remote side of scp's old protocol, as OpenSSH's `scp -O` asks it of a
//! server. `-t` takes files, `-f` gives them.
//!
//! The protocol has no document; this is what OpenSSH's scp does. One side sends lines (`C` a file, `D` a directory, `E` its
//! end, `T` times) and data, the other answers each with a byte: 0 for yes, 1 and a line for an error, 2 and a line for one
//! that ends everything. Invariants: a line has at most [`MAX_LINE`] bytes; a name that is taken has no `/` and is not `.` or
//! `..`, so that nothing is written beside the target.

mod record;
mod sink;
mod source;
mod wire;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use record::fuzz;

use crate::command_line::{Arguments, WrongArgument, complain};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use wire::Wire;

/// Bytes of the longest line, as in OpenSSH's scp.
const MAX_LINE: usize = 16 * 1024 - 1;
/// Exit code after any error.
const FAILED: u8 = 1;

/// The end of a transfer before its time.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// The peer is gone.
    #[error("the connection was lost")]
    Lost(#[from] io::Error),
    /// The peer has been told why, or told us.
    #[error("an error was told")]
    Told,
}

/// Flags of the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Options {
    recursive: bool,
    /// Keeps times and modes.
    preserve: bool,
    /// Refuses a target that is no directory.
    to_directory: bool,
    verbose: bool,
}

/// The direction of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Take,
    Give,
}

/// Returns true for the path of a program named scp.
pub(crate) fn is_name(name: &OsStr) -> bool {
    Path::new(name).file_name() == Some(OsStr::new("scp"))
}

/// Takes or gives files.
pub(crate) fn run(arguments: Arguments) -> Result<u8, WrongArgument> {
    let (direction, options, paths) = parse(arguments)?;
    let mut wire = Wire::new(io::stdin().lock(), io::stdout().lock());
    let ended = match direction {
        Direction::Take => match &paths[..] {
            [target] => sink::take(&mut wire, options, target),
            _ => wire.error("ambiguous target").map_err(Ended::from),
        },
        Direction::Give => source::give(&mut wire, options, &paths),
    };
    let flushed = wire.flush();
    Ok(if ended.is_ok() && flushed.is_ok() && !wire.had_errors() { 0 } else { FAILED })
}

/// Reads flags, which may stand together, and paths.
fn parse(mut arguments: Arguments) -> Result<(Direction, Options, Vec<PathBuf>), WrongArgument> {
    let (mut direction, mut options, mut paths) = (None, Options::default(), Vec::<OsString>::new());
    while let Some(argument) = arguments.next() {
        let flags = match argument.as_bytes() {
            b"--" => break,
            [b'-', flags @ ..] if !flags.is_empty() => flags,
            _ => {
                paths.push(argument);
                break;
            }
        };
        for flag in flags {
            match flag {
                b't' => direction = Some(Direction::Take),
                b'f' => direction = Some(Direction::Give),
                b'r' => options.recursive = true,
                b'p' => options.preserve = true,
                b'd' => options.to_directory = true,
                b'v' => options.verbose = true,
                // Without a meaning on this side.
                b'q' | b'B' | b'C' | b'O' | b'1' | b'2' | b'4' | b'6' => {}
                other => return Err(WrongArgument(format!("scp: unknown flag -{}", other.escape_ascii()))),
            }
        }
    }
    paths.extend(arguments.rest());
    let direction = direction.ok_or_else(|| WrongArgument("scp: only -t and -f are served here".to_owned()))?;
    Ok((direction, options, paths.into_iter().map(PathBuf::from).collect()))
}

/// Tells what is done, on standard error, where it was asked for.
fn say(options: Options, text: &str) {
    if options.verbose {
        complain(text);
    }
}
