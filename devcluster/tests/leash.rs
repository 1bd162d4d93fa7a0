//! Programs on the leash of a test run that is killed.

use podgate_devcluster::leash;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ends the program that a failed test left.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have been killed already, as the test wants it.
        let _ended = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// Deaf programs: one in our group, one in a session of its own, one whose parent has ended.
const DEAF: &str = "trap '' TERM HUP INT; (setsid sleep 300 >&- & echo $!); setsid sleep 300 >&- & echo $! $$; \
     exec >&-; while :; do sleep 300; done";

/// The test run that is killed: this binary, asked for this alone.
#[test]
#[ignore = "the helper of the test below, which starts it"]
fn run_that_is_killed() {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", DEAF]).env_clear().env("PATH", "/usr/bin:/bin").stdout(Stdio::piped()).process_group(0);
    let mut child = Killed(leash(&mut command).unwrap().spawn().unwrap());
    let mut pids = String::new();
    child.0.stdout.take().unwrap().read_to_string(&mut pids).unwrap();
    let mut out = std::io::stdout();
    writeln!(out, "\nleft: {}", pids.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
    out.flush().unwrap();
    std::thread::sleep(Duration::from_secs(300));
}

#[test]
fn killed_test_run_leaves_no_program() {
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", "leash::run_that_is_killed", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    let mut run = Killed(leash(&mut run).unwrap().spawn().unwrap());
    let mut lines = BufReader::new(run.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let left = lines.find_map(|line| line.strip_prefix("left: ").map(str::to_owned)).expect("the programs' numbers");
    let pids: Vec<String> = left.split_whitespace().map(|pid| format!("/proc/{pid}")).collect();
    assert!(pids.len() == 3 && pids.iter().all(|pid| Path::new(pid).exists()), "{left}");
    run.0.kill().unwrap();
    let begun = Instant::now();
    // The watchdog is nobody's child any more, so that its end cannot be awaited.
    while pids.iter().any(|pid| Path::new(pid).exists()) {
        assert!(begun.elapsed() < crate::client::SOON, "{left}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The standard signals in the mask that the kernel gives in a process's status. The C library keeps some of the realtime
/// signals to itself, so that what a run inherited of them stays.
pub(crate) fn ignored_signals(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).unwrap() & 0x7fff_ffff
}

/// The test run that ignores signals: this binary, asked for this alone.
#[test]
#[ignore = "the helper of the test below, which starts it"]
fn run_that_ignores_signals() {
    let mut command = Command::new("/bin/grep");
    command.args(["SigIgn:", "/proc/self/status"]);
    assert!(leash(&mut command).unwrap().status().unwrap().success());
}

#[test]
fn program_ignores_no_signal_even_if_the_test_run_does() {
    let mut run = Command::new("/bin/sh");
    run.args(["-c", "trap '' HUP INT QUIT TERM; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    run.args(["--exact", "leash::run_that_ignores_signals", "--ignored", "--nocapture"]);
    let output = leash(&mut run).unwrap().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(ignored_signals(&text), 0, "{text}");
}
