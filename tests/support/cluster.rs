//! The cluster that a world is on, and what tests ask of it: a development cluster of the world's own, or, where
//! `PODGATE_TEST_KUBECONFIG` names a kubeconfig, namespaces of the world's own in a real one. What a test asks of either
//! means the same on both.

use super::gateway::SOON;
use super::real::{Asked, RealCluster};
use super::role::Rights;
use super::turn::Turn;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use podgate_devcluster::{DevCluster, Faults, Options, State, Token};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// The variable that names a real cluster's kubeconfig.
const KUBECONFIG: &str = "PODGATE_TEST_KUBECONFIG";

/// The development cluster's token for [`Access::Rights`], and its account's name.
const GATEWAY: &str = "gateway";

/// The kubeconfig of the real cluster, where the tests are to run on one.
pub fn kubeconfig() -> Option<PathBuf> {
    std::env::var_os(KUBECONFIG).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Whether a test that needs the development cluster can run; where it cannot, says so and why.
pub fn on_development(why: &str) -> bool {
    if kubeconfig().is_some() {
        eprintln!("passed by on a real cluster: {why}");
    }
    kubeconfig().is_none()
}

/// Whether a test that needs a real cluster can run; where it cannot, says so and why.
pub fn on_real(why: &str) -> bool {
    if kubeconfig().is_none() {
        eprintln!("passed by on the development cluster: {why}");
    }
    kubeconfig().is_some()
}

/// How long anything may take that happens at once. A real cluster starts and ends its pods more slowly, many of them on
/// few cores.
pub fn soon() -> Duration {
    if kubeconfig().is_some() { SOON * 3 } else { SOON }
}

/// A namespace of a world's own: by this name on the development cluster, which is the world's own too.
pub fn namespace(name: &str) -> String {
    if kubeconfig().is_some() { format!("{name}-{:08x}", rand::random::<u32>()) } else { name.to_owned() }
}

/// The image of the usual guest.
pub fn image() -> &'static str {
    if kubeconfig().is_some() { "podgate.test/guest:1" } else { "local/guest:1" }
}

/// A container of the usual guest's image.
pub fn container(name: &str) -> Value {
    let mut container = json!({"name": name, "image": image()});
    if kubeconfig().is_some() {
        // The images are on the node, and there is no registry.
        container["imagePullPolicy"] = json!("Never");
    }
    container
}

/// By which right the gateway uses the cluster.
#[derive(Debug, Clone)]
pub enum Access {
    /// All of them: a token on the development cluster, the administrator's certificate on a real one.
    Administrator,
    /// A token with these rights in the world's namespaces.
    Rights(Rights),
    /// A token, whatever it is worth.
    Token(String),
}

/// The cluster of a world.
pub enum Cluster {
    /// One of the world's own, in this process.
    Development(DevCluster),
    /// Namespaces of the world's own in a real one.
    Real(Box<RealCluster>),
}

impl Cluster {
    /// Starts one, or takes its part of the real one. Answers how the gateway reaches it as well
    /// (`kubernetes.connection`). With `alone`, no other world is on the real one meanwhile.
    pub async fn start(mut options: Options, namespaces: &[String], access: Access, alone: bool) -> (Self, Value) {
        if let Some(kubeconfig) = kubeconfig() {
            let turn = Turn::wait(alone).await;
            let cluster = RealCluster::start(&kubeconfig, namespaces, turn).await;
            let connection = cluster.connection(access).await;
            return (Self::Real(Box::new(cluster)), connection);
        }
        options.namespaces.extend_from_slice(namespaces);
        let mut token = None;
        match access {
            Access::Administrator => {}
            Access::Token(given) => token = Some(given),
            Access::Rights(rights) => {
                options.tokens.push(Token { token: GATEWAY.into(), user: GATEWAY.into(), rules: rights.rules() });
                token = Some(GATEWAY.into());
            }
        }
        let cluster = DevCluster::start(options).expect("a development cluster");
        let token = token.unwrap_or_else(|| cluster.token().to_owned());
        let connection = json!({"host": cluster.host(), "cacert": cluster.ca_pem(), "bearerToken": token});
        (Self::Development(cluster), connection)
    }

    /// The development cluster, for what only it can do.
    #[track_caller]
    pub fn development(&self) -> &DevCluster {
        match self {
            Self::Development(cluster) => cluster,
            Self::Real(_) => panic!("this test needs the development cluster: it must ask on_development first"),
        }
    }

    /// The real cluster, for what only it can do.
    #[track_caller]
    pub fn real(&self) -> &RealCluster {
        match self {
            Self::Development(_) => panic!("this test needs a real cluster: it must ask on_real first"),
            Self::Real(cluster) => cluster,
        }
    }

    /// The knobs by which the development cluster misbehaves.
    #[track_caller]
    pub fn faults(&self) -> Faults {
        self.development().faults()
    }

