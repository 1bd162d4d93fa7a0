//! A gateway outside its cluster that has its credentials from files.

use super::{Ran, podgate};
use crate::support::client::PATIENCE;
use crate::support::cluster::{Access, on_real};
use crate::support::role::Rights;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use tokio::time::Instant;

/// The world's configuration with another `kubernetes.connection`.
fn connected_by(world: &World, connection: &Value) -> PathBuf {
    let file = world.folder().join("podgate.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    config["kubernetes"]["connection"] = connection.clone();
    fs::write(&file, config.to_string()).expect("a file");
    file
}

/// A start with that connection, which must fail.
async fn refused(world: &World, connection: &Value) -> Ran {
    podgate(&["--config", &connected_by(world, connection).to_string_lossy()]).await
}

#[podgate_test::multi_thread]
async fn kubeconfig_serves_and_one_that_weakens_the_connection_does_not() {
    let mut world = World::start().await;
    let text = world.cluster.kubeconfig();
    let path = world.folder().join("kubeconfig");
    let connection = json!({"kubeconfig": path});

    let mut weak: Value = serde_saphyr::from_str(&text).expect("YAML");
    weak["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!(true);
    fs::write(&path, weak.to_string()).expect("a file");
    let ran = refused(&world, &connection).await;
    assert_eq!(ran.status, Some(64), "{}", ran.stderr);
    assert!(ran.stderr.contains("insecure-skip-tls-verify is refused"), "{}", ran.stderr);

    fs::write(&path, text).expect("a file");
    world.serve_from(&connected_by(&world, &connection)).await;
    let inspected = world.gateway.lines("KUBERNETES_INSPECTED");
    assert!(inspected.is_empty(), "{inspected:?}");
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn certificate_and_key_files_serve_and_a_strangers_do_not() {
    if !on_real("it knows its users by tokens alone") {
        return;
    }
    let mut world = World::start().await;
    let [certificate, key] = ["client.crt", "client.key"].map(|name| world.folder().join(name));
    let connection = json!({
        "host": world.connection["host"], "cacert": world.connection["cacert"], "certFile": certificate, "keyFile": key,
    });

    let stranger = rcgen::generate_simple_self_signed(["admin".to_owned()]).expect("a certificate");
    fs::write(&certificate, stranger.cert.pem()).expect("a file");
    fs::write(&key, stranger.signing_key.serialize_pem()).expect("a file");
    let ran = refused(&world, &connection).await;
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("does not accept the credentials"), "{}", ran.stderr);

    for (file, what) in [(&certificate, "cert"), (&key, "key")] {
        fs::write(file, world.connection[what].as_str().expect("PEM")).expect("a file");
    }
    world.serve_from(&connected_by(&world, &connection)).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn token_file_that_is_swapped_while_the_gateway_runs_serves_on() {
    let mut world = Setup { access: Access::Rights(Rights::gateway()), ..Setup::default() }.start().await;
    let first = world.connection["bearerToken"].as_str().expect("a token").to_owned();
    let token = world.folder().join("token");
    fs::write(&token, format!("{first}\n")).expect("a file");
    let mut connection = world.connection.clone();
    (connection["bearerToken"], connection["bearerTokenFile"]) = (Value::Null, json!(token));
    world.serve_from(&connected_by(&world, &connection)).await;
    let mut held = world.ssh().start("echo here; cat");
    held.until_stdout("here").await;

    let second = world.cluster.second_token(&Rights::gateway()).await;
    fs::write(world.folder().join("next"), second).expect("a file");
    fs::rename(world.folder().join("next"), &token).expect("a swap");
    world.cluster.revoke_first_token(&first).await;
    // The gateway looks at its files every 10 s, and is refused until then.
    let limit = Instant::now() + PATIENCE;
    loop {
        let done = world.ssh_as("bob").run("echo served").await;
        if done.status == 0 {
            assert_eq!(done.text(), "served\n");
            break;
        }
        assert!(done.status == 255 && Instant::now() < limit, "{done:?}\n{}", world.gateway.log());
    }
    // A stream that is open needs no token any more.
    held.write("still\n").await;
    held.until_stdout("still").await;
    held.kill().await;
    world.wait_for_nothing().await;
}
