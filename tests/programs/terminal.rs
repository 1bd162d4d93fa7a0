//! Programs with and without a terminal, by OpenSSH's `-t`, `-tt` and `-T`.

use crate::support::World;
use crate::support::peer::{answered, to_the_end, until};

const TTY: &str = "if test -t 0 && test -t 1 && test -t 2; then echo terminal; else echo pipes; fi";

#[podgate_test::multi_thread]
async fn terminal_is_there_where_it_was_asked_for() {
    let world = World::start().await;
    // The client has no terminal itself: `-t` asks for none then, `-tt` does.
    for (flag, expected) in [("-T", "pipes\n"), ("-t", "pipes\n"), ("-tt", "terminal\r\n")] {
        let done = world.ssh().arg(flag).run(TTY).await.expect(0);
        assert_eq!(done.text(), expected, "{flag}");
    }
    let shell = world.ssh().arg("-T").stdin(format!("{TTY}\n")).arg("127.0.0.1").finish().await.expect(0);
    assert_eq!(shell.text(), "pipes\n");
}

#[podgate_test::multi_thread]
async fn output_on_a_terminal_arrives_though_the_input_has_ended() {
    let world = World::start().await;
    // With no terminal of its own, the client asks for one without a size.
    let done = world.ssh().arg("-tt").run("sleep 0.3; stty size; echo to-stderr >&2; exit 3").await.expect(3);
    assert_eq!(done.text(), "0 0\r\nto-stderr\r\n");
}

#[podgate_test::multi_thread]
async fn keys_of_the_terminal_work() {
    let world = World::start().await;
    let peer = world.peer("alice").await;
    let cases = [
        ("\u{3}", "trap 'exit 42' INT; echo ready; while :; do sleep 0.05; done", 42),
        ("\u{4}", "echo ready; cat; exit 4", 4),
    ];
    for (key, script, status) in cases {
        let mut channel = peer.session().await;
        channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.expect("a request");
        assert!(answered(&mut channel).await);
        channel.exec(true, script).await.expect("a request");
        assert!(answered(&mut channel).await);
        until(&mut channel, "ready").await;
        channel.data(key.as_bytes()).await.expect("data");
        assert_eq!(to_the_end(&mut channel).await.status, Some(status), "{key:?}");
    }
}

#[podgate_test::multi_thread]
async fn terminal_has_the_name_that_the_client_gave() {
    let world = World::start().await;
    let done = world.ssh().arg("-tt").env("TERM", "vt220").run("echo $TERM").await.expect(0);
    assert_eq!(done.text(), "vt220\r\n");
}
