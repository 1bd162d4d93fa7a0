//! A world's part of a real cluster: namespaces of its own, deleted with it; a service account, where the gateway is to
//! have a token; and what lies beside the kubeconfig: the audit log of the API servers, and the socket by which parts of
//! the cluster are stopped and started.

mod arrange;
mod audit;
mod cluster;
pub mod observer;

pub use audit::ApiRequest;

use super::cluster::{Access, TestCluster};
use super::cluster_lock::ClusterLock;
use super::gateway::SOON;
use super::role::Rights;
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{Namespace, Node, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

/// The name of the gateway's service account, role and binding.
const GATEWAY: &str = "gateway";
/// The Secret that the service account's first token ends with.
const FIRST_TOKEN: &str = "first";
/// The time limit for stopping or starting a part of the cluster.
const CONTROL: Duration = Duration::from_secs(120);

/// Namespaces in a real cluster. Dropping it deletes them; it is not waited for until they are gone.
pub struct RealCluster {
    client: Client,
    config: Config,
    administrator: Administrator,
    folder: PathBuf,
    namespaces: Vec<String>,
    /// The orders that undo those sent to the cluster's launcher.
    undo: Mutex<BTreeSet<String>>,
    labelled: AtomicBool,
    _lock: ClusterLock,
}

/// The administrator's credentials in PEM.
struct Administrator {
    ca: String,
    certificate: String,
    key: String,
}

impl RealCluster {
    /// Makes the namespaces, and waits until pods can be made in them.
    pub async fn start(kubeconfig: &Path, namespaces: &[String], lock: ClusterLock) -> Self {
        let text = std::fs::read_to_string(kubeconfig).expect("the file that PODGATE_TEST_KUBECONFIG names");
        let parsed = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default()).await.expect("a kubeconfig");
        let cluster = Self {
            client: Client::try_from(config.clone()).expect("a client"),
            config,
            administrator: Administrator::read(&text),
            folder: kubeconfig.parent().expect("a folder").to_owned(),
            namespaces: namespaces.to_vec(),
            undo: Mutex::default(),
            labelled: AtomicBool::default(),
            _lock: lock,
        };
        for namespace in namespaces {
            create(&cluster.everywhere::<Namespace>(), json!({"metadata": {"name": namespace}})).await;
        }
        for namespace in namespaces {
            let accounts = cluster.within::<ServiceAccount>(namespace);
            let default = |accounts: &[Value]| accounts.iter().any(|account| account["metadata"]["name"] == "default");
            assert!(wait_for(accounts, default, SOON * 2).await, "the namespace {namespace} gets no service account");
        }
        cluster
    }

    /// `kubernetes.connection` of a gateway with this access.
    pub async fn connection(&self, access: Access) -> Value {
        let url = &self.config.cluster_url;
        let host = format!("{}:{}", url.host().expect("a host"), url.port_u16().unwrap_or(443));
        let Administrator { ca, certificate, key } = &self.administrator;
        let token = match access {
            Access::Administrator => return json!({"host": host, "cacert": ca, "cert": certificate, "key": key}),
            Access::Token(token) => token,
            Access::Rights(rights) => self.token(&rights).await,
        };
        json!({"host": host, "cacert": ca, "bearerToken": token})
    }

    /// A token of a service account in the first namespace that has these rights in all of them.
    async fn token(&self, rights: &Rights) -> String {
        let home = &self.namespaces[0];
        let accounts = self.within::<ServiceAccount>(home);
        create(&accounts, json!({"metadata": {"name": GATEWAY}})).await;
        for namespace in &self.namespaces {
            let role = json!({"metadata": {"name": GATEWAY}, "rules": rights.role_rules()});
            create(&self.within::<Role>(namespace), role).await;
            let binding = json!({
                "metadata": {"name": GATEWAY},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": GATEWAY},
                "subjects": [{"kind": "ServiceAccount", "name": GATEWAY, "namespace": home}],
            });
            create(&self.within::<RoleBinding>(namespace), binding).await;
        }
        self.set_rights(rights).await;
        self.mint(FIRST_TOKEN).await
    }

    /// Sets the service account's rights, and waits until the API server applies them.
    async fn set_rights(&self, rights: &Rights) {
        let mark = format!("{:08x}", rand::random::<u32>());
        let mut rules = rights.role_rules();
        let marking = json!({"apiGroups": ["podgate.test"], "resources": [mark], "verbs": ["get"]});
        rules.as_array_mut().expect("rules").push(marking);
        let patch = Patch::Merge(json!({"rules": rules}));
        for namespace in &self.namespaces {
            let roles = self.within::<Role>(namespace);
            roles.patch(GATEWAY, &PatchParams::default(), &patch).await.expect("a changed role");
            let asked = json!({"namespace": namespace, "verb": "get", "group": "podgate.test", "resource": mark});
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "LocalSubjectAccessReview",
                "metadata": {"namespace": namespace},
                "spec": {"user": self.account(), "resourceAttributes": asked},
            });
            while !self.allows(namespace, &review).await {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn allows(&self, namespace: &str, review: &Value) -> bool {
        let path = format!("/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews");
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(review.to_string().into_bytes()).expect("a request");
        let answer: Value = self.client.request(request).await.expect("a review");
        answer["status"]["allowed"] == true
    }

    /// A label for nodes that only this world uses.
    fn label(&self) -> String {
        format!("podgate.test/{}", self.namespaces[0])
    }

    /// Labels every node with [`label`](Self::label) until the world ends.
    async fn label_nodes(&self) {
        self.labelled.store(true, Ordering::Relaxed);
        label_nodes(self.client.clone(), &self.label(), json!("yes")).await;
    }

    /// The whole text of the API servers' audit logs.
    pub fn audit_log(&self) -> String {
        audit::text(&self.folder)
    }

    /// Tells the cluster's launcher something: `status` (the parts that run), or `kill`, `start`, `freeze` or `thaw` and
    /// a part. It answers when that is done, `start` when the part is healthy again. The opposite is done when the world
    /// ends, unless it was done before. The world must be alone.
    pub async fn control(&self, order: &str) -> String {
        let answer = ask(&self.folder, order).await;
        let opposite = match order.split_once(' ') {
            Some(("kill", part)) => format!("start {part}"),
            Some(("start", part)) => format!("kill {part}"),
            Some(("freeze", part)) => format!("thaw {part}"),
            Some(("thaw", part)) => format!("freeze {part}"),
            _ => return answer,
        };
        let mut undo = self.undo.lock();
        if !undo.remove(order) {
            undo.insert(opposite);
        }
        answer
    }

    fn within<K: Resource<DynamicType = ()>>(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &ApiResource::erase::<K>(&()))
    }

    fn everywhere<K: Resource<DynamicType = ()>>(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<K>(&()))
    }
}

