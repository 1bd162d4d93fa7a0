//! The users whom an operator has locked, by `authenticatedUsername`. They are in a file that is replaced as a whole, so that a
//! lock survives a restart and a crash: who is told that a user is locked can rely on it.
//!
//! A file that cannot be understood is an error, never an empty list.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The name of the file in `admin.lockDirectory`.
const FILE: &str = "locked-users.json";
/// The name of the file that a gateway holds locked (flock(2)) while it changes the other.
const CHANGING: &str = "locked-users.lock";

/// The lock of a user, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserLock {
    /// The reason for the user: one printable line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The time of the lock (RFC 3339).
    pub since: String,
}

impl UserLock {
    /// The text for the user.
    pub(crate) fn text(&self) -> String {
        match &self.reason {
            Some(reason) => format!("this account is locked: {reason}"),
            None => "this account is locked".to_owned(),
        }
    }
}

/// The error of locks that cannot be read, or not be kept.
#[derive(Debug, thiserror::Error)]
pub enum LocksError {
    #[error("admin.lockDirectory: {} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file is not what the gateway writes.
    #[error("admin.lockDirectory: {} is not understood: {source}", path.display())]
    Parse { path: PathBuf, source: serde_json::Error },
    #[error("admin.lockDirectory: {} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("admin.lockDirectory is not set, and a lock must survive a restart")]
    NoDirectory,
}

/// The locked users; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Locks(Arc<LockTable>);

#[derive(Debug, Default)]
struct LockTable {
    directory: Option<PathBuf>,
    users: Mutex<BTreeMap<String, UserLock>>,
    /// Held while the file is replaced.
    writing: Mutex<()>,
}

impl Locks {
    /// Reads the file in a directory. Without a directory nobody is locked.
    ///
    /// # Errors
    /// A directory that is not there, or a file that cannot be read or understood.
    pub(crate) fn open(directory: Option<&Path>) -> Result<Self, LocksError> {
        let Some(directory) = directory else { return Ok(Self::default()) };
        fs::read_dir(directory).map_err(|source| LocksError::Read { path: directory.to_owned(), source })?;
        let users = read(&directory.join(FILE))?;
        let table =
            LockTable { directory: Some(directory.to_owned()), users: Mutex::new(users), writing: Mutex::new(()) };
        Ok(Self(Arc::new(table)))
    }

    /// The lock of a user, if there is one.
    pub(crate) fn find(&self, user: &str) -> Option<UserLock> {
        self.0.users.lock().get(user).cloned()
    }

    /// All locks.
    pub(crate) fn all(&self) -> BTreeMap<String, UserLock> {
        self.0.users.lock().clone()
    }

    /// Locks a user, or changes the lock. It is kept when this returns. Writes a file.
    ///
    /// # Errors
    /// The file cannot be read or written, or it is not sure that it survives a crash of the machine.
    pub(crate) fn lock(&self, user: &str, lock: UserLock) -> Result<(), LocksError> {
        self.change(|users| drop(users.insert(user.to_owned(), lock)))
    }

    /// Unlocks a user; false if the user was not locked. Writes a file.
    ///
    /// # Errors
    /// As for [`Locks::lock`].
    pub(crate) fn unlock(&self, user: &str) -> Result<bool, LocksError> {
        self.change(|users| users.remove(user).is_some())
    }

    /// Changes the file's users, which are those of every gateway that shares the directory.
    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, UserLock>) -> T) -> Result<T, LocksError> {
        let _writing = self.0.writing.lock();
        let directory = self.0.directory.as_deref().ok_or(LocksError::NoDirectory)?;
        let path = directory.join(FILE);
        let unwritten = |source| LocksError::Write { path: path.clone(), source };
        let _changing = hold(&directory.join(CHANGING)).map_err(unwritten)?;
        let mut users = read(&path)?;
        let changed = change(&mut users);
        replace(&path, &users).map_err(unwritten)?;
        *self.0.users.lock() = users;
        // The file is there whether this succeeds or not.
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(unwritten)?;
        Ok(changed)
    }
}

/// Reads the file; none is an empty list.
fn read(path: &Path) -> Result<BTreeMap<String, UserLock>, LocksError> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|source| LocksError::Parse { path: path.to_owned(), source }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(LocksError::Read { path: path.to_owned(), source }),
    }
}

/// Waits until no other gateway holds the file, and holds it until the returned file is dropped.
fn hold(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.lock()?;
    Ok(file)
}

/// Replaces the file in one step.
fn replace(path: &Path, users: &BTreeMap<String, UserLock>) -> io::Result<()> {
    let text = serde_json::to_vec_pretty(users)?;
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn lock(reason: Option<&str>) -> UserLock {
        UserLock { reason: reason.map(str::to_owned), since: "2030-01-01T00:00:00Z".to_owned() }
    }

    #[test]
    fn file_that_is_not_understood_is_not_an_empty_list() {
        let folder = tempfile::tempdir().unwrap();
        for text in
            ["", "{", "[]", r#"{"alice": {}}"#, r#"{"alice": {"since": "x", "until": "y"}}"#, r#"{"alice": null}"#]
        {
            fs::write(folder.path().join(FILE), text).unwrap();
            assert!(matches!(Locks::open(Some(folder.path())), Err(LocksError::Parse { .. })), "{text}");
        }
        let missing = folder.path().join("missing");
        assert!(matches!(Locks::open(Some(&missing)), Err(LocksError::Read { .. })));
    }

    #[test]
    fn lock_survives_a_restart_and_its_end_does_too() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Locks::open(Some(folder.path())).unwrap();
        let locks = open();
        assert!(!locks.unlock("alice").unwrap());
        // Of a write that was cut.
        fs::write(folder.path().join("locked-users.new"), "{").unwrap();
        locks.lock("alice", lock(Some("ask the operator"))).unwrap();
        locks.lock("a\n\u{1b}[x", lock(None)).unwrap();
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let locks = open();
        assert_eq!(locks.find("alice"), Some(lock(Some("ask the operator"))));
        assert_eq!((locks.find("Alice"), locks.all().len()), (None, 2));
        assert!(locks.unlock("alice").unwrap());
        assert_eq!(open().find("alice"), None);
    }

    #[test]
    fn gateways_that_share_a_directory_keep_each_other_s_locks() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Locks::open(Some(folder.path())).unwrap();
        let (first, second) = (open(), open());
        first.lock("alice", lock(None)).unwrap();
        second.lock("bob", lock(None)).unwrap();
        assert_eq!(second.find("alice"), Some(lock(None)));
        assert_eq!(open().all().len(), 2);
        assert!(first.unlock("bob").unwrap(), "the other's");
        assert_eq!(open().all().into_keys().collect::<Vec<_>>(), ["alice"]);
    }

    #[test]
    fn lock_that_cannot_be_kept_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::open(Some(folder.path())).unwrap();
        drop(folder);
        assert!(matches!(locks.lock("alice", lock(None)), Err(LocksError::Write { .. })));
        assert_eq!(locks.find("alice"), None);
        assert!(matches!(Locks::default().lock("alice", lock(None)), Err(LocksError::NoDirectory)));
    }
}
