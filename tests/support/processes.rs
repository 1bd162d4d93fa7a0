//! What runs on this machine, as `ps` shows it to everybody; a real cluster's pods run here too.

use std::fs;

/// The command lines of all processes but this one that are there at the moment.
pub fn command_lines() -> Vec<String> {
    let own = std::process::id().to_string();
    let folders = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    let pids = folders.filter_map(|entry| entry.file_name().into_string().ok());
    let pids = pids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own);
    // A process that has ended has no command line.
    let lines = pids.filter_map(|pid| fs::read(format!("/proc/{pid}/cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| !line.is_empty()).collect()
}

/// Those that have a text in them.
pub fn with(text: &str) -> Vec<String> {
    command_lines().into_iter().filter(|line| line.contains(text)).collect()
}
