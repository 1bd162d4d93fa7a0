//! Signals: those that end a program, and those that the client sends.

use super::conversation::Step::{End, Signal, Terminal, Until};
use super::conversation::exec;
use super::{Row, row};

/// Every signal whose default is an end, and that no shell catches.
const DEADLY: [&str; 20] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "XCPU", "XFSZ", "VTALRM", "PROF", "SYS",
];
/// Those of them that sshd sends to a program, of those that RFC 4254 section 6.10 names.
const SENT: [&str; 6] = ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"];
/// Those of them that sshd does not send.
const NOT_SENT: [&str; 6] = ["ABRT", "ALRM", "FPE", "ILL", "PIPE", "SEGV"];

pub fn rows() -> Vec<Row> {
    let mut rows = deaths();
    rows.extend(sent());
    rows
}

fn deaths() -> Vec<Row> {
    let death = |signal: &str| {
        row(
            format!("death by {signal}"),
            [exec(format!("exec sh -c 'ulimit -c 0; kill -{signal} $$'"))],
            "success, signal ",
        )
    };
    let mut rows: Vec<Row> = DEADLY.iter().map(|signal| death(signal)).collect();
    let dump = |signal: &str| {
        let command = format!(
            "d=$(mktemp -d) && cd $d && (setsid sh -c \"sleep 5; rm -r $d\" >/dev/null 2>&1 </dev/null &); ulimit -c unlimited; exec sh -c 'kill -{signal} $$'"
        );
        row(format!("death by {signal} with a core"), [exec(command)], "success, signal ")
    };
    rows.extend([dump("SEGV"), dump("ABRT"), dump("QUIT"), dump("TERM")]);
    rows.extend([
        row(
            "death by a signal with output before it",
            [exec("echo out; echo err >&2; exec sh -c 'kill -TERM $$'")],
            "signal TERM, end, close; out out\\n; err err\\n",
        ),
        row(
            "death by a signal on a terminal",
            [Terminal(80, 24, &[]), exec("exec sh -c 'kill -TERM $$'")],
            "signal TERM, end, close",
        ),
        row("death of a child", [exec("sh -c 'kill -TERM $$'; exit $?")], "exit 143"),
    ]);
    rows
}

fn sent() -> Vec<Row> {
    let waiting = "exec 2>/dev/null; echo up; while :; do sleep 0.05; done";
    let mut rows = Vec::new();
    for signal in SENT {
        // The login shell of sshd's user may be bash, which ignores QUIT.
        let kills = [exec("exec sh -c 'ulimit -c 0; echo up; exec sleep 60'"), Until("up"), Signal(signal)];
        rows.push(row(format!("{signal} that kills"), kills, format!("signal {signal}")));
    }
    for signal in NOT_SENT {
        let kills = [exec("ulimit -c 0; echo up; exec cat"), Until("up"), Signal(signal), End];
        let passed = "the RFC names it, and sshd passes it over";
        rows.push(row(format!("{signal} that kills"), kills, "exit 0").but("signal ", passed));
    }
    rows.extend([
        row("KILL", [exec("echo up; exec sleep 60"), Until("up"), Signal("KILL")], "signal KILL"),
        row("signal that is caught", [exec(format!("trap 'echo got; exit 3' TERM; {waiting}")), Until("up"), Signal("TERM")], "exit 3, end, close; out up\\ngot"),
        row("signal that is ignored", [exec("trap '' USR1; echo up; read x; exit 4"), Until("up"), Signal("USR1"), End], "exit 4"),
        row("two signals", [exec(format!("trap 'echo one' USR1; trap 'exit 5' USR2; {waiting}")), Until("up"), Signal("USR1"), Until("one"), Signal("USR2")], "exit 5"),
        row("signal for the whole group", [exec("exec 2>/dev/null; trap 'echo parent' TERM; sh -c 'trap \"echo child; exit 0\" TERM; echo up; while :; do sleep 0.05; done'; exit 6"), Until("up"), Signal("TERM")], "child\\nparent"),
        row("signal on a terminal", [Terminal(80, 24, &[]), exec(format!("trap 'echo got; exit 3' TERM; {waiting}")), Until("up"), Signal("TERM")], "exit 3"),
        row("signal that is none", [exec("echo up; cat"), Until("up"), Signal("MADEUP"), End], "exit 0"),
        row("signal with SIG before its name", [exec("trap 'exit 9' TERM; echo up; read x; exit 4"), Until("up"), Signal("SIGTERM"), End], "exit 4"),
        row("signal that the RFC does not name", [exec("trap 'exit 9' WINCH; echo up; read x; exit 4"), Until("up"), Signal("WINCH"), End], "exit 4"),
    ]);
    rows
}
