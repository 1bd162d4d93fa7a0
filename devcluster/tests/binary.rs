//! The binary: what it refuses, and that it leaves nothing.

use crate::client::{Client, PODS, SOON, pod};
use crate::leash::ignored_signals;
use podgate_devcluster::leash;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_podgate-devcluster"))
}

/// A process that is killed with this value, so that a failed test leaves none.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn an_open_address_and_an_existing_file_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let open = binary().args(["--listen", "0.0.0.0:0", "--kubeconfig"]).arg(&file).output().unwrap();
    assert!(!open.status.success() && String::from_utf8_lossy(&open.stderr).contains("loopback addresses only"));
    std::fs::write(&file, "precious").unwrap();
    let existing = binary().arg("--kubeconfig").arg(&file).output().unwrap();
    assert!(!existing.status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn term_ends_it_and_removes_the_kubeconfig() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("kubeconfig");
    let mut command = binary();
    command.arg("--kubeconfig").arg(&file).env("TMPDIR", directory.path()).stdout(Stdio::piped());
    let mut child = leash(&mut command).unwrap().spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("https://127.0.0.1:") && first.contains("trials and tests only"), "{first}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("certificate-authority-data"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// The binary once it listens, and a client of it. `command` ends with the binary's name.
fn started(mut command: Command, directory: &Path) -> (Killed, Client) {
    let file = directory.join("kubeconfig");
    command.arg("--kubeconfig").arg(&file).env("TMPDIR", directory).stdout(Stdio::piped());
    let mut child = Killed(leash(&mut command).unwrap().spawn().unwrap());
    BufReader::new(child.0.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let cluster = &config["clusters"][0]["cluster"];
    let ca = data_encoding::BASE64.decode(cluster["certificate-authority-data"].as_str().unwrap().as_bytes()).unwrap();
    let host = cluster["server"].as_str().unwrap().strip_prefix("https://").unwrap();
    let token = config["users"][0]["user"]["token"].as_str().unwrap();
    (child, Client::at(host, std::str::from_utf8(&ca).unwrap(), token))
}

/// The log of the pod `p` once it has a line.
async fn first_line(client: &Client) -> String {
    let mut log = String::new();
    while !log.ends_with('\n') {
        log = client.text(&format!("{PODS}/p/log")).await;
    }
    log
}

/// The limit on the memory of a user's pipes does not hold for root: this one is somebody else, who has no other pipes.
#[tokio::test]
async fn ordinary_user_runs_more_programs_than_large_pipes_are_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let command = if rustix::process::geteuid().is_root() {
        let uid = (1 << 20) + std::process::id();
        std::os::unix::fs::chown(directory.path(), Some(uid), Some(uid)).unwrap();
        // The way to our own binary may be closed for others.
        let copy = directory.path().join("devcluster");
        // By cp: a child of another test could hold a file open for writing that this process writes, which keeps it from
        // running.
        assert!(
            Command::new("cp").arg(env!("CARGO_BIN_EXE_podgate-devcluster")).arg(&copy).status().unwrap().success()
        );
        let mut command = Command::new("setpriv");
        let ids = [format!("--reuid={uid}"), format!("--regid={uid}")];
        command.args(ids).args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]).arg(copy);
        command
    } else {
        binary()
    };
    let (_child, client) = started(command, directory.path());
    client.create(&pod("p", Some("echo up; trap 'exit 0' TERM; while :; do sleep 300 & wait; done"))).await;
    first_line(&client).await;
    let mut programs = Vec::new();
    for number in 0..300 {
        let mut program = client.exec("p", &["cat"], "stdin=true&stdout=true&stderr=true").await;
        program.input.stdin(format!("{number};").as_bytes()).await.unwrap();
        program.output.until(&format!("{number};")).await;
        programs.push(program);
    }
}

#[tokio::test]
async fn even_a_killed_process_leaves_no_process_and_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let (child, client) = started(binary(), directory.path());
    client.create(&pod("p", Some("trap '' TERM HUP; env -i /bin/sleep 300 & echo $$$$ $!; sleep 300"))).await;
    let log = first_line(&client).await;
    let pids: Vec<String> = log.split_whitespace().map(|pid| format!("/proc/{pid}")).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| Path::new(pid).exists()), "{log}");
    drop(child);
    let left =
        || std::fs::read_dir(directory.path()).unwrap().count() > 1 || pids.iter().any(|pid| Path::new(pid).exists());
    let gone = async {
        // The watchdog is nobody's child any more, so that its end cannot be awaited.
        while left() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("the watchdog to clean up");
}

#[tokio::test]
async fn container_ignores_no_signal_even_if_the_cluster_was_started_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' HUP INT QUIT; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_podgate-devcluster")]);
    let (_child, client) = started(command, directory.path());
    client.create(&pod("p", Some("grep SigIgn: /proc/self/status; exec sleep 300"))).await;
    assert_eq!(ignored_signals(&first_line(&client).await), 0);
    for terminal in ["stdout=true", "stdin=true&stdout=true&tty=true"] {
        let program = client.exec("p", &["grep", "SigIgn:", "/proc/self/status"], terminal).await;
        assert_eq!(ignored_signals(&program.output.rest().await.text()), 0, "{terminal}");
    }
}
