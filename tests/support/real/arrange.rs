//! What a test arranges in a real cluster as its administrator: objects of any kind, and what kubectl does.

use super::{FIRST_TOKEN, GATEWAY, RealCluster};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Secret, ServiceAccount};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tokio::time::sleep;

impl RealCluster {
    /// Makes an object of any kind in the namespace that it names. One that names none is the whole cluster's, and goes
    /// with the world's first namespace.
    pub async fn make(&self, mut object: Value) {
        if object["metadata"]["namespace"].is_null() {
            let home = self.everywhere::<Namespace>().get(&self.namespaces[0]).await.expect("the namespace");
            object["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "v1", "kind": "Namespace", "name": self.namespaces[0], "uid": home.uid().expect("a uid"),
            }]);
        }
        if let Err(error) = self.create_any(&object, &PostParams::default()).await {
            panic!("{object:#}: {error}");
        }
    }

    /// Returns whether the API would create an object, by a dry run.
    pub async fn admits(&self, object: &Value) -> bool {
        self.create_any(object, &PostParams { dry_run: true, ..PostParams::default() }).await.is_ok()
    }

    async fn create_any(&self, object: &Value, how: &PostParams) -> kube::Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
        let types = object.types.as_ref().expect("apiVersion and kind");
        let kind = ApiResource::from_gvk(&GroupVersionKind::try_from(types).expect("apiVersion and kind"));
        let api = match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        };
        api.create(how, &object).await
    }

    /// A token of the gateway's service account that is worth something as long as the Secret of this name is there.
    pub(super) async fn mint(&self, name: &str) -> String {
        let secret =
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": self.namespaces[0]}});
        self.make(secret).await;
        let bound = json!({"apiVersion": "v1", "kind": "Secret", "name": name});
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600, "boundObjectRef": bound},
        });
        let accounts = self.within::<ServiceAccount>(&self.namespaces[0]);
        let answer = accounts.create_subresource("token", GATEWAY, &PostParams::default(), &request).await;
        let answer: Value = answer.expect("a token for the gateway");
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Makes the gateway's first token worthless, and waits until the API goes by that.
    pub(super) async fn end_first_token(&self, token: &str) {
        let secrets = self.within::<Secret>(&self.namespaces[0]);
        secrets.delete(FIRST_TOKEN, &DeleteParams::default()).await.expect("the first token's Secret");
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
        });
        let good = async || {
            let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews");
            let request = request.header("content-type", "application/json");
            let request = request.body(review.to_string().into_bytes()).expect("a request");
            let answer: Value = self.client.request(request).await.expect("a review");
            answer["status"]["authenticated"] == true
        };
        // An API server believes a token for some seconds more.
        while good().await {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Deletes a Lease.
    pub(super) async fn delete_lease(&self, namespace: &str, name: &str) {
        self.within::<Lease>(namespace).delete(name, &DeleteParams::default()).await.expect("the Lease");
    }

    /// Changes a Lease.
    pub(super) async fn touch_lease(&self, namespace: &str, name: &str) {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"podgate.test/touched": "yes"}}}));
        let leases = self.within::<Lease>(namespace);
        leases.patch(name, &PatchParams::default(), &patch).await.expect("the Lease");
    }

    /// Waits until every node takes pods, or until none is heard of.
    pub async fn nodes_ready(&self, ready: bool) -> bool {
        let wanted = if ready { "True" } else { "Unknown" };
        let is = |node: &Value| {
            let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
            let is = conditions.filter(|one| one["type"] == "Ready").any(|one| one["status"] == wanted);
            is && (!ready || node["spec"]["taints"].is_null())
        };
        super::wait_for(self.everywhere::<Node>(), |nodes| nodes.iter().all(is), super::CONTROL).await
    }

    /// Runs the cluster's own kubectl to its end as the administrator.
    pub async fn kubectl(&self, words: &[&str]) -> Output {
        let mut command = crate::support::leash::program(self.folder.join("bin/kubectl"));
        let command = command.args(words).env("KUBECONFIG", self.folder.join("kubeconfig"));
        command.output().await.expect("the cluster's kubectl")
    }

    /// Our own address as the cluster's node and pods see it.
    pub fn outside(kubeconfig: &Path) -> IpAddr {
        let text = std::fs::read_to_string(kubeconfig).expect("the kubeconfig");
        let parsed: Value = serde_saphyr::from_str(&text).expect("a kubeconfig");
        let server = parsed["clusters"][0]["cluster"]["server"].as_str().expect("a server");
        let server = server.strip_prefix("https://").expect("https").trim_end_matches('/');
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        // Nothing is sent: the system only looks for the way.
        socket.connect(server).expect("a way to the API");
        socket.local_addr().expect("an address").ip()
    }
}
