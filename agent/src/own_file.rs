//! The file that this process was started from: it may go while the process runs, and is still there to start.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// The running program (proc(5)): a process that is started from it runs the same file, even if that was removed.
pub(crate) const RUNNING: &str = "/proc/self/exe";

/// Beginning of the name of a folder that was made for the agent's file alone.
const FOLDER: &[u8] = b".podgate-agent-";

/// Removes the agent's own file, and the folder that was made for it.
///
/// # Errors
/// It is not where the process was started from any more, or cannot be removed.
pub(crate) fn remove(argument_zero: Option<&OsStr>) -> io::Result<()> {
    let path = match fs::read_link(RUNNING) {
        Ok(path) => path,
        // Without /proc, the way by which it was started is all that is known.
        Err(error) => {
            let named = argument_zero.filter(|name| name.as_bytes().contains(&b'/'));
            return fs::remove_file(PathBuf::from(named.ok_or(error)?));
        }
    };
    let (named, running) = (fs::symlink_metadata(&path)?, fs::metadata(RUNNING)?);
    // Somebody may have put another file there.
    if (named.dev(), named.ino()) != (running.dev(), running.ino()) {
        return Err(io::Error::other("another file is there"));
    }
    fs::remove_file(&path)?;
    let folder =
        path.parent().filter(|folder| folder.file_name().is_some_and(|name| name.as_bytes().starts_with(FOLDER)));
    folder.map_or(Ok(()), fs::remove_dir)
}
