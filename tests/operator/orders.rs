//! What an operator does with a running gateway: sees who is there, tells them, ends them, locks them out, drains.

use super::end_of;
use crate::support::gateway::Gateway;
use crate::support::leash;
use crate::support::{Setup, World};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A world with a socket for operators, in a folder of its own.
struct Operated {
    world: World,
    folder: TempDir,
}

impl Operated {
    async fn start() -> Self {
        Self::with(json!({})).await
    }

    /// The same with more in the section `ssh`.
    async fn with(ssh: Value) -> Self {
        let folder = tempfile::Builder::new().prefix("podgate-test-").tempdir().expect("a folder");
        let admin = json!({"socket": folder.path().join("s"), "lockDirectory": folder.path()});
        let world = Setup::config(json!({"admin": admin, "ssh": ssh})).start().await;
        Self { world, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Runs `podgate` with a subcommand for operators: exit status, standard output and standard error.
    async fn podgate(&self, words: &[&str]) -> (Option<i32>, String, String) {
        podgate(&self.socket(), words).await
    }

    /// The same of one that must succeed; its output.
    async fn does(&self, words: &[&str]) -> String {
        let (status, stdout, stderr) = self.podgate(words).await;
        assert_eq!((status, stderr.as_str()), (Some(0), ""), "{words:?}: {stdout}");
        stdout
    }

    /// The sessions as JSON.
    async fn sessions(&self) -> Vec<Value> {
        let text = self.does(&["sessions", "--json"]).await;
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["sessions"].as_array().expect("a list").clone()
    }

    /// The id of the only session.
    async fn id(&self) -> String {
        let sessions = self.sessions().await;
        assert_eq!(sessions.len(), 1, "{sessions:?}");
        sessions[0]["id"].as_str().expect("an id").to_owned()
    }
}

async fn podgate(socket: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    end_of(command.args(words).arg("--socket").arg(socket)).await
}

#[podgate_test::multi_thread]
async fn gateway_that_cannot_be_operated_says_why() {
    let world = World::start().await;
    let nobody = world.folder().join("nobody");
    let (status, _, said) = podgate(&nobody, &["sessions"]).await;
    assert_eq!(status, Some(69));
    assert!(said.contains("no gateway is at") && said.contains("admin.socket"), "{said}");
    let config = world.folder().join("podgate.json");
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    let (status, _, said) = end_of(command.arg("sessions").arg("--config").arg(config)).await;
    assert_eq!(status, Some(64));
    assert!(said.contains("admin.socket is not set"), "{said}");
}

#[podgate_test::multi_thread]
async fn process_of_another_user_is_refused_even_where_it_can_open_the_socket() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    let operated = Operated::start().await;
    let mode = fs::metadata(operated.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A copy where that user can read it.
    let program = operated.folder.path().join("podgate");
    leash::copy(Path::new(env!("CARGO_BIN_EXE_podgate")), &program);
    fs::set_permissions(operated.folder.path(), fs::Permissions::from_mode(0o755)).expect("a folder for all");
    for mode in [0o600, 0o666] {
        fs::set_permissions(operated.socket(), fs::Permissions::from_mode(mode)).expect("a mode");
        let mut command = leash::program(&program);
        command.uid(65534).gid(65534).arg("sessions").arg("--socket").arg(operated.socket());
        let (status, stdout, said) = end_of(&mut command).await;
        assert_eq!((status, stdout.as_str()), (Some(77), ""), "{mode:o}: {said}");
        assert!(said.contains("no permission for"), "{said}");
    }
    let line = operated.world.gateway.wait_for_line("ADMIN_REFUSED").await;
    assert_eq!(line["details"]["uid"], "65534", "{line}");
    assert!(operated.world.gateway.lines("ADMIN_REQUEST").is_empty());
}

#[podgate_test::multi_thread]
async fn operator_sees_who_is_there_and_what_runs_and_no_raw_control_character() {
    let operated = Operated::start().await;
    assert!(operated.sessions().await.is_empty());
    let client = operated.world.ssh_as("alice").arg("-tt").start("echo up; sleep 1000 # \u{1b}[2J\u{9b}31m");
    client.until_stdout("up").await;
    let sessions = operated.sessions().await;
    let session = &sessions[0];
    let pod = format!("{}/{}", operated.world.namespace(), operated.world.pod().await);
    for (key, value) in [("username", "alice"), ("authenticatedUsername", "alice"), ("pod", &pod)] {
        assert_eq!(session[key], value, "{session}");
    }
    assert!(session["remoteAddr"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{session}");
    assert!(session["bytesReceived"].as_u64() > Some(0) && session["bytesSent"].as_u64() > Some(0), "{session}");
    let program = &session["programs"][0];
    assert_eq!(program["terminal"], true);
    assert_eq!(program["program"], "echo up; sleep 1000 # \u{1b}[2J\u{9b}31m");
    for words in [&["sessions"][..], &["sessions", "--json"]] {
        let text = operated.does(words).await;
        assert!(text.contains("alice") && text.contains(&pod) && text.contains("sleep 1000"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
    client.kill().await;
}

#[podgate_test::multi_thread]
async fn message_is_shown_at_terminals_alone_and_has_no_control_character() {
    let operated = Operated::start().await;
    let plain = operated.world.ssh().start("echo up; sleep 1000");
    plain.until_stdout("up").await;
    let id = operated.id().await;
    let (status, _, said) = operated.podgate(&["message", &id, "hello"]).await;
    assert_eq!(status, Some(1));
    assert!(said.contains("no terminal"), "{said}");
    assert_eq!(plain.complained(), "");
    plain.kill().await;
    operated.world.gateway.wait_for_line("SSH_DISCONNECTED").await;
    let terminal = operated.world.ssh().arg("-tt").start("echo up; sleep 1000");
    terminal.until_stdout("up").await;
    let id = operated.id().await;
    assert_eq!(operated.does(&["message", &id[..8], "save\u{1b}[2J your work"]).await, "shown at 1 terminals\n");
    terminal.until_stderr("podgate: message from the operator: save[2J your work").await;
    let (status, _, said) = operated.podgate(&["message", &id, " \u{1b} "]).await;
    assert!(status == Some(1) && said.contains("empty"), "{said}");
    terminal.kill().await;
}

#[podgate_test::multi_thread]
async fn connection_that_an_operator_ends_reads_the_reason_and_the_log_names_the_operator() {
    let operated = Operated::start().await;
    for (id, reason) in
        [("0123", "no connection has this id"), ("../..", "no connection has this id"), ("0", "at least 4")]
    {
        let (status, _, said) = operated.podgate(&["end", id]).await;
        assert!(status == Some(1) && said.contains(reason), "{id}: {said}");
    }
    let client = operated.world.ssh().start("echo up; sleep 1000");
    client.until_stdout("up").await;
    let id = operated.id().await;
    assert_eq!(operated.does(&["end", &id, "maintenance"]).await, format!("{id} ends\n"));
    let done = client.ended().await.expect(255);
    assert!(done.stderr.starts_with("podgate: maintenance\n"), "{}", done.stderr);
    let line = operated.world.gateway.wait_for(|line| line["details"]["action"] == "end").await;
    let details = &line["details"];
    let uid = rustix::process::geteuid().as_raw().to_string();
    assert_eq!((&line["level"], &line["code"]), (&json!("notice"), &json!("ADMIN_REQUEST")));
    for (key, value) in [("uid", uid.as_str()), ("connectionId", &id), ("reason", "maintenance")] {
        assert_eq!(details[key], value, "{line}");
    }
    operated.world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn locked_user_who_comes_again_has_a_penalty() {
    let ssh = json!({"perSourcePenalties": "refuseconnection:20m", "perSourcePenaltyExemptList": []});
    let operated = Operated::with(ssh).await;
    operated.does(&["lock", "alice"]).await;
    let refused = operated.world.ssh_as("alice").run("echo in").await.expect(255);
    assert!(refused.stderr.starts_with("podgate: this account is locked\n"), "{}", refused.stderr);
    let penalty = operated.world.gateway.wait_for_line("SSH_PENALTY").await;
    assert_eq!(penalty["details"]["reason"], "penalty: connection prohibited", "{penalty}");
}

#[podgate_test::multi_thread]
async fn locked_user_is_ended_refused_and_stays_locked_after_a_restart() {
    let mut operated = Operated::start().await;
    let client = operated.world.ssh_as("alice").start("echo up; sleep 1000");
    client.until_stdout("up").await;
    let said = operated.does(&["lock", "alice", "call the operator"]).await;
    assert_eq!(said, "alice is locked; 1 connections end\n");
    let reason = "podgate: this account is locked: call the operator\n";
    let done = client.ended().await.expect(255);
    assert!(done.stderr.starts_with(reason), "{}", done.stderr);
    let refused = operated.world.ssh_as("alice").run("echo in").await.expect(255);
    assert_eq!((refused.text().as_str(), refused.stderr.starts_with(reason)), ("", true), "{}", refused.stderr);
    operated.world.gateway.wait_for_line("SSH_LOCKED").await;

    operated.world.gateway.signal("TERM");
    assert!(operated.world.gateway.ended().await.success());
    assert!(!operated.socket().exists(), "the socket goes with the gateway");
    let file = operated.world.folder().join("podgate.json");
    operated.world.gateway = Gateway::start(&file).await;
    operated.world.know(operated.world.port());
    operated.world.ssh_as("alice").run("echo in").await.expect(255);
    assert!(operated.does(&["locks"]).await.contains("call the operator"));
    assert_eq!(operated.does(&["unlock", "alice"]).await, "alice is not locked any more\n");
    let (status, _, said) = operated.podgate(&["unlock", "alice"]).await;
    assert!(status == Some(1) && said.contains("not locked"), "{said}");
    assert_eq!(operated.world.ssh_as("alice").run("echo in").await.expect(0).text(), "in\n");
    operated.world.wait_for_nothing().await;
}

#[podgate_test::multi_thread]
async fn drain_of_an_operator_ends_the_gateway() {
    let mut operated = Operated::start().await;
    assert_eq!(operated.does(&["drain"]).await, "the gateway drains; 0 connections are open\n");
    assert!(operated.world.gateway.ended().await.success(), "{}", operated.world.gateway.log());
    assert_eq!(operated.podgate(&["drain"]).await.0, Some(69));
}

#[podgate_test::multi_thread]
async fn killed_gateway_s_socket_is_replaced() {
    let mut operated = Operated::start().await;
    operated.world.gateway.signal("KILL");
    assert!(!operated.world.gateway.ended().await.success());
    assert!(operated.socket().exists());
    let file = operated.world.folder().join("podgate.json");
    operated.world.gateway = Gateway::start(&file).await;
    assert!(operated.sessions().await.is_empty());
}
