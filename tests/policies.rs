//! What a user who is in may do: the rules of `security`, from the file and from the config webhook, seen by real clients.

mod answers;
mod environment;
mod forwarding;
mod limits;
mod requests;

use crate::support::{Setup, World};
use serde_json::{Value, json};

/// A world whose file has these rules.
async fn ruled(security: Value) -> World {
    Setup::config(json!({ "security": security })).start().await
}

#[podgate_test::multi_thread]
async fn forced_command_runs_instead_of_everything_and_is_told_what_was_asked_for() {
    let world = ruled(json!({"forceCommand": "echo \"forced: $SSH_ORIGINAL_COMMAND\""})).await;
    assert_eq!(world.ssh().run("rm -rf /; $(id)").await.expect(0).text(), "forced: rm -rf /; $(id)\n");
    let shell = world.ssh().arg("-T").arg("127.0.0.1").stdin("echo escaped\n").finish().await.expect(0);
    assert_eq!(shell.text(), "forced: \n");
    let subsystem = world.ssh().arg("-s").arg("127.0.0.1").arg("sftp").finish().await.expect(0);
    assert_eq!(subsystem.text(), "forced: sftp\n");
}

#[podgate_test::multi_thread]
async fn command_filter_compares_whole_commands() {
    let world = ruled(json!({"command": {"mode": "filter", "allow": ["echo allowed"]}})).await;
    assert_eq!(world.ssh().run("echo allowed").await.expect(0).text(), "allowed\n");
    for command in ["echo allowed; id", " echo allowed", "echo  allowed", "id", "echo allowed\n"] {
        let done = world.ssh().run(command).await.expect(255);
        assert_eq!((done.text().as_str(), done.stderr.as_str()), ("", "podgate: this command is not allowed\n"));
    }
    world.gateway.wait_for_line("SECURITY_EXEC_REJECTED").await;
}

#[podgate_test::multi_thread]
async fn what_is_disabled_is_refused_with_a_reason_and_the_rest_works() {
    let world = ruled(json!({
        "shell": {"mode": "disable"}, "subsystem": {"mode": "filter", "allow": ["other"]}, "tty": {"mode": "disable"},
    }))
    .await;
    let shell = world.ssh().arg("-T").arg("127.0.0.1").stdin("echo escaped\n").finish().await.expect(255);
    assert_eq!((shell.text().as_str(), shell.stderr.as_str()), ("", "podgate: shells are disabled\n"));
    let subsystem = world.ssh().arg("-s").arg("127.0.0.1").arg("sftp").finish().await.expect(255);
    assert!(subsystem.stderr.starts_with("podgate: this subsystem is not allowed\n"), "{}", subsystem.stderr);
    assert!(subsystem.stderr.contains("subsystem request failed"), "{}", subsystem.stderr);
    let unknown = world.ssh().arg("-s").arg("127.0.0.1").arg("other").finish().await.expect(255);
    let told = "podgate: the subsystem other is not available here\n";
    assert!(unknown.stderr.starts_with(told), "{}", unknown.stderr);
    // OpenSSH's client goes no further without the terminal that it was told to insist on.
    let terminal = world.ssh().arg("-tt").run("echo ran").await.expect(255);
    assert_eq!(terminal.text(), "");
    assert!(terminal.stderr.contains("PTY allocation request failed"), "{}", terminal.stderr);
    world.gateway.wait_for_line("SECURITY_TTY_REJECTED").await;
}

#[podgate_test::multi_thread]
async fn default_mode_disable_leaves_only_what_is_enabled() {
    let world = ruled(json!({"defaultMode": "disable", "command": {"mode": "enable"}})).await;
    assert_eq!(world.ssh().run("echo in").await.expect(0).text(), "in\n");
    let shell = world.ssh().arg("-T").arg("127.0.0.1").finish().await.expect(255);
    assert_eq!(shell.stderr, "podgate: shells are disabled\n");
}

#[podgate_test::multi_thread]
async fn max_sessions_counts_open_sessions() {
    let world = ruled(json!({"maxSessions": 2})).await;
    let socket = format!("ControlPath={}", world.folder().join("master").display());
    let shared = |client: crate::support::client::Client| client.option(&socket);
    // The master itself has no session.
    let master = shared(world.ssh()).option("ControlMaster=yes").arg("-N").arg("127.0.0.1").spawn();
    while !world.folder().join("master").exists() {
        world.gateway.wait_for_line("SSH_AUTH_SUCCESSFUL").await;
        tokio::task::yield_now().await;
    }
    let hold = || shared(world.ssh()).arg("127.0.0.1").arg("echo open; cat").spawn();
    let mut first = opened(hold()).await;
    let _second = opened(hold()).await;
    let third = shared(world.ssh()).option("ProxyCommand=false").run("echo ran").await;
    // It may not fall back to a connection of its own.
    assert_ne!(third.status, 0);
    assert_eq!(third.text(), "");
    assert!(third.stderr.contains("refused"), "{}", third.stderr);
    world.gateway.wait_for_line("SECURITY_MAX_SESSIONS").await;
    // One ends by the end of its input; its place is free once its client has heard so.
    drop(first.stdin.take());
    assert!(first.wait().await.expect("its end").success());
    assert_eq!(shared(world.ssh()).run("echo ran").await.expect(0).text(), "ran\n");
    assert_eq!(world.cluster.requests("create", "pods"), 1);
    drop(master);
}

/// Waits for the line `open`.
async fn opened(mut client: tokio::process::Child) -> tokio::process::Child {
    let mut line = [0; 5];
    let stdout = client.stdout.as_mut().expect("a pipe");
    let read = tokio::io::AsyncReadExt::read_exact(stdout, &mut line);
    tokio::time::timeout(crate::support::gateway::SOON, read).await.expect("in time").expect("a line");
    assert_eq!(&line, b"open\n");
    client
}
