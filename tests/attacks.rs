//! Attacks on the listeners by clients that have not logged in, from addresses of their own on loopback: others are served
//! meanwhile, and who is refused hears why.

mod descriptors;
mod endurance;
mod flood;
mod host_key_question;
mod memory;
mod queued;
mod shared_addresses;
mod stalled;
mod startups;
mod unread_output;

use crate::support::client::PATIENCE;
use crate::support::gateway::Gateway;
use futures_util::{StreamExt, stream};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// An address on loopback that is no other test's client.
fn attacker(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 77, 0, 1).to_bits() + number)
}

/// Connects from an address.
async fn connect_from(client: Ipv4Addr, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(client.into(), 0)).expect("an address on loopback");
    socket.connect(server).await.expect("a connection")
}

/// The first line that a server sends; empty for one that closes without a line.
async fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    let read = async {
        while let Ok(byte) = stream.read_u8().await {
            line.push(byte);
            if byte == b'\n' {
                break;
            }
        }
    };
    timeout(PATIENCE, read).await.expect("a line or the end");
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// Opens connections from addresses, and reads the first line of each. Only so many at a time: a client that sends nothing
/// never learns that it found the system's queue full (128 connections in Rust's standard library).
async fn greeted(clients: impl IntoIterator<Item = Ipv4Addr>, server: SocketAddr) -> Vec<(TcpStream, String)> {
    let opened = stream::iter(clients).map(|client| async move {
        let mut stream = connect_from(client, server).await;
        let line = first_line(&mut stream).await;
        (stream, line)
    });
    opened.buffered(64).collect().await
}

/// The first line that a gateway sends to a new connection of an address.
async fn greeting(client: Ipv4Addr, gateway: &Gateway) -> String {
    first_line(&mut connect_from(client, gateway.address).await).await
}

/// Waits until the other side has closed.
async fn closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // An error is an end, too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the end of the connection");
}
