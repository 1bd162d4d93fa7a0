//! A world's part of a real cluster as the tests use it.

use super::{GATEWAY, RealCluster, audit, block_on, list, wait_for};
use crate::support::cluster::{Kind, TestCluster, kubeconfig, soon};
use crate::support::real::ApiRequest;
use crate::support::role::Rights;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, DynamicObject};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::time::Duration;

impl RealCluster {
    fn objects(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        match kind {
            Kind::Pods => self.within::<Pod>(namespace),
            Kind::Events => self.within::<Event>(namespace),
            Kind::Leases => self.within::<Lease>(namespace),
        }
    }
}

impl TestCluster for RealCluster {
    fn kubeconfig(&self) -> String {
        std::fs::read_to_string(kubeconfig().expect("a real cluster")).expect("the kubeconfig")
    }

    /// A line of the administrator's key.
    fn secret(&self) -> &str {
        self.administrator.key.lines().nth(1).expect("a line of the key")
    }

    fn client(&self) -> BoxFuture<'_, Client> {
        async { self.client.clone() }.boxed()
    }

    fn account(&self) -> String {
        format!("system:serviceaccount:{}:{GATEWAY}", self.namespaces[0])
    }

    fn grant<'a>(&'a self, rights: &'a Rights) -> BoxFuture<'a, ()> {
        self.set_rights(rights).boxed()
    }

    fn second_token<'a>(&'a self, _: &'a Rights) -> BoxFuture<'a, String> {
        self.mint("second").boxed()
    }

    fn revoke_first_token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, ()> {
        self.end_first_token(token).boxed()
    }

    fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        list(&self.objects(kind, namespace))
    }

    fn wait<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        wanted: &'a (dyn Fn(&[Value]) -> bool + Sync),
    ) -> BoxFuture<'a, bool> {
        wait_for(self.objects(kind, namespace), wanted, soon()).boxed()
    }

    fn unschedulable(&self) -> Value {
        json!({"kubernetes": {"pod": {"spec": {"nodeSelector": {self.label(): "yes"}}}}})
    }

    fn schedule(&self) -> BoxFuture<'_, ()> {
        self.label_nodes().boxed()
    }

    fn delete_pod(&self, namespace: &str, name: &str, grace: Duration) -> bool {
        let seconds = u32::try_from(grace.as_secs()).expect("a short grace");
        let parameters = DeleteParams::default().grace_period(seconds);
        let pods = self.within::<Pod>(namespace);
        block_on(pods.delete(name, &parameters)).is_ok()
    }

    fn delete_lease_named<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, ()> {
        self.delete_lease(namespace, name).boxed()
    }

    fn touch_lease_named<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, ()> {
        self.touch_lease(namespace, name).boxed()
    }

    fn api_requests(&self) -> Vec<ApiRequest> {
        audit::read(&self.folder, &self.account(), &self.namespaces)
    }

    fn requests(&self, verb: &str, resource: &str) -> u64 {
        let sent = self.api_requests();
        sent.iter().filter(|request| request.verb == verb && request.resource == resource).count() as u64
    }

    /// Kills every API server that runs.
    fn api_down(&self) -> BoxFuture<'_, ()> {
        async {
            let parts = self.control("status").await;
            for server in parts.split_whitespace().filter(|part| part.starts_with("apiserver-")) {
                self.control(&format!("kill {server}")).await;
            }
        }
        .boxed()
    }

    /// Starts every API server that was killed.
    fn api_up(&self) -> BoxFuture<'_, ()> {
        async {
            let undo = self.undo.lock().clone();
            for order in undo.iter().filter(|order| order.starts_with("start apiserver-")) {
                self.control(order).await;
            }
        }
        .boxed()
    }

    fn as_real(&self) -> Option<&RealCluster> {
        Some(self)
    }
}
