//! The modes of a client's terminal (RFC 4254 section 8), beside what OpenSSH's sshd makes of them.

use crate::support::client::{Done, PATIENCE, WAITING};
use crate::support::cluster::container;
use crate::support::leash;
use crate::support::peer::{answered, to_the_end};
use crate::support::sshd::Sshd;
use crate::support::{Setup, World, available};
use russh::Pty;
use serde_json::json;
use std::process::Stdio;
use tokio::time::timeout;

/// The modes of the client's own terminal, and those that the other terminal must show.
const LOCAL: [(&str, &[&str]); 7] = [
    ("sane", &[" icrnl ", " echo "]),
    ("-echo intr ^X erase ^H kill 200 susp undef", &[" -echo ", "intr = ^X;", "erase = ^H;", "susp = <undef>;"]),
    ("-icanon -isig -iexten -echoe -echok -echoctl -echoke", &[" -icanon ", "-isig ", "-iexten "]),
    ("-icrnl inlcr igncr -ixon ixany ixoff imaxbel", &[" -icrnl ", " inlcr ", " ixoff ", " ixany "]),
    ("-opost -onlcr ocrnl onlret", &["-opost ", "-onlcr ", " ocrnl "]),
    ("-iutf8 istrip inpck parmrk noflsh tostop eof ^A eol ^B", &[" -iutf8 ", " istrip ", "eof = ^A;"]),
    ("9600 start undef stop undef rprnt ^G werase ^U lnext ^Y discard ^K quit ^]", &["speed 9600 baud;", "quit = ^];"]),
];

/// Runs a client's command line on a terminal of its own that is set up so.
async fn on_terminal(local: &str, client: &str) -> Done {
    let line = format!("stty rows 30 columns 100 && stty {local} && exec {client} -tt 127.0.0.1 'stty -a'");
    let mut script = leash::program("script");
    script.args(["-q", "-e", "-c", &line, "/dev/null"]);
    // An end of its input would be a key on the terminal.
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut script = script.spawn().expect("script");
    let stdin = script.stdin.take();
    let done = timeout(PATIENCE, script.wait_with_output()).await.expect("an end in time").expect("its output");
    drop(stdin);
    Done::of(done)
}

/// The output of `stty -a` without the size, which may arrive after the program's start and which breaks the lines.
fn modes(said: &str) -> String {
    let lines = said.lines().filter(|line| !line.starts_with(WAITING));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    let size = |at: usize| words[at.saturating_sub(1)..=at].iter().any(|word| ["rows", "columns"].contains(word));
    let modes = (0..words.len()).filter(|at| !size(*at)).map(|at| words[at]);
    modes.fold(String::from(" "), |modes, word| modes + word + " ")
}

#[podgate_test::multi_thread]
async fn terminal_has_the_modes_that_sshd_gives_it() {
    if !Sshd::available() || !available("script", "bsdutils") {
        return;
    }
    let session = json!({"kubernetes": {"pod": {"mode": "session"}}});
    let world = Setup { users: vec![("alice", json!({})), ("bob", session)], ..Setup::default() }.start().await;
    let sshd = Sshd::start(&world, "SetEnv SHLVL=2\n").await.expect("sshd");
    for (local, seen) in LOCAL {
        let expected = modes(&on_terminal(local, &sshd.command_line(&world)).await.expect(0).text());
        for part in seen {
            assert!(expected.contains(part), "{local}: no {part:?} in {expected}");
        }
        for user in ["alice", "bob"] {
            let done = on_terminal(local, &world.ssh_command_line(user)).await.expect(0);
            assert_eq!(modes(&done.text()), expected, "{local} as {user}");
        }
    }
}

#[podgate_test::multi_thread]
async fn key_that_was_pressed_before_the_start_is_read_in_the_clients_modes() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    let modes = [(Pty::ECHO, 0), (Pty::ICRNL, 0), (Pty::VERASE, 24), (Pty::VINTR, 29)];
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &modes).await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.exec(false, "read -r line; printf %s \"$line\" | od -An -c").await.expect("a request");
    // Before the request it would be for no program, and dropped.
    channel.data(&b"a\x7f\x03b\rc\n"[..]).await.expect("data");
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.stdout.as_str(), ended.status), ("   a 177 003   b  \\r   c\r\n", Some(0)), "{ended:?}");
}

#[podgate_test::multi_thread]
async fn terminal_of_an_image_without_stty_has_its_program_all_the_same() {
    let mut bare = container("shell");
    bare["env"] = json!([{"name": "PATH", "value": "/no/such/folder"}]);
    let idle = json!(["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do /bin/sleep 1000 & wait $!; done"]);
    let pod = json!({"kubernetes": {"pod": {"idleCommand": idle, "spec": {"containers": [bare]}}}});
    let world = Setup::config(pod).start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[(Pty::ECHO, 0), (Pty::ONLCR, 1)]).await.expect("a request");
    assert!(answered(&mut channel).await);
    channel.exec(false, "echo up; exit 4").await.expect("a request");
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.stdout.as_str(), ended.status), ("up\r\n", Some(4)), "{ended:?}");
}

#[podgate_test::multi_thread]
async fn end_is_known_on_a_terminal_that_stops_writers_in_the_background() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let mut channel = peer.session().await;
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[(Pty::TOSTOP, 1)]).await.expect("a request");
    assert!(answered(&mut channel).await);
    // The shell that had the foreground is dead, and nobody took it back.
    channel.exec(false, "bash -ic 'kill -9 $$'; exit 255").await.expect("a request");
    let ended = to_the_end(&mut channel).await;
    assert_eq!((ended.stderr.as_str(), ended.status), ("", Some(255)), "{ended:?}");
}
