//! The cluster that a world uses: a development cluster of its own or, if `PODGATE_TEST_KUBECONFIG` names a kubeconfig,
//! namespaces of its own in a real cluster. Each method means the same on both.

mod development;

use super::cluster_lock::ClusterLock;
use super::gateway::SOON;
use super::real::{ApiRequest, RealCluster};
use super::role::Rights;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Client;
use kube::api::{Patch, PatchParams, PostParams};
use podgate_devcluster::{ClusterState, DevCluster, Faults, Options};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

/// Names the kubeconfig of a real cluster.
const KUBECONFIG: &str = "PODGATE_TEST_KUBECONFIG";

/// The kubeconfig of the real cluster, if the tests run on one.
pub fn kubeconfig() -> Option<PathBuf> {
    std::env::var_os(KUBECONFIG).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Returns whether the tests run on the development cluster. If not, prints the reason for which the caller needs it.
pub fn on_development(reason: &str) -> bool {
    if kubeconfig().is_some() {
        eprintln!("skipped on a real cluster: {reason}");
    }
    kubeconfig().is_none()
}

/// Returns whether the tests run on the development cluster.
pub fn is_development() -> bool {
    kubeconfig().is_none()
}

/// Returns whether the tests run on a real cluster. If not, prints the reason for which the caller needs it.
pub fn on_real(reason: &str) -> bool {
    if kubeconfig().is_none() {
        eprintln!("skipped on the development cluster: {reason}");
    }
    kubeconfig().is_some()
}

/// The time limit for what happens immediately. A real cluster starts and ends pods more slowly, many of them on few
/// cores.
pub fn soon() -> Duration {
    if kubeconfig().is_some() { SOON * 2 } else { SOON }
}

/// The name of a namespace for one world. On a real cluster, which worlds share, a random suffix is added.
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

/// The credentials that the gateway uses on the cluster.
#[derive(Debug, Clone)]
pub enum Access {
    /// All rights: a token on the development cluster, the administrator's certificate on a real one.
    Administrator,
    /// A token with these rights in the world's namespaces.
    Rights(Rights),
    /// A given token, which may be invalid.
    Token(String),
}

/// The kinds of objects that tests list and wait for.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Pods,
    Events,
    Leases,
}

/// A cluster, or the namespaces of one world in it.
pub trait TestCluster: Send + Sync {
    /// The administrator's kubeconfig.
    fn kubeconfig(&self) -> String;

    /// A text that only administrators know.
    fn secret(&self) -> &str;

    /// An administrator's client.
    fn client(&self) -> BoxFuture<'_, Client>;

    /// The name of the account of [`Access::Rights`].
    fn account(&self) -> String;

    /// Gives the account of [`Access::Rights`] these rights instead of its own.
    fn grant<'a>(&'a self, rights: &'a Rights) -> BoxFuture<'a, ()>;

    /// A second token for the account of [`Access::Rights`], with these rights. The first remains valid until
    /// [`revoke_first_token`](Self::revoke_first_token).
    fn second_token<'a>(&'a self, rights: &'a Rights) -> BoxFuture<'a, String>;

    /// Revokes the first token.
    fn revoke_first_token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, ()>;

    /// The objects of a kind in a namespace, as the API returns them.
    fn list(&self, kind: Kind, namespace: &str) -> Vec<Value>;

    /// Waits until the objects of a kind in a namespace satisfy `wanted`. Returns false after [`soon`].
    fn wait<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        wanted: &'a (dyn Fn(&[Value]) -> bool + Sync),
    ) -> BoxFuture<'a, bool>;

    /// Lets no node take the world's pods. Returns a change to the gateway's configuration that is needed for it.
    fn unschedulable(&self) -> Value;

    /// Lets a node take the world's pods again.
    fn schedule(&self) -> BoxFuture<'_, ()>;

    /// Deletes a pod as an administrator would. Returns whether it existed.
    fn delete_pod(&self, namespace: &str, name: &str, grace: Duration) -> bool;

    /// Deletes a Lease as an administrator would.
    fn delete_lease_named<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, ()>;

    /// Changes a Lease, so that its holder's next renewal is a conflict.
    fn touch_lease_named<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, ()>;

    /// The requests that gateways sent to the API. A real cluster, which worlds share, returns all of them if the gateway
    /// has [`Access::Rights`], otherwise those about the world's namespaces.
    fn api_requests(&self) -> Vec<ApiRequest>;

    /// The number of requests with a verb on a resource in the world's namespaces, without dry runs. `get` on `pods/exec`
    /// is a WebSocket exec.
    fn requests(&self, verb: &str, resource: &str) -> u64;

    /// Stops the API, with every stream that it carries. On a real cluster, the world must be
    /// [alone](super::Setup::alone).
    fn api_down(&self) -> BoxFuture<'_, ()>;

    /// Starts the API again.
    fn api_up(&self) -> BoxFuture<'_, ()>;

    fn as_development(&self) -> Option<&DevCluster> {
        None
    }

    fn as_real(&self) -> Option<&RealCluster> {
        None
    }
}

