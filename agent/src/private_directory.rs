//! Directories that only the user can enter, with names that nobody can guess: for an agent's socket, a display's authority
//! file, and the agent's own programs. A process that is killed leaves its directories behind; the next one removes them.
//!
//! Invariants: the owner of a directory has it locked (flock(2)) for as long as it lives, by a descriptor that no program
//! inherits; only what is not locked is removed, only where it is the user's own, and only files of the names that are put
//! there.

use crate::random::random;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, unlinkat};
use rustix::process::geteuid;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The names of an agent's socket, an authority file, and the only program.
pub(crate) const AGENT: &str = "agent";
pub(crate) const AUTHORITY: &str = "authority";
pub(crate) const SCP: &str = "scp";

/// The beginning of a directory's name; hexadecimal digits follow.
const PREFIX: &[u8] = b"podgate-";
const DIGITS: usize = 16;
/// Entries of a place that are looked at: a start must not wait for a place with very many.
const ENTRIES_MAX: usize = 10_000;
/// Attempts to make a directory that nobody removes before it is locked.
const ATTEMPTS: usize = 8;

/// A directory of this process. It goes with the value, if nothing is left in it.
pub(crate) struct PrivateDirectory {
    path: PathBuf,
    /// Holds the lock.
    _locked: OwnedFd,
}

impl PrivateDirectory {
    /// Makes a directory in the first place that takes one.
    pub(crate) fn make() -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for place in places() {
            match Self::make_in(&place) {
                Ok(directory) => return Ok(directory),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn make_in(place: &Path) -> io::Result<Self> {
        for _ in 0..ATTEMPTS {
            let name: String = random::<{ DIGITS / 2 }>()?.iter().map(|byte| format!("{byte:02x}")).collect();
            let path = place.join(format!("podgate-{name}"));
            DirBuilder::new().mode(0o700).create(&path)?;
            let Some(locked) = open(&path) else { continue };
            // A file system without locks has none that could be found unlocked.
            let _ = flock(&locked, FlockOperation::LockExclusive);
            // Somebody who took it for a dead one's has removed it meanwhile.
            if fstat(&locked)?.st_nlink > 0 {
                return Ok(Self { path, _locked: locked });
            }
        }
        Err(io::Error::other("the directory that was made does not stay"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::remove_dir(&self.path);
    }
}

/// Removes the directories whose owners are gone.
pub(crate) fn remove_abandoned() {
    places().iter().for_each(|place| remove_abandoned_in(place));
}

fn remove_abandoned_in(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    for entry in entries.take(ENTRIES_MAX).flatten().filter(|entry| is_name(&entry.file_name())) {
        let path = entry.path();
        let Some(directory) = open(&path) else { continue };
        let is_own = fstat(&directory).is_ok_and(|found| found.st_uid == geteuid().as_raw());
        if is_own && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            for name in [AGENT, AUTHORITY, SCP] {
                let _ = unlinkat(directory.as_fd(), name, AtFlags::empty());
            }
            // It stays if the user has put something there.
            let _ = fs::remove_dir(&path);
        }
    }
}

fn is_name(name: &OsStr) -> bool {
    name.as_bytes().strip_prefix(PREFIX).is_some_and(|digits| {
        digits.len() == DIGITS && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn open(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).ok()
}

fn places() -> Vec<PathBuf> {
    let asked = std::env::var_os("TMPDIR").map(PathBuf::from);
    asked.into_iter().chain(["/tmp", "/dev/shm", "/run", "/var/tmp"].map(PathBuf::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directory_of_a_living_owner_stays_and_a_dead_ones_goes_with_what_was_in_it() {
        let place = tempfile::tempdir().unwrap();
        let alive = PrivateDirectory::make_in(place.path()).unwrap();
        fs::write(alive.path().join(AGENT), "").unwrap();
        let dead = place.path().join("podgate-0123456789abcdef");
        fs::create_dir(&dead).unwrap();
        for name in [AGENT, AUTHORITY] {
            fs::write(dead.join(name), "").unwrap();
        }
        symlink("/nowhere", dead.join(SCP)).unwrap();
        remove_abandoned_in(place.path());
        assert!(alive.path().join(AGENT).exists() && !dead.exists());
        // Its lock is what kept it: without, it is as good as a dead one's.
        let path = alive.path().to_owned();
        drop(alive);
        assert!(path.exists(), "something is left in it");
        remove_abandoned_in(place.path());
        assert!(!path.exists());
    }

    #[test]
    fn what_is_somebody_elses_stays() {
        let place = tempfile::tempdir().unwrap();
        let kept = place.path().join("podgate-00000000000000aa");
        fs::create_dir(&kept).unwrap();
        for file in ["agent", "of the user"] {
            fs::write(kept.join(file), "").unwrap();
        }
        for other in ["podgate-0123456789abcde", "podgate-0123456789abcdeg", "podgate-0123456789ABCDEF", "kept"] {
            fs::create_dir(place.path().join(other)).unwrap();
        }
        let linked = place.path().join("podgate-00000000000000bb");
        symlink(&kept, &linked).unwrap();
        fs::write(place.path().join("podgate-00000000000000cc"), "").unwrap();
        remove_abandoned_in(place.path());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 7);
        assert!(kept.join("of the user").exists() && linked.is_symlink());
    }
}
