//! The mode `write-file`: standard input becomes a file that its owner alone can read.

use crate::command_line::{Arguments, WrongArgument, complain, unknown};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// The file's mode, also if it was there before.
const MODE: u32 = 0o600;
/// Exit code where the file could not be written.
const NOT_WRITTEN: u8 = 1;
const NOT_REGULAR: &str = "not a regular file";

/// Writes standard input to the file.
pub(crate) fn run(mut arguments: Arguments) -> Result<u8, WrongArgument> {
    let path = arguments.value("write-file")?;
    if let Some(more) = arguments.next() {
        return Err(unknown(&more));
    }
    match write(path.as_ref()) {
        Ok(()) => Ok(0),
        Err(error) => {
            complain(&format!("{}: {error}", path.to_string_lossy()));
            Ok(NOT_WRITTEN)
        }
    }
}

/// Creates the file, or empties it, with its mode. It never waits, and writes through no link.
///
/// # Errors
/// Something else than a regular file is there, or the system refuses.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(MODE).custom_flags(flags).open(path);
    let file = match opened {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::LOOP | Errno::NXIO)) => {
            return Err(io::Error::other(NOT_REGULAR));
        }
        other => other?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(NOT_REGULAR));
    }
    // Before the content is there.
    file.set_permissions(Permissions::from_mode(MODE))?;
    file.set_len(0)?;
    Ok(file)
}

fn write(path: &Path) -> io::Result<()> {
    let mut file = create(path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    Ok(())
}
