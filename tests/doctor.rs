//! `podgate doctor`: what it finds, what it prints, and that it ends. Each commonest mistake is made for it in
//! start/mistakes.rs.

mod listeners;
mod pod;
mod proxies;
mod webhooks;

use crate::support::cluster::Access;
use crate::support::cluster::{is_development, on_development, soon};
use crate::support::leash;
use crate::support::role::Rights;
use crate::support::{Setup, World};
use podgate_devcluster::RequestFailure;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::time::timeout;

const PAGE: &str = include_str!("../docs/doctor.md");
/// The checks of `--pod`.
const WITH_POD: [&str; 5] = ["pod-start", "pod-agent", "pod-program", "pod-sftp", "pod-removal"];

/// The output and exit status of the command with `--json`.
#[derive(Debug)]
pub struct Examined {
    pub status: i32,
    pub checks: Vec<Value>,
    pub out: String,
}

impl Examined {
    /// The results of a check.
    #[track_caller]
    fn of(&self, check: &str) -> Vec<&Value> {
        let found: Vec<_> = self.checks.iter().filter(|found| found["check"] == check).collect();
        assert!(!found.is_empty(), "no {check}: {}", self.out);
        found
    }

    /// Asserts that a check ended so about a subject, with a detail that contains a text.
    #[track_caller]
    fn assert(&self, check: &str, result: &str, text: &str) {
        let fits =
            |found: &&Value| found["result"] == result && found["detail"].as_str().is_some_and(|it| it.contains(text));
        let found = self.of(check);
        assert!(found.iter().any(fits), "{check} is not {result} with {text:?}: {found:#?}");
        let fixed = found.iter().all(|found| (found["result"] == "ok") == (found["fix"] == ""));
        assert!(fixed, "what is not well has a fix, and nothing else: {found:#?}");
    }

    fn failed(&self) -> BTreeSet<&str> {
        let failed = self.checks.iter().filter(|check| check["result"] == "failed");
        failed.filter_map(|check| check["check"].as_str()).collect()
    }
}

/// Runs the command with a configuration.
pub async fn examine(config: &Path, more: &[&str]) -> Examined {
    let output = command(config, &[&["--json"], more].concat()).output();
    let output = timeout(soon(), output).await.expect("it ends by itself").expect("the binary");
    let out = String::from_utf8(output.stdout).expect("text");
    let checks = out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {out}")));
    Examined { status: output.status.code().expect("a status"), checks: checks.collect(), out }
}

fn command(config: &Path, more: &[&str]) -> tokio::process::Command {
    let mut command = leash::program(env!("CARGO_BIN_EXE_podgate"));
    command.arg("doctor").arg("--config").arg(config).args(more).stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn file(world: &World) -> PathBuf {
    world.folder().join("podgate.json")
}

/// Changes the file that the next run reads, and not the running gateway's.
fn change(world: &World, change: Value) -> PathBuf {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(file(world)).expect("a file")).expect("JSON");
    crate::support::world::merge(&mut config, change);
    let changed = world.folder().join("changed.json");
    fs::write(&changed, config.to_string()).expect("a file");
    changed
}

#[podgate_test::multi_thread]
async fn configuration_that_cannot_be_read_ends_with_64_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    fs::write(&file, "ssh: {listen: 7}\nauth: {}\n").expect("a file");
    let examined = examine(&file, &[]).await;
    assert_eq!(examined.status, 64, "{}", examined.out);
    assert_eq!(examined.failed(), BTreeSet::from(["configuration", "host-keys"]), "{}", examined.out);
    let output = command(&file, &["--no-such-option"]).output().await.expect("the binary");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(64), 0));
}

#[podgate_test::multi_thread]
async fn pipe_in_the_place_of_the_configuration_does_not_hold_it_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("config.yaml");
    let made = leash::program("mkfifo").arg(&pipe).status().await.expect("mkfifo");
    assert!(made.success());
    let examined = examine(&pipe, &[]).await;
    assert_eq!(examined.status, 64, "{}", examined.out);
    examined.assert("configuration", "failed", "cannot be read");
}

#[podgate_test::multi_thread]
async fn missing_permission_fails_with_its_verb_and_exit_status_1() {
    let rights = Rights::gateway().without("get", "pods/exec").without("list", "leases");
    let world = Setup { access: Access::Rights(Rights::gateway()), ..Setup::default() }.start().await;
    world.cluster.grant(&rights).await;
    let examined = examine(&file(&world), &[]).await;
    assert_eq!(
        (examined.status, examined.failed()),
        (1, BTreeSet::from(["exec-upgrade", "permissions"])),
        "{}",
        examined.out
    );
    examined.assert("permissions", "failed", "cannot get resource \"pods/exec\"");
    examined.assert("permissions", "warning", "cannot list resource \"leases\"");
}

