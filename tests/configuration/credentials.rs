//! A gateway outside its cluster that has its credentials from files.

use crate::support::Setup;
use crate::support::client::PATIENCE;
use crate::support::cluster::Access;
use crate::support::role::Rights;
use serde_json::{Value, json};
use std::fs;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_file_that_is_swapped_while_the_gateway_runs_serves_on() {
    let mut world = Setup { access: Access::Rights(Rights::gateway()), ..Setup::default() }.start().await;
    let first = world.connection["bearerToken"].as_str().expect("a token").to_owned();
    let (token, file) = (world.folder().join("token"), world.folder().join("podgate.json"));
    fs::write(&token, format!("{first}\n")).expect("a file");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
    let connection = &mut config["kubernetes"]["connection"];
    (connection["bearerToken"], connection["bearerTokenFile"]) = (Value::Null, json!(token));
    fs::write(&file, config.to_string()).expect("a file");
    world.gateway = world.another_gateway().await;
    let mut held = world.ssh().start("echo here; cat");
    held.until_stdout("here").await;

    let second = world.cluster.another_token(&Rights::gateway()).await;
    fs::write(world.folder().join("next"), second).expect("a file");
    fs::rename(world.folder().join("next"), &token).expect("a swap");
    world.cluster.end_first_token(&first).await;
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
