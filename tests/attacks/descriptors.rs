//! A process that may open few files: sessions leave the logins their share.

use crate::support::client::Running;
use crate::support::gateway::Gateway;
use crate::support::{Setup, World};
use std::path::PathBuf;

/// A program that is the gateway with at most 256 open files.
fn limited(world: &World) -> PathBuf {
    let file = world.folder().join("podgate-with-few-files");
    let gateway = env!("CARGO_BIN_EXE_podgate");
    let text = format!("#!/bin/sh\nulimit -S -n 200\nulimit -H -n 256\nexec '{gateway}' \"$@\"\n");
    // By a shell: a child of another test could hold a file open that this process writes, which keeps it from running.
    let script = "printf %s \"$0\" >\"$1\" && chmod 700 \"$1\"";
    let made = std::process::Command::new("/bin/sh").args(["-c", script, &text]).arg(&file).status();
    assert!(made.expect("a shell").success());
    file
}

#[podgate_test::multi_thread]
async fn sessions_of_one_user_leave_the_logins_of_others_their_files() {
    let mut world = Setup::default().start().await;
    let config = world.folder().join("podgate.json");
    world.gateway = Gateway::start_program(&limited(&world), &config).await;
    world.know(world.port());
    let line = world.gateway.wait_for_line("CORE_DESCRIPTORS").await;
    let details = serde_json::json!({"before": "200", "limit": "256"});
    assert_eq!((&line["level"], &line["details"]), (&"warning".into(), &details), "the soft limit is raised");
    // Three connections, more sessions than half of 256 together.
    let mut held: Vec<Running> = Vec::new();
    let socket = |number: usize| format!("ControlPath={}", world.folder().join(format!("m{number}")).display());
    for number in 0..3 {
        let master = world.ssh().option(&socket(number)).option("ControlMaster=yes").start("echo up; exec sleep 600");
        master.until_stdout("up").await;
        held.push(master);
        for _ in 0..45 {
            held.push(world.ssh().option(&socket(number)).start("exec sleep 600"));
        }
    }
    world.gateway.wait_for(|line| line["code"] == "SSH_LIMIT").await;
    let told = world.ssh_as("bob").run("true").await.expect(255);
    let full = told.stderr.contains("too many sessions are open on this gateway")
        || told.stderr.contains("the gateway serves as many connections as it can");
    assert!(full, "{}", told.stderr);
    assert!(world.gateway.lines("SSH_ACCEPT_FAILED").is_empty());
    drop(held);
    let mut done = world.ssh_as("bob").run("echo in").await;
    while done.status == 255 {
        // The clients that were killed are noticed one by one.
        done = world.ssh_as("bob").run("echo in").await;
    }
    assert_eq!(done.expect(0).text(), "in\n");
}
