//! Images that a registry of the test's own does not give.

use super::{assert_final, assert_waits, world};
use crate::support::Setup;
use crate::support::cluster::{container, kubeconfig, on_real};
use crate::support::real::RealCluster;
use crate::support::real::observer::Observable;
use crate::support::world::merge;
use axum::Router;
use axum::http::StatusCode;
use axum::http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A registry that the node's containerd reaches, with one answer to everything.
struct Registry {
    address: String,
    /// The file that tells containerd that the registry uses plain HTTP.
    known: PathBuf,
    serving: JoinHandle<()>,
}

impl Registry {
    /// `None` on the development cluster.
    async fn start(status: StatusCode, code: &'static str) -> Option<Self> {
        if !on_real("its registries are imitated") {
            return None;
        }
        let kubeconfig = kubeconfig().expect("a real cluster");
        let listener = TcpListener::bind((RealCluster::outside(&kubeconfig), 0)).await.expect("a socket");
        let address = listener.local_addr().expect("an address").to_string();
        let known = kubeconfig.with_file_name("registries").join(&address);
        fs::create_dir(&known).expect("a folder");
        // containerd 1.6 reads no such file without a host.
        let plain = format!("server = \"http://{address}\"\n[host.\"http://{address}\"]\n");
        fs::write(known.join("hosts.toml"), plain).expect("hosts.toml");
        let body = json!({"errors": [{"code": code, "message": "so be it"}]}).to_string();
        let router =
            Router::new().fallback(move || async move { (status, [(WWW_AUTHENTICATE, "Basic realm=\"r\"")], body) });
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("a server") });
        Some(Self { address, known, serving })
    }

    /// An image that is asked of it.
    fn image(&self) -> String {
        format!("{}/lacking:1", self.address)
    }

    fn guest(&self) -> Value {
        json!({"image": self.image(), "imagePullPolicy": "Always"})
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.serving.abort();
        let _gone = fs::remove_dir_all(&self.known);
    }
}

#[podgate_test::multi_thread]
async fn image_that_the_registry_lacks_ends_the_wait() {
    let Some(registry) = Registry::start(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN").await else { return };
    let world = world(registry.guest(), json!({})).await.expect("a real cluster");
    let reason = format!("the image {} cannot be pulled: the registry does not have it", registry.image());
    assert_final(&world, &reason, Observable::Pod("ErrImagePull")).await;
}

#[podgate_test::multi_thread]
async fn image_that_the_registry_denies_ends_the_wait() {
    for (status, code) in [(StatusCode::UNAUTHORIZED, "UNAUTHORIZED"), (StatusCode::FORBIDDEN, "DENIED")] {
        let Some(registry) = Registry::start(status, code).await else { return };
        let world = world(registry.guest(), json!({})).await.expect("a real cluster");
        let reason = format!(
            "the image {} cannot be pulled: it does not exist, or the registry wants other credentials (imagePullSecrets)",
            registry.image()
        );
        assert_final(&world, &reason, Observable::Pod("ErrImagePull")).await;
    }
}

#[podgate_test::multi_thread]
async fn registry_that_fails_or_limits_is_told_and_waited_for() {
    for (status, code) in
        [(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"), (StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS")]
    {
        let Some(registry) = Registry::start(status, code).await else { return };
        let world = world(registry.guest(), json!({})).await.expect("a real cluster");
        let reason = format!("the image {} cannot be pulled yet: ", registry.image());
        assert_waits(&world, &reason, Observable::Pod("ErrImagePull")).await;
    }
}

#[podgate_test::multi_thread]
async fn registry_that_fails_is_waited_for_to_the_end_and_then_told() {
    let Some(registry) = Registry::start(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN").await else { return };
    let mut console = container("shell");
    merge(&mut console, registry.guest());
    let pod = json!({"spec": {"containers": [console]}});
    let config = json!({"kubernetes": {"timeouts": {"podStart": "15s"}, "pod": pod}});
    let world = Setup::config(config).start().await;
    let done = world.ssh().run("true").await.expect(255);
    let told =
        format!("podgate: the pod was not ready within 15s: the image {} cannot be pulled yet: ", registry.image());
    assert!(done.stderr.starts_with(&told) && done.stderr.contains("500"), "{}", done.stderr);
    assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    world.wait_for_nothing().await;
}
