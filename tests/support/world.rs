//! What a test starts, and how it differs from the usual.

use super::agent;
use super::cluster::{self, Access, TestCluster};
use super::gateway::Gateway;
use super::keys::Key;
use super::scripted_webhook::ScriptedWebhook;
use podgate_devcluster::{ClusterState, Options};
use podgate_webhooks::directory::{Directory, User};
use podgate_webhooks::server::{Listen, Server};
use podgate_webhooks::toolkit::router;
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The namespace that pods are made in on a development cluster.
const NAMESPACE: &str = "shells";
/// The password of every user.
pub const PASSWORD: &str = "correct horse battery staple";

/// The differences from the usual world.
pub struct Setup {
    /// Merged into the gateway's configuration, key by key.
    pub config: Value,
    /// The config webhook's answers, by user.
    pub users: Vec<(&'static str, Value)>,
    /// The namespaces of the world; pods are made in the first where nobody chooses another.
    pub namespaces: Vec<String>,
    /// By which right the gateway uses the cluster.
    pub access: Access,
    /// The development cluster's options.
    pub cluster: Options,
    /// True if the world stops parts of the cluster. No other world uses the real cluster at the same time.
    pub alone: bool,
    /// True if no node takes the world's pods.
    pub unschedulable: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: json!({}),
            users: vec![("alice", json!({})), ("bob", json!({}))],
            namespaces: vec![cluster::namespace(NAMESPACE)],
            access: Access::Administrator,
            cluster: Options::default(),
            alone: false,
            unschedulable: false,
        }
    }
}

impl Setup {
    /// The usual with something merged into the gateway's configuration.
    pub fn config(config: Value) -> Self {
        Self { config, ..Self::default() }
    }

    /// The usual with something merged into the gateway's configuration, on nodes none of which takes a pod until
    /// [`World::schedule`].
    pub fn unschedulable(config: Value) -> Self {
        Self { config, unschedulable: true, ..Self::default() }
    }

    /// The same with guests without an agent.
    pub fn plain_exec(mut self) -> Self {
        merge(&mut self.config, json!({"kubernetes": {"pod": agent::disabled()}}));
        self
    }

    /// The same with a cluster of which parts may be stopped.
    pub fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// Starts it.
    pub async fn start(self) -> World {
        let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
        let key = Key::make(folder.path(), "id");
        let host_key = Key::make(folder.path(), "host");
        let (cluster, connection) = cluster::start(self.cluster, &self.namespaces, self.access, self.alone).await;
        let webhooks = WebhookServer::start(directory(self.users, &key)).await;
        let mut config = usual_config((&connection, &self.namespaces[0]), &host_key, &webhooks.url);
        if self.unschedulable {
            merge(&mut config, cluster.unschedulable());
        }
        merge(&mut config, self.config);
        let file = folder.path().join("podgate.json");
        fs::write(&file, config.to_string()).expect("the configuration's file");
        let gateway = Gateway::start(&file).await;
        let namespaces = self.namespaces;
        let world = World { gateway, cluster, connection, namespaces, key, host_key, webhooks, folder, script: None };
        world.know(world.port());
        world
    }
}

/// A running world. Dropping it ends everything.
pub struct World {
    /// The gateway.
    pub gateway: Gateway,
    /// The cluster, or its part of one.
    pub cluster: Box<dyn TestCluster>,
    /// The gateway's `kubernetes.connection`.
    pub connection: Value,
    /// Every user's key.
    pub key: Key,
    /// The webhook server.
    pub webhooks: WebhookServer,
    namespaces: Vec<String>,
    host_key: Key,
    folder: TempDir,
    script: Option<ScriptedWebhook>,
}

impl World {
    /// The usual world.
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Starts another gateway with the same configuration.
    pub async fn another_gateway(&self) -> Gateway {
        self.gateway_with(json!({})).await
    }

    /// Starts another gateway with something merged into the configuration.
    pub async fn gateway_with(&self, changes: Value) -> Gateway {
        let gateway = Gateway::start(&self.config_file(changes)).await;
        self.know(gateway.address.port());
        gateway
    }

    /// Writes the world's configuration with something merged into it.
    pub fn config_file(&self, changes: Value) -> PathBuf {
        let file = fs::read(self.folder().join("podgate.json")).expect("the configuration's file");
        let mut config = serde_json::from_slice(&file).expect("the configuration");
        merge(&mut config, changes);
        let mut file = tempfile::NamedTempFile::new_in(self.folder()).expect("a file");
        write!(file, "{config}").expect("the configuration's file");
        file.keep().expect("a file that goes with the folder").1
    }

    /// Puts a gateway with another configuration in the place of the world's.
    pub async fn serve_from(&mut self, config: &Path) {
        self.gateway = Gateway::start(config).await;
        self.know(self.port());
    }

