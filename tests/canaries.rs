//! Secrets are where they belong and nowhere else: not in the API's audit log, not in any command line of the machine or
//! of the pods (which all run on it), not in the gateway's log at its most talkative.

use crate::modes::{persistent, session};
use crate::support::client::PATIENCE;
use crate::support::cluster::{Access, kubeconfig};
use crate::support::role::Rights;
use crate::support::scripted_webhook::{Reply, ScriptedWebhook, WebhookRequest, empty_config};
use crate::support::world::merge;
use crate::support::{Setup, World, processes};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use std::{fs, thread};
use tokio::sync::watch;

/// The pause between two looks at the running programs: nothing reports that a program starts. The test proves that
/// it is short enough to see a program that runs for a moment.
const PAUSE: Duration = Duration::from_millis(10);

/// Everything that ran while this was watched, as `ps` shows it.
struct Watched {
    seen: watch::Receiver<HashSet<String>>,
}

impl Watched {
    fn start() -> Self {
        let (sender, seen) = watch::channel(HashSet::new());
        tokio::task::spawn_blocking(move || {
            while !sender.is_closed() {
                sender.send_modify(|seen| seen.extend(processes::command_lines()));
                thread::sleep(PAUSE);
            }
        });
        Self { seen }
    }

    /// True once a program that writes a file was seen.
    fn writer_of(&self, path: &str) -> bool {
        self.seen.borrow().iter().any(|line| line.contains("umask 077") && line.contains(path))
    }

    fn text(&self) -> String {
        self.seen.borrow().iter().map(|line| format!("{line}\n")).collect()
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

/// The texts of one test: those that nobody but the guest is to have, and those that are to be seen.
struct Texts {
    metadata: String,
    variable: String,
    file: String,
    plain_file: String,
    password: String,
    wrong: String,
    typed: String,
    /// A webhook's plain variable.
    plain: String,
    command: String,
    /// A variable of the client's.
    client: String,
    /// The name of a file.
    path: String,
}

impl Texts {
    fn new() -> Self {
        Self {
            metadata: canary("metadata"),
            variable: canary("variable"),
            file: canary("file"),
            plain_file: canary("plain-file"),
            password: canary("password"),
            wrong: canary("wrong"),
            typed: canary("typed"),
            plain: canary("plain"),
            command: canary("command"),
            client: canary("client"),
            path: canary("path"),
        }
    }

    /// A webhook server that knows all this of everybody who does not have the wrong password.
    async fn script(&self) -> ScriptedWebhook {
        let encoded = |text: &str| data_encoding::BASE64.encode(text.as_bytes());
        let grant = json!({"success": true,
        "metadata": {"token": {"value": self.metadata, "sensitive": true}},
        "environment": {"TOKEN": {"value": self.variable, "sensitive": true}, "PLAIN": {"value": self.plain}},
        "files": {
            "secret": {"value": encoded(&self.file), "sensitive": true},
            &self.path: {"value": encoded(&self.plain_file)},
        }});
        let refused = json!(encoded(&self.wrong));
        ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
            "/config" => empty_config(),
            _ if asked.body["passwordBase64"] == refused => Reply::Json(json!({"success": false})),
            _ => Reply::Json(grant.clone()),
        })
        .await
    }

    fn secrets(&self) -> [&str; 7] {
        [&self.metadata, &self.variable, &self.file, &self.plain_file, &self.password, &self.wrong, &self.typed]
            .map(String::as_str)
    }
}

/// A login that fails, a program that reads a secret, and a person who types one.
async fn sessions(world: &World, texts: &Texts) {
    let Texts { file, plain_file, typed, .. } = texts;
    world.ssh_with_password("alice", &texts.wrong).run("true").await.expect(255);
    let program = format!("cat secret {}; read word; echo got $word; : {}", texts.path, texts.command);
    let ssh = world.ssh_with_password("alice", &texts.password).option(&format!("SetEnv=MINE={}", texts.client));
    let mut running = ssh.start(&program);
    running.until_stdout(plain_file).await;
    // The search finds what is there to be found: in the guest the program is seen, as its client is outside.
    let seen = processes::with(&texts.command);
    assert!(seen.iter().any(|line| line.starts_with("/bin/sh -c ")), "the program is not seen: {seen:?}");
    running.write(&format!("{typed}\n")).await;
    let done = running.ended().await.expect(0);
    assert!(done.text().contains(file) && done.text().contains(typed), "{done:?}");
    let mut person = world.ssh_with_password("alice", &texts.password).arg("-tt").arg("127.0.0.1").launch();
    person.write(&format!("word={typed}; echo $word-$((40 + 2))\n")).await;
    person.until_stdout(&format!("{typed}-42")).await;
    person.write("exit\n").await;
    person.ended().await;
}

