//! A real `kubectl`.

use crate::client::{SOON, cluster, phase};
use podgate_devcluster::DevCluster;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Kubectl {
    config: PathBuf,
}

impl Kubectl {
    /// None where it is not installed and may be missing.
    fn for_cluster(cluster: &DevCluster) -> Option<Self> {
        let found =
            Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success());
        if !found {
            assert!(std::env::var_os("PODGATE_TEST_ALL").is_none(), "kubectl is missing");
            println!("passed by: kubectl is missing (package kubernetes-client, or kubectl from dl.k8s.io)");
            return None;
        }
        let config = cluster.scratch_dir().join("kubeconfig");
        std::fs::write(&config, cluster.kubeconfig()).unwrap();
        Some(Self { config })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(words).env("KUBECONFIG", &self.config).env("HOME", self.config.parent().unwrap_or(Path::new("/")));
        podgate_devcluster::leash(&mut command).unwrap();
        command
    }

    fn output(&self, words: &[&str], input: &str) -> Output {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn ok(&self, words: &[&str], input: &str) -> String {
        let output = self.output(words, input);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: x}}
spec:
  restartPolicy: Never
  containers:
  - {name: shell, image: guest}
  - {name: side, image: guest, stdin: true, command: [sh, -c, 'echo first; read line; echo got $line']}
";

#[tokio::test]
async fn kubectl_does_what_its_users_expect() {
    let (cluster, _client) = cluster();
    let Some(kubectl) = Kubectl::for_cluster(&cluster) else { return };
    assert!(kubectl.ok(&["get", "ns"], "").contains("default"));
    kubectl.ok(&["create", "--validate=false", "-f", "-"], POD);
    phase(&cluster, "p", "Running").await;

    assert!(kubectl.ok(&["get", "pods"], "").lines().next_back().unwrap().starts_with("p      2/2     Running"));
    assert!(kubectl.ok(&["get", "pods", "-o", "wide", "-l", "app=x"], "").contains("devcluster"));
    assert_eq!(kubectl.ok(&["get", "pods", "-l", "app=y", "-o", "name"], ""), "");
    assert_eq!(kubectl.ok(&["get", "pods", "--field-selector", "metadata.name=p", "-o", "name"], ""), "pod/p\n");
    let json: serde_json::Value = serde_json::from_str(&kubectl.ok(&["get", "pod", "p", "-o", "json"], "")).unwrap();
    assert_eq!(json["status"]["phase"], "Running");
    assert!(kubectl.ok(&["get", "pod", "p", "-o", "yaml"], "").contains("phase: Running"));
    let described = kubectl.ok(&["describe", "pod", "p"], "");
    assert!(
        described.contains("Container started") && described.contains("Successfully assigned default/p"),
        "{described}"
    );

    assert_eq!(kubectl.ok(&["exec", "p", "-c", "shell", "--", "echo", "hello"], ""), "hello\n");
    assert_eq!(kubectl.ok(&["exec", "-i", "p", "-c", "shell", "--", "cat"], "to the end"), "to the end");
    assert_eq!(kubectl.output(&["exec", "p", "-c", "shell", "--", "sh", "-c", "exit 7"], "").status.code(), Some(7));
    let missing = kubectl.output(&["exec", "p", "-c", "shell", "--", "nope"], "");
    let told = String::from_utf8_lossy(&missing.stderr);
    assert!(told.contains("executable file not found in $PATH"), "{told}");

    assert_eq!(kubectl.ok(&["logs", "p", "-c", "side"], ""), "first\n");
    let attached = kubectl.ok(&["attach", "-i", "p", "-c", "side"], "line\n");
    assert!(attached.contains("got line"), "{attached}");
    assert_eq!(kubectl.ok(&["logs", "-f", "p", "-c", "side"], ""), "first\ngot line\n");

    kubectl.ok(&["label", "pod", "p", "more=yes"], "");
    kubectl.ok(&["delete", "pod", "p", "--grace-period=5", "--wait"], "");
    assert!(cluster.pods("default").is_empty());
    let gone = kubectl.output(&["get", "pod", "p"], "");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("pods \"p\" not found"));
}

#[tokio::test]
async fn kubectl_watches() {
    let (cluster, client) = cluster();
    let Some(kubectl) = Kubectl::for_cluster(&cluster) else { return };
    let mut watching = kubectl.command(&["get", "pods", "-w", "-o", "name"]).stdout(Stdio::piped()).spawn().unwrap();
    cluster.wait_until(|state| state.requests("watch", "pods") == 1, SOON).await.unwrap();
    client.create(&crate::client::pod("p", None)).await;
    phase(&cluster, "p", "Running").await;
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(watching.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "pod/p");
    watching.kill().unwrap();
    watching.wait().unwrap();
}
