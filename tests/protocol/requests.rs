//! Requests on a session channel (RFC 4254 section 6, OpenSSH's PROTOCOL): before a program, beside it, and behind its end.

use super::{GONE, NO_CHANNEL, Row, UNREADABLE, compare, row};
use crate::support::minimal_client::text;
use crate::support::raw_client::State::{Channel, LoggedIn, Running};

fn pty() -> Vec<u8> {
    let sizes = [80_u32, 24, 0, 0].map(u32::to_be_bytes).concat();
    [&text(b"xterm")[..], &sizes, &text(&[0])].concat()
}

fn size() -> Vec<u8> {
    [80_u32, 24, 0, 0].map(u32::to_be_bytes).concat()
}

fn env(name: &str) -> Vec<u8> {
    [text(name.as_bytes()), text(b"value")].concat()
}

fn x11() -> Vec<u8> {
    [&[0][..], &text(b"MIT-MAGIC-COOKIE-1"), &text(b"00"), &[0; 4]].concat()
}

const BEFORE: &[Row] = &[
    row("terminal", Channel, |at| vec![at.request("pty-req", true, &pty())], "success"),
    row("terminal without an answer", Channel, |at| vec![at.request("pty-req", false, &pty())], ""),
    row(
        "terminal twice",
        Channel,
        |at| vec![at.request("pty-req", true, &pty()), at.request("pty-req", true, &pty())],
        "success, disconnect 2",
    )
    .but("success, failure", "the request alone is refused: other sessions of the connection go on"),
    row("terminal without its fields", Channel, |at| vec![at.request("pty-req", true, &[])], "hung up"),
    row(
        "terminal whose modes are cut short",
        Channel,
        |at| {
            let sizes = [80_u32, 24, 0, 0].map(u32::to_be_bytes).concat();
            vec![at.request("pty-req", true, &[&text(b"xterm")[..], &sizes, &text(&[1, 0, 0])].concat())]
        },
        "hung up",
    ),
    row("X11 without its fields", Channel, |at| vec![at.request("x11-req", true, &[])], "hung up"),
    row("variable without its fields", Channel, |at| vec![at.request("env", true, &[])], "hung up"),
    row("signal without its name", Running, |at| vec![at.request("signal", true, &[])], "failure")
        .but("hung up", UNREADABLE),
    row(
        "agent with something behind it",
        Channel,
        |at| vec![at.request("auth-agent-req@openssh.com", true, &[0])],
        "hung up",
    ),
    row("X11", Channel, |at| vec![at.request("x11-req", true, &x11())], "failure"),
    row("agent", Channel, |at| vec![at.request("auth-agent-req@openssh.com", true, &[])], "failure"),
    row("agent by its other name", Channel, |at| vec![at.request("auth-agent-req", true, &[])], "failure"),
    row("variable", Channel, |at| vec![at.request("env", true, &env("LANG"))], "success"),
    row(
        "variable twice",
        Channel,
        |at| vec![at.request("env", true, &env("A")), at.request("env", true, &env("A"))],
        "success, success",
    ),
    row("variable without an answer", Channel, |at| vec![at.request("env", false, &env("A"))], ""),
    row(
        "variable that is no text",
        Channel,
        |at| vec![at.request("env", true, &[text(b"A"), text(&[0xff])].concat())],
        "success",
    )
    .but("hung up", UNREADABLE),
    row("new size before a program", Channel, |at| vec![at.request("window-change", true, &size())], "success"),
    row("signal before a program", Channel, |at| vec![at.request("signal", true, &text(b"TERM"))], "failure"),
    row("break before a program", Channel, |at| vec![at.request("break", true, &[0, 0, 1, 0])], "failure"),
    row("flow control", Channel, |at| vec![at.request("xon-xoff", true, &[1])], "failure"),
    row("exit status from the client", Channel, |at| vec![at.request("exit-status", true, &[0; 4])], "failure"),
    row(
        "exit signal from the client",
        Channel,
        |at| vec![at.request("exit-signal", true, &[&text(b"TERM")[..], &[0], &text(b""), &text(b"")].concat())],
        "failure",
    ),
    row("keep-alive on a channel", Channel, |at| vec![at.request("keepalive@openssh.com", true, &[])], "failure"),
    row("unknown request", Channel, |at| vec![at.request("made-up@example.org", true, b"rest")], "failure"),
    row("unknown request without an answer", Channel, |at| vec![at.request("made-up@example.org", false, &[])], ""),
    row(
        "request that is no text",
        Channel,
        |at| vec![[&[98][..], &at.channel.to_be_bytes(), &text(&[0xff]), &[1]].concat()],
        "failure",
    )
    .but("hung up", UNREADABLE),
    row("request without its fields", Channel, |at| vec![at.about(98, &[])], "hung up"),
];

