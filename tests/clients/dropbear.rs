//! Dropbear's client.

use super::world;
use crate::support::client::{Client, PATIENCE};
use crate::support::{World, available, cluster, held_port, leash};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// The client with the world's key.
async fn dbclient(world: &World) -> tokio::process::Command {
    let key = world.folder().join("id.dropbear");
    let mut convert = leash::program("dropbearconvert");
    convert.args(["openssh", "dropbear"]).arg(&world.key.file).arg(&key);
    Client::of(convert).finish().await.expect(0);
    let mut client = leash::program("dbclient");
    client
        .env("HOME", world.folder())
        .args(["-y", "-y", "-p", &world.port().to_string(), "-l", "alice", "-i"])
        .arg(key);
    client
}

#[podgate_test::multi_thread]
async fn dbclient_runs_commands_and_forwards() {
    if !available("dbclient", "dropbear-bin") || !available("dropbearconvert", "dropbear-bin") {
        return;
    }
    let world = world().await;
    let mut client = dbclient(&world).await;
    client.args(["127.0.0.1", "cat; exit 7"]);
    let done = Client::of(client).stdin("typed").finish().await.expect(7);
    assert_eq!(done.text(), "typed");
    if !cluster::on_development("both ends of the forward are this machine's") {
        return;
    }
    let target = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (_held, here) = held_port();
    let forward = format!("{here}:127.0.0.1:{}", target.local_addr().expect("an address").port());
    let mut client = dbclient(&world).await;
    client.args(["-L", &forward, "127.0.0.1", "echo up; cat"]);
    let mut running = Client::of(client).launch();
    running.until_stdout("up\n").await;
    let dialled = async {
        loop {
            match TcpStream::connect(("127.0.0.1", here)).await {
                Ok(stream) => break stream,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let mut near = timeout(PATIENCE, dialled).await.expect("a listener in time");
    let (mut far, _) = timeout(PATIENCE, target.accept()).await.expect("in time").expect("a connection");
    near.write_all(b"ping").await.expect("a write");
    far.read_exact(&mut [0; 4]).await.expect("the bytes");
    drop((near, far));
    running.end_input();
    running.ended().await.expect(0);
}
