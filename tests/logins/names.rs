//! Names that are none and clients that are none: each is told why where it can be told, and the gateway goes on.

use crate::support::World;
use crate::support::world::PASSWORD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_name_that_is_none_is_refused_with_a_reason_and_the_gateway_goes_on() {
    let world = World::start().await;
    let long = "x".repeat(300);
    for (name, reason) in [(long.as_str(), "is longer than 255 bytes"), ("a/b", "contains '/'")] {
        for client in [world.ssh_as_person(name), world.ssh_with_password(name, PASSWORD)] {
            let done = client.run("true").await.expect(255);
            assert!(done.stderr.contains(&format!("podgate: the user name {reason}")), "{}", done.stderr);
        }
        let told = format!("username {reason}");
        world.gateway.wait_for(|line| line["details"]["reason"] == told.as_str()).await;
    }
    assert_eq!(world.cluster.requests("create", "pods"), 0);
    world.ssh().run("true").await.expect(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_a_half_handshake_end_alone() {
    let world = World::start().await;
    let pieces: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 70_000],
        b"SSH-2.0-half\r\n",
        b"SSH-2.0-lies\r\n\xff\xff\xff\xff\x00aaaaaaaaaaaaaaaa",
    ];
    for piece in pieces {
        let mut stream = TcpStream::connect(world.gateway.address).await.expect("a connection");
        // The gateway may have hung up already.
        let _ = stream.write_all(piece).await;
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    // One that says nothing at all, and stays.
    let silent = TcpStream::connect(world.gateway.address).await.expect("a connection");
    world.ssh().run("true").await.expect(0);
    drop(silent);
    assert_eq!(world.cluster.requests("create", "pods"), 1);
}
