//! The chart as an operator uses it: installed, upgraded, rolled back, uninstalled and installed again by the real `helm`, with the
//! docs' commands for the first login. The cluster has no name service, so an upgrade gives the gateway's pod the address of the
//! webhook server, as soon as that has one.

use super::WHY;
use super::deployed::API;
use crate::support::available;
use crate::support::client::{Client, Done, PATIENCE};
use crate::support::cluster::{self, on_real};
use crate::support::cluster_lock::ClusterLock;
use crate::support::helm::Helm;
use crate::support::keys::Key;
use crate::support::leash;
use crate::support::world::merge;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// The image of the guests.
const GUEST: &str = "podgate.test/restricted:1";
/// The greeting of a changed configuration.
const ANOTHER: &str = "SSH-2.0-Another";

/// A release of the chart. Dropping it deletes its namespaces.
struct Release {
    helm: Helm,
    kubeconfig: PathBuf,
    home: String,
    guests: String,
    key: Key,
    folder: TempDir,
    values: Value,
    _turn: ClusterLock,
}

impl Release {
    async fn new() -> Self {
        let turn = ClusterLock::wait(false).await;
        let folder = tempfile::Builder::new().prefix("podgate-chart-").tempdir().expect("a folder");
        let key = Key::make(folder.path(), "id");
        let kubeconfig = cluster::kubeconfig().expect("a real cluster");
        let (home, guests) = (cluster::namespace("podgate"), cluster::namespace("podgate-guests"));
        let values = json!({
            "image": {"repository": "podgate.test/podgate", "tag": "1", "pullPolicy": "Never"},
            "replicas": 1,
            "preStopSleepSeconds": 1,
            "guests": {"namespace": guests},
            "hostAliases": [{"ip": API.0, "hostnames": [API.1]}],
            "webhooks": {
                "enabled": true,
                "image": {"repository": "podgate.test/webhooks", "tag": "1", "pullPolicy": "Never"},
                "users": {"alice": {"authorizedKeys": [key.public]}},
            },
            "config": {"kubernetes": {"pod": {"image": GUEST}}},
        });
        let helm = Helm::new(Some(kubeconfig.clone()));
        Self { helm, kubeconfig, home, guests, key, folder, values, _turn: turn }
    }

    /// `helm` in the release's namespace with its values.
    async fn helm(&self, words: &[&str]) -> Done {
        let done = self.helm.run(&[words, &["--namespace", &self.home]].concat()).await;
        // The API server's warnings are for who wrote the objects.
        assert!(!done.stderr.to_lowercase().contains("warn"), "{words:?}: {done:?}");
        done.expect(0)
    }

    async fn put(&self, words: &[&str]) -> Done {
        let (chart, values) = (Helm::chart().display().to_string(), self.helm.values("values.json", &self.values));
        self.helm(&[words, &["podgate", &chart, "--values", &values]].concat()).await
    }

