//! `podgate test-login`: what it tells is what a login would tell, and it leaves nothing behind.

mod paper;
mod refused;
mod shown;

use crate::support::World;
use crate::support::cluster::soon;
use crate::support::keys::Key;
use crate::support::leash;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// Output and exit status of the command.
#[derive(Debug)]
struct Tested {
    status: i32,
    out: String,
    err: String,
}

impl Tested {
    /// Asserts the exit status.
    #[track_caller]
    fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.out, self.err);
        self
    }

    /// The line of a step.
    #[track_caller]
    fn step(&self, name: &str) -> &str {
        let line = self.out.lines().find(|line| line.starts_with(&format!("{name:20} ")));
        line.unwrap_or_else(|| panic!("no step {name:?}:\n{}", self.out))
    }

    /// Asserts that a step ended so, and says this.
    #[track_caller]
    fn assert(&self, name: &str, result: &str, text: &str) -> &Self {
        let line = self.step(name);
        assert_eq!(line.split_whitespace().nth(name.split(' ').count()), Some(result), "{line}");
        assert!(line.contains(text), "{text:?}: {line}");
        self
    }

    /// The line that the user would read.
    #[track_caller]
    fn reads(&self) -> &str {
        self.below("the user reads:")
    }

    /// The last that the log would say.
    #[track_caller]
    fn log(&self) -> &str {
        self.below("the log says:")
    }

    #[track_caller]
    fn below(&self, what: &str) -> &str {
        let mut lines = self.out.lines().filter_map(|line| line.trim_start().strip_prefix(what));
        lines.next_back().unwrap_or_else(|| panic!("no {what:?}:\n{}", self.out)).trim()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// Runs the command with a configuration and that on its standard input.
async fn with_config(config: &Path, arguments: &[&str], input: &str) -> Tested {
    let mut child = leash::program(env!("CARGO_BIN_EXE_podgate"))
        .arg("test-login")
        .arg("--config")
        .arg(config)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that reads nothing is gone before.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = timeout(soon(), child.wait_with_output()).await.expect("an end in time").expect("the binary");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let status = output.status.code().expect("a status");
    Tested { status, out: text(output.stdout), err: text(output.stderr) }
}

/// The same with the configuration of the world's gateway.
async fn test_login(world: &World, arguments: &[&str], input: &str) -> Tested {
    with_config(&world.folder().join("podgate.json"), arguments, input).await
}

/// The file of a public key as `ssh-keygen` writes it.
fn public_key(world: &World, key: &Key) -> String {
    let file = world.folder().join("key.pub");
    std::fs::write(&file, format!("{} a comment\n", key.public)).expect("a file");
    file.display().to_string()
}

/// Asserts that nothing was changed in the cluster.
fn assert_nothing_was_made(world: &World) {
    for verb in ["create", "delete", "patch", "update"] {
        assert_eq!(world.cluster.requests(verb, "pods"), 0, "{verb}");
    }
    assert!(world.pods().is_empty(), "{:?}", world.pods());
}
