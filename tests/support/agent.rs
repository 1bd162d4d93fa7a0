//! The guest's agent in tests: the workspace's own, beside the gateway.

use super::{cluster, leash};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The agent's file. `cargo test --workspace` builds it, as does `cargo build -p podgate-agent`.
pub fn path() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_podgate")).with_file_name("podgate-agent");
    assert!(
        path.exists(),
        "{} is missing: cargo build -p podgate-agent, with --release for a benchmark",
        path.display()
    );
    path
}

/// The `kubernetes.pod` of guests that have the agent, whose containers have this machine's files.
pub fn in_image() -> Value {
    json!({"disableAgent": false, "agentPath": path()})
}

/// The `kubernetes.pod` of the usual guests. On a real cluster each would have the agent brought into it, which costs more
/// than most tests do: there they have it where the test is about it.
pub fn usual() -> Value {
    if cluster::is_development() { in_image() } else { disabled() }
}

/// The `kubernetes.pod` of guests for which nothing is said of an agent, in any image.
pub fn by_default() -> Value {
    json!({"disableAgent": false, "agentPath": null})
}

/// The `kubernetes.pod` of guests without an agent, whose programs have an exec each.
pub fn disabled() -> Value {
    json!({"disableAgent": true})
}

/// The `kubernetes.pod` of guests whose image has no agent, and which wait by the image's shell.
pub fn not_in_image() -> Value {
    json!({
        "disableAgent": false,
        "agentPath": "/nonexistent/agent",
        "idleCommand": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done"],
    })
}

/// Writes a program that behaves as ContainerSSH's agent, which knows its own modes alone.
pub fn containerssh(folder: &Path) -> PathBuf {
    let file = folder.join("containerssh-agent");
    let script = format!(
        "#!/bin/sh\ncase \"$1\" in\nconsole|signal|wait-signal|write-file|forward-server) exec '{}' \"$@\" ;;\nesac\n\
         echo 'Usage: agent console|signal|write-file'\nexit 1\n",
        path().display()
    );
    std::fs::write(&file, script).expect("a program");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("a program");
    file
}

/// The processes whose command line has this word.
pub fn processes_with(word: &str, among: &[i32]) -> Vec<i32> {
    let has = |pid: &&i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|part| part == word.as_bytes())
    };
    among.iter().filter(has).copied().collect()
}

/// Kills a process.
pub async fn kill(pid: i32) {
    let killed = leash::program("kill").args(["-KILL", &pid.to_string()]).status().await.expect("kill");
    assert!(killed.success());
}