    /// What is there now on the development cluster, its streams and programs as well.
    #[track_caller]
    pub fn state(&self) -> State {
        self.development().state()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> String {
        match self {
            Self::Development(cluster) => cluster.kubeconfig(),
            Self::Real(_) => {
                let file = kubeconfig().expect("a real cluster");
                std::fs::read_to_string(file).expect("the kubeconfig")
            }
        }
    }

    /// A text that only those know who may do everything here.
    pub fn secret(&self) -> &str {
        match self {
            Self::Development(cluster) => cluster.token(),
            Self::Real(cluster) => cluster.secret(),
        }
    }

    /// The pods of a namespace, as the API gives them.
    pub fn pods(&self, namespace: &str) -> Vec<Value> {
        match self {
            Self::Development(cluster) => cluster.state().pods(namespace).iter().map(|pod| Value::clone(pod)).collect(),
            Self::Real(cluster) => cluster.pods(namespace),
        }
    }

    /// The events of a namespace, as the API gives them.
    pub fn events(&self, namespace: &str) -> Vec<Value> {
        match self {
            Self::Development(cluster) => {
                cluster.state().events(namespace).iter().map(|event| Value::clone(event)).collect()
            }
            Self::Real(cluster) => cluster.events(namespace),
        }
    }

    /// The Leases of a namespace, as the API gives them.
    pub fn leases(&self, namespace: &str) -> Vec<Value> {
        match self {
            Self::Development(cluster) => {
                cluster.state().leases(namespace).iter().map(|lease| Value::clone(lease)).collect()
            }
            Self::Real(cluster) => cluster.leases(namespace),
        }
    }

    /// Waits until the Leases of a namespace are as wanted; whether they came to be so in time.
    pub async fn wait_for_leases(&self, namespace: &str, wanted: impl Fn(&[Value]) -> bool) -> bool {
        match self {
            Self::Development(cluster) => {
                let reached = cluster.wait_until(|_| wanted(&self.leases(namespace)), soon()).await;
                reached.is_ok()
            }
            Self::Real(cluster) => cluster.wait_for_leases(namespace, wanted, soon()).await,
        }
    }

    /// Waits until the pods of a namespace are as wanted; whether they came to be so in time.
    pub async fn wait_for(&self, namespace: &str, wanted: impl Fn(&[Value]) -> bool) -> bool {
        match self {
            Self::Development(cluster) => {
                let reached = cluster.wait_until(|_| wanted(&self.pods(namespace)), soon()).await;
                reached.is_ok()
            }
            Self::Real(cluster) => cluster.wait_for(namespace, wanted, soon()).await,
        }
    }

    /// Waits until the events of a namespace are as wanted; whether they came to be so in time.
    pub async fn wait_for_events(&self, namespace: &str, wanted: impl Fn(&[Value]) -> bool) -> bool {
        match self {
            Self::Development(cluster) => {
                let reached = cluster.wait_until(|_| wanted(&self.events(namespace)), soon()).await;
                reached.is_ok()
            }
            Self::Real(cluster) => cluster.wait_for_events(namespace, wanted, soon()).await,
        }
    }

    /// Makes that no node takes the world's pods; what is to be merged into the gateway's configuration for it.
    pub fn unschedulable(&self) -> Value {
        match self {
            Self::Development(cluster) => {
                cluster.faults().unschedulable(true);
                json!({})
            }
            Self::Real(cluster) => json!({"kubernetes": {"pod": {"spec": {"nodeSelector": {cluster.label(): "yes"}}}}}),
        }
    }

    /// Lets a node take them after all.
    pub async fn schedule(&self) {
        match self {
            Self::Development(cluster) => cluster.faults().unschedulable(false),
            Self::Real(cluster) => cluster.label_nodes().await,
        }
    }

    /// From now on the token of [`Access::Rights`] has these rights instead.
    pub async fn grant(&self, rights: &Rights) {
        match self {
            Self::Development(cluster) => {
                let rules = rights.rules();
                cluster.faults().set_token(Token { token: GATEWAY.into(), user: GATEWAY.into(), rules });
            }
            Self::Real(cluster) => cluster.grant(rights).await,
        }
    }

    /// Another token with these rights, in the place of [`Access::Rights`]' first one: that is worth something until
    /// [`end_first_token`](Self::end_first_token).
    pub async fn another_token(&self, rights: &Rights) -> String {
        match self {
            Self::Development(cluster) => {
                let token = Token { token: "gateway-second".into(), user: GATEWAY.into(), rules: rights.rules() };
                cluster.faults().set_token(token.clone());
                token.token
            }
            Self::Real(cluster) => cluster.mint("second").await,
        }
    }

    /// Makes the first token worthless.
    pub async fn end_first_token(&self, token: &str) {
        match self {
            Self::Development(cluster) => cluster.faults().revoke_token(token),
            Self::Real(cluster) => cluster.end_first_token(token).await,
        }
    }

    /// The name of the account of [`Access::Rights`].
    pub fn account(&self) -> String {
        match self {
            Self::Development(_) => GATEWAY.into(),
            Self::Real(cluster) => cluster.account(),
        }
    }

    /// How many requests of a verb there were on a resource of the world's (`get` on `pods/exec` is a WebSocket exec), dry
    /// runs not counted.
    pub fn requests(&self, verb: &str, resource: &str) -> u64 {
        match self {
            Self::Development(cluster) => cluster.state().requests(verb, resource),
            Self::Real(cluster) => cluster.requests(|asked| asked.verb == verb && asked.resource == resource),
        }
    }

    /// Creates a pod as an administrator would.
    pub async fn create_pod(&self, namespace: &str, pod: Value) {
        match self {
            Self::Development(cluster) => {
                let pods = kube::Api::<Pod>::namespaced(client(cluster).await, namespace);
                let pod = serde_json::from_value(pod).expect("a pod");
                pods.create(&PostParams::default(), &pod).await.expect("the pod");
            }
            Self::Real(cluster) => cluster.create_pod(namespace, pod).await,
        }
    }

    /// The API's reason not to create a pod, of which nothing stays either way; `None` where it would.
    pub async fn refuses(&self, namespace: &str, pod: &Value) -> Option<String> {
        let client = match self {
            Self::Development(cluster) => client(cluster).await,
            Self::Real(cluster) => cluster.client(),
        };
        let pods = kube::Api::<Pod>::namespaced(client, namespace);
        let pod = serde_json::from_value(pod.clone()).expect("a pod");
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        pods.create(&dry, &pod).await.err().map(|error| error.to_string())
    }

    /// Has a namespace of the world's enforce the level `restricted` of Pod Security.
    pub async fn restrict(&self, namespace: &str) {
        let client = match self {
            Self::Development(cluster) => client(cluster).await,
            Self::Real(cluster) => cluster.client(),
        };
        let level = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let namespaces = kube::Api::<Namespace>::all(client);
        namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(level)).await.expect("a label");
    }