#[podgate_test::multi_thread]
async fn pod_that_a_quota_refuses_and_a_proxy_before_the_api_fail() {
    if !on_development("it is told to misbehave") {
        return;
    }
    let world = Setup::default().start().await;
    world.cluster.faults().quota(Some(0));
    world.cluster.faults().fail_requests("get", "pods/exec", 1, RequestFailure::Unavailable);
    let examined = examine(&file(&world), &[]).await;
    examined.assert("pod-admission", "failed", "exceeded quota");
    examined.assert("exec-upgrade", "failed", "an exec does not reach the API server");
    assert_eq!(
        (examined.status, examined.failed()),
        (1, BTreeSet::from(["exec-upgrade", "pod-admission"])),
        "{}",
        examined.out
    );
    // A user's settings are examined instead of the file's.
    world.cluster.faults().quota(None);
    let examined = examine(&file(&world), &["--user", "alice"]).await;
    assert_eq!(examined.status, 0, "{}", examined.out);
    examined.assert("user", "ok", "alice gets a pod in the namespace ");
    let nobody = examine(&file(&world), &["--user", "a\nb"]).await;
    nobody.assert("user", "failed", "the user name");
    assert_eq!(nobody.status, 1);
}

#[podgate_test::multi_thread]
async fn healthy_gateway_has_nothing_to_mend_and_shows_no_secret_and_changes_nothing() {
    let world = Setup::default().start().await;
    let listen = json!({"ssh": {"listen": world.gateway.address.to_string()}});
    let file = change(&world, listen);
    let examined = examine(&file, &[]).await;
    // The first for want of --user, the other for want of the right to read them.
    let unseen = |check: &Value| check["check"] == "user" || check["check"] == "network-policies";
    // The certificates of the real cluster for tests last a week.
    let short = |check: &Value| check["check"] == "api-tls" && check["result"] == "warning" && !is_development();
    let bad: Vec<_> =
        examined.checks.iter().filter(|check| check["result"] != "ok" && !unseen(check) && !short(check)).collect();
    assert_eq!((examined.status, bad), (0, vec![]), "{}", examined.out);
    examined.assert("listeners", "ok", "a gateway listens on ");
    examined.assert("webhook-answer", "ok", "it denies a user who was made up");
    let done: BTreeSet<&str> = examined.checks.iter().filter_map(|check| check["check"].as_str()).collect();
    // The webhooks of a world have no TLS.
    let (_, rows) = PAGE.split_once("\n## The checks\n").expect("the section");
    let rows = rows.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0));
    let rows: BTreeSet<&str> = rows.filter(|name| *name != "webhook-tls").collect();
    let rows: BTreeSet<&str> = rows.into_iter().filter(|name| !WITH_POD.contains(name)).collect();
    assert_eq!(done, rows);
    for verb in ["create", "delete", "patch", "update"] {
        assert_eq!(world.cluster.requests(verb, "pods"), 0, "{verb}");
    }
    if is_development() {
        let token = world.connection["bearerToken"].as_str().expect("a token");
        assert!(!examined.out.contains(token));
    }
}

#[podgate_test::multi_thread]
async fn example_of_the_page_prints_what_stands_there() {
    if !on_development("the API server's certificate has other names") {
        return;
    }
    let world = Setup::default().start().await;
    let dead = json!({"webhook": {"url": "http://127.0.0.1:1"}});
    let file = change(
        &world,
        json!({
            "ssh": {"listen": world.gateway.address.to_string()}, "auth": {"password": dead, "publicKey": null}, "configserver": null,
        }),
    );
    let output = timeout(soon(), command(&file, &[]).output()).await.expect("in time").expect("the binary");
    assert_eq!(output.status.code(), Some(1));
    let out = String::from_utf8(output.stdout).expect("text");
    let (_, block) = PAGE.split_once("\n```text\n").expect("a block");
    let (shown, _) = block.split_once("```\n").expect("its end");
    // Without the result of another machine: numbers, the key, and the paths.
    let bare = |text: &str| -> Vec<String> {
        let word = |word: &str| match word {
            _ if word.starts_with("SHA256:") => "KEY".to_owned(),
            _ if word.contains('/') && word.ends_with(':') && !word.contains("//") => "FILE:".to_owned(),
            _ => word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect::<String>().replace("00", "0"),
        };
        let squeezed = |mut line: String| {
            while line.contains("00") {
                line = line.replace("00", "0");
            }
            line
        };
        text.lines().map(|line| squeezed(line.split_whitespace().map(word).collect::<Vec<_>>().join(" "))).collect()
    };
    assert_eq!(bare(shown), bare(&out), "{out}");
}
