//! A proxy to the API server that closes idle connections, as load balancers in front of API servers do: a built-in one
//! with haproxy's rule, or haproxy itself.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// The time limit for haproxy's start.
const START: Duration = Duration::from_secs(60);

/// A running proxy. Dropping it ends it.
pub struct IdleProxy {
    port: u16,
    /// The name in the API server's certificate.
    name: String,
    cut: watch::Receiver<Option<Instant>>,
    task: JoinHandle<()>,
    _haproxy: Option<Child>,
}

impl IdleProxy {
    /// Starts the built-in proxy to the cluster of `connection`. It closes a connection without a byte in either direction
    /// for `idle`.
    pub async fn built_in(connection: &Value, idle: Duration) -> Self {
        let (name, target) = target(connection);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, cut) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut carried = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (target, sender) = (target.clone(), sender.clone());
                carried.spawn(async move {
                    let Ok(server) = TcpStream::connect(&target).await else { return };
                    if carry(client, server, idle).await.is_err() {
                        sender.send_replace(Some(Instant::now()));
                    }
                });
            }
        });
        Self { port, name, cut, task, _haproxy: None }
    }

    /// Starts haproxy in front of the cluster of `connection`, configured as in kubeadm's guide to highly available clusters
    /// except for the two timeouts. The configuration is written to `folder`.
    pub async fn haproxy(connection: &Value, idle: Duration, folder: &Path) -> Self {
        let (name, target) = target(connection);
        // Bound and not listening, this keeps the port free for haproxy, which shares ports.
        let kept = TcpSocket::new_v4().expect("a socket");
        kept.set_reuseport(true).expect("a shared port");
        kept.bind(([127, 0, 0, 1], 0).into()).expect("a port");
        let port = kept.local_addr().expect("an address").port();
        let config = folder.join("haproxy.cfg");
        std::fs::write(&config, configuration(port, &target, idle)).expect("the configuration");
        let mut haproxy = super::leash::program("haproxy");
        haproxy.arg("-db").arg("-f").arg(&config).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut haproxy = haproxy.spawn().expect("haproxy");
        let mut lines = BufReader::new(haproxy.stdout.take().expect("a pipe")).lines();
        let (sender, cut) = watch::channel(None);
        let task = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                // The client's or the server's timeout, while data was to come.
                if line.contains(" cD ") || line.contains(" sD ") {
                    sender.send_replace(Some(Instant::now()));
                }
            }
        });
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                // Only a connection shows that it listens.
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(START, listens).await.expect("haproxy listens");
        Self { port, name, cut, task, _haproxy: Some(haproxy) }
    }

    /// The changes to the configuration of a gateway that uses the proxy.
    pub fn config(&self) -> Value {
        let connection = json!({"host": format!("https://127.0.0.1:{}", self.port), "serverName": self.name});
        json!({"kubernetes": {"connection": connection}})
    }

    /// Waits until an idle connection is closed after the time `after`.
    pub async fn wait_for_cut(&self, after: Instant, within: Duration) {
        let mut cut = self.cut.clone();
        let found = timeout(within, cut.wait_for(|at| at.is_some_and(|at| at > after))).await;
        assert!(found.is_ok_and(|found| found.is_ok()), "nothing was cut");
    }
}

impl Drop for IdleProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The cluster's name and its address.
fn target(connection: &Value) -> (String, String) {
    let host = connection["host"].as_str().expect("a host");
    let host = host.trim_start_matches("https://").trim_end_matches('/');
    let (name, _) = host.rsplit_once(':').expect("a port");
    (name.to_owned(), host.to_owned())
}

/// Copies one connection. Fails if it was closed for idleness.
async fn carry(mut client: TcpStream, mut server: TcpStream, idle: Duration) -> Result<(), ()> {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let carried = tokio::select! {
            // What has come counts, however late this task is.
            biased;
            read = client.read(&mut up) => match read {
                Ok(count @ 1..) => server.write_all(&up[..count]).await,
                Ok(0) | Err(_) => return Ok(()),
            },
            read = server.read(&mut down) => match read {
                Ok(count @ 1..) => client.write_all(&down[..count]).await,
                Ok(0) | Err(_) => return Ok(()),
            },
            () = sleep(idle) => return Err(()),
        };
        if carried.is_err() {
            return Ok(());
        }
    }
}

fn configuration(port: u16, target: &str, idle: Duration) -> String {
    let idle = idle.as_secs();
    format!(
        "global\n  log stdout format raw local0\n  maxconn 200\n\
         defaults\n  mode tcp\n  log global\n  option tcplog\n  option dontlognull\n  timeout connect 5s\n  \
         timeout client {idle}s\n  timeout server {idle}s\n\
         frontend apiserver\n  bind 127.0.0.1:{port}\n  default_backend apiserverbackend\n\
         backend apiserverbackend\n  server api {target}\n"
    )
}
