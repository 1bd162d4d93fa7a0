//! Requests that are refused, and what goes on behind a refusal.

use super::conversation::Step::{Agent, Close, End, Env, Resize, Shell, Signal, Subsystem, Terminal, Until};
use super::conversation::{exec, send};
use super::{Row, row};

pub fn rows() -> Vec<Row> {
    vec![
        row("nothing but a close", [Close], ""),
        row("variable and a close", [Env("A", "1"), Close], "success"),
        row("terminal and a close", [Terminal(80, 24, &[]), Close], "success"),
        row(
            "command behind a command",
            [exec("echo up; cat"), Until("up"), exec("echo two"), send("x"), End],
            "success, failure",
        ),
        row("shell behind a command", [exec("cat"), Shell, End], "success, failure"),
        row("subsystem behind a command", [exec("cat"), Subsystem("sftp"), End], "success, failure"),
        row("variable behind a command", [exec("cat"), Env("A", "1"), End], "success, failure"),
        row("terminal behind a command", [exec("cat"), Terminal(80, 24, &[]), End], "success, failure"),
        row("agent behind a command", [exec("cat"), Agent, End], "success, failure"),
        row("agent that may not be forwarded", [Agent, exec("echo <$SSH_AUTH_SOCK>")], "failure"),
        row("size without a terminal", [Resize(10, 10), exec("echo on")], "on"),
        row("signal before a program", [Signal("TERM"), exec("echo on")], "on"),
        row("signal that is none", [exec("echo up; cat"), Until("up"), Signal("MADEUP"), End], "exit 0"),
        row("subsystem that is unknown", [Subsystem("podgate-no-such"), Close], "failure")
            .but("podgate: the subsystem", "the reason comes before it on standard error, where a person reads it"),
    ]
}

pub fn restricted() -> Vec<Row> {
    vec![
        row(
            "variable that is allowed",
            [Env("ALLOWED", "1"), exec("echo \"<$ALLOWED>\"")],
            "success, success, exit 0, end, close; out <1>",
        ),
        row(
            "variable that is not allowed",
            [Env("OTHER", "1"), exec("echo \"<$OTHER>\"")],
            "failure, success, exit 0, end, close; out <>",
        ),
        row("name that begins as an allowed one", [Env("ALLOWED2", "1"), exec("echo \"<$ALLOWED2>\"")], "failure"),
        row("name in small letters", [Env("allowed", "1"), exec("echo \"<$allowed>\"")], "failure"),
        row("locale", [Env("LC_ALL", "C"), exec("echo on")], "on"),
        row("terminal", [Terminal(80, 24, &[]), exec("tty")], "failure, success, exit 1"),
        row(
            "size behind a terminal that was refused",
            [Terminal(80, 24, &[]), Resize(10, 10), exec("echo on")],
            "failure, success",
        ),
        row("agent", [Agent, exec("echo on")], "failure, success"),
        row("shell", [Shell, send("echo on\nexit 3\n")], "exit 3"),
    ]
}
