//! The mistakes with a kubeconfig, and the lines that answer them.

use super::{Desk, run};
use crate::support::role::Rights;
use podgate_devcluster::Token;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

impl Desk {
    /// Writes a kubeconfig for the desk's cluster with this user in it, and something changed.
    pub(super) fn kubeconfig(&self, user: Value, context: Value) -> Value {
        let connection = &self.config["kubernetes"]["connection"];
        fs::write(self.path("ca.crt"), connection["cacert"].as_str().expect("PEM")).expect("a file");
        let file = self.path("kubeconfig.yaml");
        let mut text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "work",
            "contexts": [{"name": "work", "context": {"cluster": "here", "user": "me"}}],
            "clusters": [{"name": "here", "cluster": {"server": self.host(), "certificate-authority": "ca.crt"}}],
            "users": [{"name": "me", "user": user}],
        });
        super::merge(&mut text, context);
        fs::write(&file, text.to_string()).expect("a file");
        let replaced = json!({"host": null, "cacert": null, "bearerToken": null, "cert": null, "key": null});
        let mut change = json!({"kubernetes": {"connection": {"kubeconfig": file}}});
        super::merge(&mut change["kubernetes"]["connection"], replaced);
        change
    }

    /// The same with a good token, and this namespace in its context.
    pub(super) fn kubeconfig_with_namespace(&self, namespace: Value) -> Value {
        let context = json!({"cluster": "here", "user": "me", "namespace": namespace});
        self.kubeconfig(self.token(), json!({"contexts": [{"name": "work", "context": context}]}))
    }

    pub(super) fn token(&self) -> Value {
        json!({"token": self.config["kubernetes"]["connection"]["bearerToken"]})
    }

    /// Gives the development cluster's account a Role's rights, as on a real cluster: of the pods' namespace alone.
    pub(super) fn limit_to_namespace(&self) {
        if let Some(cluster) = self.cluster.as_development() {
            let rules = Rights::gateway().rules().into_iter().map(|rule| rule.within(&self.namespace)).collect();
            let token = self.token()["token"].as_str().expect("a token").to_owned();
            cluster.faults().set_token(Token { token, user: self.cluster.account(), rules });
        }
    }
}

/// Asserts that the check and the start both say this of a file, and nothing else.
async fn refused(file: &Path, line: &str) {
    let told =
        format!("{}: the configuration is not valid\nkubernetes.connection.kubeconfig: {line}\n", file.display());
    assert_eq!(run(file, &["--check-config"]).await, (Some(64), told.clone()));
    assert_eq!(run(file, &[]).await, (Some(64), told));
}

#[podgate_test::multi_thread]
async fn kubeconfig_of_a_cloud_is_refused_with_the_way_to_one_that_serves() {
    let desk = Desk::new().await;
    for program in ["aws", "gke-gcloud-auth-plugin", "kubelogin"] {
        let exec = json!({"exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1", "command": program, "args": ["get-token"],
            "interactiveMode": "IfAvailable",
        }});
        let file = desk.file(desk.kubeconfig(exec, json!({})));
        let line = format!(
            "user \"me\": the exec plugin {program:?} is refused: no program is run for credentials; use a token, tokenFile \
             or certificate, as in the file that deploy/kubeconfig writes"
        );
        refused(&file, &line).await;
    }
}

#[podgate_test::multi_thread]
async fn context_that_is_not_there_is_named() {
    let desk = Desk::new().await;
    for (change, line) in [
        (json!({"current-context": "wrok"}), "has no context \"wrok\""),
        (json!({"current-context": ""}), "has no current-context"),
        (json!({"contexts": [{"name": "work", "context": {"cluster": "there"}}]}), "has no cluster \"there\""),
    ] {
        refused(&desk.file(desk.kubeconfig(desk.token(), change)), line).await;
    }
}

#[podgate_test::multi_thread]
async fn token_of_another_cluster_or_a_past_one_is_named() {
    let desk = Desk::new().await;
    for (user, key) in [
        (json!({"token": "of-yesterday"}), "bearerToken"),
        (json!({"tokenFile": "kubeconfig.yaml.token"}), "bearerTokenFile"),
    ] {
        fs::write(desk.path("kubeconfig.yaml.token"), "of-yesterday\n").expect("a file");
        let lines = desk.start_fails(desk.kubeconfig(user, json!({}))).await;
        let line = format!(
            "kubernetes.connection.{key}: {} does not accept the credentials; are they expired, or another cluster's?",
            desk.host()
        );
        let [told] = &lines[..] else { panic!("{lines:?}") };
        assert!(told.starts_with(&line) && told.contains("new token"), "{told}");
    }
}

#[podgate_test::multi_thread]
async fn namespace_comes_from_the_gateways_file_with_or_without_one_in_the_kubeconfig() {
    let desk = Desk::new().await;
    desk.limit_to_namespace();
    let account = desk.cluster.account();
    let line = format!(
        "User {account:?} cannot create, get, list, watch, delete resource \"pods\" in API group \"\" in the namespace \
         \"default\": no login can be served; is it the right namespace, and is the role bound there?"
    );
    for namespace in [json!(null), json!(desk.namespace)] {
        let mut change = desk.kubeconfig_with_namespace(namespace);
        let named = desk.start_tells(change.clone(), "SSH_AVAILABLE").await;
        assert_eq!(named["level"], "info");
        change["kubernetes"]["pod"] = json!({"metadata": null});
        assert_eq!(desk.start_fails(change).await[0], line);
    }
}
