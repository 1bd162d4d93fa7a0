//! Where the gateway listens, and whom it takes a client to be: several listeners, sockets that systemd passes, and the PROXY
//! protocol.

mod haproxy;
mod proxy_headers;
mod sockets;

use crate::support::client::PATIENCE;
use std::net::{IpAddr, SocketAddr};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The first line of the gateway.
const VERSION: &str = "SSH-2.0-Podgate";
/// The address on loopback from which the trusted proxy of these tests connects.
const PROXY: &str = "127.88.0.1";

/// Connects from an address.
async fn connect_from(client: &str, server: SocketAddr) -> TcpStream {
    let client: IpAddr = client.parse().expect("an address");
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(client, 0)).expect("an address on loopback");
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
