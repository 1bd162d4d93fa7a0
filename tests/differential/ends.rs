//! The ends of programs: exit statuses, programs that cannot run, and shells that give up.

use super::conversation::exec;
use super::{Row, row};

pub fn rows() -> Vec<Row> {
    let statuses = (0..=255).map(|status| {
        row(format!("status {status}"), [exec(format!("exit {status}"))], format!("exit {status}, end, close"))
    });
    let others = [
        row("status behind the last", [exec("exit 256")], "exit 0"),
        row("negative status", [exec("exit -1")], "exit 255"),
        row("status that is no number", [exec("exit abc")], "numeric argument required"),
        row("status of a failed program", [exec("false")], "exit 1"),
        row("status of a subshell", [exec("(exit 4)")], "exit 4"),
        row("status of a pipeline", [exec("true | (exit 6)")], "exit 6"),
        row("status from a trap", [exec("trap 'exit 9' EXIT; exit 3")], "exit 9"),
        row("status of a replaced shell", [exec("exec sh -c 'exit 8'")], "exit 8"),
        row("status of a killed child", [exec("sh -c 'kill -9 $$'; echo $?")], "Killed").numbers(),
        row("stopped at the first failure", [exec("set -e; false; echo no")], "exit 1"),
        row("missing program", [exec("podgate-no-such-program")], "exit 127"),
        row("missing program with a path", [exec("/no/such/program --flag")], "exit 127"),
        row("missing program below the folder", [exec("./podgate-no-such-program")], "exit 127"),
        row("missing program in the shell's place", [exec("exec podgate-no-such-program")], "exit 127"),
        row("file that may not be run", [exec("/etc/passwd")], "exit 126"),
        row("file that may not be run in the shell's place", [exec("exec /etc/passwd")], "exit 126"),
        row("folder", [exec("/")], "exit 126"),
        row("path below a file", [exec("/etc/passwd/x")], "exit 126"),
        row(
            "script without an interpreter",
            [exec("f=@FOLDER/none; printf '#!/no/such/thing\\n' >$f; chmod +x $f; $f")],
            "exit 12",
        ),
        row("syntax error", [exec("if")], "syntax error"),
        row("quote that stays open", [exec("echo 'open")], "unexpected EOF"),
        row("unset variable that must be set", [exec("set -u; echo $NOT_SET")], "unbound variable"),
        row("unset variable with a message", [exec("echo ${NOT_SET:?is missing}")], "is missing"),
        row("standard output that is full", [exec("echo x >/dev/full")], "exit 1"),
        row("reader that stops early", [exec("yes | head -n 3")], "out y\\ny\\ny\\n"),
        row("builtin beside the status", [exec("echo out; echo err >&2; exit 5")], "exit 5"),
    ];
    statuses.chain(others).collect()
}
