//! Default signal dispositions for child processes, as a container runtime gives them. A program inherits the signals
//! that its parent ignores, and `nohup` or the `&` of a script starts this process with SIGHUP or SIGINT ignored.

use std::fs;
use std::io;
use std::ops::RangeInclusive;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// The standard signals on Linux; those above are the realtime signals.
const STANDARD: RangeInclusive<i32> = 1..=31;
/// SIGILL, SIGFPE, SIGKILL, SIGSEGV and SIGSTOP, which tokio does not catch.
const NEVER_CAUGHT: [i32; 5] = [4, 8, 9, 11, 19];
/// SIGPIPE: the standard library ignores it in this process and restores it in children.
const PIPE: i32 = 13;

/// Catches each signal that this process ignores, and does nothing when it arrives. `exec` resets a caught signal to its
/// default, but not an ignored one.
pub(crate) fn restore_in_children() -> io::Result<()> {
    let caught = |number: &i32| *number != PIPE && !NEVER_CAUGHT.contains(number);
    let ignored: Vec<i32> = ignored_signals()?.into_iter().filter(caught).collect();
    if ignored.is_empty() {
        return Ok(());
    }
    // tokio registers signals only within a runtime; the registration stays when this one ends.
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let registered = {
        let _context = runtime.enter();
        ignored.into_iter().try_for_each(|number| signal(SignalKind::from_raw(number)).map(drop))
    };
    runtime.shutdown_background();
    registered
}

/// The standard signals that this process ignores, by the kernel's mask.
fn ignored_signals() -> io::Result<Vec<i32>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let mask = mask.ok_or_else(|| io::Error::other("/proc/self/status has no mask of ignored signals"))?;
    Ok(STANDARD.filter(|number| mask >> (number - 1) & 1 == 1).collect())
}
