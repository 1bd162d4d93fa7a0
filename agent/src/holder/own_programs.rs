//! Programs of the agent's that the image does not have: a folder at the end of `PATH`, with a link to the agent for each.
//!
//! Invariants: the folder is made by this process, and goes with it; an image's own program comes first.

use super::program::resolve;
use crate::login::Login;
use crate::private_directory::{PrivateDirectory, SCP};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The folder, for as long as it exists. Under the name of scp's old protocol's program, the agent speaks it.
pub(super) struct OwnPrograms(PrivateDirectory);

impl OwnPrograms {
    /// Makes the folder. `None` where the image needs none, or has no place for it.
    pub(super) fn make(login: &Login) -> Option<Self> {
        let environment = login.environment(&[]);
        let path = environment.get(OsStr::new("PATH")).map(OsString::as_os_str);
        if resolve(SCP.as_ref(), path).is_ok() {
            return None;
        }
        let made = Self(PrivateDirectory::make().ok()?);
        // The agent's file may have been removed: this process still has it.
        symlink(format!("/proc/{}/exe", std::process::id()), made.0.path().join(SCP)).ok()?;
        Some(made)
    }

    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for OwnPrograms {
    fn drop(&mut self) {
        // The folder goes behind it.
        let _ = fs::remove_file(self.0.path().join(SCP));
    }
}
