//! The development cluster of one world.

use super::{Access, Kind, TestCluster, soon};
use crate::support::real::ApiRequest;
use crate::support::role::Rights;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use podgate_devcluster::{DevCluster, Options, Token};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The token of [`Access::Rights`], and the name of its account.
const GATEWAY: &str = "gateway";

/// Starts a development cluster. Also returns how the gateway reaches it (`kubernetes.connection`).
pub fn start(mut options: Options, namespaces: &[String], access: Access) -> (DevCluster, Value) {
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
    (cluster, connection)
}

impl TestCluster for DevCluster {
    fn kubeconfig(&self) -> String {
        self.kubeconfig()
    }

    fn secret(&self) -> &str {
        self.token()
    }

    fn client(&self) -> BoxFuture<'_, Client> {
        async {
            let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig()).expect("a kubeconfig");
            let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
            Client::try_from(config.expect("a configuration")).expect("a client")
        }
        .boxed()
    }

    fn account(&self) -> String {
        GATEWAY.into()
    }

    fn grant<'a>(&'a self, rights: &'a Rights) -> BoxFuture<'a, ()> {
        async {
            let rules = rights.rules();
            self.faults().set_token(Token { token: GATEWAY.into(), user: GATEWAY.into(), rules });
        }
        .boxed()
    }

    fn second_token<'a>(&'a self, rights: &'a Rights) -> BoxFuture<'a, String> {
        async {
            let token = Token { token: "gateway-second".into(), user: GATEWAY.into(), rules: rights.rules() };
            self.faults().set_token(token.clone());
            token.token
        }
        .boxed()
    }

    fn revoke_first_token<'a>(&'a self, token: &'a str) -> BoxFuture<'a, ()> {
        async { self.faults().revoke_token(token) }.boxed()
    }

    fn list(&self, kind: Kind, namespace: &str) -> Vec<Value> {
        let state = self.state();
        let objects = match kind {
            Kind::Pods => state.pods(namespace),
            Kind::Events => state.events(namespace),
            Kind::Leases => state.leases(namespace),
        };
        objects.into_iter().map(Arc::unwrap_or_clone).collect()
    }

    fn wait<'a>(
        &'a self,
        kind: Kind,
        namespace: &'a str,
        wanted: &'a (dyn Fn(&[Value]) -> bool + Sync),
    ) -> BoxFuture<'a, bool> {
        async move { self.wait_until(|_| wanted(&self.list(kind, namespace)), soon()).await.is_ok() }.boxed()
    }

    fn unschedulable(&self) -> Value {
        self.faults().unschedulable(true);
        json!({})
    }

    fn schedule(&self) -> BoxFuture<'_, ()> {
        async { self.faults().unschedulable(false) }.boxed()
    }

    fn delete_pod(&self, namespace: &str, name: &str, grace: Duration) -> bool {
        self.faults().delete_pod(namespace, name, grace)
    }

    fn delete_lease_named<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, ()> {
        async move { assert!(self.faults().delete_lease(namespace, name)) }.boxed()
    }

    fn touch_lease_named<'a>(&'a self, namespace: &'a str, name: &'a str) -> BoxFuture<'a, ()> {
        async move { assert!(self.faults().touch_lease(namespace, name)) }.boxed()
    }

    fn api_requests(&self) -> Vec<ApiRequest> {
        self.state().request_log().into_iter().map(ApiRequest::from).collect()
    }

    fn requests(&self, verb: &str, resource: &str) -> u64 {
        self.state().requests(verb, resource)
    }

    fn api_down(&self) -> BoxFuture<'_, ()> {
        async { self.faults().api_down().await }.boxed()
    }

    fn api_up(&self) -> BoxFuture<'_, ()> {
        async { self.faults().api_up().await }.boxed()
    }

    fn as_development(&self) -> Option<&DevCluster> {
        Some(self)
    }
}
