//! The SSH libraries of other languages: each runs a script that asserts for itself and says "done" at its end.

use super::world;
use crate::support::client::Client;
use crate::support::{World, available, leash};

/// Python of the distribution, which has the distribution's libraries.
const PYTHON: &str = "/usr/bin/python3";

fn script(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a script, which takes the port, the login name, the key's file and a folder of its own.
async fn run(program: &[&str], world: &World) {
    let mut command = leash::program(program[0]);
    command.args(&program[1..]).arg(world.port().to_string()).arg("alice").arg(&world.key.file).arg(world.folder());
    let done = Client::of(command).finish().await.expect(0);
    assert_eq!(done.text(), "done\n", "{done:?}");
}

async fn has(library: &str) -> bool {
    let mut python = leash::program(PYTHON);
    python.args(["-W", "ignore", "-c", &format!("import {library}")]);
    let found = available(PYTHON, "python3") && Client::of(python).finish().await.status == 0;
    let all = std::env::var_os("PODGATE_TEST_ALL").is_some();
    assert!(found || !all, "{library} is missing: install python3-{library}");
    if !found {
        eprintln!("skipped: {library} is missing; install python3-{library}");
    }
    found
}

#[podgate_test::multi_thread]
async fn paramiko_runs_copies_and_forwards() {
    if has("paramiko").await {
        run(&[PYTHON, "-W", "ignore", "-I", &script("with_paramiko.py")], &world().await).await;
    }
}

#[podgate_test::multi_thread]
async fn asyncssh_runs_copies_and_forwards() {
    if has("asyncssh").await {
        run(&[PYTHON, "-W", "ignore", "-I", &script("with_asyncssh.py")], &world().await).await;
    }
}

#[podgate_test::multi_thread]
#[ignore = "needs Node and the ssh2 of logins/clients/node, whose node_modules NODE_PATH names"]
async fn ssh2_of_node_runs_copies_and_forwards() {
    run(&["node", &script("with_ssh2.js")], &world().await).await;
}
