//! The file of revoked keys (`ssh.revokedKeys`), read again when it has changed, so that a revocation holds from the next login
//! on. As in OpenSSH's server, a file that cannot be read revokes every key.
//!
//! Always true: clients that have not logged in cannot have the file read twice at once, nor one version of it twice; and whoever
//! waits for it waits for [`READ_TIME`] at most, though the file's system hangs.

use crate::auth::{RevokedKeys, RevokedKeysError};
use parking_lot::Mutex;
use rustix::fs::OFlags;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Limit of the file's length in bytes: 400000 keys by their sums.
const LONGEST: u64 = 16 * 1024 * 1024;
/// Limit of the time for the file, waiting for others' reading included.
const READ_TIME: Duration = Duration::from_secs(5);

/// The error of a file that revokes every key.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("is no regular file of at most 16 MiB")]
    NoFile,
    #[error("changed while it was read")]
    Changed,
    #[error("could not be read within {} s", READ_TIME.as_secs())]
    Slow,
    #[error("is not understood: {0}")]
    Content(RevokedKeysError),
}

/// The file, and what was in it when it was last read.
#[derive(Debug)]
pub(super) struct RevocationFile {
    path: PathBuf,
    last: Mutex<Option<(Version, ReadKeys)>>,
    /// Held by the one who reads.
    reading: Arc<tokio::sync::Mutex<()>>,
    /// The fault that the log knows.
    fault: Mutex<Option<String>>,
}

/// The content of a version of the file; also a version that is not understood is parsed once.
type ReadKeys = Result<Arc<RevokedKeys>, RevokedKeysError>;

/// The marks by which a change is seen: the file itself, its length and its times.
type Version = (u64, u64, u64, (i64, i64), (i64, i64));

impl RevocationFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, last: Mutex::default(), reading: Arc::default(), fault: Mutex::default() }
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
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
        let mut file = options.open(&self.path).map_err(RevocationError::Read)?;
        // Another one may have taken the path's place.
        let found = file.metadata().map_err(RevocationError::Read)?;
        if !is_file(&found) {
            return Err(RevocationError::NoFile);
        }
        let present = version(&found);
        if let Some((_, read)) = self.last.lock().as_ref().filter(|(last, _)| *last == present) {
            return read.clone().map_err(RevocationError::Content);
        }
        let mut content = Vec::new();
        file.by_ref().take(LONGEST + 1).read_to_end(&mut content).map_err(RevocationError::Read)?;
        let after = file.metadata().map_err(RevocationError::Read)?;
        if version(&after) != present || content.len() as u64 != found.len() {
            return Err(RevocationError::Changed);
        }
        let read = RevokedKeys::parse(&content).map(Arc::new);
        *self.last.lock() = Some((present, read.clone()));
        read.map_err(RevocationError::Content)
    }

    /// Reads the file as [`RevocationFile::read`] does, beside the runtime's tasks and after whoever reads it now. Cancel-safe.
    ///
    /// # Errors
    /// As [`RevocationFile::read`], or after [`READ_TIME`].
    pub(super) async fn load(self: Arc<Self>) -> Result<Arc<RevokedKeys>, RevocationError> {
        timeout(READ_TIME, self.read_by_thread()).await.unwrap_or(Err(RevocationError::Slow))
    }

    /// Reads the file in a thread of its own: where the file's system hangs, the runtime's end does not wait for it. It keeps
    /// its turn until it is back, so that there are never two.
    async fn read_by_thread(self: Arc<Self>) -> Result<Arc<RevokedKeys>, RevocationError> {
        let turn = self.reading.clone().lock_owned().await;
        let (sender, answer) = oneshot::channel();
        let read = move || {
            let read = self.read();
            drop(turn);
            // Nobody waits any more for what came too late.
            let _ = sender.send(read);
        };
        thread::Builder::new().name("revoked-keys".to_owned()).spawn(read).map_err(RevocationError::Read)?;
        answer.await.unwrap_or_else(|panicked| Err(RevocationError::Read(io::Error::other(panicked))))
    }

    /// Takes note of the file's fault, or that it has none. True if the log does not know this fault yet.
    pub(super) fn is_news(&self, fault: Option<&str>) -> bool {
        let mut known = self.fault.lock();
        let is_news = fault.is_some() && known.as_deref() != fault;
        *known = fault.map(str::to_owned);
        is_news
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
        fs::File::create(&path).unwrap().set_len(LONGEST + 1).unwrap();
        assert!(matches!(file.read(), Err(RevocationError::NoFile)), "too long");
    }

    #[test]
    fn version_that_is_not_understood_is_parsed_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        let file = RevocationFile::new(path.clone());
        fs::write(&path, "nonsense").unwrap();
        let fault = file.read().unwrap_err();
        assert!(matches!(fault, RevocationError::Content(RevokedKeysError::Line(1))));
        // What is known of this version, as nothing else could tell it.
        let known = Err(RevokedKeysError::Line(7));
        file.last.lock().as_mut().unwrap().1 = known;
        assert!(matches!(file.read(), Err(RevocationError::Content(RevokedKeysError::Line(7)))));
        fs::write(&path, "nonsense again").unwrap();
        assert!(matches!(file.read(), Err(RevocationError::Content(RevokedKeysError::Line(1)))));
    }

    #[tokio::test(start_paused = true)]
    async fn file_that_hangs_is_waited_for_a_while_and_read_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("revoked");
        fs::write(&path, KEY).unwrap();
        let file = Arc::new(RevocationFile::new(path));
        let hanging = file.reading.clone().lock_owned().await;
        let begun = tokio::time::Instant::now();
        let loads = [file.clone().load(), file.clone().load()];
        for read in futures_util::future::join_all(loads).await {
            assert!(matches!(read, Err(RevocationError::Slow)));
        }
        assert_eq!(begun.elapsed(), READ_TIME);
        drop(hanging);
        tokio::time::resume();
        assert!(file.load().await.is_ok());
    }

    #[test]
    fn fault_is_news_until_it_is_another_or_over() {
        let file = RevocationFile::new("revoked".into());
        let told =
            ["a", "a", "b", "a", "", "a"].map(|fault| file.is_news(Some(fault).filter(|fault| !fault.is_empty())));
        assert_eq!(told, [true, false, true, true, false, true]);
    }
}