    /// Lets the clients know the gateway at a port, of IPv4 and of IPv6.
    pub fn know(&self, port: u16) {
        let key = &self.host_key.public;
        let line = format!("[127.0.0.1]:{port} {key}\n[::1]:{port} {key}\n");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.known_hosts()).expect("known_hosts");
        file.write_all(line.as_bytes()).expect("known_hosts");
    }

    /// Holds a webhook server as long as the world lives.
    pub fn keep(&mut self, script: ScriptedWebhook) {
        self.script = Some(script);
    }

    /// The gateway's port.
    pub fn port(&self) -> u16 {
        self.gateway.address.port()
    }

    /// A folder that goes with the world.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The clients' known hosts.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder().join("known_hosts")
    }

    /// The namespace that pods are made in where nobody chooses another.
    pub fn namespace(&self) -> &str {
        &self.namespaces[0]
    }

    /// The names of the pods that are there.
    pub fn pods(&self) -> Vec<String> {
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.cluster.pods(self.namespace()).iter().map(name).collect()
    }

    /// Waits until so many pods are there.
    pub async fn wait_for_pods(&self, count: usize) {
        if !self.cluster.wait_for_pods(self.namespace(), |pods| pods.len() == count).await {
            panic!("{count} pods were awaited, there are {:?}\n{}", self.pods(), self.gateway.log());
        }
    }

    /// Waits until nothing is left of any connection: no pod, and on the development cluster, which can tell, no stream
    /// and no process of a container.
    pub async fn wait_for_nothing(&self) {
        for namespace in &self.namespaces {
            if !self.cluster.wait_for_pods(namespace, <[Value]>::is_empty).await {
                panic!("left: {:?}\n{}", self.cluster.pods(namespace), self.gateway.log());
            }
        }
        let Some(cluster) = self.cluster.as_development() else { return };
        let nothing = |state: &ClusterState| {
            state.all_pods().is_empty() && state.open_streams() == 0 && state.processes().is_empty()
        };
        if cluster.wait_until(nothing, cluster::soon()).await.is_err() {
            let state = cluster.state();
            let (streams, processes) = (state.open_streams(), state.processes());
            panic!("left: {:?}, {streams} streams, {processes:?}\n{}", self.pods(), self.gateway.log());
        }
    }

    /// Lets a node take the pods of an [unschedulable](Setup::unschedulable) world.
    pub async fn schedule(&self) {
        self.cluster.schedule().await;
    }

    /// Waits until an event with this reason is there.
    pub async fn wait_for_event(&self, reason: &str) {
        let there = |events: &[Value]| events.iter().any(|event| event["reason"] == reason);
        if !self.cluster.wait_for_events(self.namespace(), there).await {
            panic!("no event {reason:?}: {:?}\n{}", self.cluster.events(self.namespace()), self.gateway.log());
        }
    }

    /// Waits until a pod is there, and names it.
    pub async fn pod(&self) -> String {
        self.wait_for_pods(1).await;
        self.pods().remove(0)
    }
}

/// A webhook server in this process.
pub struct WebhookServer {
    /// The base URL.
    pub url: String,
    task: JoinHandle<()>,
}

impl WebhookServer {
    /// Starts a directory's server.
    pub async fn start(directory: Directory) -> Self {
        Self::serve(router(directory)).await
    }

    /// Starts any router on loopback.
    pub async fn serve(router: axum::Router) -> Self {
        Self::serve_at(Listen::parse("http://127.0.0.1:0", None).expect("an address"), router).await
    }

    /// Starts any router anywhere.
    pub async fn serve_at(listen: Listen, router: axum::Router) -> Self {
        let server = Server::bind(listen, router).await.expect("a port");
        let url = server.url().trim_end_matches('/').to_owned();
        let task = tokio::spawn(server.run(std::future::pending()));
        Self { url, task }
    }

    /// Ends it.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for WebhookServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A directory in which every user has the key and [`PASSWORD`].
pub fn directory(users: Vec<(&'static str, Value)>, key: &Key) -> Directory {
    // Hashed once: it is slow on purpose.
    let hash = podgate_webhooks::directory::hash_password(PASSWORD.as_bytes()).expect("a hash");
    users.into_iter().fold(Directory::new(), |directory, (name, settings)| {
        let user = User::new().password_hash(&hash).expect("a hash").key(&key.public).expect("a key");
        directory.user(name, user.settings(settings).expect("settings"))
    })
}

/// The usual configuration: how to reach the cluster and in which namespace to make pods, the host key, the webhooks.
pub fn usual_config((connection, namespace): (&Value, &str), host_key: &Key, hooks: &str) -> Value {
    let mut config = json!({
        "log": {"level": "debug", "format": "ljson", "destination": "stdout"},
        "ssh": {"listen": "127.0.0.1:0", "hostkeys": [host_key.file], "perSourcePenaltyExemptList": ["127.0.0.1"]},
        "auth": {
            "password": {"method": "webhook", "webhook": {"url": hooks}},
            "publicKey": {"method": "webhook", "webhook": {"url": hooks}},
        },
        "configserver": {"url": format!("{hooks}/config")},
        "backend": "kubernetes",
        "kubernetes": {
            "connection": connection,
            "pod": {
                "metadata": {"namespace": namespace},
                "shellCommand": ["/bin/sh"],
                "subsystems": {"sftp": "/usr/lib/openssh/sftp-server"},
                "spec": {"containers": [cluster::container("shell")]},
            },
        },
    });
    merge(&mut config["kubernetes"]["pod"], agent::usual());
    config
}

/// Merges objects key by key; anything else is replaced.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Object(Map::new())), value);
            }
        }
        (into, from) => *into = from,
    }
}