    async fn kubectl(&self, words: &[&str]) -> Done {
        let mut command = leash::program("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["-n", &self.home]).args(words).kill_on_drop(true);
        Done::of(timeout(PATIENCE * 2, command.output()).await.expect("an end in time").expect("kubectl"))
    }

    /// The output of `kubectl`, which must succeed.
    async fn told(&self, words: &[&str]) -> String {
        self.kubectl(words).await.expect(0).text()
    }

    /// A line of the docs for the shell.
    async fn shell(&self, line: &str) -> Done {
        let mut command = leash::program("sh");
        self.settle(&mut command);
        let running = command.args(["-c", line]).kill_on_drop(true).output();
        Done::of(timeout(PATIENCE * 2, running).await.expect("an end in time").expect("a shell"))
    }

    /// Gives a command the reader's folder and cluster.
    fn settle(&self, command: &mut Command) {
        self.helm.settle(command);
        command.current_dir(self.folder.path());
    }

    async fn host_key(&self) -> String {
        let data =
            self.told(&["get", "secret", "podgate-hostkeys", "-o", r"jsonpath={.data.ssh_host_ed25519_key}"]).await;
        assert!(data.len() > 100, "{data}");
        data
    }

    /// Names the webhook server's address in the values, as a name service would.
    async fn name_webhooks(&mut self) {
        self.told(&["rollout", "status", "deployment/podgate-webhooks", "--timeout=90s"]).await;
        let words =
            ["get", "pods", "-l", "app.kubernetes.io/name=podgate-webhooks", "-o", "jsonpath={.items[0].status.podIP}"];
        let (address, host) = (self.told(&words).await, format!("podgate-webhooks.{}.svc", self.home));
        let url = format!("https://{host}:8443");
        merge(
            &mut self.values,
            json!({
                "hostAliases": [{"ip": API.0, "hostnames": [API.1]}, {"ip": address, "hostnames": [host]}],
                "config": {"auth": {"publicKey": {"webhook": {"url": url}}}, "configserver": {"url": format!("{url}/config")}},
            }),
        );
    }

    /// Waits for the rollout; the address of the gateway's pod, which has the key that the cluster keeps.
    async fn serving(&self) -> String {
        self.told(&["rollout", "status", "deployment/podgate", "--timeout=90s"]).await;
        let words =
            ["get", "pods", "-l", "app.kubernetes.io/name=podgate", "--field-selector=status.phase=Running", "-o"];
        let latest = "jsonpath={.items[*].metadata.creationTimestamp}{\"\\n\"}{.items[*].status.podIP}";
        let told = self.told(&[&words[..], &[latest]].concat()).await;
        let (times, addresses) = told.split_once('\n').expect("two lines");
        let youngest = times.split(' ').zip(addresses.split(' ')).max().expect("a pod").1.to_owned();
        fs::write(self.folder.path().join("known_hosts"), format!("{youngest} {}\n", self.public().await))
            .expect("a file");
        youngest
    }

    /// The public half of the host key that the chart made.
    async fn public(&self) -> String {
        let words =
            ["get", "secret", "podgate-hostkeys", "-o", "go-template={{.data.ssh_host_ed25519_key | base64decode}}"];
        let key = russh::keys::decode_secret_key(&self.told(&words).await, None).expect("a private key");
        key.public_key().to_openssh().expect("a public key")
    }

    fn ssh(&self, address: &str, user: &str) -> Client {
        let mut command = leash::program("ssh");
        command.args(["-F", "/dev/null", "-i"]).arg(&self.key.file).env_remove("SSH_AUTH_SOCK");
        let known_hosts = format!("UserKnownHostsFile={}", self.folder.path().join("known_hosts").display());
        let (host, user, alias) =
            (format!("HostName={address}"), format!("User={user}"), format!("HostKeyAlias={address}"));
        let options = ["BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR", &known_hosts, &host, &user, &alias];
        options.into_iter().fold(Client::of(command), Client::option)
    }

    /// `ssh` to a pod of the gateway.
    fn ssh_to_pod(&self, address: &str, user: &str) -> Client {
        self.ssh(address, user).option("Port=2222")
    }

    /// Waits until a new client is greeted as a changed configuration says, which the kubelet brings to the gateway.
    async fn takes_configuration(&self, address: &str) {
        // The kubelet looks at volumes when a pod's object changes, and else once a minute.
        let soon = "podgate/test=changed";
        self.told(&["annotate", "pods", "-l", "app.kubernetes.io/name=podgate", "--overwrite", soon]).await;
        for _ in 0..180 {
            let stream = TcpStream::connect(format!("{address}:2222")).await.expect("a connection");
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).await.expect("a line");
            if line.trim_end() == ANOTHER {
                return;
            }
            // A mounted file tells nobody that it has changed.
            sleep(Duration::from_secs(1)).await;
        }
        panic!("the gateway has its old configuration:\n{}", self.told(&["logs", "deployment/podgate"]).await);
    }

    async fn serves_alice_alone(&self, address: &str) {
        let refused = self.ssh_to_pod(address, "mallory").run("true").await;
        assert!(refused.status == 255 && refused.stderr.contains("Permission denied"), "{refused:?}");
        let done = self.ssh_to_pod(address, "alice").run("id -u; exit 7").await.expect(7);
        assert_eq!(done.text(), "1000\n");
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let deleted = std::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["delete", "namespace", "--wait=false", "--ignore-not-found", &self.home, &self.guests])
            .output();
        if !deleted.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("left behind: {} and {}: {deleted:?}", self.home, self.guests);
        }
    }
}

