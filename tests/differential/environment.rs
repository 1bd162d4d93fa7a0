//! Variables: those that a program finds, and those that a client sets.

use super::conversation::Step::{Env, Terminal};
use super::conversation::exec;
use super::{Row, row};

const NAMES: &str = "a name that is none for a shell is refused, since programs read more into it";
const OURS: &str = "a variable that changes how a program starts, or says who its client is, is not the client's";
const LOGIN: &str = "a client that is allowed a variable has it; sshd sets these again behind the client's";

fn value(name: &str) -> super::conversation::Step {
    exec(format!("echo \"<${{{name}-unset}}>\""))
}

pub fn rows() -> Vec<Row> {
    let mut rows = found();
    rows.extend(set());
    rows
}

fn found() -> Vec<Row> {
    vec![
        row("HOME", [value("HOME")], "</")
            .but("/shell>", "the container's own HOME, which the development cluster gives it"),
        row("USER", [value("USER")], "<").bare("<unset>"),
        row("LOGNAME", [value("LOGNAME")], "<").bare("<unset>"),
        row("SHELL", [value("SHELL")], "</"),
        row("PATH", [value("PATH")], ":/bin"),
        row("PWD", [value("PWD")], "</")
            .but("/shell>", "the container's working directory, as for every program of its"),
        row("TERM without a terminal", [value("TERM")], "<"),
        row("TERM on a terminal", [Terminal(80, 24, &[]), value("TERM")], "<xterm-256color>"),
        row("SSH_TTY without a terminal", [value("SSH_TTY")], "<unset>"),
        row("SSH_TTY on a terminal", [Terminal(80, 24, &[]), value("SSH_TTY")], "/dev/pts/#").numbers().bare("<unset>"),
        row(
            "SSH_TTY is the terminal",
            [Terminal(80, 24, &[]), exec("[ \"$SSH_TTY\" = \"$(tty)\" ] && echo same")],
            "same",
        )
        .bare("exit 1"),
        row("SSH_CLIENT", [value("SSH_CLIENT")], "<#.#.#.# # PORT>").numbers(),
        row("SSH_CONNECTION", [value("SSH_CONNECTION")], "<#.#.#.# # #.#.#.# PORT>").numbers(),
        row("port of SSH_CONNECTION", [exec("echo ${SSH_CONNECTION##* }")], "out PORT"),
        row("SSH_ORIGINAL_COMMAND without a forced one", [value("SSH_ORIGINAL_COMMAND")], "<unset>"),
        row("SSH_AUTH_SOCK without an agent", [value("SSH_AUTH_SOCK")], "<unset>"),
        row("DISPLAY without X11", [value("DISPLAY")], "<unset>"),
        row("LANG", [value("LANG")], "<"),
        row("MAIL", [value("MAIL")], "<").but("<unset>", "a container has no mail"),
        row("underscore of a program", [exec("sh -c 'echo $_'")], "/sh"),
    ]
}

fn set() -> Vec<Row> {
    vec![
        row("variable", [Env("FOO", "bar"), value("FOO")], "<bar>"),
        row("two variables", [Env("A", "1"), Env("B", "2"), exec("echo $A$B")], "12"),
        row("the same twice", [Env("FOO", "first"), Env("FOO", "second"), value("FOO")], "<second>"),
        row("empty value", [Env("FOO", ""), value("FOO")], "<>"),
        row("blanks", [Env("FOO", "  a  b  "), value("FOO")], "<  a  b  >"),
        row("equals sign", [Env("FOO", "a=b=c"), value("FOO")], "<a=b=c>"),
        row("line feed", [Env("FOO", "a\nb"), value("FOO")], "<a\\nb>"),
        row("quotes and dollars", [Env("FOO", "'$HOME' \"`id`\" \\"), value("FOO")], "<\\'$HOME\\'"),
        row("umlauts", [Env("FOO", "äöü"), value("FOO")], "<\\xc3"),
        row("control characters", [Env("FOO", "\x1b[31m"), value("FOO")], "<\\x1b[31m>"),
        row("locale", [Env("LANG", "C.UTF-8"), Env("LC_ALL", "C.UTF-8"), exec("locale charmap")], "UTF-8"),
        row("TERM without a terminal, set", [Env("TERM", "dumb"), value("TERM")], "<dumb>"),
        row("TERM on a terminal, set", [Env("TERM", "dumb"), Terminal(80, 24, &[]), value("TERM")], "<"),
        row("TZ", [Env("TZ", "Asia/Tokyo"), exec("date +%Z")], "JST"),
        row("lower-case name", [Env("http_proxy", "http://x"), value("http_proxy")], "<http://x>"),
        row("underscore first", [Env("_A", "1"), value("_A")], "<1>"),
        row("name with a dash", [Env("A-B", "1"), exec("env | grep -c '^A-B='; :")], "success, success")
            .but("failure", NAMES),
        row("name with a digit first", [Env("1A", "1"), exec("env | grep -c '^1A='; :")], "success, success")
            .but("failure", NAMES),
        row("loader's variable", [Env("LD_LIBRARY_PATH", "/x"), value("LD_LIBRARY_PATH")], "<").but("failure", OURS),
        row(
            "SSH_CONNECTION, set",
            [Env("SSH_CONNECTION", "forged"), exec("case $SSH_CONNECTION in forged*) echo forged;; esac; :")],
            "success, success, exit 0",
        )
        .but("failure", OURS),
        row("HOME, set", [Env("HOME", "/forged"), exec("[ \"$HOME\" = /forged ] && echo forged; :")], "exit 0")
            .but("forged", LOGIN),
        row("USER, set", [Env("USER", "forged"), exec("[ \"$USER\" = forged ] && echo forged; :")], "exit 0")
            .but("forged", LOGIN),
        row(
            "PATH, set",
            [Env("PATH", "/forged:/usr/bin:/bin"), exec("case $PATH in /forged*) echo forged;; esac; :")],
            "exit 0",
        )
        .but("forged", LOGIN),
        row("SHELL, set", [Env("SHELL", "/forged"), exec("[ \"$SHELL\" = /forged ] && echo forged; :")], "exit 0")
            .but("forged", LOGIN),
        row("large value", [Env("FOO", "x".repeat(30_000).leak()), exec("echo ${#FOO}")], "30000"),
    ]
}
