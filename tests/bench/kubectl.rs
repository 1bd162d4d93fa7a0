//! The rival on a real cluster: `kubectl` into a pod of its own with the guest's image, by exec and by port-forward.

use super::server::timed;
use crate::support::World;
use crate::support::cluster;
use crate::support::leash;
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The rival's pod and the container in it, which does nothing but be there.
const NAME: &str = "rival";
/// The time limit for each step.
const PATIENCE: Duration = Duration::from_secs(300);
/// The ports of the pod's programs for a port-forward.
const OUT: u16 = 7001;
const IN: u16 = 7002;

/// `kubectl` and its pod.
pub(crate) struct Kubectl {
    kubeconfig: PathBuf,
    namespace: String,
    pods: Api<Pod>,
}

/// The pod that the rival works in, and that shows how long the cluster takes for one.
fn pod(name: &str) -> Value {
    let mut container = cluster::container(NAME);
    container["command"] = json!(["/bin/sh", "-c", "trap 'exit 0' TERM; sleep infinity & wait"]);
    json!({
        "metadata": {"name": name},
        "spec": {"containers": [container], "restartPolicy": "Never", "automountServiceAccountToken": false},
    })
}

impl Kubectl {
    /// Makes the pod.
    pub(crate) async fn start(world: &World, kubeconfig: PathBuf) -> Self {
        let parsed = Kubeconfig::read_from(&kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await.expect("a kubeconfig");
        let namespace = world.namespace().to_owned();
        let pods = Api::namespaced(Client::try_from(config).expect("a client"), &namespace);
        let it = Self { kubeconfig, namespace, pods };
        it.create_to_running(NAME).await;
        it
    }

    /// Makes a pod, and says how long it took from then on until a watch showed it Running.
    async fn create_to_running(&self, name: &str) -> Duration {
        let fields = WatchParams::default().fields(&format!("metadata.name={name}"));
        let events = self.pods.watch(&fields, "0").await.expect("a watch");
        pin_mut!(events);
        let pod = serde_json::from_value(pod(name)).expect("a pod");
        let begun = Instant::now();
        self.pods.create(&PostParams::default(), &pod).await.expect("a new pod");
        let running = async {
            loop {
                let event = events.next().await.expect("the watch lasts until the pod runs").expect("an event");
                if let WatchEvent::Added(pod) | WatchEvent::Modified(pod) = event
                    && pod.status.and_then(|status| status.phase).as_deref() == Some("Running")
                {
                    return begun.elapsed();
                }
            }
        };
        timeout(PATIENCE, running).await.expect("a running pod in time")
    }

    /// Measures the time that the cluster needs for a pod, and deletes the pod.
    pub(crate) async fn pod(&self, name: &str) -> Duration {
        let took = self.create_to_running(name).await;
        self.pods.delete(name, &DeleteParams::default().grace_period(0)).await.expect("the pod was there");
        took
    }

    /// Waits until no pod is there but ours and the one of the connection that is measured.
    pub(crate) async fn settled(&self) {
        let listed = self.pods.list(&ListParams::default()).await.expect("a list");
        let version = listed.metadata.resource_version.unwrap_or_default();
        let mut left: BTreeSet<_> = listed.items.into_iter().filter_map(|pod| pod.metadata.name).collect();
        let events = self.pods.watch(&WatchParams::default(), &version).await.expect("a watch");
        pin_mut!(events);
        let ended = async {
            while left.len() > 2 {
                if let Some(Ok(WatchEvent::Deleted(pod))) = events.next().await {
                    left.remove(&pod.metadata.name.unwrap_or_default());
                }
            }
        };
        timeout(PATIENCE, ended).await.expect("the ended pods go in time");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = leash::program("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The words that run a program in the pod with a terminal.
    pub(crate) fn terminal(&self, program: &str) -> String {
        let kubeconfig = self.kubeconfig.display();
        format!(
            "kubectl --kubeconfig '{kubeconfig}' --namespace {} exec -it {NAME} -- sh -c '{program}'",
            self.namespace
        )
    }

    /// An exec that does nothing.
    pub(crate) async fn nothing(&self) -> Duration {
        timed(&mut self.command(&["exec", NAME, "--", "true"])).await
    }

    /// Measures the time in which a program's output is read and discarded.
    pub(crate) async fn out(&self, program: &str) -> Duration {
        timed(&mut self.command(&["exec", NAME, "--", "sh", "-c", program])).await
    }

    /// A file to a program.
    pub(crate) async fn upload(&self, file: &Path) -> Duration {
        let mut command = self.command(&["exec", "-i", NAME, "--", "sh", "-c", "cat >/dev/null"]);
        timed(command.stdin(File::open(file).expect("the file"))).await
    }

    /// Forwards two ports to programs in the pod: one that sends `bytes`, one that takes as many and then says so.
    pub(crate) async fn forward(&self, bytes: u64) -> Forward {
        let sender = format!("socat TCP-LISTEN:{OUT},fork,reuseaddr SYSTEM:'head -c {bytes} /dev/zero'");
        let taker = format!("socat TCP-LISTEN:{IN},fork,reuseaddr SYSTEM:'head -c {bytes} >/dev/null; echo taken'");
        let program = format!("{sender} & exec {taker}");
        let listeners = self.command(&["exec", NAME, "--", "sh", "-c", &program]).spawn().expect("kubectl");
        let pod = format!("pod/{NAME}");
        let ports = [format!(":{OUT}"), format!(":{IN}")];
        let mut forward = self.command(&["port-forward", &pod, &ports[0], &ports[1]]);
        let mut child = forward.stdout(Stdio::piped()).spawn().expect("kubectl");
        let mut said = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (mut out, mut into) = (0, 0);
        while out == 0 || into == 0 {
            let line = timeout(PATIENCE, said.next_line()).await.expect("a line in time").expect("a line");
            let line = line.expect("kubectl says its ports");
            let Some((from, to)) = line.strip_prefix("Forwarding from 127.0.0.1:").and_then(|l| l.split_once(" -> "))
            else {
                continue;
            };
            let port = from.parse::<u16>().expect("a port");
            if to == OUT.to_string() { out = port } else { into = port }
        }
        // For each connection kubectl says a line, and must not wait for a reader.
        let reader = tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        Forward { out, into, bytes, reader, _children: [listeners, child] }
    }
}

/// Forwarded ports.
pub(crate) struct Forward {
    out: u16,
    into: u16,
    bytes: u64,
    reader: tokio::task::JoinHandle<()>,
    _children: [Child; 2],
}

impl Forward {
    /// All that the pod's program sends.
    pub(crate) async fn out(&self) -> Duration {
        let begun = Instant::now();
        let read = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.out)).await.expect("the forwarded port");
            let (mut block, mut seen) = (vec![0; 1 << 18], 0);
            while seen < self.bytes {
                let read = stream.read(&mut block).await.expect("bytes");
                assert!(read > 0, "the forwarded port ended after {seen} bytes");
                seen += read as u64;
            }
        };
        timeout(PATIENCE, read).await.expect("all in time");
        begun.elapsed()
    }

    /// As much to the pod's program, until it says that it has all.
    pub(crate) async fn upload(&self) -> Duration {
        let begun = Instant::now();
        let write = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.into)).await.expect("the forwarded port");
            let block = vec![0; 1 << 18];
            let mut left = self.bytes;
            while left > 0 {
                let part = usize::try_from(left.min(block.len() as u64)).expect("a small number");
                stream.write_all(&block[..part]).await.expect("bytes taken");
                left -= part as u64;
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            assert_eq!(answer.trim(), "taken");
        };
        timeout(PATIENCE, write).await.expect("all in time");
        begun.elapsed()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
