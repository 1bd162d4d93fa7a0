//! The commonest mistakes, made as somebody new makes them, and the exact line that each of them is answered with: by
//! `--check-config` where no network is needed, else by the start (all of them at once, exit code 1), else by the first
//! login.

mod chart;
mod confinement;
mod deploy;
mod host_keys;
mod kubeconfig;
mod mistakes;
mod role;
mod session;
mod unit;

use crate::support::Setup;
use crate::support::cluster::{self, Access, TestCluster, container, kubeconfig, namespace};
use crate::support::gateway::{Gateway, SOON};
use crate::support::keys::Key;
use crate::support::leash;
use crate::support::role::Rights;
use crate::support::world::merge;
use podgate_devcluster::{DevCluster, ImageFault, Options};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::time::timeout;

/// A cluster, and a file for a gateway on it that has no mistake and no config server.
struct Desk {
    cluster: Box<dyn TestCluster>,
    namespace: String,
    folder: TempDir,
    config: Value,
}

impl Desk {
    async fn new() -> Self {
        Self::with(Access::Rights(Rights::gateway())).await
    }

    async fn with(access: Access) -> Self {
        let namespace = namespace("shells");
        let (cluster, connection) =
            cluster::start(Options::default(), std::slice::from_ref(&namespace), access, false).await;
        let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
        let config = json!({
            "log": {"level": "info"},
            "ssh": {"listen": "127.0.0.1:0", "hostkeys": [Key::make(folder.path(), "host").file]},
            "auth": {"password": {"method": "webhook", "webhook": {"url": "http://127.0.0.1:1"}}},
            "backend": "kubernetes",
            "kubernetes": {
                "connection": connection,
                "pod": {
                    "metadata": {"namespace": namespace},
                    "disableAgent": true,
                    "spec": {"containers": [container("shell")]},
                },
            },
        });
        Self { cluster, namespace, folder, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The API, as messages name it.
    fn host(&self) -> String {
        format!("https://{}", self.config["kubernetes"]["connection"]["host"].as_str().expect("a host"))
    }

    /// The beginning and the end of messages that name a missing right.
    fn cannot(&self, verbs: &str, resource: &str, group: &str) -> String {
        let (account, namespace) = (self.cluster.account(), &self.namespace);
        format!(
            "User {account:?} cannot {verbs} resource {resource:?} in API group {group:?} in the namespace {namespace:?}: "
        )
    }

    /// The file with something changed.
    fn file(&self, change: Value) -> PathBuf {
        let mut config = self.config.clone();
        merge(&mut config, change);
        let file = self.path("podgate.json");
        fs::write(&file, config.to_string()).expect("a file");
        file
    }

    /// The messages on standard error of a gateway that does not start.
    async fn start_fails(&self, change: Value) -> Vec<String> {
        let (status, stderr) = run(&self.file(change), &[]).await;
        assert_eq!(status, Some(1), "{stderr}");
        let message = |line: &str| serde_json::from_str::<Value>(line).ok()?["message"].as_str().map(str::to_owned);
        stderr.lines().map(|line| message(line).unwrap_or_else(|| panic!("{stderr}"))).collect()
    }

    /// The first line with a code of a gateway that starts.
    async fn start_tells(&self, change: Value, code: &str) -> Value {
        let gateway = Gateway::start(&self.file(change)).await;
        gateway.wait_for_line(code).await
    }
}

/// Runs the binary, which must end by itself; exit code and standard error.
async fn run(config: &Path, more: &[&str]) -> (Option<i32>, String) {
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    let output = command.arg("--config").arg(config).args(more).kill_on_drop(true).output();
    let output = timeout(SOON, output).await.expect("it ends by itself").expect("the gateway's binary");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[podgate_test::multi_thread]
async fn mistakes_of_the_file_are_found_by_the_check() {
    let desk = Desk::new().await;
    let pod = |pod: Value| json!({"kubernetes": {"pod": pod}});
    for (change, line) in [
        (
            json!({"ssh": {"hostkeys": ["/nowhere/hostkey"]}}),
            "ssh.hostkeys[0]: cannot read the file \"/nowhere/hostkey\": No such file or directory (os error 2); make one \
             with `ssh-keygen -t ed25519 -N '' -f '/nowhere/hostkey'`",
        ),
        (
            json!({"kubernetes": {"connection": {"host": "http://10.0.0.1:6443"}}}),
            "kubernetes.connection.host: plain http is never used for the Kubernetes API; use https",
        ),
        (
            pod(json!({"consoleContainerNumber": 1})),
            "kubernetes.pod.consoleContainerNumber: is 1, but spec.containers has 1; the first is 0",
        ),
        (
            pod(json!({"spec": {"containers": []}})),
            "kubernetes.pod.spec.containers: is empty; a pod needs at least one container",
        ),
        (
            pod(json!({"shellComand": ["/bin/sh"]})),
            "kubernetes.pod.shellComand: unknown key; did you mean \"shellCommand\"?",
        ),
    ] {
        let file = desk.file(change);
        let told = format!("{}: the configuration is not valid\n{line}\n", file.display());
        assert_eq!(run(&file, &["--check-config"]).await, (Some(64), told.clone()));
        // The start says the same, and asks nobody.
        assert_eq!(run(&file, &[]).await, (Some(64), told));
    }
    if let Some(cluster) = desk.cluster.as_development() {
        assert!(cluster.state().request_log().is_empty());
    }

    let file = desk.path("podgate.yaml");
    fs::write(&file, "ssh:\n  listen: 0.0.0.0:2222\n hostkeys: [hostkey]\n").expect("a file");
    let told = format!(
        "{}: the configuration is not valid\ncannot be parsed: while parsing a block mapping, did not find expected key \
         at line 3, column 2\n",
        file.display()
    );
    assert_eq!(run(&file, &["--check-config"]).await, (Some(64), told));
}

#[podgate_test::multi_thread]
async fn port_that_is_taken_is_named() {
    let desk = Desk::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let lines = desk.start_fails(json!({"ssh": {"listen": address}})).await;
    assert_eq!(lines, [format!("ssh.listen: cannot listen on {address}: Address already in use (os error 98)")]);
}

#[podgate_test::multi_thread]
async fn every_address_that_cannot_be_had_is_named() {
    let desk = Desk::new().await;
    let taken = ["127.0.0.1:0", "[::1]:0"].map(|address| std::net::TcpListener::bind(address).expect("a port"));
    let [v4, v6] = taken.each_ref().map(|taken| taken.local_addr().expect("an address").to_string());
    let addresses = [&v4, "127.0.0.1:0", &v6, "fd://ssh"].map(|address| json!({"address": address}));
    let lines = desk.start_fails(json!({"ssh": {"listen": null, "listeners": addresses}})).await;
    let in_use = "Address already in use (os error 98)";
    let told = [
        format!("ssh.listeners[0].address: cannot listen on {v4}: {in_use}"),
        format!("ssh.listeners[2].address: cannot listen on {v6}: {in_use}"),
        "ssh.listeners[3].address: systemd passed no socket for fd://ssh".to_owned(),
    ];
    assert_eq!(lines, told);
}

#[podgate_test::multi_thread]
async fn ca_of_another_cluster_is_named() {
    let desk = Desk::new().await;
    let other = DevCluster::start(Options::default()).expect("a development cluster");
    let lines = desk.start_fails(json!({"kubernetes": {"connection": {"cacert": other.ca_pem()}}})).await;
    let [line] = &lines[..] else { panic!("{lines:?}") };
    let begin =
        format!("kubernetes.connection: {} cannot be reached securely: the server's certificate (", desk.host());
    // Two development clusters have CAs of one name.
    let why = match kubeconfig() {
        Some(_) => ") is signed by a CA that is not trusted: ",
        None => ") is signed by a CA with the trusted one's name, but another key: CN=podgate-devcluster CA; ",
    };
    let end = "give that CA's certificate in cacert or cacertFile (trusted is CN=podgate-devcluster CA)";
    assert!(line.starts_with(&begin) && line.contains(why) && line.ends_with(end), "{line}");
}

#[podgate_test::multi_thread]
async fn token_that_is_not_accepted_is_named_and_not_shown() {
    let desk = Desk::new().await;
    fs::write(desk.path("token"), "t-canary").expect("a file");
    let file = json!({"bearerToken": null, "bearerTokenFile": desk.path("token")});
    for (key, connection) in [("bearerToken", json!({"bearerToken": "t-canary"})), ("bearerTokenFile", file)] {
        let lines = desk.start_fails(json!({"kubernetes": {"connection": connection}})).await;
        let line = format!(
            "kubernetes.connection.{key}: {} does not accept the credentials; are they expired, or another cluster's? ",
            desk.host()
        );
        let told = if key == "bearerToken" {
            "A new token in bearerToken needs a restart, one in the file of bearerTokenFile does not".to_owned()
        } else {
            let file = desk.path("token").display().to_string();
            format!("Write a new token to {file} (as deploy/kubeconfig does); the gateway reads it without a restart")
        };
        assert_eq!(lines, [line + &told]);
    }
}

#[podgate_test::multi_thread]
async fn missing_right_is_named_with_verb_resource_account_and_namespace() {
    let desk = Desk::new().await;
    desk.cluster.grant(&Rights::gateway().without("get", "pods/exec").without("create", "pods/exec")).await;
    let line = desk.cannot("get, create", "pods/exec", "") + "no login can be served";
    assert_eq!(desk.start_fails(json!({})).await, [line]);
}

#[podgate_test::multi_thread]
async fn account_without_any_right_is_told_where_to_look() {
    let desk = Desk::new().await;
    desk.cluster.grant(&Rights::of(&[("get", "services")])).await;
    let lines = desk.start_fails(json!({})).await;
    let why = "no login can be served; is it the right namespace, and is the role bound there?";
    assert_eq!(lines[0], desk.cannot("create, get, list, watch, delete", "pods", "") + why);
    assert_eq!(lines[1..], [desk.cannot("get, create", "pods/exec", "") + "no login can be served"]);
}

#[podgate_test::multi_thread]
async fn namespace_that_is_not_there_is_named() {
    // An account with a role of one namespace only reads that it may not.
    let desk = Desk::with(Access::Administrator).await;
    let pod = json!({"metadata": {"namespace": "shels"}});
    let lines = desk.start_fails(json!({"kubernetes": {"pod": pod}})).await;
    assert_eq!(lines, ["kubernetes.pod.metadata.namespace: namespaces \"shels\" not found"]);
}

#[podgate_test::multi_thread]
async fn field_that_no_pod_has_is_named_with_its_path() {
    let container = json!({"name": "shell", "image": "local/guest:1", "imagePullPolice": "Never"});
    let pod = json!({"spec": {"containers": [container]}});
    let lines = Desk::new().await.start_fails(json!({"kubernetes": {"pod": pod}})).await;
    let line = "kubernetes.pod: the pod is refused: Pod in version \"v1\" cannot be handled as a Pod: strict decoding \
                error: unknown field \"spec.containers[0].imagePullPolice\"";
    assert_eq!(lines, [line]);
}

#[podgate_test::multi_thread]
async fn several_mistakes_are_told_in_one_run() {
    let desk = Desk::new().await;
    desk.cluster.grant(&Rights::of(&[("create", "pods"), ("list", "events")])).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let lines = desk.start_fails(json!({"ssh": {"listen": address}})).await;
    let told = [
        desk.cannot("get, list, watch, delete", "pods", "") + "no login can be served",
        desk.cannot("get, create", "pods/exec", "") + "no login can be served",
        format!("ssh.listen: cannot listen on {address}: Address already in use (os error 98)"),
    ];
    assert_eq!(lines, told);
}

#[podgate_test::multi_thread]
async fn api_that_is_not_there_is_a_warning_since_it_may_come_back() {
    let desk = Desk::new().await;
    let wrong = json!({"kubernetes": {"connection": {"host": "127.0.0.1:1"}}});
    let line = desk.start_tells(wrong, "KUBERNETES_INSPECTED").await;
    let told = "kubernetes.connection.host: https://127.0.0.1:1 cannot be reached: Connection refused (os error 111); is it \
                the right host and port? Logins fail until it answers";
    assert_eq!((&line["message"], &line["level"]), (&json!(told), &json!("warning")));
}

#[podgate_test::multi_thread]
async fn webhook_that_is_not_there_is_a_warning_at_the_start_and_a_reason_at_the_login() {
    let line = Desk::new().await.start_tells(json!({}), "WEBHOOK_UNREACHABLE").await;
    let told = "auth.password: http://127.0.0.1:1/password cannot be reached: no connection: Connection refused (os \
                error 111); logins fail until it can be reached";
    assert_eq!((&line["message"], &line["level"]), (&json!(told), &json!("warning")));

    let dead = json!({"url": "http://127.0.0.1:1", "authTimeout": "1s"});
    let world = Setup::config(json!({"auth": {"password": {"webhook": dead}}})).start().await;
    let done = world.ssh_as_person("alice").option("PreferredAuthentications=password").run("true").await.expect(255);
    assert!(done.stderr.contains("podgate: the authentication server cannot be reached"), "{}", done.stderr);
}

#[podgate_test::multi_thread]
async fn image_that_is_not_on_the_node_is_told_at_the_login() {
    let container = json!({"name": "shell", "image": "nowhere.example/guest:1", "imagePullPolicy": "Never"});
    let mut setup = Setup::config(json!({"kubernetes": {"pod": {"spec": {"containers": [container]}}}}));
    setup.config["kubernetes"]["timeouts"] = json!({"podStart": "20s"});
    let world = setup.start().await;
    if let Some(cluster) = world.cluster.as_development() {
        cluster.faults().image("nowhere.example/", ImageFault::NeverPulled);
    }
    let done = world.ssh().run("true").await.expect(255);
    let told = "podgate: the image nowhere.example/guest:1 is not on the node, and its imagePullPolicy says never to pull \
                it\n";
    assert_eq!(done.stderr, told);
}
