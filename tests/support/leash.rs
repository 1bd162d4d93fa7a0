//! The programs that a test starts: none outlives the test run, however that ends.

use std::ffi::OsStr;
use std::path::Path;
use tokio::process::Command;

/// A program that is killed, with everything that it starts, when this test run has ended.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = std::process::Command::new(name);
    podgate_devcluster::leash(&mut command).expect("a watchdog");
    command.into()
}

/// Copies a program that is run from there. Another process writes it: a child that a thread of this one starts meanwhile would
/// hold the file open for writing until its exec, and nobody can execute such a file (`ETXTBSY`).
pub fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "{} is not copied", from.display());
}
