//! The agent as it is shipped: one static file, which `PODGATE_STATIC_AGENT` names. It is small, and needs nothing beside it.

use crate::gateway::{Gateway, program};
use crate::{has_namespaces, leashed};
use podgate_link::request::{GatewayRequest, SftpRequest};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Largest size of the file, in bytes.
const MAX_FILE: u64 = 3 * 1024 * 1024;
/// Most memory of an idle link, in KiB.
const MAX_RESIDENT: u64 = 4 * 1024;

fn file() -> Option<PathBuf> {
    let file = std::env::var_os("PODGATE_STATIC_AGENT").map(PathBuf::from);
    assert!(file.is_some() || std::env::var_os("PODGATE_TEST_ALL").is_none(), "PODGATE_STATIC_AGENT is not set");
    file
}

#[test]
fn agent_is_small_and_serves_a_link_in_a_root_with_nothing_else() {
    let Some(file) = file().filter(|_| has_namespaces()) else { return };
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(size <= MAX_FILE, "{size} bytes");
    let root = tempfile::tempdir().unwrap();
    // By cp: a child of another test could hold a file open for writing that this process writes, which keeps it from running.
    assert!(Command::new("cp").arg(&file).arg(root.path().join("agent")).status().unwrap().success());
    let mut command = Command::new("unshare");
    // The file system is read-only, and has nothing but the agent and /proc, which every container has.
    let mounted = "mkdir $0/proc && mount -o bind $0 $0 && mount -t proc proc $0/proc && mount -o remount,bind,ro $0 &&
        cd $0 && exec chroot . /agent link";
    command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounted]).arg(root.path());
    let mut command = leashed(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut gateway = Gateway::started_by(command);
    // It stands for a program of the image's.
    let stream = gateway.open(program(&["/agent", "license"]));
    let ended = gateway.ended(stream);
    assert!(String::from_utf8_lossy(&ended.output).contains("Apache License"), "{ended:?}");
    let sftp = gateway.open(GatewayRequest::Sftp(SftpRequest::default()));
    // INIT of version 3, and REALPATH of the working directory.
    gateway.write(sftp, b"\0\0\0\x05\x01\0\0\0\x03\0\0\0\x0a\x10\0\0\0\x07\0\0\0\x01.");
    gateway.read_until(sftp, b"\0\0\0\x01/");
    gateway.end_input(sftp);
    gateway.ended(sftp);
    let resident = resident(&file);
    assert!(resident <= MAX_RESIDENT, "{resident} KiB");
    gateway.finish();
}

/// Memory of an agent with an idle link, in KiB.
fn resident(file: &std::path::Path) -> u64 {
    let mut command = leashed(Command::new(file));
    command.arg("link").stdin(Stdio::piped()).stdout(Stdio::piped());
    let gateway = Gateway::started_by(command);
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let resident = line.split_whitespace().next().unwrap().parse().unwrap();
    gateway.finish();
    resident
}
