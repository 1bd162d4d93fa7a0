//! OpenSSH's forwards in every direction, and what rides on them.

use super::world;
use crate::support::client::{Client, PATIENCE, Running};
use crate::support::{World, cluster, held_port};
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

pub const WHY: &str = "both ends of the forwards are this machine's";
const SIZE: usize = 2_000_000;

async fn send_back(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let _ = tokio::io::copy(&mut read, &mut write).await;
    let _ = write.shutdown().await;
}

/// A server of this machine that sends everything back, in the test's own task.
pub async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(send_back(stream));
        }
    });
    port
}

/// The same on a socket.
fn echo_socket(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(send_back(stream));
        }
    });
}

/// Sends much, and asserts that it comes back, with the end behind it.
pub async fn comes_back(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let data: Vec<u8> = (0..SIZE).map(|at| (at % 251) as u8).collect();
    let (mut read, mut write) = tokio::io::split(&mut stream);
    let sending = async {
        write.write_all(&data).await.expect("a write");
        write.shutdown().await.expect("an end");
    };
    let mut back = Vec::new();
    let both = async { tokio::join!(sending, read.read_to_end(&mut back)).1 };
    timeout(PATIENCE, both).await.expect("in time").expect("the echo");
    assert!(back == data, "{} bytes came back", back.len());
}

/// A client that forwards, once its command runs.
pub async fn up(client: Client) -> Running {
    let running = client.option("ExitOnForwardFailure=yes").start("echo up; cat");
    running.until_stdout("up\n").await;
    running
}

pub async fn end(mut running: Running, world: &World) {
    running.end_input();
    running.ended().await.expect(0);
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn local_forwards_reach_ports_and_sockets_of_the_guest() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let socket = world.folder().join("there");
    echo_socket(&socket);
    let (port, own) = (echo().await, world.folder().join("here"));
    let ((_first, first), (_second, second)) = (held_port(), held_port());
    let client = world.ssh().arg("-L").arg(format!("{first}:localhost:{port}"));
    let client = client.arg("-L").arg(format!("{second}:{}", socket.display()));
    let running = up(client.arg("-L").arg(format!("{}:127.0.0.1:{port}", own.display()))).await;
    comes_back(TcpStream::connect(("127.0.0.1", first)).await.expect("a connection")).await;
    comes_back(TcpStream::connect(("127.0.0.1", second)).await.expect("a connection")).await;
    comes_back(UnixStream::connect(&own).await.expect("a connection")).await;
    let many =
        (0..20).map(|_| async { comes_back(TcpStream::connect(("127.0.0.1", first)).await.expect("one")).await });
    futures_util::future::join_all(many).await;
    end(running, &world).await;
}

#[podgate_test::multi_thread]
async fn socket_that_is_made_later_is_reached_then() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let (socket, (_held, port)) = (world.folder().join("later"), held_port());
    let running = up(world.ssh().arg("-L").arg(format!("{port}:{}", socket.display()))).await;
    let mut early = TcpStream::connect(("127.0.0.1", port)).await.expect("the client listens");
    let none = timeout(PATIENCE, early.read(&mut [0])).await.expect("an end in time");
    assert!(!matches!(none, Ok(1..)));
    echo_socket(&socket);
    comes_back(TcpStream::connect(("127.0.0.1", port)).await.expect("a connection")).await;
    end(running, &world).await;
}

#[podgate_test::multi_thread]
async fn remote_forwards_bring_connections_of_the_guest() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let (socket, near) = (world.folder().join("near"), world.folder().join("far"));
    let (_held, there) = held_port();
    echo_socket(&socket);
    let port = echo().await;
    let client = world.ssh().arg("-R").arg(format!("{there}:127.0.0.1:{port}"));
    let running = up(client.arg("-R").arg(format!("{}:{}", near.display(), socket.display()))).await;
    comes_back(TcpStream::connect(("127.0.0.1", there)).await.expect("a listener of the guest")).await;
    comes_back(UnixStream::connect(&near).await.expect("a socket of the guest")).await;
    end(running, &world).await;
    assert!(TcpStream::connect(("127.0.0.1", there)).await.is_err(), "it still listens");
    assert!(UnixStream::connect(&near).await.is_err(), "its socket still listens");
}

#[podgate_test::multi_thread]
async fn connection_on_standard_streams_and_a_jump_through_the_guest() {
    if !cluster::on_development(WHY) {
        return;
    }
    let world = world().await;
    let port = echo().await;
    let client = world.ssh().arg("-W").arg(format!("127.0.0.1:{port}")).arg("127.0.0.1");
    assert_eq!(client.stdin("through").finish().await.expect(0).text(), "through");
    // The jump's target is the gateway itself: the guest reaches it as this machine does.
    let jump = format!("ProxyCommand={} -W %h:%p 127.0.0.1", world.ssh_command_line("bob"));
    let done = world.ssh().option(&jump).run("echo far; exit 5").await.expect(5);
    assert_eq!(done.text(), "far\n");
}