impl Drop for RealCluster {
    fn drop(&mut self) {
        let left = Left {
            config: self.config.clone(),
            folder: self.folder.clone(),
            undo: std::mem::take(self.undo.get_mut()),
            label: (*self.labelled.get_mut()).then(|| self.label()),
            namespaces: std::mem::take(&mut self.namespaces),
        };
        // The test's own runtime may be about to end.
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(left.remove());
        });
        // A panic of it has been printed.
        let _panicked = removing.join();
    }
}

/// The changes of a world to the cluster, to be undone.
struct Left {
    config: Config,
    folder: PathBuf,
    undo: BTreeSet<String>,
    label: Option<String>,
    namespaces: Vec<String>,
}

impl Left {
    async fn remove(self) {
        for order in self.undo {
            ask(&self.folder, &order).await;
        }
        let client = Client::try_from(self.config).expect("a client");
        let all = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::erase::<Namespace>(&()));
        for namespace in self.namespaces {
            if let Err(error) = all.delete(&namespace, &DeleteParams::background()).await {
                eprintln!("the namespace {namespace} is left behind: {error}");
            }
        }
        if let Some(label) = self.label {
            label_nodes(client, &label, Value::Null).await;
        }
    }
}

impl Administrator {
    /// Reads the inline data of a kubeconfig with one cluster and one user.
    fn read(kubeconfig: &str) -> Self {
        let parsed: Value = serde_saphyr::from_str(kubeconfig).expect("a kubeconfig");
        let pem = |path: &str| {
            let data = parsed.pointer(path).and_then(Value::as_str);
            let data = data.unwrap_or_else(|| panic!("the kubeconfig has no {path}"));
            let bytes = data_encoding::BASE64.decode(data.as_bytes()).expect("base64");
            String::from_utf8(bytes).expect("PEM")
        };
        Self {
            ca: pem("/clusters/0/cluster/certificate-authority-data"),
            certificate: pem("/users/0/user/client-certificate-data"),
            key: pem("/users/0/user/client-key-data"),
        }
    }
}

/// Labels every node, or takes the label off (null).
async fn label_nodes(client: Client, label: &str, value: Value) {
    let nodes = Api::<DynamicObject>::all_with(client, &ApiResource::erase::<Node>(&()));
    let patch = json!({"metadata": {"labels": {label: value}}});
    for node in nodes.list(&ListParams::default()).await.expect("the nodes") {
        nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.expect("a label");
    }
}

/// Asks the cluster's launcher for something, which it must do.
async fn ask(folder: &Path, order: &str) -> String {
    let asked = async {
        let mut stream = UnixStream::connect(folder.join("control.sock")).await?;
        stream.write_all(format!("{order}\n").as_bytes()).await?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(CONTROL, asked).await.expect("an answer in time").expect("the cluster's control");
    assert!(answer.starts_with("ok"), "{order}: {answer}");
    answer
}

async fn create(into: &Api<DynamicObject>, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).expect("an object");
    into.create(&PostParams::default(), &object).await.expect("a new object");
}

fn list(of: &Api<DynamicObject>) -> Vec<Value> {
    block_on(of.list(&ListParams::default())).expect("a list").into_iter().map(value).collect()
}

fn value(object: DynamicObject) -> Value {
    serde_json::to_value(object).expect("JSON")
}

/// Waits in a test's own words, which are not asynchronous.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// Watches until the objects are as wanted; whether they came to be so within `limit`.
async fn wait_for(of: Api<DynamicObject>, wanted: impl Fn(&[Value]) -> bool, limit: Duration) -> bool {
    let events = watcher(of, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let reached = async {
        let (mut there, mut complete) = (BTreeMap::new(), false);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => (there, complete) = (BTreeMap::new(), false),
                Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                    there.insert(object.name_any(), value(object));
                }
                Ok(watcher::Event::Delete(object)) => drop(there.remove(&object.name_any())),
                Ok(watcher::Event::InitDone) => complete = true,
                // An API that was taken away comes back.
                Err(_) => {}
            }
            if complete && wanted(&there.values().cloned().collect::<Vec<_>>()) {
                return;
            }
        }
    };
    timeout(limit, reached).await.is_ok()
}