    /// Deletes the one Lease of a namespace, as an administrator would.
    pub async fn delete_lease(&self, namespace: &str) {
        let name = self.one_lease(namespace).await;
        self.delete_lease_named(namespace, &name).await;
    }

    /// Deletes a Lease, as an administrator would.
    pub async fn delete_lease_named(&self, namespace: &str, name: &str) {
        match self {
            Self::Development(cluster) => assert!(cluster.faults().delete_lease(namespace, name)),
            Self::Real(cluster) => cluster.delete_lease(namespace, name).await,
        }
    }

    /// Changes the one Lease of a namespace behind its holder's back: its next renewal is a conflict.
    pub async fn touch_lease(&self, namespace: &str) {
        let name = self.one_lease(namespace).await;
        match self {
            Self::Development(cluster) => assert!(cluster.faults().touch_lease(namespace, &name)),
            Self::Real(cluster) => cluster.touch_lease(namespace, &name).await,
        }
    }

    async fn one_lease(&self, namespace: &str) -> String {
        assert!(self.wait_for_leases(namespace, |leases| leases.len() == 1).await, "there is no one Lease");
        self.leases(namespace)[0]["metadata"]["name"].as_str().expect("a name").to_owned()
    }

    /// What gateways asked of the API, a verb, a resource and what stands after `?` each. On a real cluster, which others
    /// use, all of it where the gateway has [`Access::Rights`], else what is about the world's namespaces.
    pub fn asked(&self) -> Vec<Asked> {
        match self {
            Self::Development(cluster) => cluster.state().request_log().into_iter().map(Asked::from).collect(),
            Self::Real(cluster) => cluster.asked(),
        }
    }

    /// Deletes a pod as an administrator would; whether it was there.
    pub fn delete_pod(&self, namespace: &str, name: &str, grace: Duration) -> bool {
        match self {
            Self::Development(cluster) => cluster.faults().delete_pod(namespace, name, grace),
            Self::Real(cluster) => cluster.delete_pod(namespace, name, grace),
        }
    }

    /// Takes the API away, with every stream that it carries. On a real cluster the world must be
    /// [alone](super::Setup::alone).
    pub async fn api_down(&self) {
        match self {
            Self::Development(cluster) => cluster.faults().api_down().await,
            Self::Real(cluster) => cluster.api_down().await,
        }
    }

    /// Brings the API back.
    pub async fn api_up(&self) {
        match self {
            Self::Development(cluster) => cluster.faults().api_up().await,
            Self::Real(cluster) => cluster.api_up().await,
        }
    }
}

/// An administrator's client of a development cluster.
async fn client(cluster: &DevCluster) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    kube::Client::try_from(config.expect("a configuration")).expect("a client")
}
