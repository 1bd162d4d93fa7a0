//! Standard input, output and error: what they carry, and the order in which they end.

use super::conversation::Step::{Close, End, Shell, Terminal, Until, UntilEnd, UntilExit};
use super::conversation::{exec, send};
use super::{Row, row};

/// The size of large input, in bytes: more than any window or pipe.
const LARGE: usize = 5_000_000;

pub fn rows() -> Vec<Row> {
    let mut rows = carried();
    rows.extend(ends());
    rows.extend(background());
    rows.extend(shells());
    rows
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at % 251) as u8).collect()
}

fn carried() -> Vec<Row> {
    vec![
        row("echo", [exec("cat"), send("one\ntwo"), End], "out one\\ntwo"),
        row("no input", [exec("cat; echo over"), End], "over"),
        row("input before a program", [exec("sleep 0.2; cat"), send("early"), End], "early"),
        row("all bytes", [exec("od -An -tx1 | head -n 16"), send(pattern(256)), End], "f8 f9 fa 00"),
        row("all bytes back", [exec("cat"), send(pattern(256)), End], "\\x00\\x01"),
        row("large input", [exec("wc -c"), send(pattern(LARGE)), End], "5000000"),
        row("large input as it is", [exec("sha256sum"), send(pattern(LARGE)), End], "  -"),
        row("large output", [exec("seq 1000000")], "6888896 bytes"),
        row("large error output", [exec("seq 1000000 >&2")], "6888896 bytes"),
        row("large output on both", [exec("seq 300000 >&2 & seq 300000; wait")], "1988895 bytes"),
        row("large echo", [exec("cat"), send(pattern(LARGE)), End], "5000000 bytes"),
        row("output and error", [exec("echo out; echo err >&2")], "out out\\n; err err\\n"),
        row("output without a line feed", [exec("printf tail")], "out tail"),
        row("many small pieces", [exec("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done")], "8890 bytes"),
    ]
}

fn ends() -> Vec<Row> {
    vec![
        row("input that nobody reads", [exec("exit 3"), send(pattern(1000))], "exit 3, end, close"),
        row("large input that nobody reads", [exec("echo up; exit 3"), Until("up"), send(pattern(LARGE))], "exit 3"),
        row("input that is read in part", [exec("head -c 5; exit 4"), send("0123456789"), End], "exit 4"),
        row("input that is closed by the program", [exec("exec <&-; echo on; exit 5"), send("lost"), End], "exit 5"),
        row("input that stays open", [exec("echo up; exit 6")], "exit 6, end, close"),
        row("output that is closed", [exec("exec >&-; echo lost; echo err >&2; exit 7")], "exit 7"),
        row("error output that is closed", [exec("exec 2>&-; echo out; exit 8")], "exit 8"),
        row("both outputs closed", [exec("exec >&- 2>&-; exit 9")], "exit 9"),
        row(
            "both outputs closed before the end",
            [exec("exec >&- 2>&-; read x; exit 6"), send("go\n")],
            "exit 6, end, close",
        ),
        row(
            "end of the output of a program that ran on",
            [exec("exec >&- 2>&-; read x; exit 6"), send("go\n"), UntilExit, UntilEnd],
            "exit 6, end, close",
        )
        .agent_alone(),
        row("error output stays open", [exec("exec >&-; read x; echo $x >&2"), send("go\n")], "err go"),
        row(
            "terminal that nothing has open",
            [Terminal(80, 24, &[]), exec("exec <&- >&- 2>&-; sleep 0.3; exit 11")],
            "success, success, exit 11, end, close",
        ),
        row("all streams closed", [exec("exec <&- >&- 2>&-; exit 10")], "exit 10"),
        row("output behind the input's end", [exec("cat; sleep 0.1; echo after"), send("in\n"), End], "in\\nafter"),
        row(
            "end of the input that a child sees",
            [exec("(cat >/dev/null; echo child); echo parent"), End],
            "child\\nparent",
        ),
        row("writer into a closed pipe", [exec("trap '' PIPE; (echo x | true) 2>/dev/null; echo on")], "on"),
        row("close of a running program", [exec("echo up; cat"), Until("up"), Close], "up"),
        row("status before the close", [exec("echo up; exit 2"), UntilExit], "exit 2, end, close"),
    ]
}

fn background() -> Vec<Row> {
    vec![
        row(
            "background process that holds the output",
            [exec("(sleep 1; echo late) & echo first; exit 3")],
            "first\\nlate\\n",
        ),
        row(
            "background process that holds the error output",
            [exec("(sleep 1; echo late >&2) >/dev/null & exit 3")],
            "late",
        ),
        row(
            "background process that holds nothing",
            [exec("sleep 60 </dev/null >/dev/null 2>&1 & exit 3")],
            "exit 3, end, close",
        ),
        row(
            "background process in a session of its own",
            [exec("setsid sleep 60 </dev/null >/dev/null 2>&1 & exit 3")],
            "exit 3, end, close",
        ),
        row(
            "background process that holds the input",
            [exec("exec 3<&0; (sleep 60 <&3) >/dev/null 2>&1 & exit 4")],
            "exit 4, end, close",
        ),
        row("status of what holds the output comes first", [exec("sleep 2 & exit 5"), UntilExit, Close], "exit 5"),
        row("child that is waited for", [exec("(sleep 0.3; echo late) & wait; exit 6")], "late"),
    ]
}

fn shells() -> Vec<Row> {
    vec![
        row("shell that reads commands", [Shell, send("echo one\nexit 5\n")], "exit 5"),
        row("shell whose input ends", [Shell, send("echo one\n"), End], "one"),
        row("shell without input", [Shell, End], "exit 0"),
        row("shell with the status of the last command", [Shell, send("(exit 9)\n"), End], "exit 9"),
        row("shell whose last line is not ended", [Shell, send("echo tail"), End], "tail"),
        row("shell with a here-document", [Shell, send("cat <<E\nin\nE\nexit 1\n")], "in"),
        row("shell whose program reads the rest", [Shell, send("cat\nrest\n"), End], "rest"),
        row("shell that is replaced", [Shell, send("exec sh -c 'echo new; exit 4'\n")], "exit 4"),
        row("shell is a login shell", [Shell, send("shopt login_shell\nexit\n")], "login_shell"),
        row("shell with a missing program", [Shell, send("podgate-no-such-program\n"), End], "exit 127"),
    ]
}
