//! The binary: what it refuses, and that it leaves nothing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_podgate-devcluster"))
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
    let mut child =
        binary().arg("--kubeconfig").arg(&file).env("TMPDIR", directory.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("https://127.0.0.1:") && first.contains("trials and tests only"), "{first}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("certificate-authority-data"));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
