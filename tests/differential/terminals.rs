//! Terminals: modes, sizes, keys, and the ends of programs there.

use super::conversation::Step::{End, Resize, Terminal, Until};
use super::conversation::{exec, send};
use super::{Row, row};
use russh::Pty;

/// Shows the size, which may arrive behind the start of the program.
const SIZE: &str = "until [ \"$(stty size)\" != '0 0' ]; do sleep 0.02; done; stty size";
/// Shows the next size. The first one may come after the program's start, and is no new one.
const NEW_SIZE: &str = "until [ \"$(stty size)\" = '24 80' ]; do sleep 0.02; done; \
    trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.05; done";
/// Shows the modes that are not the size.
const MODES: &str = "stty -a | tail -n +2";

pub fn rows() -> Vec<Row> {
    let mut rows = modes();
    rows.extend(keys());
    rows.extend(lines());
    rows.extend(ends());
    rows
}

fn modes() -> Vec<Row> {
    let with = |name: &str, modes: &'static [(Pty, u32)], shows: &str| {
        row(name, [Terminal(80, 24, modes), exec(MODES)], shows)
    };
    vec![
        with("no modes", &[], " icanon"),
        with("no echo", &[(Pty::ECHO, 0)], "-echo "),
        with("no lines", &[(Pty::ICANON, 0)], "-icanon"),
        with("no signals", &[(Pty::ISIG, 0)], "-isig"),
        with(
            "raw",
            &[(Pty::ICANON, 0), (Pty::ISIG, 0), (Pty::ECHO, 0), (Pty::OPOST, 0), (Pty::ICRNL, 0), (Pty::IXON, 0)],
            "-opost",
        ),
        with("interrupt key", &[(Pty::VINTR, 24)], "intr = ^X"),
        with("keys that are off", &[(Pty::VINTR, 255), (Pty::VQUIT, 255), (Pty::VSUSP, 255)], "intr = <undef>"),
        with("erase and kill keys", &[(Pty::VERASE, 8), (Pty::VKILL, 21)], "erase = ^H"),
        with("end-of-file key", &[(Pty::VEOF, 1)], "eof = ^A"),
        with("line endings of the input", &[(Pty::ICRNL, 0), (Pty::INLCR, 1), (Pty::IGNCR, 1)], "igncr"),
        with("line endings of the output", &[(Pty::ONLCR, 0), (Pty::OCRNL, 1)], "-onlcr"),
        with("flow control", &[(Pty::IXON, 0), (Pty::IXOFF, 1), (Pty::IXANY, 1)], "ixany"),
        with("UTF-8", &[(Pty::IUTF8, 1)], " iutf8"),
        with("seven bits", &[(Pty::CS7, 1), (Pty::CS8, 0), (Pty::PARENB, 1)], "cs8"),
        with("stop of writers in the background", &[(Pty::TOSTOP, 1)], " tostop"),
        row(
            "speed",
            [Terminal(80, 24, &[(Pty::TTY_OP_ISPEED, 9600), (Pty::TTY_OP_OSPEED, 9600)]), exec("stty speed")],
            "9600",
        ),
        row("size", [Terminal(132, 50, &[]), exec(SIZE)], "50 132"),
        row("small size", [Terminal(1, 1, &[]), exec(SIZE)], "1 1"),
        row("large size", [Terminal(1000, 500, &[]), exec(SIZE)], "500 1000"),
        row("no size", [Terminal(0, 0, &[]), exec("stty size")], "0 0"),
        row("new size", [Terminal(80, 24, &[]), exec(NEW_SIZE), Until("up"), Resize(100, 30)], "30 100"),
        row("terminal's name", [Terminal(80, 24, &[]), exec("tty")], "/dev/pts/#").numbers(),
        row(
            "all streams are the terminal",
            [Terminal(80, 24, &[]), exec("test -t 0 && test -t 1 && test -t 2 && echo all")],
            "all",
        ),
        row("terminal is the controlling one", [Terminal(80, 24, &[]), exec("echo there >/dev/tty")], "there"),
        row("foreground", [Terminal(80, 24, &[]), exec("[ $(ps -o tpgid= -p $$) = $$ ] && echo front")], "front")
            .bare("exit 1"),
        row(
            "signals that are ignored or blocked",
            [Terminal(80, 24, &[]), exec("trap -p; grep SigBlk /proc/self/status")],
            "SigBlk",
        ),
        row("terminal's owner and mode", [Terminal(80, 24, &[]), exec("stat -L -c '%U %a' /dev/stdin")], "root")
            .but("600", "nobody else in the container may write to the terminal"),
    ]
}

