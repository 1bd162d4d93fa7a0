//! Forwarding: refused with a reason, allowed or not, and the connection goes on.

use crate::support::World;
use crate::support::gateway::SOON;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

#[podgate_test::multi_thread]
async fn reverse_and_x11_forwarding_are_refused_and_the_command_runs() {
    let world = World::start().await;
    let done = world.ssh().arg("-v").arg("-R").arg("0:127.0.0.1:1").run("echo ran").await.expect(0);
    assert_eq!(done.text(), "ran\n");
    assert!(done.stderr.contains("remote port forwarding failed"), "{}", done.stderr);
    world.gateway.wait_for_line("SECURITY_REVERSE_FORWARDING_REJECTED").await;
    let socket = world.folder().join("sock").display().to_string();
    let done = world.ssh().arg("-R").arg(format!("{socket}:{socket}")).run("echo ran").await.expect(0);
    assert_eq!(done.text(), "ran\n");
    let done = world.ssh().option("ExitOnForwardFailure=yes").arg("-R").arg("0:127.0.0.1:1").run("echo ran").await;
    assert_eq!((done.status, done.text().as_str()), (255, ""));
    let done = world.ssh().arg("-X").env("DISPLAY", "127.0.0.1:99").run("echo \"ran$DISPLAY\"").await.expect(0);
    assert_eq!(done.text(), "ran\n");
}

#[podgate_test::multi_thread]
async fn forwarded_connection_is_refused_and_the_session_goes_on() {
    let world = World::start().await;
    // Nobody else uses this address, so that the port is free until the client has it.
    let at = std::net::TcpListener::bind("127.9.8.7:0").and_then(|at| at.local_addr()).expect("a port");
    let client = world.ssh().arg("-v").arg("-L").arg(format!("{at}:127.0.0.1:1"));
    let mut client = client.arg("127.0.0.1").arg("echo up; cat").spawn();
    let (mut input, mut output) = (client.stdin.take().expect("a pipe"), client.stdout.take().expect("a pipe"));
    let mut line = [0; 3];
    timeout(SOON, output.read_exact(&mut line)).await.expect("in time").expect("a line");
    let mut forwarded = TcpStream::connect(at).await.expect("the client listens");
    let closed = timeout(SOON, forwarded.read_to_end(&mut Vec::new())).await.expect("in time");
    // Closed or reset: nothing came.
    assert_eq!(closed.unwrap_or(0), 0);
    input.write_all(b"still here\n").await.expect("the session");
    drop(input);
    let mut rest = String::new();
    timeout(SOON, output.read_to_string(&mut rest)).await.expect("in time").expect("text");
    assert_eq!(rest, "still here\n");
    let done = client.wait_with_output().await.expect("its end");
    let (stderr, reason) = (String::from_utf8_lossy(&done.stderr).into_owned(), "port forwarding is disabled");
    assert!(done.status.success() && stderr.contains(reason), "{reason:?} is not in {stderr:?}");
}

#[podgate_test::multi_thread]
async fn stdio_forwarding_is_refused() {
    let world = World::start().await;
    let done = world.ssh().arg("-v").arg("-W").arg("127.0.0.1:1").arg("127.0.0.1").finish().await;
    assert_ne!(done.status, 0);
    assert!(done.stderr.contains("port forwarding is disabled"), "{}", done.stderr);
    let done = world.ssh().arg("-A").run("echo \"ran$SSH_AUTH_SOCK\"").await.expect(0);
    assert_eq!(done.text(), "ran\n");
}
