//! Command strings: quotes, blanks, odd letters, lengths, and the place in which a command runs.

use super::conversation::exec;
use super::{Row, row};

/// Longest string that Linux takes as one argument, in bytes, its NUL among them.
const MAX_ARG_STRLEN: usize = 128 * 1024;

const TOO_LONG: &str = "exit 255, end, close; err podgate: ";
const SAID: &str = "nothing was started, and a sentence says so";

fn long(bytes: usize) -> Vec<u8> {
    let mut command = b"echo ran # ".to_vec();
    command.resize(bytes, b'x');
    command
}

pub fn rows() -> Vec<Row> {
    let mut rows = strings();
    rows.extend(places());
    rows
}

fn strings() -> Vec<Row> {
    vec![
        row("nothing", [exec("")], "exit 0, end, close"),
        row("blanks", [exec("   \t ")], "exit 0"),
        row("line feed", [exec("\n")], "exit 0"),
        row("two lines", [exec("echo one\necho two\n")], "one\\ntwo\\n"),
        row("carriage return", [exec("echo one\r")], "one\\r"),
        row("comment", [exec("# nothing")], "exit 0"),
        row("leading dash", [exec("-c")], "option requires an argument"),
        row("two leading dashes", [exec("--")], "exit 2"),
        row("option", [exec("--no-such-option")], "exit 2"),
        row("option that shows the version", [exec("--version")], "exit 2"),
        row("leading blank", [exec(" echo blank")], "blank"),
        row("single quotes", [exec("echo 'a  b' 'c\"d'")], "a  b c"),
        row("double quotes", [exec("echo \"a  b\" \"$((1+2))\"")], "a  b 3"),
        row("backslashes", [exec(r"printf '%s|' a\ b \\ \$HOME \'")], "a b|"),
        row("blanks between words", [exec("echo a    b")], "a b"),
        row("substitution", [exec("echo $(echo inner) `echo old`")], "inner old"),
        row("patterns", [exec("echo /etc/pass[w]d /no/such/*")], "/etc/passwd /no/such/*"),
        row("braces and tilde", [exec("echo {a,b} ~root")], "a b /root"),
        row("exclamation mark", [exec("echo hi!")], "hi!"),
        row("dollars", [exec("echo $ $0 $# \"$@\" $-")], "$ "),
        row("here-document", [exec("cat <<E\nline $((2*3))\nE\n")], "line 6"),
        row("here-string", [exec("cat <<<word")], "word"),
        row("ampersands and bars", [exec("true && echo a || echo b; false || echo c")], "a\\nc\\n"),
        row("umlauts", [exec("printf '%s' 'äöü€😀' | od -An -tx1")], "c3 a4"),
        row("bytes that are no text", [exec(b"printf '%s' '\xff\xfe\x80' | od -An -tx1")], "ff fe 80")
            .bare("podgate: a command that is not UTF-8 needs the guest agent, which kubernetes.pod.disableAgent"),
        row(
            "session of its own",
            [exec("set -- $(cat /proc/$$/stat); [ $5 = $$ ] && [ $6 = $$ ] && [ $7 = 0 ] && echo leads both")],
            "leads both",
        )
        .agent_alone(),
        row("control characters", [exec("printf '%s' '\x01\x1b[0m\x7f' | od -An -tx1")], "01 1b 5b"),
        row("60 kB", [exec(long(60_000))], "ran"),
        row("100 kB", [exec(long(100_000))], "ran"),
        row("longest argument", [exec(long(MAX_ARG_STRLEN - 1))], "ran"),
        row("behind the longest argument", [exec(long(MAX_ARG_STRLEN))], "exit 1").but(TOO_LONG, SAID),
        row("200 kB", [exec(long(200_000))], "exit 1").but(TOO_LONG, SAID),
        row("many words", [exec(format!("set -- {}; echo $#", "w ".repeat(20_000)))], "20000"),
        row("function", [exec("f() { echo \"$1\"; return 7; }; f a")], "exit 7"),
        row("evaluation", [exec("eval 'echo a; exit 2'")], "exit 2"),
        row("command for another shell", [exec("exec sh -c 'echo \"$0 $1\"' zero one")], "zero one"),
    ]
}

/// A command's surroundings: what sshd leaves to a program, and what it hides.
fn places() -> Vec<Row> {
    vec![
        row("name of the shell", [exec("echo $0")], "out"),
        row("flags of the shell", [exec("echo $-; shopt login_shell")], "out"),
        row("signals that are ignored or blocked", [exec("trap -p; grep SigBlk /proc/self/status")], "SigBlk"),
        row("session leader", [exec("[ $(ps -o sid= -p $$) = $$ ] && echo leader")], "leader").bare("exit 1"),
        row("group leader", [exec("[ $(ps -o pgid= -p $$) = $$ ] && echo leader")], "leader").bare("exit 1"),
        row("no terminal", [exec("tty; ps -o tty= -p $$; exit 0 </dev/tty")], "not a tty"),
        row("command line", [exec("tr '\\0' ' ' </proc/$$/cmdline; :")], "-c tr"),
        row("niceness", [exec("ps -o ni= -p $$")], "0"),
        row("working directory", [exec("pwd")], "out /")
            .but("/shell", "the container's working directory, as for every program of its"),
        row("user", [exec("id")], "uid="),
        row("mask of new files", [exec("umask")], "out 00"),
    ]
}
