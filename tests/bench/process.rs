//! What a process has used, from `/proc`.

use std::fs;
use std::time::Duration;

/// The kernel counts in hundredths of a second for user space (`USER_HZ`), on every machine that runs this.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process so far, its own and the kernel's for it.
pub(crate) fn cpu(pid: u32) -> Duration {
    ticks(pid, 2)
}

/// The same with that of its children that have ended.
pub(crate) fn cpu_with_children(pid: u32) -> Duration {
    ticks(pid, 4)
}

/// The name in parentheses may hold anything; utime, stime, cutime and cstime are the fields behind it from the 12th on.
fn ticks(pid: u32, count: usize) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(count).map(|field| field.parse::<u32>().expect("a number"));
    TICK * ticks.sum::<u32>()
}

/// Memory of a process now, in bytes: `VmRSS`, or what else the field is called.
pub(crate) fn memory(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let number = line.trim_start_matches(':').split_whitespace().next().expect("a number");
    number.parse::<u64>().expect("a number") * 1024
}
