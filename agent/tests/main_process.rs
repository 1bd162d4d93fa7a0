//! The agent as a container's main process, in a process namespace of its own.

use crate::{AGENT, has_namespaces, leashed, until};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

/// Starts the agent as process 1 of a namespace.
fn first(arguments: &[&str]) -> Child {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", AGENT]).args(arguments);
    leashed(command).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// The process that `unshare` has started.
fn inner(child: &Child) -> String {
    let path = format!("/proc/{0}/task/{0}/children", child.id());
    let mut found = String::new();
    until(|| {
        found = std::fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
        !found.is_empty()
    });
    found
}

fn send(pid: &str, signal: &str) {
    let sent = Command::new(AGENT).args(["signal", "--pid", pid, "--signal", signal]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn console_forwards_signals_reaps_orphans_and_ends_as_its_program() {
    if !has_namespaces() {
        return;
    }
    // The inner shell leaves an orphan, which is a zombie of process 1 once it has ended.
    let script = "trap 'echo got it; exit 7' TERM
        orphan=$(sh -c 'sh -c : >/dev/null & echo $!')
        while [ -e /proc/$orphan ]; do :; done
        echo reaped
        while :; do sleep 0.1; done";
    let mut child = first(&["console", "--", "/bin/sh", "-c", script]);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "reaped\n");
    send(&inner(&child), "TERM");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!((rest.as_str(), child.wait().unwrap().code()), ("got it\n", Some(7)));
}

#[test]
fn console_ends_with_128_and_the_signal_that_ended_its_program() {
    if !has_namespaces() {
        return;
    }
    let mut child = first(&["console", "--", "/bin/sh", "-c", "kill -9 $$"]);
    assert_eq!(child.wait().unwrap().code(), Some(137));
    let mut missing = first(&["console", "--", "/nonexistent"]);
    assert_eq!(missing.wait().unwrap().code(), Some(127));
}

#[test]
fn wait_signal_ends_at_its_signal_with_its_message() {
    if !has_namespaces() {
        return;
    }
    let mut child = first(&["wait-signal", "--signal", "TERM", "--message", "bye"]);
    let pid = inner(&child);
    // Process 1 gets no signal that it does not catch: the first ones may be lost.
    let mut ended = None;
    until(|| {
        let _ = Command::new(AGENT).args(["signal", "--pid", &pid, "--signal", "TERM"]).stderr(Stdio::null()).status();
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!((output.as_str(), ended.unwrap().code()), ("bye", Some(0)));
}