/// Starts a development cluster, or creates the namespaces in the real one. Also returns how the gateway reaches it
/// (`kubernetes.connection`). With `alone`, no other world uses the real cluster at the same time.
pub async fn start(
    options: Options,
    namespaces: &[String],
    access: Access,
    alone: bool,
) -> (Box<dyn TestCluster>, Value) {
    let Some(kubeconfig) = kubeconfig() else {
        let (cluster, connection) = development::start(options, namespaces, access);
        return (Box::new(cluster), connection);
    };
    let lock = ClusterLock::wait(alone).await;
    let cluster = RealCluster::start(&kubeconfig, namespaces, lock).await;
    let connection = cluster.connection(access).await;
    (Box::new(cluster), connection)
}

impl dyn TestCluster {
    /// The development cluster, for tests that cannot run on another.
    #[track_caller]
    pub fn development(&self) -> &DevCluster {
        self.as_development().expect("this test needs the development cluster: it must call on_development first")
    }

    /// The real cluster, for tests that cannot run on another.
    #[track_caller]
    pub fn real(&self) -> &RealCluster {
        self.as_real().expect("this test needs a real cluster: it must call on_real first")
    }

    /// The switches by which the development cluster misbehaves.
    #[track_caller]
    pub fn faults(&self) -> Faults {
        self.development().faults()
    }

    /// The present state of the development cluster, with its streams and processes.
    #[track_caller]
    pub fn state(&self) -> ClusterState {
        self.development().state()
    }

    pub fn pods(&self, namespace: &str) -> Vec<Value> {
        self.list(Kind::Pods, namespace)
    }

    pub fn events(&self, namespace: &str) -> Vec<Value> {
        self.list(Kind::Events, namespace)
    }

    pub fn leases(&self, namespace: &str) -> Vec<Value> {
        self.list(Kind::Leases, namespace)
    }

    /// Waits until the pods of a namespace satisfy `wanted`. Returns false after [`soon`].
    pub async fn wait_for_pods(&self, namespace: &str, wanted: impl Fn(&[Value]) -> bool + Sync) -> bool {
        self.wait(Kind::Pods, namespace, &wanted).await
    }

    /// Waits until the events of a namespace satisfy `wanted`. Returns false after [`soon`].
    pub async fn wait_for_events(&self, namespace: &str, wanted: impl Fn(&[Value]) -> bool + Sync) -> bool {
        self.wait(Kind::Events, namespace, &wanted).await
    }

    /// Waits until the Leases of a namespace satisfy `wanted`. Returns false after [`soon`].
    pub async fn wait_for_leases(&self, namespace: &str, wanted: impl Fn(&[Value]) -> bool + Sync) -> bool {
        self.wait(Kind::Leases, namespace, &wanted).await
    }

    /// Creates a pod as an administrator would.
    pub async fn create_pod(&self, namespace: &str, pod: Value) {
        self.try_create_pod(namespace, pod, &PostParams::default()).await.expect("a new pod");
    }

    /// The API's reason for refusing a pod, or `None` if it would create it. The pod is not created in either case.
    pub async fn refuses(&self, namespace: &str, pod: &Value) -> Option<String> {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let tried = self.try_create_pod(namespace, pod.clone(), &dry_run).await;
        tried.err().map(|error| error.to_string())
    }

    async fn try_create_pod(&self, namespace: &str, pod: Value, parameters: &PostParams) -> kube::Result<Pod> {
        let pod = serde_json::from_value(pod).expect("a pod");
        kube::Api::namespaced(self.client().await, namespace).create(parameters, &pod).await
    }

    /// Sets a namespace to the level `restricted` of Pod Security, and waits until the API server enforces it.
    pub async fn restrict(&self, namespace: &str) {
        let level = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let namespaces = kube::Api::<Namespace>::all(self.client().await);
        namespaces.patch(namespace, &PatchParams::default(), &Patch::Merge(level)).await.expect("a label");
        let bare = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"},
            "spec": {"containers": [{"name": "bare", "image": "bare"}]},
        });
        // A real API server reads the label from a cache, and nothing tells when that has it.
        while !self.refuses(namespace, &bare).await.is_some_and(|reason| reason.contains("violates PodSecurity")) {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Deletes the only Lease of a namespace as an administrator would.
    pub async fn delete_lease(&self, namespace: &str) {
        let name = self.only_lease(namespace).await;
        self.delete_lease_named(namespace, &name).await;
    }

    /// Changes the only Lease of a namespace, so that its holder's next renewal is a conflict.
    pub async fn touch_lease(&self, namespace: &str) {
        let name = self.only_lease(namespace).await;
        self.touch_lease_named(namespace, &name).await;
    }

    async fn only_lease(&self, namespace: &str) -> String {
        assert!(self.wait_for_leases(namespace, |leases| leases.len() == 1).await, "there is not exactly one Lease");
        self.leases(namespace)[0]["metadata"]["name"].as_str().expect("a name").to_owned()
    }
}
