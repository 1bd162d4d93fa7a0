//! The manifests of `deploy/`, judged by a real API server before anything of them is made: known fields, right types, and no
//! warning of the Pod Security Standards' strictest level.

use super::WHY;
use crate::support::client::PATIENCE;
use crate::support::cluster::{self, on_real};
use crate::support::cluster_lock::ClusterLock;
use crate::support::leash;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

const MANIFESTS: [&str; 2] = [include_str!("../../deploy/kubernetes.yaml"), include_str!("../../deploy/webhooks.yaml")];

/// Runs `kubectl`; both its outputs.
async fn kubectl(kubeconfig: &Path, words: &[&str], stdin: String) -> String {
    let mut command = leash::program("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig).args(words).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("kubectl");
    let mut into = child.stdin.take().expect("its stdin");
    into.write_all(stdin.as_bytes()).await.expect("kubectl reads");
    drop(into);
    let done = timeout(PATIENCE, child.wait_with_output()).await.expect("an end in time").expect("kubectl");
    let said = [&*String::from_utf8_lossy(&done.stdout), &*String::from_utf8_lossy(&done.stderr)].concat();
    assert!(done.status.success(), "kubectl {words:?}: {said}");
    said
}

#[podgate_test::multi_thread]
async fn api_server_takes_every_object_of_the_manifests_without_a_warning() {
    if !on_real(WHY) {
        return;
    }
    let _turn = ClusterLock::wait(false).await;
    let kubeconfig = cluster::kubeconfig().expect("a real cluster");
    let (home, guests) = (cluster::namespace("podgate"), cluster::namespace("podgate-guests"));
    let files = MANIFESTS.join("\n---\n").replace("podgate-guests", &guests);
    let files = files.replace("namespace: podgate\n", &format!("namespace: {home}\n"));
    let (namespaces, others): (Vec<&str>, Vec<&str>) =
        files.split("\n---\n").partition(|object| object.contains("kind: Namespace\n"));
    let namespaces = namespaces.join("\n---\n").replace("  name: podgate\n", &format!("  name: {home}\n"));
    kubectl(&kubeconfig, &["apply", "-f", "-"], namespaces).await;
    let words = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
    let said = kubectl(&kubeconfig, &words, others.join("\n---\n")).await;
    kubectl(&kubeconfig, &["delete", "namespace", "--wait=false", &home, &guests], String::new()).await;
    assert_eq!(said.matches("(server dry run)").count(), others.len(), "{said}");
    assert!(!said.to_lowercase().contains("warning") && others.len() == 12, "{said}");
}