#[podgate_test::multi_thread]
async fn release_serves_and_keeps_its_host_key_over_upgrade_rollback_and_a_new_installation() {
    if !on_real(WHY) || !available("helm", "helm (the program of tests/kubernetes under that name)") {
        return;
    }
    let mut release = Release::new().await;
    release.put(&["install", "--create-namespace"]).await;
    let host_key = release.host_key().await;

    release.name_webhooks().await;
    release.put(&["upgrade"]).await;
    let address = release.serving().await;
    release.serves_alice_alone(&address).await;
    assert_eq!(release.host_key().await, host_key);
    // The agent is the gateway's image's.
    let done =
        release.ssh_to_pod(&address, "alice").run("test -x /.podgate/podgate-agent && echo there").await.expect(0);
    assert_eq!(done.text(), "there\n");

    // A changed configuration is taken by the pod that serves, whose sessions go on.
    let pod = ["get", "pods", "-l", "app.kubernetes.io/name=podgate", "-o", "jsonpath={.items[*].metadata.uid}"];
    let before = release.told(&pod).await;
    let mut open = release.ssh_to_pod(&address, "alice").start("echo up; read line; echo \"<$line>\"; exit 5");
    open.until_stdout("up").await;
    merge(
        &mut release.values,
        json!({"config": {"ssh": {"banner": "another configuration\n", "serverVersion": ANOTHER}}}),
    );
    release.put(&["upgrade"]).await;
    release.takes_configuration(&address).await;
    assert_eq!(release.told(&pod).await, before);
    open.write("on\n").await;
    assert_eq!(open.ended().await.expect(5).text(), "up\n<on>\n");
    let address = release.serving().await;
    release.serves_alice_alone(&address).await;
    let configuration = ["get", "configmap", "podgate", "-o", "jsonpath={.data}"];
    assert!(release.told(&configuration).await.contains("another configuration"));

    release.helm(&["rollback", "podgate", "2"]).await;
    let address = release.serving().await;
    release.serves_alice_alone(&address).await;
    assert!(!release.told(&configuration).await.contains("another configuration"));
    assert_eq!(release.host_key().await, host_key);

    release.helm(&["uninstall", "podgate", "--wait", "--timeout=90s"]).await;
    let left = release
        .told(&[
            "get",
            "deployments,services,roles,configmaps,networkpolicies",
            "-o",
            "name",
            "-l",
            "app.kubernetes.io/instance=podgate",
        ])
        .await;
    assert_eq!(left, "");
    let left = release.told(&["get", "namespace", &release.guests, "-o", "name"]).await;
    assert_eq!(left.trim(), format!("namespace/{}", release.guests));
    release.put(&["install"]).await;
    assert_eq!(release.host_key().await, host_key);
}

/// The commands of the quick start, a line each.
fn quick_start() -> Vec<String> {
    let paper = include_str!("../../docs/kubernetes.md");
    let (_, section) = paper.split_once("\n## Quick start\n").expect("the section");
    let (_, block) = section.split_once("\n```sh\n").expect("its commands");
    block.split("\n```").next().expect("an end").lines().map(str::to_owned).collect()
}

#[test]
fn quick_start_needs_at_most_five_commands_from_helm_to_ssh() {
    let commands = quick_start();
    assert!(commands.len() <= 5, "{commands:#?}");
    assert!(
        commands[0].starts_with("helm install ") && commands.last().expect("one").starts_with("ssh "),
        "{commands:#?}"
    );
}

#[podgate_test::multi_thread]
async fn quick_start_leads_to_a_login() {
    if !on_real(WHY) || !available("helm", "helm (the program of tests/kubernetes under that name)") {
        return;
    }
    let mut release = Release::new().await;
    let commands = quick_start();
    let [install, rollout, forward, login] = &commands[..] else { panic!("{commands:#?}") };
    let home = release.home.clone();
    // The reader's registry, and the names of namespaces that this test shares with nobody.
    let here = |command: &str| {
        let command = command
            .replace("ghcr.io/example/guest:1", GUEST)
            .replace("ghcr.io/example/podgate", "podgate.test/podgate");
        let command = command.replace("podgate.test/podgate-webhooks", "podgate.test/webhooks");
        command.replace(" -n podgate ", &format!(" -n {home} ")).replace("~/.ssh/id_ed25519.pub", "id.pub")
    };
    fs::write(release.folder.path().join("id.pub"), &release.key.public).expect("a file");
    let own = json!({
        "image": {"tag": "1", "pullPolicy": "Never"}, "guests": {"namespace": release.guests}, "preStopSleepSeconds": 0,
        "webhooks": {"image": {"tag": "1", "pullPolicy": "Never"}}, "hostAliases": release.values["hostAliases"],
    });
    let own = release.helm.values("own.json", &own);
    let chart = Helm::chart().display().to_string();
    release.shell(&format!("{} --values {own}", here(install).replace("deploy/chart", &chart))).await.expect(0);
    // In place of a name service.
    release.name_webhooks().await;
    let named = json!({"hostAliases": release.values["hostAliases"], "config": release.values["config"]});
    let named = release.helm.values("named.json", &named);
    release.helm(&["upgrade", "podgate", &chart, "--reuse-values", "--values", &named]).await;
    release.shell(&here(rollout)).await.expect(0);
    release.serving().await;

    let mut forwarding = leash::program("sh");
    release.settle(&mut forwarding);
    let line = here(forward).replace(" 2222:22 &", " :22");
    let forwarding = Client::of(forwarding).arg("-c").arg(format!("exec {line}")).launch();
    forwarding.until_stdout("Forwarding from 127.0.0.1:").await;
    let said = forwarding.said();
    let port = said.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).expect("a port").to_owned();
    let words: Vec<&str> = login.split(' ').collect();
    assert_eq!(words, ["ssh", "-p", "2222", "alice@127.0.0.1"]);
    let public = release.public().await;
    fs::write(release.folder.path().join("known_hosts"), format!("127.0.0.1 {public}\n")).expect("a file");
    let done = release.ssh("127.0.0.1", "alice").option(&format!("Port={port}")).run("id -u").await.expect(0);
    assert_eq!(done.text(), "1000\n");
    forwarding.kill().await;
}
