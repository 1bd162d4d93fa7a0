//! What the gateway's process gives up at its start.

use crate::support::World;
use podgate::Confinement;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::process::Command;

/// The name of the test below, which a process of its own runs.
const PROBE: &str = "start::confinement::probe";

#[podgate_test::multi_thread]
async fn gateway_leaves_no_core_and_gets_no_privileges() {
    let world = World::start().await;
    let of_process =
        |file: &str| fs::read_to_string(format!("/proc/{}/{file}", world.gateway.pid())).expect("a process");
    // Every thread, also the allocator's own.
    let threads = fs::read_dir(format!("/proc/{}/task", world.gateway.pid())).expect("a process");
    let mut names = Vec::new();
    for thread in threads {
        let path = thread.expect("a thread").path();
        let (status, name) = (fs::read_to_string(path.join("status")), fs::read_to_string(path.join("comm")));
        let (Ok(status), Ok(name)) = (status, name) else { continue }; // It has ended.
        assert!(status.lines().any(|line| line == "NoNewPrivs:\t1"), "{status}");
        names.push(name);
    }
    assert!(names.iter().any(|name| name.starts_with("jemalloc")), "{names:?}");
    let limits = of_process("limits");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("the limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"], "{core}");
    let told = world.gateway.wait_for_line("CORE_CONFINED").await;
    assert_eq!(told["level"], "info", "{told}");
    for part in ["coreDumps", "newPrivileges"] {
        assert_eq!(told["details"][part], "off", "{told}");
    }
    world.ssh().run("true").await.expect(0);
}

#[test]
fn confined_process_runs_no_program_and_is_not_traced() {
    let this = std::env::current_exe().expect("this program");
    let done = Command::new(this).args(["--exact", PROBE, "--ignored", "--nocapture"]).output().expect("this program");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("1 passed"), "{said}");
}

/// Confines its own process, which must not have other tests.
#[test]
#[ignore = "confines the process that it runs in; another test runs it in one of its own"]
fn probe() {
    let operators = tempfile::tempdir().expect("a folder");
    let confinement = Confinement::of_process(Some(&operators.path().join("socket")));
    assert_eq!((&*confinement.core_dumps, &*confinement.new_privileges), ("off", "off"));
    let dumpable = rustix::process::dumpable_behavior().expect("an answer");
    assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
    let ran = Command::new("/bin/true").status();
    // A kernel without Landlock says so, and the log repeats it.
    if confinement.execution == "off" {
        assert_eq!(ran.expect_err("nothing runs").kind(), ErrorKind::PermissionDenied);
    } else {
        assert_eq!(confinement.execution, "this system has no Landlock");
    }
    let folder = tempfile::tempdir().expect("a folder");
    UnixListener::bind(operators.path().join("socket")).expect("the operators' socket is made");
    if confinement.execution == "off" {
        let refused = UnixListener::bind(folder.path().join("socket")).expect_err("and no other");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    }
    let (file, other) = (folder.path().join("file"), folder.path().join("other"));
    fs::write(&file, "text").expect("files are written as before");
    fs::rename(&file, &other).expect("and renamed");
    fs::hard_link(&other, &file).expect("and linked, as a host key is");
}
