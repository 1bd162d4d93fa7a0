//! The objects of `deploy/kubernetes.yaml` in namespaces of the test's own, applied by `kubectl` as an operator would, with what
//! the file leaves to the operator put in.

use crate::support::client::{Client, PATIENCE};
use crate::support::cluster;
use crate::support::cluster_lock::ClusterLock;
use crate::support::keys::Key;
use crate::support::leash;
use crate::support::real::RealCluster;
use crate::support::role::for_session;
use crate::support::world::{WebhookServer, directory};
use podgate_webhooks::server::{Listen, Tls};
use podgate_webhooks::toolkit::router;
use serde_json::{Value, json};
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

const OBJECTS: &str = include_str!("../../deploy/kubernetes.yaml");
/// The API's address for pods, which have no name service here, and its name.
pub const API: (&str, &str) = ("10.96.0.1", "kubernetes.default.svc");
/// The names of the namespaces in the file.
const HOME: &str = "podgate";
const GUESTS: &str = "podgate-guests";
/// The guests' image.
const GUEST: &str = "podgate.test/restricted:1";

/// The source of the gateway's token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// Kubernetes mounts it with the service account.
    Mounted,
    /// A file of ours, in which it can be swapped.
    File,
}

/// An operator's change to the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    /// Nothing but what it asks for.
    None,
    /// Mode session.
    Session,
}

/// A deployed gateway. Dropping it deletes its namespaces.
pub struct Deployed {
    kubeconfig: PathBuf,
    home: String,
    guests: String,
    /// The address of the first replica's pod.
    pub address: String,
    token: String,
    key: Key,
    host_key: Key,
    folder: TempDir,
    webhooks: WebhookServer,
    _lock: ClusterLock,
}

impl Deployed {
    /// Applies everything, and waits until the gateway serves.
    pub async fn start(token: Token, edit: Edit) -> Self {
        let lock = ClusterLock::wait(false).await;
        let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
        let key = Key::make(folder.path(), "id");
        let host_key = Key::make(folder.path(), "ssh_host_ed25519_key");
        let kubeconfig = cluster::kubeconfig().expect("a real cluster");
        let (webhooks, ca) = serve_webhooks(RealCluster::outside(&kubeconfig), &key).await;
        let (home, guests) = (cluster::namespace(HOME), cluster::namespace(GUESTS));
        let mut it = Self {
            kubeconfig,
            home,
            guests,
            address: String::new(),
            token: String::new(),
            key,
            host_key,
            folder,
            webhooks,
            _lock: lock,
        };
        let mut objects = it.objects(&ca, token, edit);
        let deployment = objects.iter().position(|object| object["kind"] == "Deployment").expect("a deployment");
        let deployment = objects.remove(deployment);
        it.apply(&objects).await;
        let from = format!("--from-file={}", it.host_key.file.display());
        it.gateway(&["create", "secret", "generic", "podgate-hostkey", &from]).await;
        if token == Token::File {
            it.token = it.mint("first").await;
        }
        it.apply(&[deployment]).await;
        it.address = it.serving().await.remove(0);
        it
    }

    /// Waits until every replica serves; the addresses of their pods, which the clients know from then on.
    async fn serving(&self) -> Vec<String> {
        self.gateway(&["rollout", "status", "deployment/podgate", "--timeout=90s"]).await;
        let addresses = self.gateway(&["get", "pods", "-o", "jsonpath={.items[*].status.podIP}"]).await;
        let addresses: Vec<String> = addresses.split_whitespace().map(str::to_owned).collect();
        let line = |address: &String| format!("[{address}]:2222 {}\n", self.host_key.public);
        let lines: String = addresses.iter().map(line).collect();
        fs::write(self.folder.path().join("known_hosts"), lines).expect("known_hosts");
        addresses
    }

    /// Runs a second replica beside the first; its pod's address.
    pub async fn another_replica(&mut self) -> String {
        self.gateway(&["scale", "deployment/podgate", "--replicas=2"]).await;
        let addresses = self.serving().await;
        assert_eq!(addresses.len(), 2, "{addresses:?}");
        addresses.into_iter().find(|address| *address != self.address).expect("another address")
    }

