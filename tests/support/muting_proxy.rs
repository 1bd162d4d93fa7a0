//! A proxy to the cluster's API that can drop responses: requests still arrive, but no response comes back.

use super::World;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running proxy. Dropping it closes its connections.
pub struct MutingProxy {
    /// The listening address.
    pub address: SocketAddr,
    mute: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl MutingProxy {
    /// Starts a proxy to the API of a world's cluster.
    pub async fn start(world: &World) -> Self {
        let host = world.connection["host"].as_str().expect("a host").trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (mute, muted) = watch::channel(false);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, host.clone(), muted.clone()));
            }
        });
        Self { address, mute, task }
    }

    /// The changes to `kubernetes.connection` for a gateway that uses the proxy.
    pub fn connection(&self) -> Value {
        serde_json::json!({"host": self.address.to_string()})
    }

    /// Drops all responses from now on.
    pub fn mute(&self) {
        self.mute.send_replace(true);
    }
}

impl Drop for MutingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Copies one connection until it ends or the proxy is dropped.
async fn carry(near: TcpStream, host: String, mut muted: watch::Receiver<bool>) {
    let Ok(far) = TcpStream::connect(host).await else { return };
    let (mut asking, mut asker) = near.into_split();
    let (mut answering, mut server) = far.into_split();
    let there = async {
        let _end = copy(&mut asking, &mut server).await;
        let _closed = server.shutdown().await;
    };
    let mute = muted.clone();
    let back = async {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = answering.read(&mut bytes).await {
            if *mute.borrow() || asker.write_all(&bytes[..count]).await.is_err() {
                // Later responses are dropped, too.
                std::future::pending::<()>().await;
            }
        }
        let _closed = asker.shutdown().await;
    };
    let gone = async { while muted.changed().await.is_ok() {} };
    tokio::select! {
        _ = async { tokio::join!(there, back) } => {}
        () = gone => {}
    }
}