const PROGRAMS: &[Row] = &[
    row("command", Channel, |at| vec![at.exec("exit 3")], "success, exit 3, close").closed(),
    row(
        "command without an answer",
        Channel,
        |at| vec![at.request("exec", false, &text(b"echo ran"))],
        "data ran\n, exit 0, close",
    )
    .closed(),
    row("command without its text", Channel, |at| vec![at.request("exec", true, &[])], "hung up"),
    row("command of a signal", Channel, |at| vec![at.exec("kill -TERM $$")], "success, exit-signal, close").closed(),
    row(
        "shell",
        Channel,
        |at| vec![at.request("shell", true, &[]), at.about(94, &text(b"exit 4\n"))],
        "success, exit 4, close",
    )
    .closed(),
    row("shell with something behind it", Channel, |at| vec![at.request("shell", true, &[0])], "hung up"),
    row("subsystem that is unknown", Channel, |at| vec![at.request("subsystem", true, &text(b"made-up"))], "failure")
        .but("stderr, failure", "the reason comes first, on standard error, where a person reads it")
        .refused(),
    row("subsystem without a name", Channel, |at| vec![at.request("subsystem", true, &[])], "hung up"),
];

const BESIDE: &[Row] = &[
    row("command beside a command", Running, |at| vec![at.exec("echo two")], "failure"),
    row("shell beside a command", Running, |at| vec![at.request("shell", true, &[])], "failure"),
    row("subsystem beside a command", Running, |at| vec![at.request("subsystem", true, &text(b"sftp"))], "failure"),
    row("terminal beside a command", Running, |at| vec![at.request("pty-req", true, &pty())], "failure"),
    row("variable beside a command", Running, |at| vec![at.request("env", true, &env("A"))], "failure"),
    row("X11 beside a command", Running, |at| vec![at.request("x11-req", true, &x11())], "failure"),
    row("agent beside a command", Running, |at| vec![at.request("auth-agent-req@openssh.com", true, &[])], "failure"),
    row("new size beside a command", Running, |at| vec![at.request("window-change", true, &size())], "success"),
    row("new size without its fields", Running, |at| vec![at.request("window-change", true, &[])], "hung up"),
    row(
        "signal",
        Running,
        |at| vec![at.request("signal", true, &text(b"TERM")), at.about(96, &[])],
        "success, exit-signal, close | failure, exit 0, close",
    )
    .closed()
    .but("success, exit-signal, close", "sshd sends root's programs no signal"),
    row(
        "signal without an answer",
        Running,
        |at| vec![at.request("signal", false, &text(b"USR1")), at.about(96, &[])],
        "exit-signal, close | exit 0, close",
    )
    .closed()
    .but("exit-signal, close", "sshd sends root's programs no signal"),
    row("signal that is none", Running, |at| vec![at.request("signal", true, &text(b"MADEUP"))], "failure"),
    row("break without a terminal", Running, |at| vec![at.request("break", true, &[0, 0, 1, 0])], "failure"),
    row(
        "no more output wanted",
        Running,
        |at| vec![at.request("eow@openssh.com", false, &[]), at.about(96, &[])],
        "exit 0, close",
    )
    .closed(),
    row(
        "unknown request beside a command",
        Running,
        |at| vec![at.request("made-up@example.org", true, &[])],
        "failure",
    ),
];

const ELSEWHERE: &[Row] = &[
    row("command on no channel", LoggedIn, |at| vec![at.exec("true")], "disconnect 2").but("", NO_CHANNEL),
    row(
        "unknown request on no channel",
        LoggedIn,
        |at| vec![at.request("made-up@example.org", true, &[])],
        "disconnect 2",
    )
    .but("", NO_CHANNEL),
    row("command on a closed channel", Channel, |at| vec![at.about(97, &[]), at.exec("true")], GONE)
        .but("close", NO_CHANNEL),
];

#[podgate_test::multi_thread]
async fn requests_on_a_session_are_answered_as_sshd_does() {
    compare(&[BEFORE, PROGRAMS, BESIDE, ELSEWHERE]).await;
}