    /// The file's objects with the operator's own words in them.
    fn objects(&self, ca: &str, token: Token, edit: Edit) -> Vec<Value> {
        let file = if edit == Edit::Session { for_session(OBJECTS) } else { OBJECTS.to_owned() };
        let documents = file.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).expect("YAML"));
        let mut objects: Vec<Value> = documents.collect();
        for object in &mut objects {
            if object["kind"] == "Namespace" {
                self.rename(&mut object["metadata"]["name"]);
            }
            for namespace in ["/metadata/namespace", "/subjects/0/namespace"] {
                if let Some(namespace) = object.pointer_mut(namespace) {
                    self.rename(namespace);
                }
            }
            match object["kind"].as_str() {
                Some("ConfigMap") => self.configure(&mut object["data"]["config.yaml"], ca, token),
                Some("Deployment") => place(&mut object["spec"]["template"]["spec"], token),
                _ => {}
            }
        }
        objects
    }

    fn rename(&self, name: &mut Value) {
        match name.as_str() {
            Some(HOME) => *name = json!(self.home),
            Some(GUESTS) => *name = json!(self.guests),
            _ => {}
        }
    }

    fn configure(&self, text: &mut Value, ca: &str, token: Token) {
        let mut config: Value = serde_saphyr::from_str(text.as_str().expect("a text")).expect("YAML");
        config["auth"]["publicKey"]["webhook"] = json!({"url": self.webhooks.url, "cacert": ca});
        config["configserver"] = json!({"url": format!("{}/config", self.webhooks.url), "cacert": ca});
        let kubernetes = &mut config["kubernetes"];
        self.rename(&mut kubernetes["pod"]["metadata"]["namespace"]);
        let container = &mut kubernetes["pod"]["spec"]["containers"][0];
        container["image"] = json!(GUEST);
        container["imagePullPolicy"] = json!("Never");
        if token == Token::File {
            kubernetes["connection"]["bearerTokenFile"] = json!("/etc/podgate/token/token");
        }
        *text = json!(config.to_string());
    }

    /// A token that is worth something as long as the object `name` is there, for the mounted file.
    async fn mint(&self, name: &str) -> String {
        self.gateway(&["create", "secret", "generic", name]).await;
        let kind = ["--bound-object-kind=Secret", "--bound-object-name", name];
        let token = self.gateway(&[&["create", "token", "podgate"][..], &kind].concat()).await;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": self.home},
            "stringData": {"token": token.trim()},
        });
        self.apply(&[secret]).await;
        token.trim().to_owned()
    }

    /// Puts another token into the mounted file, and makes the first worthless.
    pub async fn swap_token(&self) {
        self.mint("second").await;
        self.gateway(&["delete", "secret", "first"]).await;
        // The API server believes a token for some seconds more.
        let limit = Instant::now() + PATIENCE;
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": self.token},
        });
        let words = ["create", "-f", "-", "-o", "jsonpath={.status.authenticated}"];
        while self.kubectl(&words, review.to_string()).await == "true" {
            assert!(Instant::now() < limit, "the first token is still good");
        }
        // The kubelet looks at a pod that was changed.
        self.gateway(&["annotate", "pods", "--all", "test=swapped"]).await;
    }

    async fn apply(&self, objects: &[Value]) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        self.kubectl(&["apply", "-f", "-"], list).await;
    }

    /// `kubectl` in the gateway's namespace.
    pub async fn gateway(&self, words: &[&str]) -> String {
        self.kubectl(&[&["-n", &self.home][..], words].concat(), String::new()).await
    }

    /// `kubectl` in the guests' namespace.
    pub async fn guests(&self, words: &[&str]) -> String {
        self.kubectl(&[&["-n", &self.guests][..], words].concat(), String::new()).await
    }

    /// The gateway's log.
    pub async fn log(&self) -> String {
        self.gateway(&["logs", "deployment/podgate"]).await
    }

    async fn kubectl(&self, words: &[&str], stdin: String) -> String {
        let mut command = leash::program("kubectl");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(words).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("kubectl");
        let mut into = child.stdin.take().expect("its stdin");
        into.write_all(stdin.as_bytes()).await.expect("kubectl reads");
        drop(into);
        let done = timeout(PATIENCE, child.wait_with_output()).await.expect("an end in time").expect("kubectl");
        let (said, wrong) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "kubectl {words:?}: {said}{wrong}");
        said.into_owned()
    }

    /// `ssh` to the gateway's pod.
    pub fn ssh(&self, user: &str) -> Client {
        self.ssh_at(&self.address, user)
    }

    /// `ssh` to the pod of a replica.
    pub fn ssh_at(&self, address: &str, user: &str) -> Client {
        let mut command = leash::program("ssh");
        command.args(["-F", "/dev/null", "-p", "2222", "-i"]).arg(&self.key.file);
        command.env_remove("SSH_AUTH_SOCK");
        let known_hosts = format!("UserKnownHostsFile={}", self.folder.path().join("known_hosts").display());
        let (host, user) = (format!("HostName={address}"), format!("User={user}"));
        let options = ["BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR", &known_hosts, &host, &user];
        options.into_iter().fold(Client::of(command), Client::option)
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let deleted = std::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(["delete", "namespace", "--wait=false", &self.home, &self.guests])
            .output();
        if !deleted.as_ref().is_ok_and(|output| output.status.success()) {
            eprintln!("left behind: {} and {}: {deleted:?}", self.home, self.guests);
        }
    }
}

/// The operator's own images and, where the token is a file, that.
fn place(pod: &mut Value, token: Token) {
    let container = &mut pod["containers"][0];
    container["image"] = json!("podgate.test/podgate:1");
    container["imagePullPolicy"] = json!("Never");
    if token == Token::File {
        let mount = json!({"name": "token", "mountPath": "/etc/podgate/token", "readOnly": true});
        container["volumeMounts"].as_array_mut().expect("mounts").push(mount);
        let volume = json!({"name": "token", "secret": {"secretName": "token", "defaultMode": 0o440}});
        pod["volumes"].as_array_mut().expect("volumes").push(volume);
    }
    pod["hostAliases"] = json!([{"ip": API.0, "hostnames": [API.1]}]);
}

/// A webhook server that pods reach, and the certificate that they trust.
async fn serve_webhooks(address: IpAddr, key: &Key) -> (WebhookServer, String) {
    let pair = rcgen::generate_simple_self_signed([address.to_string()]).expect("a certificate");
    let (certificate, private) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let tls = Tls::from_pem(certificate.as_bytes(), private.as_bytes(), None).expect("a certificate");
    let listen = Listen::parse(&format!("https://{address}:0"), Some(tls)).expect("an address");
    let pod = |pod: Value| json!({"kubernetes": {"pod": pod}});
    let bare = json!({"name": "shell", "image": GUEST});
    let users = vec![
        ("alice", json!({})),
        ("bob", pod(json!({"image": GUEST, "env": [{"name": "WHO", "value": "bob"}]}))),
        ("carol", pod(json!({"spec": {"containers": [bare]}}))),
    ];
    (WebhookServer::serve_at(listen, router(directory(users, key))).await, certificate)
}
