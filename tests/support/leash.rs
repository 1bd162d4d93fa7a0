//! The programs that a test starts: none outlives the test run, however that ends.

use std::ffi::OsStr;
use tokio::process::Command;

/// A program that is killed, with everything that it starts, when this test run has ended.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = std::process::Command::new(name);
    podgate_devcluster::leash(&mut command).expect("a watchdog");
    command.into()
}
