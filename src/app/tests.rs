//! What is built of one configuration is built of another beside it, while the first serves.

use super::webhooks;
use crate::config::Config;
use crate::config::fixture::{MemoryFiles, minimal, set};
use crate::guest::{Arrival, Backend, Guest, Refusal, Unavailable};
use crate::heartbeat::Heartbeats;
use crate::registry::Registry;
use crate::schema::Format;
use crate::shutdown::Tasks;
use crate::ssh::{Listener, Server, Snapshot};
use crate::telemetry::{LogFormat, capture};
use std::process::Command;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

struct NoGuests;

impl Backend for NoGuests {
    fn guest(&self, _: Arrival) -> Arc<dyn Guest> {
        Arc::new(Unavailable::new(Refusal::new("no guests")))
    }
}

/// A new host key, as ssh-keygen writes it.
fn host_key() -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status().unwrap();
    assert!(made.success());
    std::fs::read_to_string(path).unwrap()
}

fn snapshot(version: &str, key: &str) -> Snapshot {
    let files = MemoryFiles::new().with("/etc/podgate/hostkey", key);
    let tree = set(minimal(), "ssh.serverVersion", version.into());
    let config = Config::parse(&tree.to_string(), Format::Json, &files).unwrap();
    let (auth, config_client) = webhooks(&config).unwrap();
    Snapshot::build(&config, auth, config_client, Arc::new(NoGuests), None).unwrap()
}

/// Connects, and reads the server's identification line.
async fn connect(address: std::net::SocketAddr) -> (BufReader<TcpStream>, String) {
    let mut stream = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    (stream, line.trim_end().to_owned())
}

#[podgate_test::multi_thread]
async fn snapshot_that_is_built_beside_a_serving_one_serves_the_next_connection() {
    crate::tls::install();
    let key = host_key();
    let (log, _lines) = capture::log(LogFormat::Text);
    let (registry, tasks) = (Registry::default(), Tasks::new());
    let first = snapshot("SSH-2.0-First", &key);
    let server = Server::new(vec![Listener::on_loopback().await], first, registry.clone(), Heartbeats::default(), log);
    let (address, control) = (server.local_addrs()[0], server.control());
    let serving = tokio::spawn(server.run(tasks.clone()));
    let (mut older, line) = connect(address).await;
    assert_eq!(line, "SSH-2.0-First");
    control.replace(snapshot("SSH-2.0-Second", &key));
    let (_newer, line) = connect(address).await;
    assert_eq!(line, "SSH-2.0-Second");
    older.write_all(b"SSH-2.0-Test\r\n").await.unwrap();
    assert!(older.read_u8().await.is_ok(), "the older connection goes on with its key exchange");
    for (_, connection) in registry.all() {
        connection.disconnect("the test ends");
    }
    tasks.finish().await;
    serving.await.unwrap();
}
