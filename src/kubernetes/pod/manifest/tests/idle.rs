//! The idle shell before real shells: it waits, ends when it is told to, and never uses a processor.

use crate::kubernetes::pod::manifest::spec::{AGENT_OR, IDLE_SCRIPT};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(30);

/// The shells of this machine.
fn shells() -> Vec<&'static [&'static str]> {
    let all: [&[&str]; 4] = [&["/bin/sh"], &["/bin/bash"], &["/bin/dash"], &["/bin/busybox", "sh"]];
    all.into_iter().filter(|shell| Path::new(shell[0]).exists()).collect()
}

/// The shells that look for `sleep` along `PATH`: a busybox may prefer its own.
async fn shells_without_sleep() -> Vec<&'static [&'static str]> {
    let mut found = Vec::new();
    for shell in shells() {
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).args(["-c", "sleep 0"]).env_clear().env("PATH", "/nonexistent").stderr(Stdio::null());
        if !command.status().await.unwrap().success() {
            found.push(shell);
        }
    }
    found
}

/// The script where the kernel's files are not there, so that only `sleep` can wait.
fn without_proc() -> String {
    IDLE_SCRIPT.replace("/proc/", "/nonexistent/")
}

/// A directory with a `sleep` that notes each start in `starts`.
fn with_sleep(then: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let sleep = folder.path().join("sleep");
    let starts = folder.path().join("starts");
    fs::write(&sleep, format!("#!/bin/sh\necho $$ >>{}\n{then}\n", starts.display())).unwrap();
    fs::set_permissions(&sleep, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn starts(folder: &TempDir) -> usize {
    fs::read_to_string(folder.path().join("starts")).map_or(0, |text| text.lines().count())
}

/// The script in a shell of its own process group, with one directory of programs.
fn idle(shell: &[&str], script: &str, programs: &Path) -> Child {
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", script, "--an-arg"]).env_clear().env("PATH", programs);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    podgate_devcluster::leash(command.as_std_mut()).unwrap();
    command.process_group(0).kill_on_drop(true).spawn().unwrap()
}

/// The children of a process that sleep in the kernel over a pipe, or run `sleep`.
fn waiting_children(shell: &Child) -> Vec<u32> {
    let pid = shell.id().unwrap();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let asleep = |child: &u32| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let input = fs::read_link(format!("/proc/{child}/fd/0")).unwrap_or_default();
        stat.contains(") S ") && (input.to_string_lossy().starts_with("pipe:") || stat.contains("(sleep)"))
    };
    children.split_whitespace().map(|child| child.parse().unwrap()).filter(asleep).collect()
}

/// The one child that waits, other than `before`. The kernel tells nobody that a process has begun to wait.
async fn waiter(shell: &Child, before: Option<u32>) -> u32 {
    let found = async {
        loop {
            if let [child] = waiting_children(shell)[..]
                && Some(child) != before
            {
                return child;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, found).await.expect("a child that waits")
}

async fn kill(signal: &str, whom: &str) {
    let script = format!("kill -{signal} {whom}");
    assert!(Command::new("/bin/sh").args(["-c", &script]).status().await.unwrap().success());
}

async fn ended(mut shell: Child) -> (ExitStatus, String) {
    let mut said = String::new();
    let mut stderr = shell.stderr.take().unwrap();
    let status = tokio::time::timeout(SOON, shell.wait()).await.expect("it ends").unwrap();
    tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut said).await.unwrap();
    (status, said)
}

#[tokio::test]
async fn idle_shell_in_which_nothing_waits_ends_with_a_reason_and_does_not_spin() {
    for shell in shells_without_sleep().await {
        for (then, code) in [("exit 0", 1), ("exit 1", 1), ("exit 126", 126), ("exit 137", 137), ("kill -9 $$", 137)] {
            let folder = with_sleep(then);
            let (status, said) = ended(idle(shell, &without_proc(), folder.path())).await;
            assert_eq!((status.code(), starts(&folder)), (Some(code), 10), "{shell:?} {then}: {said}");
            assert!(said.contains("podgate: nothing waits in this container"), "{shell:?} {then}: {said}");
        }
        let empty = tempfile::tempdir().unwrap();
        let (status, said) = ended(idle(shell, &without_proc(), empty.path())).await;
        assert_eq!(status.code(), Some(127), "{shell:?}: {said}");
    }
}

#[tokio::test]
async fn idle_shell_waits_without_a_program_and_ends_at_once_when_it_is_told_to() {
    for shell in shells() {
        for signal in ["TERM", "INT"] {
            let folder = with_sleep("exit 1");
            let child = idle(shell, IDLE_SCRIPT, folder.path());
            waiter(&child, None).await;
            kill(signal, &child.id().unwrap().to_string()).await;
            let pid = child.id().unwrap();
            let status = ended_group(child, pid).await;
            assert_eq!((status.code(), starts(&folder)), (Some(0), 0), "{shell:?} {signal}");
        }
    }
}

#[tokio::test]
async fn idle_shell_with_sleep_alone_ends_at_once_when_it_is_told_to() {
    for shell in shells_without_sleep().await {
        let folder = with_sleep("exec /bin/sleep 300");
        let child = idle(shell, &without_proc(), folder.path());
        waiter(&child, None).await;
        let pid = child.id().unwrap();
        kill("TERM", &pid.to_string()).await;
        let status = ended_group(child, pid).await;
        assert_eq!((status.code(), starts(&folder)), (Some(0), 1), "{shell:?}");
    }
}

/// Awaits the shell, then kills what it left in its group: in a container that goes with PID 1.
async fn ended_group(mut shell: Child, group: u32) -> ExitStatus {
    let status = tokio::time::timeout(SOON, shell.wait()).await.expect("it ends").unwrap();
    kill("KILL", &format!("-{group}")).await;
    status
}

#[tokio::test]
async fn idle_shell_outlives_the_death_of_what_waits() {
    for shell in shells() {
        let folder = with_sleep("exit 1");
        let child = idle(shell, IDLE_SCRIPT, folder.path());
        let mut before = None;
        for _ in 0..3 {
            let now = waiter(&child, before).await;
            kill("KILL", &now.to_string()).await;
            before = Some(now);
        }
        waiter(&child, before).await;
        let pid = child.id().unwrap();
        kill("TERM", &pid.to_string()).await;
        assert_eq!((ended_group(child, pid).await.code(), starts(&folder)), (Some(0), 0), "{shell:?}");
    }
}

#[tokio::test]
async fn shell_waits_itself_where_there_is_no_agent_and_else_becomes_the_agent() {
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("agent");
    let plain = folder.path().join("plain");
    for (path, mode) in [(&agent, 0o755), (&plain, 0o644)] {
        fs::write(path, "#!/bin/sh\necho $$ \"$@\"\nexit 7\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let script = format!("{AGENT_OR}exit 3");
    for shell in shells() {
        let run = async |program: &Path| {
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]).args(["-c", &script]).arg(program).args(["wait-signal", "a b"]);
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            let pid = child.id().unwrap();
            let done = child.wait_with_output().await.unwrap();
            (pid, done.status.code(), String::from_utf8(done.stdout).unwrap())
        };
        for absent in [&*folder.path().join("missing"), folder.path(), &*plain] {
            let (_, code, said) = run(absent).await;
            assert_eq!((code, said.as_str()), (Some(3), ""), "{shell:?} {}", absent.display());
        }
        // It is the same process, so that it is the container's first.
        let (pid, code, said) = run(&agent).await;
        assert_eq!((code, said), (Some(7), format!("{pid} wait-signal a b\n")), "{shell:?}");
    }
}
