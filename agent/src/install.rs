//! The mode `install`: an init container copies the agent out of its own image, to where the container of the users has it.
//!
//! The file is complete or absent at every moment, so that an init container that is started again does no harm.

use crate::command_line::{Arguments, WrongArgument, complain, unknown};
use crate::own_file;
use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The mode of the copy: every user can run it, nobody can change it.
const MODE: u32 = 0o555;
/// Exit code where the copy could not be made.
const NOT_INSTALLED: u8 = 1;

/// Copies the agent.
pub(crate) fn run(mut arguments: Arguments) -> Result<u8, WrongArgument> {
    let path = PathBuf::from(arguments.value("install")?);
    if let Some(more) = arguments.next() {
        return Err(unknown(&more));
    }
    match copy(Path::new(own_file::RUNNING), &path) {
        Ok(()) => Ok(0),
        Err(error) => {
            complain(&format!("the agent cannot be copied to {}: {error}", path.to_string_lossy()));
            Ok(NOT_INSTALLED)
        }
    }
}

/// Copies a program beside the path, and moves it there when it is complete.
fn copy(program: &Path, path: &Path) -> io::Result<()> {
    let mut beside = OsString::from(path);
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What an earlier run left may not be writable.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut source = fs::File::open(program)?;
    let mut target = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside)?;
    io::copy(&mut source, &mut target)?;
    // The umask has no say.
    target.set_permissions(Permissions::from_mode(MODE))?;
    target.sync_all()?;
    drop(target);
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_that_takes_no_file_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/podgate-agent");
        assert_eq!(copy(Path::new(own_file::RUNNING), &missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        assert!(copy(Path::new(own_file::RUNNING), &taken).is_err());
        assert!(taken.is_dir());
    }

    #[test]
    fn copy_is_the_program_and_every_user_can_run_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        fs::write(&program, "first").unwrap();
        let path = folder.path().join("podgate-agent");
        fs::write(folder.path().join("podgate-agent.new"), "half").unwrap();
        for content in ["first", "second"] {
            fs::write(&program, content).unwrap();
            copy(&program, &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, MODE);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