/// Asserts all that for a mode, of which the gateway has the rights. Without the agent some texts must be where others can
/// read them: `told` says which of the command, the client's variable and the webhook's plain one are in an exec's arguments;
/// the others are in the pod's spec.
async fn assert_kept(mode: Value, rights: Rights, told: [bool; 3]) {
    let stays = mode["kubernetes"]["pod"]["mode"] == "persistent";
    let texts = Texts::new();
    let script = texts.script().await;
    let mut config = script.config();
    merge(&mut config, mode);
    // In either case a token that nobody could guess.
    let access = if kubeconfig().is_some() { Access::Rights(rights) } else { Access::Administrator };
    let world = Setup { access, ..Setup::config(config).plain_exec() }.start().await;

    let watched = Watched::start();
    sessions(&world, &texts).await;
    // A program that writes a file runs for a moment: until it is seen, the test has not looked often enough.
    let limit = Instant::now() + PATIENCE;
    while !watched.writer_of(&texts.path) {
        assert!(Instant::now() < limit, "what writes a file is never seen");
        world.ssh_with_password("alice", &texts.password).run("true").await.expect(0);
    }
    if !stays {
        world.wait_for_nothing().await;
    }

    let token = world.connection["bearerToken"].as_str().expect("a token");
    let key = fs::read_to_string(world.folder().join("host")).expect("the host key");
    let key = key.lines().nth(2).expect("a line of the key");
    let secrets = [&texts.secrets()[..], &[token, key, world.cluster.secret()]].concat();
    assert_without(&world.gateway.log(), &secrets, "the gateway's log");
    assert_without(&watched.text(), &secrets, "a command line");
    let asked = world.cluster.api_requests();
    let execs: Vec<_> = asked.iter().filter(|one| one.resource == "pods/exec").map(|one| one.query.as_str()).collect();
    let readable = [&texts.command, &texts.client, &texts.plain].map(String::as_str);
    let is_there = |text: &str| execs.iter().any(|query| query.contains(text));
    assert_eq!(readable.map(is_there), told, "{execs:?}");
    let Some(cluster) = world.cluster.as_real() else { return };
    let audit = cluster.audit_log();
    assert_without(&audit, &secrets, "the API's audit log");
    for text in readable {
        assert!(audit.contains(text), "{text} is not in the audit log");
    }
}

#[podgate_test::multi_thread]
async fn secrets_are_in_no_audit_log_no_command_line_and_no_log() {
    assert_kept(json!({}), Rights::gateway(), [true, true, false]).await;
}

#[podgate_test::multi_thread]
async fn secrets_of_mode_session_are_in_no_audit_log_no_command_line_and_no_log() {
    assert_kept(session(json!({})), Rights::session(), [false, false, false]).await;
}

#[podgate_test::multi_thread]
async fn secrets_of_mode_persistent_are_in_no_audit_log_no_command_line_and_no_log() {
    let mode = persistent(json!({"createMissingPods": true}));
    assert_kept(mode, Rights::gateway(), [true, true, true]).await;
}

/// Failures are logged in detail, but without secrets.
#[podgate_test::multi_thread]
async fn secrets_of_a_login_that_fails_are_in_no_log() {
    let [file, variable, password] = ["file", "variable", "password"].map(canary);
    let grant = json!({"success": true,
        "environment": {"TOKEN": {"value": variable, "sensitive": true}},
        "files": {"/proc/1/nothing/secret": {"value": data_encoding::BASE64.encode(file.as_bytes())}}});
    let script = ScriptedWebhook::start(move |asked: &WebhookRequest| match asked.path.as_str() {
        "/config" => empty_config(),
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
    if let Some(cluster) = world.cluster.as_real() {
        assert_without(&cluster.audit_log(), secrets, "the API's audit log");
    }
}