fn keys() -> Vec<Row> {
    let up = "echo up; ";
    vec![
        row(
            "echo",
            [Terminal(80, 24, &[]), exec("echo up; read x; echo got:$x"), Until("up"), send("hello\r")],
            "hello\\r\\ngot:hello",
        ),
        row(
            "echo that is off",
            [Terminal(80, 24, &[(Pty::ECHO, 0)]), exec("echo up; read x; echo got:$x"), Until("up"), send("hello\r")],
            "up\\r\\ngot:hello",
        ),
        row(
            "interrupt",
            [
                Terminal(80, 24, &[]),
                exec("trap 'echo int; exit 2' INT; echo up; while :; do sleep 0.05; done"),
                Until("up"),
                send("\x03"),
            ],
            "int",
        ),
        row(
            "quit",
            [
                Terminal(80, 24, &[]),
                exec("exec 2>/dev/null; trap 'echo quit; exit 3' QUIT; echo up; while :; do sleep 0.05; done"),
                Until("up"),
                send("\x1c"),
            ],
            "quit",
        ),
        row(
            "another interrupt key",
            [
                Terminal(80, 24, &[(Pty::VINTR, 24)]),
                exec("trap 'echo int; exit 2' INT; echo up; while :; do sleep 0.05; done"),
                Until("up"),
                send("\x18"),
            ],
            "int",
        ),
        row(
            "end of file",
            [Terminal(80, 24, &[]), exec(format!("{up}cat; echo over")), Until("up"), send("line\r\x04")],
            "over",
        ),
    ]
}

fn lines() -> Vec<Row> {
    let up = "echo up; ";
    vec![
        row(
            "erase",
            [Terminal(80, 24, &[]), exec(format!("{up}read x; echo got:$x")), Until("up"), send("abc\x7f\x7fd\r")],
            "got:ad",
        ),
        row(
            "line that is killed",
            [Terminal(80, 24, &[]), exec(format!("{up}read x; echo got:$x")), Until("up"), send("abc\x15d\r")],
            "got:d",
        ),
        row(
            "umlaut that is erased",
            [
                Terminal(80, 24, &[(Pty::IUTF8, 1)]),
                exec(format!("{up}read x; echo got:$x")),
                Until("up"),
                send("aü\x7fb\r"),
            ],
            "got:ab",
        ),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        row("standard error", [Terminal(80, 24, &[]), exec("echo err >&2")], "out err\\r\\n"),
        row("line endings that stay", [Terminal(80, 24, &[(Pty::OPOST, 0)]), exec("echo a; echo b")], "a\\nb\\n"),
        row("bytes", [Terminal(80, 24, &[(Pty::OPOST, 0)]), exec("printf '\\000\\001\\377'")], "\\x00\\x01\\xff"),
        row("status", [Terminal(80, 24, &[]), exec("exit 7")], "exit 7, end, close"),
        row("missing program", [Terminal(80, 24, &[]), exec("podgate-no-such-program")], "exit 127"),
        row("large output", [Terminal(80, 24, &[]), exec("seq 100000")], "688895 bytes"),
        row(
            "end of the client's input",
            [Terminal(80, 24, &[]), exec("echo up; sleep 0.5; echo after; exit 3"), Until("up"), End],
            "after",
        ),
        row("what is left behind", [Terminal(80, 24, &[]), exec("(sleep 60) & exit 4")], "exit 4, end, close"),
        row(
            "what is left behind and ignores the hang-up",
            [Terminal(80, 24, &[]), exec("(trap '' HUP; sleep 2) & exit 4")],
            "exit 4, end, close",
        ),
    ]
}
