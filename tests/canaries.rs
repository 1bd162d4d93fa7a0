//! Secrets are where they belong and nowhere else: not in the API's audit log, not in any command line of the machine or
//! of the pods (which all run on it), not in the gateway's log at its most talkative.

use crate::support::cluster::{Access, Cluster, kubeconfig};
use crate::support::role::Rights;
use crate::support::script::{Asked, Reply, Script, nothing};
use crate::support::{Setup, World, processes};
use serde_json::json;
use std::collections::HashSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;

/// Everything that ran while this was watched, as `ps` shows it.
struct Watched {
    over: Arc<AtomicBool>,
    task: JoinHandle<HashSet<String>>,
}

impl Watched {
    /// Looks again and again: what is written into a pod is there for a moment only.
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let task = tokio::task::spawn_blocking(move || {
            let mut seen = HashSet::new();
            while !told.load(Ordering::Relaxed) {
                seen.extend(processes::command_lines());
            }
            seen
        });
        Self { over, task }
    }

    async fn seen(mut self) -> String {
        self.over.store(true, Ordering::Relaxed);
        (&mut self.task).await.expect("the watcher").into_iter().collect::<Vec<_>>().join("\n")
    }
}

/// A test that fails must not wait for its watcher.
impl Drop for Watched {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// A text that is nowhere else.
fn canary(name: &str) -> String {
    format!("canary-{name}-{:016x}", rand::random::<u64>())
}

/// Asserts that a text holds none of these, in no way that bytes are usually written.
fn assert_without(text: &str, canaries: &[&str], place: &str) {
    for canary in canaries {
        let written = [(*canary).to_owned(), data_encoding::BASE64.encode(canary.as_bytes())];
        let found = text.lines().find(|line| written.iter().any(|written| line.contains(written)));
        assert!(found.is_none(), "{canary} is in {place}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_in_no_audit_log_no_command_line_and_no_log() {
    let [metadata, variable, file, plain_file, password, wrong, typed] =
        ["metadata", "variable", "file", "plain-file", "password", "wrong", "typed"].map(canary);
    let [plain, command, client] = ["plain", "command", "client"].map(canary);
    let encoded = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
    let grant = json!({"success": true,
        "metadata": {"token": {"value": metadata, "sensitive": true}},
        "environment": {"TOKEN": {"value": variable, "sensitive": true}, "PLAIN": {"value": plain}},
        "files": {"secret": {"value": encoded(&file), "sensitive": true}, "plain": {"value": encoded(&plain_file)}}});
    let refused = json!(encoded(&wrong));
    let script = Script::start(move |asked: &Asked| match asked.path.as_str() {
        "/config" => nothing(),
        _ if asked.body["passwordBase64"] == refused => Reply::Json(json!({"success": false})),
        _ => Reply::Json(grant.clone()),
    })
    .await;
    // In either case a token that nobody could guess.
    let access = if kubeconfig().is_some() { Access::Rights(Rights::gateway()) } else { Access::Administrator };
    let world = Setup { access, ..Setup::config(script.config()) }.start().await;

    let watched = Watched::start();
    world.ssh_with_password("alice", &wrong).run("true").await.expect(255);
    let program = format!("cat secret plain; read word; echo got $word; : {command}");
    let ssh = world.ssh_with_password("alice", &password).option(&format!("SetEnv=MINE={client}"));
    let mut running = ssh.start(&program);
    running.until_stdout(&plain_file).await;
    // The search finds what is there to be found: in the guest the program is seen, as its client is outside.
    assert!(processes::with(&command).iter().any(|line| line.starts_with("/bin/sh -c ")), "the program is not seen");
    running.write(&format!("{typed}\n")).await;
    let done = running.ended().await.expect(0);
    assert!(done.text().contains(&file) && done.text().contains(&typed), "{done:?}");
    let mut person = world.ssh_with_password("alice", &password).arg("-tt").arg("127.0.0.1").launch();
    person.write(&format!("word={typed}; echo $word-$((40 + 2))\n")).await;
    person.until_stdout(&format!("{typed}-42")).await;
    person.write("exit\n").await;
    person.ended().await;
    world.wait_for_nothing().await;
    let seen = watched.seen().await;

    let token = world.connection["bearerToken"].as_str().expect("a token");
    let key = fs::read_to_string(world.folder().join("host")).expect("the host key");
    let key = key.lines().nth(2).expect("a line of the key");
    let secrets = [&metadata, &variable, &file, &plain_file, &password, &wrong, &typed].map(String::as_str);
    let secrets = [&secrets[..], &[token, key, world.cluster.secret()]].concat();
    assert_without(&world.gateway.log(), &secrets, "the gateway's log");
    assert_without(&seen, &secrets, "a command line");
    let Cluster::Real(cluster) = &world.cluster else { return };
    let audit = cluster.audit_log();
    assert_without(&audit, &secrets, "the API's audit log");
    // Without the agent these are in the exec's arguments and in the pod's spec.
    for told in [&command, &client, &plain] {
        assert!(audit.contains(told.as_str()), "{told} is not in the audit log");
    }
}

/// What goes wrong is logged in detail: not in this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_a_login_that_fails_are_in_no_log() {
    let [file, variable, password] = ["file", "variable", "password"].map(canary);
    let grant = json!({"success": true,
        "environment": {"TOKEN": {"value": variable, "sensitive": true}},
        "files": {"/proc/1/nothing/secret": {"value": data_encoding::BASE64.encode(file.as_bytes())}}});
    let script = Script::start(move |asked: &Asked| match asked.path.as_str() {
        "/config" => nothing(),
        _ => Reply::Json(grant.clone()),
    })
    .await;
    let world = Setup::config(script.config()).start().await;
    let done = world.ssh_with_password("alice", &password).run("true").await.expect(255);
    assert_eq!(done.stderr, "podgate: the file /proc/1/nothing/secret cannot be written\n");
    world.wait_for_nothing().await;
    let secrets = [file.as_str(), &variable, &password];
    assert_without(&world.gateway.log(), &secrets, "the gateway's log");
    assert_audited_without(&world, &secrets);
}

fn assert_audited_without(world: &World, secrets: &[&str]) {
    if let Cluster::Real(cluster) = &world.cluster {
        assert_without(&cluster.audit_log(), secrets, "the API's audit log");
    }
}
