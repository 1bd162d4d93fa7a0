//! Programs that a test starts and that must not outlive it, however it ends. One watchdog a process: it is never sent
//! away, since what is left when a test run ends by itself was left by a test that failed.

use crate::process::signals;
use crate::process::sweep::{self, ProcessMark};
use crate::process::watchdog::Watchdog;
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// The watchdog and what it looks for, from the first program on.
static LEASH: Mutex<Option<(Watchdog, String)>> = Mutex::new(None);

/// Has the program of `command`, and everything that it starts, killed when this process has ended, even by SIGKILL.
/// They are known by a variable in their environment: call this last where `command` clears it. It starts with every
/// signal at its default, even if this process ignores some.
///
/// # Errors
/// When the watchdog, a `/bin/sh`, cannot be started, or when ignored signals cannot be caught.
pub fn leash(command: &mut Command) -> io::Result<&mut Command> {
    let mut leash = LEASH.lock();
    let value = match &*leash {
        Some((_, value)) => value.clone(),
        None => {
            signals::restore_in_children()?;
            let value = format!("leash-{:032x};", rand::random::<u128>());
            let watchdog = Watchdog::start(&ProcessMark { value: value.clone(), directory: PathBuf::new() })?;
            *leash = Some((watchdog, value.clone()));
            value
        }
    };
    Ok(command.env(sweep::VARIABLE, value))
}
