//! A way to the API server that cuts what is idle, as the load balancers before API servers do: a proxy of ours with
//! haproxy's rule, or haproxy itself.

use serde_json::{Value, json};
use std::path::Path as File;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// How long haproxy may take to listen.
const START: Duration = Duration::from_secs(20);

/// The way; it ends when it is dropped.
pub struct Path {
    port: u16,
    /// The name that the API server's certificate has.
    name: String,
    cut: watch::Receiver<Option<Instant>>,
    task: JoinHandle<()>,
    _haproxy: Option<Child>,
}

impl Path {
    /// A proxy of ours to the cluster of `connection`: a connection is cut when for `idle` no byte went either way.
    pub async fn ours(connection: &Value, idle: Duration) -> Self {
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

    /// haproxy before the cluster of `connection`, set up as in kubeadm's guide to highly available clusters, but for the
    /// two timeouts. Its configuration goes into `folder`.
    pub async fn haproxy(connection: &Value, idle: Duration, folder: &File) -> Self {
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
                // Nothing tells that it listens but that it answers.
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(START, listens).await.expect("haproxy listens");
        Self { port, name, cut, task, _haproxy: Some(haproxy) }
    }

    /// What is to be merged into a gateway's configuration to have it go this way.
    pub fn config(&self) -> Value {
        let connection = json!({"host": format!("https://127.0.0.1:{}", self.port), "serverName": self.name});
        json!({"kubernetes": {"connection": connection}})
    }

    /// Waits until an idle connection is cut later than `after`.
    pub async fn wait_for_cut(&self, after: Instant, within: Duration) {
        let mut cut = self.cut.clone();
        let found = timeout(within, cut.wait_for(|at| at.is_some_and(|at| at > after))).await;
        assert!(found.is_ok_and(|found| found.is_ok()), "nothing was cut");
    }
}

impl Drop for Path {
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

/// An error where it was cut.
async fn carry(mut client: TcpStream, mut server: TcpStream, idle: Duration) -> Result<(), ()> {
    let (mut up, mut down) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let carried = tokio::select! {
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
