//! The file of revoked keys (`ssh.revokedKeys`), read again when it has changed, so that a revocation holds from the next login
//! on. As in OpenSSH's server, a file that cannot be read revokes every key.

use crate::auth::{RevokedKeys, RevokedKeysError};
use parking_lot::Mutex;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Limit of the file's length in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The error of a file that revokes every key.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("is no regular file of at most 64 MiB")]
    NoFile,
    #[error("is not understood: {0}")]
    Content(RevokedKeysError),
}

/// The file, and what was in it when it was last read.
#[derive(Debug)]
pub(super) struct RevocationFile {
    path: PathBuf,
    last: Mutex<Option<(Version, Arc<RevokedKeys>)>>,
}

/// The marks by which a change is seen: the file itself, its length and its times.
type Version = (u64, u64, u64, (i64, i64), (i64, i64));

impl RevocationFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file if it has changed. Waits for the disk: not for a callback.
    ///
    /// # Errors
    /// A file that cannot be read or is not understood as a whole.
    pub(super) fn read(&self) -> Result<Arc<RevokedKeys>, RevocationError> {
        let is_file = |found: &Metadata| found.is_file() && found.len() <= LONGEST;
        // A pipe is not opened: it would wait for a writer.
        let found = fs::metadata(&self.path).map_err(RevocationError::Read)?;
        if !is_file(&found) {
            return Err(RevocationError::NoFile);
        }
        let mut file = File::open(&self.path).map_err(RevocationError::Read)?;
        let found = file.metadata().map_err(RevocationError::Read)?;
        let version = version(&found);
        if let Some((_, revoked)) = self.last.lock().as_ref().filter(|(last, _)| *last == version) {
            return Ok(revoked.clone());
        }
        let mut content = Vec::new();
        file.by_ref().take(LONGEST).read_to_end(&mut content).map_err(RevocationError::Read)?;
        let revoked = Arc::new(RevokedKeys::parse(&content).map_err(RevocationError::Content)?);
        *self.last.lock() = Some((version, revoked.clone()));
        Ok(revoked)
    }

    /// Reads the file as [`RevocationFile::read`] does, beside the runtime's tasks.
    ///
    /// # Errors
    /// As [`RevocationFile::read`].
    pub(super) async fn load(self: Arc<Self>) -> Result<Arc<RevokedKeys>, RevocationError> {
        let reading = tokio::task::spawn_blocking(move || self.read());
        reading.await.map_err(|error| RevocationError::Read(io::Error::other(error)))?
    }
}

fn version(found: &Metadata) -> Version {
    let times = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    (found.dev(), found.ino(), found.len(), times.0, times.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBZlzpY84VBuhFbQeqvuAQrl1kaY9o8msyMNRJyFhJGz";

    #[test]
    fn file_that_cannot_be_read_or_understood_is_an_error_and_one_that_changes_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let file = RevocationFile::new(path.clone());
        assert!(matches!(file.read(), Err(RevocationError::Read(_))));
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(file.read(), Err(RevocationError::Content(_))));
        fs::write(&path, "# nobody\n").unwrap();
        let nobody = file.read().unwrap();
        assert!(Arc::ptr_eq(&nobody, &file.read().unwrap()), "read once");
        fs::write(&path, KEY).unwrap();
        assert_ne!(file.read().unwrap(), nobody);
        fs::remove_file(&path).unwrap();
        assert!(matches!(file.read(), Err(RevocationError::Read(_))));
        assert!(matches!(RevocationFile::new(folder.path().into()).read(), Err(RevocationError::NoFile)));
    }
}
